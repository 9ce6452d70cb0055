"""Class-symmetric statistics of the head's columns, standardised within one update."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import rankdata

from ...core.update import Update
from ..gradient.head import bias_gradient, kernel_blocks

__all__ = ["Statistics", "read_statistics"]

#: Leading left singular directions in which columns are measured.
_DIRECTIONS = (4, 16)
#: Directions more, for the accuracy of the others alone.
_SPARE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """One update in numbers that are free of its scale.

    Attributes
    ----------
    columns : ndarray of shape (C, k)
        Numbers for every class that do not depend on which class it is.
    sides : ndarray of shape (2,)
        Two numbers that tell features of one sign from features of both: how far the leading left singular direction
        is of one sign; and the skewness of the column sums towards negative ones. Both are near zero for features of
        both signs, and for noise.
    """

    columns: np.ndarray = field(repr=False)
    sides: np.ndarray


def _matrix(update: Update) -> np.ndarray:
    """Return the kernel gradient in float64, without its penalty, its largest entry brought to one."""
    gradient = np.concatenate([block for _, block in kernel_blocks(update)])
    top = float(np.abs(gradient).max(initial=0.0))
    return gradient / top if top > 0 else gradient


def _leading(gradient: np.ndarray) -> np.ndarray:
    """Return the leading left singular vectors, as columns, by a randomised range finder with one power step."""
    wanted = min(_DIRECTIONS[-1] + _SPARE, *gradient.shape)
    # The sketch is the same for every update: a part of the statistic, and no random choice of the attack.
    sketch = np.random.default_rng(0).standard_normal((gradient.shape[1], wanted))
    basis = np.linalg.qr(gradient @ sketch)[0]
    basis = np.linalg.qr(gradient @ (gradient.T @ basis))[0]
    vectors = basis @ np.linalg.svd(basis.T @ gradient, full_matrices=False)[0]
    return np.asarray(vectors[:, : _DIRECTIONS[-1]])


def read_statistics(update: Update) -> Statistics:
    """Reduce an update to its statistics.

    For every column: sum, minimum, maximum, logarithm of the energy, the same in a few leading directions, the product
    with the first direction, its magnitude, the number of entries that are zero, the product with the class's own
    weights where these are known, and the bias gradient. Each comes twice: in robust deviations, compressed, and as a
    rank.

    Parameters
    ----------
    update : Update
        The update, defended or not.

    Returns
    -------
    Statistics
        In float64.
    """
    gradient = _matrix(update)
    tiny = np.finfo(np.float64).tiny
    vectors = _leading(gradient)
    inside = vectors.T @ gradient
    sums = gradient.sum(axis=0)
    # The longer tail of the products points downwards, as sums of present classes do for non-negative features.
    product = inside[0] if inside[0].sum() >= 0 else -inside[0]
    if np.sum((product - np.median(product)) ** 3) > 0:
        product = -product
    squares = inside**2
    found = [
        sums,
        gradient.min(axis=0),
        gradient.max(axis=0),
        np.log(np.einsum("ij,ij->j", gradient, gradient) + tiny),
        *(np.log(squares[:count].sum(axis=0) + tiny) for count in _DIRECTIONS),
        product,
        np.abs(product),
        (gradient == 0).sum(axis=0).astype(np.float64),
    ]
    if update.head.kernel_value is not None:
        weights = update.head.kernel_value.astype(np.float64)
        weights = weights - weights.mean(axis=1, keepdims=True)
        found.append(np.einsum("ij,ij->j", weights, gradient) / (np.linalg.norm(weights, axis=0) + tiny))
    bias = bias_gradient(update)
    if bias is not None:
        top = float(np.abs(bias).max(initial=0.0))
        found.append(bias / top if top > 0 else bias)
    return Statistics(
        columns=np.stack([column for values in found for column in _standardised(values)], axis=1),
        sides=_sides(vectors[:, 0], sums),
    )


def _sides(first: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the two numbers that tell features of one sign from features of both."""
    centred = sums - sums.mean()
    deviation = float(centred.std())
    skewness = float(np.mean((centred / deviation) ** 3)) if deviation > 0 else 0.0
    return np.array([abs(first.sum()) / np.sqrt(first.size), -skewness])


def _standardised(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = values - np.median(values)
    scale = 1.4826 * float(np.median(np.abs(centred)))
    if scale <= 1e-12 * float(np.abs(values).max(initial=0.0)):
        scale = float(np.mean(np.abs(centred)))
    deviations = np.arcsinh(centred / scale) if scale > 0 else np.zeros_like(values)
    return deviations, rankdata(values) / values.size - 0.5
