"""Twenty real photos with their ImageNet class, ready for the network."""

from __future__ import annotations

import os
import re

import numpy as np
from PIL import Image

from .assets import fetch_photos

__all__ = ["load_photos", "preprocess"]


def load_photos(side: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Load the photos, fetching them the first time.

    Parameters
    ----------
    side : int, default 224
        Side of the square crop in pixels.

    Returns
    -------
    images : ndarray of float32, shape (20, side, side, 3)
        Photos in the form that the network takes.
    labels : ndarray of int64, shape (20,)
        Class index of each, from its file name.
    """
    paths = fetch_photos()
    labels = [int(re.fullmatch(r"imagenet_\d+_(\d+)", path.stem)[1]) for path in paths]
    return np.stack([preprocess(path, side) for path in paths]), np.array(labels, dtype=np.int64)


def preprocess(path: str | os.PathLike[str], side: int = 224) -> np.ndarray:
    """Read one image as the network takes it: its centre square, scaled to about [-1, 1].

    Parameters
    ----------
    path : path_like
        Any image file Pillow reads.
    side : int, default 224
        Side of the result in pixels.

    Returns
    -------
    ndarray of float32, shape (side, side, 3)
        ``(pixel - 127) / 128``.
    """
    with Image.open(path) as image:
        image = image.convert("RGB")
        # The shorter side is scaled to `side` before the crop, which then keeps as much of the photo as a square can.
        scale = side / min(image.size)
        size = tuple(max(side, round(length * scale)) for length in image.size)
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        pixels = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32)
    return (pixels - 127.0) / 128.0
