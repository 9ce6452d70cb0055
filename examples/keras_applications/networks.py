"""Any network of ``keras.applications``, by name."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from arguments import ArgumentError, first_line

__all__ = ["build_network", "network_names"]


def network_names() -> list[str]:
    """Return the names of all networks that ``keras.applications`` offers."""
    names = dir(keras.applications)
    return [n for n in names if n[0].isupper() and callable(getattr(keras.applications, n))]


def build_network(
    name: str, *, weights: str = "none", image_size: int | None = None, seed: int = 0
) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """Build and compile a network by name.

    Parameters
    ----------
    name : str
        A name in `network_names`.
    weights : str, default "none"
        "none" (random), "imagenet" or the path of a weights file.
    image_size : int, optional
        Side of the network's input in pixels; the network has a default.
    seed : int, default 0
        Seed of random weights, set as Keras' global seed.

    Returns
    -------
    model : keras.Model
        The network with 1000 logits, compiled for integer labels.
    preprocess : callable
        Function from (N, side, side, 3) pixels of 0 to 255 to inputs of the network.

    Raises
    ------
    ArgumentError
        For an unknown name, a size that the network cannot take, or weights that cannot be loaded.
    """
    known = network_names()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), [n.lower() for n in known], n=3, cutoff=0.5)
        meant = [n for n in known if n.lower() in close]
        raise ArgumentError(
            f"--model {name!r} is not in keras.applications. "
            f"{'Did you mean ' + ', '.join(meant) + '?' if meant else 'Expected one of ' + ', '.join(known) + '.'}"
        )
    keras.utils.set_random_seed(seed)
    build = getattr(keras.applications, name)
    shape = None if image_size is None else (image_size, image_size, 3)
    try:
        model = build(
            weights="imagenet" if weights == "imagenet" else None, classifier_activation=None, input_shape=shape
        )
    except Exception as error:  # Keras gives a failed download the type Exception
        if weights == "imagenet" and not isinstance(error, ValueError):
            raise ArgumentError(
                f"the ImageNet weights of {name} could not be downloaded ({first_line(error)}). "
                "Expected network access; or use --weights none, or --weights PATH with a file you have."
            ) from None
        if not isinstance(error, ValueError):
            raise
        raise ArgumentError(f"{name} cannot be built like this: {first_line(error)}") from None
    if weights not in ("none", "imagenet"):
        try:
            model.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            raise ArgumentError(f"--weights {weights!r} does not fit {name}: {first_line(error)}") from None
    model.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, sys.modules[build.__module__].preprocess_input
