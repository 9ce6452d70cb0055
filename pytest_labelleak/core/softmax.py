"""The softmax, once for the whole package."""

from __future__ import annotations

import numpy as np

__all__ = ["softmax"]


def softmax(logits: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Return the softmax over the last axis.

    Parameters
    ----------
    logits : ndarray of shape (..., C)
        Of any floating-point type; the arithmetic keeps to it.
    out : ndarray of shape (..., C), optional
        Array for the result, `logits` itself included, where a second one would take too much memory.

    Returns
    -------
    ndarray of shape (..., C)
        Not negative; the last axis sums to one.

    Examples
    --------
    >>> softmax(np.log([[1.0, 3.0], [1e300, 1e300]])).round(2).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    # The largest exponent is zero: no entry overflows, and no sum vanishes.
    output: np.ndarray = np.subtract(logits, logits.max(axis=-1, keepdims=True), out=out)
    np.exp(output, out=output)
    output /= output.sum(axis=-1, keepdims=True)
    return output
