"""Norms of arrays, also where the squares of the entries leave the range of floats: gradients of 1e-30 exist."""

from __future__ import annotations

import numpy as np

__all__ = ["largest_magnitude", "norm"]


def largest_magnitude(array: np.ndarray) -> float:
    """Return the largest magnitude in `array`, 0 if it is empty.

    Parameters
    ----------
    array : ndarray
        Floating-point numbers; NaN counts as the largest.

    Returns
    -------
    float
        Not finite exactly if an entry is not.
    """
    return float(np.abs(array).max(initial=0.0))


def norm(array: np.ndarray) -> float:
    """Return the Euclidean norm of all entries of `array`, in float64.

    Parameters
    ----------
    array : ndarray
        Floating-point numbers.

    Returns
    -------
    float
        Not finite exactly if an entry is not, or if the norm is beyond the largest float.
    """
    top = largest_magnitude(array)
    if top == 0.0 or not np.isfinite(top):
        return top
    # The entries are scaled before they are squared, and summed in float64 whatever the dtype of the array.
    scaled = array.astype(np.float64).ravel() / top
    return top * float(np.sqrt(scaled @ scaled))
