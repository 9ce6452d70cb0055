"""Tasks to attack, and batches for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from synthetic_speech import log_mel, speak

from .vocabulary import END, START, Vocabulary

__all__ = ["Utterance", "batch_of", "build", "utterance"]

#: An utterance: its features (t, 80) and its transcript.
Utterance = tuple[np.ndarray, str]


def build(name: str, *, classes: int | None = None, seed: int = 0, eager: bool = True, **settings: Any) -> Any:
    """Instantiate a recogniser with fresh weights.

    Parameters
    ----------
    name : str
        "small", or a model of lingvo's registry, such as "asr.librispeech.Librispeech960Wpm".
    classes : int, optional
        Size of the vocabulary, for the small one.
    seed : int, default 0
        Seed of the weights.
    eager : bool, default True
        Use lingvo's eager mode.
    **settings
        Overrides, by path in the task's parameters with "__" for dots: ``train__learning_rate=0.1``.

    Returns
    -------
    lingvo.core.base_model.BaseTask
    """
    import lingvo_patches

    lingvo_patches.install()
    import tensorflow as tf
    from lingvo.core import py_utils

    if eager:
        py_utils.SetEagerMode(True)
    tf.random.set_seed(seed)
    if name == "small":
        params = _small(classes or 76)
    else:
        from lingvo import model_registry

        params = model_registry.GetParams(name, "Train").task
    params.input = None
    params.random_seed = seed + 1  # 0 means no seed
    for path, value in settings.items():
        params.Set(**{path.replace("__", "."): value})
    return params.Instantiate()


def _small(classes: int) -> Any:
    """Return the published recogniser with an eighth of its width and half its depth."""
    from lingvo import model_registry

    params = model_registry.GetParams("asr.librispeech.Librispeech960Wpm", "Train").task
    params.name = "small"
    params.encoder.Set(lstm_cell_size=128, num_lstm_layers=2)
    params.decoder.Set(rnn_cell_dim=128, source_dim=256, emb_dim=64)
    params.decoder.emb.vocab_size = params.decoder.softmax.num_classes = classes
    return params


def utterance(text: str, **speech: Any) -> Utterance:
    """Synthesise a sentence and return its features with its transcript.

    Parameters
    ----------
    text : str
        The sentence.
    **speech
        As for `speak`.

    Returns
    -------
    Utterance
    """
    return log_mel(speak(text, **speech)), text


def batch_of(utterances: Sequence[Utterance], vocabulary: Vocabulary, *, frames: int = 0) -> Any:
    """Put utterances into one batch, as lingvo's input generator does.

    Parameters
    ----------
    utterances : sequence of Utterance
        One or more utterances.
    vocabulary : Vocabulary
        Vocabulary of the transcripts.
    frames : int, default 0
        Pad to at least so many frames.

    Returns
    -------
    NestedMap
        ``src`` and ``tgt``, of numpy arrays.
    """
    from lingvo.core import py_utils

    sequences = [vocabulary.ids(text) for _, text in utterances]
    count, longest = len(sequences), max(map(len, sequences)) + 1
    frames = max(frames, *(features.shape[0] + 1 for features, _ in utterances))  # lingvo appends an empty frame
    inputs = np.zeros((count, frames, utterances[0][0].shape[1], 1), np.float32)
    silence = np.ones((count, frames), np.float32)
    ids = np.full((count, longest), END, np.int32)
    labels = np.full((count, longest), END, np.int32)
    paddings = np.ones((count, longest), np.float32)
    for row, ((features, _), sequence) in enumerate(zip(utterances, sequences, strict=True)):
        inputs[row, : features.shape[0], :, 0] = features
        silence[row, : features.shape[0] + 1] = 0.0
        ids[row, : len(sequence) + 1] = [START, *sequence]
        labels[row, : len(sequence) + 1] = [*sequence, END]
        paddings[row, : len(sequence) + 1] = 0.0
    return py_utils.NestedMap(
        src=py_utils.NestedMap(src_inputs=inputs, paddings=silence),
        tgt=py_utils.NestedMap(ids=ids, labels=labels, paddings=paddings, weights=1.0 - paddings),
    )
