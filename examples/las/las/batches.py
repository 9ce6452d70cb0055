"""From sentences to the batches on which the recogniser is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from synthetic_speech import log_mel, speak

from .network import FILTERS
from .sentences import END, START, Words, padded

__all__ = ["batch_of", "say"]

Batch = tuple[dict[str, np.ndarray], np.ndarray]


def say(sentence: str, *, words_per_minute: int = 300) -> np.ndarray:
    """Synthesise a sentence and return its features, shape (t, 40)."""
    return log_mel(speak(sentence, words_per_minute=words_per_minute), filters=FILTERS)


def batch_of(sentences: Sequence[str], features: Sequence[np.ndarray] | None = None) -> Batch:
    """Make a batch for teacher forcing: the inputs at every position are the true words before it.

    Parameters
    ----------
    sentences : sequence of str
        Sentences of words in the vocabulary.
    features : sequence of ndarray, optional
        Features of the sentences; without them the sentences are synthesised.

    Returns
    -------
    inputs : dict
        "frames" (b, t, 40) and "tokens" (b, u): the start and all words.
    targets : ndarray of int32, shape (b, u)
        All words and the end. Positions behind the end are padding, and the model masks them.
    """
    sounds = [say(sentence) for sentence in sentences] if features is None else list(features)
    frames = np.zeros((len(sounds), max(map(len, sounds)), FILTERS), np.float32)
    for row, sound in zip(frames, sounds, strict=True):
        row[: len(sound)] = sound
    texts = [Words().encode(sentence) for sentence in sentences]
    inputs = {"frames": frames, "tokens": padded([[START, *text] for text in texts])}
    return inputs, padded([[*text, END] for text in texts])
