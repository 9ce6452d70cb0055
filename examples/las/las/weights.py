"""The trained weights that come with the example."""

from __future__ import annotations

from pathlib import Path

from .network import load

__all__ = ["CHECKPOINT", "load_trained"]

#: Written by ``python -m las.train``; half precision, 200 kB.
CHECKPOINT = Path(__file__).with_name("weights.npz")


def load_trained():
    """Return the trained recogniser, compiled.

    Returns
    -------
    keras.Model
    """
    return load(CHECKPOINT)
