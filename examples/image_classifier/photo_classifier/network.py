"""EfficientNet-Lite0 in Keras 3, for any backend, with its ImageNet weights."""

from __future__ import annotations

import os
from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from .assets import fetch_weights
from .checkpoint import load_checkpoint

__all__ = ["build_network", "load_trained", "load_weights"]

#: Side of the square input in pixels.
SIDE = 224

# (repeats, kernel, stride of the first, expansion, channels out)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build_network(classes: int = 1000) -> keras.Model:
    """Build the network with random weights, compiled for integer labels.

    Parameters
    ----------
    classes : int, default 1000
        Number of outputs.

    Returns
    -------
    keras.Model
        The network, which maps (N, 224, 224, 3) preprocessed photos to (N, `classes`) logits.
    """
    inputs = keras.Input((SIDE, SIDE, 3))
    x = _normal(_convolve(inputs, 32, 3, 2, "conv_stem"), "bn0")
    number = 0
    for repeats, kernel, stride, expansion, channels in _STAGES:
        for repeat in range(repeats):
            x = _block(x, f"blocks-{number}", kernel, stride if repeat == 0 else 1, expansion, channels)
            number += 1
    x = _normal(_convolve(x, 1280, 1, 1, "conv_head"), "bn1")
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2, seed=0)(x)  # the same gradient, and the same report, in every run
    model = keras.Model(inputs, layers.Dense(classes, name="fc")(x), name="efficientnet_lite0")
    model.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def load_trained() -> keras.Model:
    """Build the network and load its ImageNet weights, fetching them the first time.

    Returns
    -------
    keras.Model
        Compiled, 1000 classes.
    """
    model = build_network()
    load_weights(model, fetch_weights())
    return model


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Load a PyTorch checkpoint of the same network into `model`.

    Parameters
    ----------
    model : keras.Model
        A network from `build_network`.
    path : path_like
        The checkpoint.

    Raises
    ------
    ValueError
        If a tensor is missing, left over, or of another shape.
    """
    tensors = {k: v for k, v in load_checkpoint(path).items() if not k.endswith(".num_batches_tracked")}
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_arrays(layer, tensors))
    if tensors:
        raise ValueError(f"the checkpoint holds {len(tensors)} tensors the network has not, {min(tensors)!r} first.")


def _arrays(layer: layers.Layer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Take the layer's tensors out of `tensors`, in Keras' order and layout."""
    # "blocks-0-expand_conv" here is "_blocks.0._expand_conv" in the checkpoint: on torch, Keras allows no dot in names.
    prefix = ".".join(part if part.isdigit() else f"_{part}" for part in layer.name.split("-"))

    def take(kind: str) -> np.ndarray:
        name = f"{prefix}.{kind}"
        if name not in tensors:
            raise ValueError(f"the checkpoint has no tensor {name!r}. Expected one of EfficientNet-Lite0.")
        return tensors.pop(name)

    if isinstance(layer, layers.BatchNormalization):
        return [take(kind) for kind in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, layers.Dense):
        return [take("weight").T, take("bias")]
    if isinstance(layer, layers.DepthwiseConv2D):
        return [take("weight").transpose(2, 3, 0, 1)]  # (channel, 1, y, x) -> (y, x, channel, 1)
    return [take("weight").transpose(2, 3, 1, 0)]  # (out, in, y, x) -> (y, x, in, out)


def _block(
    x: keras.KerasTensor, name: str, kernel: int, stride: int, expansion: int, channels: int
) -> keras.KerasTensor:
    shortcut = x
    if expansion != 1:
        x = _normal(_convolve(x, expansion * x.shape[-1], 1, 1, f"{name}-expand_conv"), f"{name}-bn0")
    depthwise = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}-depthwise_conv", data_format="channels_last"
    )
    x = _normal(depthwise(x), f"{name}-bn1")
    x = _normal(_convolve(x, channels, 1, 1, f"{name}-project_conv"), f"{name}-bn2", activate=False)
    return layers.Add()([x, shortcut]) if x.shape == shortcut.shape else x


def _convolve(x: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    return layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, name=name, data_format="channels_last"
    )(x)


def _normal(x: keras.KerasTensor, name: str, *, activate: bool = True) -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)
    return layers.ReLU(max_value=6.0)(x) if activate else x
