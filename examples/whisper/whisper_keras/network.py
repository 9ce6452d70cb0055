"""Whisper in Keras 3, for any backend, with its trained weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from .assets import fetch_model
from .audio import FRAMES, MELS
from .checkpoint import load_checkpoint

__all__ = ["Sizes", "Whisper", "build_whisper", "load_trained", "load_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of a Whisper model; the defaults are those of tiny.en.

    Attributes
    ----------
    width, heads, depth : int
        Numbers of features, attention heads and layers, in encoder and decoder alike.
    tokens : int
        Size of the vocabulary.
    frames : int
        Spectrogram frames that the encoder takes; it halves them.
    positions : int
        Longest text.
    """

    width: int = 384
    heads: int = 6
    depth: int = 4
    tokens: int = 51864
    frames: int = FRAMES
    positions: int = 448


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Whisper:
    """The trainable model, and the parts of it that transcribing runs on their own. They share all weights.

    Attributes
    ----------
    model : keras.Model
        Maps {"spectrogram": (N, frames, 80), "tokens": (N, T)} to logits (N, T, tokens): position t foretells the
        token that follows the first t + 1 tokens. Compiled.
    encoder : keras.Model
        Maps the spectrogram to (N, frames / 2, width).
    decoder : keras.Model
        Maps [tokens, encoded] to features (N, T, width).
    project : callable
        Maps features to logits.
    """

    model: keras.Model
    encoder: keras.Model
    decoder: keras.Model
    project: Callable


class Positions(layers.Layer):
    """Adds a learned or given vector to every position."""

    def __init__(self, length: int, **options: object) -> None:
        super().__init__(**options)
        self.length = length

    def build(self, shape: tuple) -> None:
        self.table = self.add_weight(shape=(self.length, shape[-1]), initializer="normal", name="table")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return inputs + self.table[: ops.shape(inputs)[1]]

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape


def build_whisper(sizes: Sizes = Sizes(), *, tied: bool = False) -> Whisper:
    """Build the network with random weights, compiled for integer labels.

    Parameters
    ----------
    sizes : Sizes
        Sizes of the model.
    tied : bool, default False
        Whether the projection is the transpose of the token embedding, as in the original, or a layer of its own.

    Returns
    -------
    Whisper
        The model. Once the weights are loaded, tied and untied models have the same outputs.
    """
    encoder = _encoder(sizes)
    embedding = layers.ReversibleEmbedding(sizes.tokens, sizes.width, name="token_embedding")
    decoder = _decoder(sizes, embedding)
    if tied:
        project = lambda features: embedding(features, reverse=True)  # noqa: E731
    else:
        project = layers.Dense(sizes.tokens, use_bias=False, name="projection")
    spectrogram = keras.Input((sizes.frames, MELS), name="spectrogram")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    logits = project(decoder([tokens, encoder(spectrogram)]))
    model = keras.Model({"spectrogram": spectrogram, "tokens": tokens}, logits, name="whisper")
    model.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return Whisper(model=model, encoder=encoder, decoder=decoder, project=project)


def load_trained(*, tied: bool = False) -> Whisper:
    """Build Whisper tiny.en and load its weights, fetching them the first time.

    Parameters
    ----------
    tied : bool, default False
        As for `build_whisper`. An untied projection starts as a copy of the embedding.

    Returns
    -------
    Whisper
        Trained.
    """
    whisper = build_whisper(tied=tied)
    load_weights(whisper, fetch_model() / "model.bin")
    return whisper


def load_weights(whisper: Whisper, path: str | os.PathLike[str]) -> None:
    """Load a CTranslate2 file of the same network.

    Parameters
    ----------
    whisper : Whisper
        A model from `build_whisper`.
    path : path_like
        The file.

    Raises
    ------
    ValueError
        If a variable is missing, left over, or of another shape.
    """
    variables = {name: array for name, array in load_checkpoint(path).items() if array.dtype.kind == "f"}
    projection = _take(variables, "decoder/projection/weight")
    seen = set()
    for layer in [*whisper.encoder.layers, *whisper.decoder.layers, *whisper.model.layers]:
        if isinstance(layer, keras.Model) or not layer.weights or id(layer) in seen:
            continue
        seen.add(id(layer))
        layer.set_weights([projection.T] if layer.name == "projection" else _arrays(layer, variables))
    if variables:
        raise ValueError(f"the file holds {len(variables)} variables the network has not, {min(variables)!r} first.")


