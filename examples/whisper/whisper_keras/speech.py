"""Training batches of clips, and greedy transcription to test the port against the original."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from keras import ops

from .audio import log_mel
from .clips import Clip
from .network import Whisper
from .tokenizer import END, PROMPT, decode, encode, suppressed

__all__ = ["normalise", "training_batch", "transcribe"]

#: The longest of the transcripts here has 27 tokens.
_MOST_TOKENS = 64


def training_batch(clips: Sequence[Clip]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Make a batch as in fine-tuning: the inputs at every position are the true words before it.

    Parameters
    ----------
    clips : sequence of Clip
        N clips.

    Returns
    -------
    inputs : dict
        "spectrogram" (N, 3000, 80) and "tokens" (N, T): all but the last token of each text.
    targets : ndarray of int32, shape (N, T)
        All but the first token of each text.
    weights : ndarray of float32, shape (N, T)
        1 at the words and the end; 0 at the prompt, which the model does not have to foretell, and at the padding.
    """
    texts = [encode(clip.transcript) for clip in clips]
    length = max(map(len, texts)) - 1
    tokens = np.full((len(texts), length), END, np.int32)
    targets = tokens.copy()
    weights = np.zeros((len(texts), length), np.float32)
    for row, text in enumerate(texts):
        tokens[row, : len(text) - 1] = text[:-1]
        targets[row, : len(text) - 1] = text[1:]
        weights[row, len(PROMPT) - 1 : len(text) - 1] = 1.0
    spectrogram = np.stack([log_mel(clip.wave) for clip in clips])
    return {"spectrogram": spectrogram, "tokens": tokens}, targets, weights


def transcribe(whisper: Whisper, clips: Sequence[Clip]) -> list[str]:
    """Transcribe greedily: always the likeliest token.

    Parameters
    ----------
    whisper : Whisper
        Trained.
    clips : sequence of Clip
        Clips to transcribe.

    Returns
    -------
    list of str
        Transcripts as the model writes them, with capitals and punctuation.
    """
    encoded = whisper.encoder(np.stack([log_mel(clip.wave) for clip in clips]), training=False)
    tokens = np.full((len(clips), _MOST_TOKENS), END, np.int32)
    tokens[:, : len(PROMPT)] = PROMPT
    always, first = suppressed()
    forbidden = [*always, *first]
    for place in range(len(PROMPT), _MOST_TOKENS):
        features = whisper.decoder([ops.convert_to_tensor(tokens), encoded], training=False)[:, place - 1 : place]
        logits = np.array(ops.convert_to_numpy(whisper.project(features)))[:, 0]
        logits[:, forbidden] = -np.inf
        forbidden = always
        ended = tokens[:, place - 1] == END
        tokens[:, place] = np.where(ended, END, logits.argmax(axis=1))
        if np.all(tokens[:, place] == END):
            break
    return [decode(row) for row in tokens]


def normalise(text: str) -> str:
    """Bring a transcript to the form in which transcripts are compared: lower case, words only.

    Parameters
    ----------
    text : str
        A transcript.

    Returns
    -------
    str
        Words separated by single spaces.
    """
    words = re.sub(r"[^a-z' ]", " ", re.sub(r"\bmr\.?(?=\s)", "mister", text.lower()))
    return " ".join(words.split())
