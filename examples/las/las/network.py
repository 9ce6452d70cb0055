"""The network: a listener, attention, and a speller of two recurrent layers.

After Chan et al., "Listen, Attend and Spell" (ICASSP 2016, doi:10.1109/ICASSP.2016.7472621), with the speller arranged
as in lingvo's recognisers: the first recurrent layer queries the attention, and the second layer and the head see the
result. Other than in lingvo, the first layer does not see the result of the step before, so that the whole speller
consists of stock layers.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from keras import layers

from .sentences import END, PADDING, START, Words

__all__ = ["FILTERS", "build", "load", "save", "transcribe"]

#: Mel filters of the input.
FILTERS = 40


def build(
    classes: int = Words.size, *, cells: int = 48, context: int = 64, embedding: int = 32, seed: int = 0
) -> keras.Model:
    """Build the recogniser with fresh weights, compiled.

    Parameters
    ----------
    classes : int
        Number C of classes, the tokens of the vocabulary; token 0 is padding.
    cells : int, default 48
        Width of the speller's recurrent layers.
    context : int, default 64
        Width of the attention's result.
    embedding : int, default 32
        Width of the token embedding.
    seed : int, default 0
        Seed of the weights.

    Returns
    -------
    keras.Model
        The model maps "frames" (b, t, 40), log mel features, and "tokens" (b, u), the word before each position, to
        logits (b, u, C). Padded positions are masked.
    """
    keras.utils.set_random_seed(seed)
    frames = layers.Input((None, FILTERS), name="frames")
    heard = layers.Conv1D(48, 5, strides=2, padding="same", activation="relu", name="listener_convolution_1")(frames)
    heard = layers.Conv1D(48, 5, strides=2, padding="same", activation="relu", name="listener_convolution_2")(heard)
    heard = layers.Bidirectional(layers.LSTM(context // 2, return_sequences=True), name="listener")(heard)

    tokens = layers.Input((None,), dtype="int32", name="tokens")
    said = layers.Embedding(classes, embedding, mask_zero=True, name="embedding")(tokens)
    lower = layers.LSTM(cells, return_sequences=True, name="speller_1")(said)
    query = layers.Dense(context, use_bias=False, name="query")(lower)
    keys = layers.Dense(context, use_bias=False, name="keys")(heard)
    answer = layers.AdditiveAttention(name="attention")([query, heard, keys])
    upper = layers.LSTM(cells, return_sequences=True, name="speller_2")(
        layers.Concatenate(name="seen")([lower, answer])
    )
    logits = layers.Dense(classes, name="head")(layers.Concatenate(name="features")([upper, answer]))

    model = keras.Model({"frames": frames, "tokens": tokens}, logits, name="las")
    model.compile(
        optimizer=keras.optimizers.Adam(3e-3, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    return model


def save(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write the weights in half precision, by number and without pickle."""
    arrays = {str(number): array.astype(np.float16) for number, array in enumerate(model.get_weights())}
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: str | os.PathLike[str], **sizes: int) -> keras.Model:
    """Build the recogniser with the weights that `save` has written."""
    model = build(**sizes)
    with np.load(path, allow_pickle=False) as arrays:
        model.set_weights([arrays[str(number)].astype(np.float32) for number in range(len(arrays.files))])
    return model


def transcribe(model: keras.Model, frames: np.ndarray, *, longest: int = 20) -> list[list[int]]:
    """Transcribe greedily: always the likeliest token.

    Parameters
    ----------
    model : keras.Model
        The recogniser.
    frames : ndarray, shape (b, t, 40)
        Features.
    longest : int, default 20
        Most tokens per utterance.

    Returns
    -------
    list of list of int
        Tokens without start and end.
    """
    tokens = np.full((len(frames), longest + 1), PADDING, np.int32)
    tokens[:, 0] = START
    for place in range(longest):
        # The tokens always have full length, so that the computation is traced once.
        logits = model.predict_on_batch({"frames": frames, "tokens": tokens})
        tokens[:, place + 1] = logits[:, place].argmax(axis=-1)
        if np.all(np.any(tokens == END, axis=1)):
            break
    return [row[1:][: int(np.argmax(np.append(row[1:], END) == END))].tolist() for row in tokens]