def _take(variables: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in variables:
        raise ValueError(f"the file has no variable {name!r}. Expected a Whisper model.")
    return variables.pop(name)


def _arrays(layer: layers.Layer, variables: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Take a layer's variables out of `variables`, in Keras' order and layout."""
    prefix = layer.name.replace("-", "/")

    def take(name: str) -> np.ndarray:
        return _take(variables, f"{prefix}/{name}")

    if layer.name == "token_embedding":
        return [_take(variables, "decoder/embeddings/weight")]
    if isinstance(layer, Positions):
        return [take("encodings")]
    if isinstance(layer, layers.LayerNormalization):
        return [take("gamma"), take("beta")]
    if isinstance(layer, layers.Conv1D):
        return [take("weight").transpose(2, 1, 0), take("bias")]  # (out, in, time) -> (time, in, out)
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention_arrays(layer, take)
    return [take("weight").T, take("bias")]


def _attention_arrays(layer: layers.MultiHeadAttention, take: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """Split the stacked projections of an attention layer by head; the biases of its keys are zero."""
    heads, size = layer.num_heads, layer.key_dim
    fused = layer.name.endswith("self_attention")  # all three stacked, or queries apart from keys and values
    count = 2 if fused else 3
    weights = np.concatenate([take(f"linear_{part}/weight") for part in range(count - 1)])
    biases = np.concatenate([take(f"linear_{part}/bias") for part in range(count - 1)])
    arrays = []
    for weight, bias in zip(np.split(weights, 3), np.split(biases, 3), strict=True):
        arrays += [weight.T.reshape(-1, heads, size), bias.reshape(heads, size)]
    last = f"linear_{count - 1}"
    return [*arrays, take(f"{last}/weight").T.reshape(heads, size, -1), take(f"{last}/bias")]


def _encoder(sizes: Sizes) -> keras.Model:
    inputs = keras.Input((sizes.frames, MELS), name="spectrogram")
    x = inputs
    for number, stride in ((1, 1), (2, 2)):
        # Padded by hand: "same" puts the padding of a strided convolution elsewhere.
        x = layers.ZeroPadding1D(1)(x)
        x = layers.Conv1D(sizes.width, 3, stride, activation=_gelu, name=f"encoder-conv{number}")(x)
    x = Positions(sizes.frames // 2, trainable=False, name="encoder-position_encodings")(x)
    for number in range(sizes.depth):
        name = f"encoder-layer_{number}"
        x = x + _attention(sizes, f"{name}-self_attention")(x)
        x = x + _feed_forward(sizes, x, f"{name}-ffn")
    return keras.Model(inputs, _normal("encoder")(x), name="encoder")


def _decoder(sizes: Sizes, embedding: layers.Layer) -> keras.Model:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    encoded = keras.Input((sizes.frames // 2, sizes.width), name="encoded")
    x = Positions(sizes.positions, name="decoder-position_encodings")(embedding(tokens))
    for number in range(sizes.depth):
        name = f"decoder-layer_{number}"
        x = x + _attention(sizes, f"{name}-self_attention", causal=True)(x)
        x = x + _attention(sizes, f"{name}-attention")(x, encoded)
        x = x + _feed_forward(sizes, x, f"{name}-ffn")
    return keras.Model([tokens, encoded], _normal("decoder")(x), name="decoder")


def _attention(sizes: Sizes, name: str, *, causal: bool = False) -> Callable:
    attention = layers.MultiHeadAttention(sizes.heads, sizes.width // sizes.heads, name=name)
    normal = _normal(name)

    def apply(x: keras.KerasTensor, memory: keras.KerasTensor | None = None) -> keras.KerasTensor:
        query = normal(x)
        return attention(query, query if memory is None else memory, use_causal_mask=causal)

    return apply


def _feed_forward(sizes: Sizes, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.Dense(4 * sizes.width, activation=_gelu, name=f"{name}-linear_0")(_normal(name)(x))
    return layers.Dense(sizes.width, name=f"{name}-linear_1")(x)


def _normal(name: str) -> layers.Layer:
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}-layer_norm")


def _gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.activations.gelu(x, approximate=False)
