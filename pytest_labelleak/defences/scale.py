"""Sizes of arrays whose squares no float can hold: gradients of 1e-30 are legitimate."""

from __future__ import annotations

import numpy as np

__all__ = ["largest_magnitude", "norm"]


def largest_magnitude(array: np.ndarray) -> float:
    """Return the largest magnitude in `array`, 0 if it is empty.

    Parameters
    ----------
    array : ndarray
        Of floats; NaN counts as larger than anything.

    Returns
    -------
    float
        Not finite exactly where some entry is not.
    """
    return float(np.abs(array).max(initial=0.0))


def norm(array: np.ndarray) -> float:
    """Return the Euclidean norm of all entries of `array`, in float64.

    Parameters
    ----------
    array : ndarray
        Of floats.

    Returns
    -------
    float
        Not finite exactly where some entry is not, or the norm is beyond the largest float.
    """
    top = largest_magnitude(array)
    if top == 0.0 or not np.isfinite(top):
        return top
    # Scaled before squaring, and summed in float64 whatever the type of the array.
    scaled = array.astype(np.float64).ravel() / top
    return top * float(np.sqrt(scaled @ scaled))
