"""Gradients of real networks' heads for many batches: features once, then the head's own algebra.

The gradient of the head depends on the network below it only through the features of the batch. In inference mode the
features of an image do not depend on the rest of the batch: they are computed once per image, and the gradient of any
batch of these images is ``H^T (softmax(H W + b) - onehot(y)) / S``. `Head.agreement` compares this gradient with the
update that `capture_update` captures from the network.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_labelleak import Update, capture_update

__all__ = ["Head", "photo_head", "photo_views", "read_head"]

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A network, its inputs, and the features that its head sees of them.

    Attributes
    ----------
    model : keras.Model
        The network; its last layer is the head and gives logits.
    images : ndarray of shape (N, ...)
        Inputs of the network.
    labels : ndarray of int, shape (N,)
        True classes of the images.
    features : ndarray of float32, shape (N, d)
        Inputs of the head for these images in inference mode.
    kernel, bias : ndarray of float32, shape (d, C), (C,)
        The head's weights.
    """

    model: Any = field(repr=False)
    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    kernel: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return int(self.bias.size)

    def outputs(self, chosen: np.ndarray) -> np.ndarray:
        """Return the softmax outputs of some of the images, in float32.

        Parameters
        ----------
        chosen : ndarray of int, shape (S,)
            Indices of the images.

        Returns
        -------
        ndarray of float32, shape (S, C)
            The outputs.
        """
        logits = self.features[chosen] @ self.kernel + self.bias
        result = np.exp(logits - logits.max(axis=1, keepdims=True))
        result /= result.sum(axis=1, keepdims=True)
        return np.asarray(result)

    def update(self, chosen: np.ndarray, *, bias: bool = True) -> Update:
        """Return the update of the mean cross-entropy over some of the images.

        Parameters
        ----------
        chosen : ndarray of int, shape (S,)
            Indices of the images.
        bias : bool, default True
            Whether to include the bias gradient.

        Returns
        -------
        Update
            The update in float32, with the weights.
        """
        error = self.outputs(chosen)
        error[np.arange(chosen.size), self.labels[chosen]] -= 1
        error /= np.float32(chosen.size)
        return Update.from_arrays(
            self.features[chosen].T @ error,
            bias_gradient=error.sum(axis=0) if bias else None,
            kernel=self.kernel,
            bias=self.bias,
        )

    def capture(self, chosen: np.ndarray, *, training: bool = False) -> Update:
        """Return the same update, captured from the network.

        Parameters
        ----------
        chosen : ndarray of int, shape (S,)
            Indices of the images.
        training : bool, default False
            Whether dropout and batch normalisation run in training mode.

        Returns
        -------
        Update
            The captured update.
        """
        return capture_update(self.model, (self.images[chosen], self.labels[chosen]), training=training)

    def agreement(self, chosen: np.ndarray) -> float:
        """Return the largest difference between `update` and `capture`, relative to the largest entry.

        Parameters
        ----------
        chosen : ndarray of int, shape (S,)
            Indices of the images.

        Returns
        -------
        float
            About 1e-6 where both are right: float32 sums in different orders.
        """
        own, captured = self.update(chosen), self.capture(chosen)
        worst = 0.0
        for one, other in (
            (own.kernel_gradient, captured.kernel_gradient),
            (own.bias_gradient, captured.bias_gradient),
        ):
            if one is not None and other is not None:
                worst = max(worst, float(np.abs(one - other).max() / np.abs(other).max()))
        return worst


def read_head(model: Any, images: np.ndarray, labels: np.ndarray) -> Head:
    """Compute the features of all images.

    Parameters
    ----------
    model : keras.Model
        A network that ends in a dense layer with logits.
    images : ndarray of shape (N, ...)
        Inputs of the network.
    labels : ndarray of int, shape (N,)
        Classes of the images.

    Returns
    -------
    Head
        The head with its current weights.
    """
    import keras

    body = keras.Model(model.inputs, model.layers[-1].input)
    kernel, bias = (np.asarray(value) for value in model.layers[-1].get_weights())
    features = np.asarray(body.predict(images, batch_size=64, verbose=0))
    return Head(model=model, images=images, labels=labels, features=features, kernel=kernel, bias=bias)


def photo_views(views: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut several views out of each of the twenty real photos of the example.

    Parameters
    ----------
    views : int
        Number of views per photo: first the centre square, then random squares of at least half of it, every other
        mirrored.
    seed : int
        Seed of the views.

    Returns
    -------
    images : ndarray of float32, shape (20, views, 224, 224, 3)
        As EfficientNet-Lite0 takes them.
    labels : ndarray of int, shape (20,)
        True ImageNet classes of the photos.
    """
    _find_example("image_classifier")
    from photo_classifier.assets import fetch_photos
    from photo_classifier.photos import load_photos
    from PIL import Image

    centre, labels = load_photos()
    side = centre.shape[1]
    rng = np.random.default_rng(seed)
    images = np.empty((len(centre), views, side, side, 3), np.float32)
    images[:, 0] = centre
    for number, path in enumerate(fetch_photos()):
        with Image.open(path) as image:
            image = image.convert("RGB")
            for view in range(1, views):
                edge = rng.uniform(0.7, 1.0) * min(image.size)
                left, top = (rng.uniform(0.0, length - edge) for length in image.size)
                box = (left, top, left + edge, top + edge)
                pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box), dtype=np.float32)
                images[number, view] = ((pixels[:, ::-1] if view % 2 else pixels) - 127.0) / 128.0
    return images, labels


def photo_head(views: int = 8, seed: int = 0) -> Head:
    """Return EfficientNet-Lite0 with its ImageNet weights, and views of the twenty photos in the order of photos.

    Parameters
    ----------
    views : int, default 8
        Number of views per photo; image ``views * k`` is the centre square of photo k.
    seed : int, default 0
        Seed of the other views.

    Returns
    -------
    Head
        The head and ``20 * views`` images.
    """
    _find_example("image_classifier")
    from photo_classifier.network import load_trained

    images, labels = photo_views(views, seed)
    return read_head(load_trained(), images.reshape(-1, *images.shape[2:]), np.repeat(labels, views))


def _find_example(name: str) -> None:
    folder = str(EXAMPLES / name)
    if folder not in sys.path:
        sys.path.insert(0, folder)
