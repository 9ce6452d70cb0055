"""Defences that share some of the entries, and zeros in place of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from ..core.update import Update
from .checks import flag, full_name, one_of_two, real, whole

__all__ = ["DropSmallest", "RandomDrop", "TopK"]

_PART = "a number above 0 and below 1"


def _times(fraction: float, size: int) -> Fraction:
    """Return ``fraction * size`` for the decimal number that the user wrote, not for its nearest float.

    In floats, 0.29 * 100 is 28.999999999999996, which rounds down to one entry less.
    """
    return Fraction(repr(fraction)) * size


def _keep_largest(array: np.ndarray, count: int) -> np.ndarray:
    """Zero all but the `count` entries of largest magnitude; among equal entries, the first stay."""
    if count >= array.size:
        return array.copy()
    magnitude = np.abs(array.astype(np.result_type(array.dtype, np.float32))).ravel()
    # NaN counts as the largest magnitude and stays, so that receiver and audit see that the loss diverged.
    magnitude[np.isnan(magnitude)] = np.inf
    # Linear time: find the smallest magnitude that stays, then keep as many equal entries as `count` allows.
    border = np.partition(magnitude, array.size - count)[array.size - count]
    kept = magnitude > border
    equal = np.flatnonzero(magnitude == border)
    kept[equal[: count - np.count_nonzero(kept)]] = True
    return np.where(kept.reshape(array.shape), array, array.dtype.type(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSmallest:
    """Share zeros in place of the entries of smallest magnitude, variable by variable.

    Attributes
    ----------
    fraction : float
        Share of each variable's entries that is dropped, in (0, 1). The number of dropped entries is rounded down, so
        that each variable keeps at least one.

    References
    ----------
    .. [1] A. F. Aji, K. Heafield, "Sparse Communication for Distributed Gradient Descent", EMNLP 2017.
       https://doi.org/10.18653/v1/D17-1045
    .. [2] Y. Lin et al., "Deep Gradient Compression", ICLR 2018.
       https://doi.org/10.48550/arXiv.1712.01887

    Examples
    --------
    >>> DropSmallest(fraction=0.9).name
    'drop_smallest(fraction=0.9)'
    """

    deterministic: ClassVar[bool] = True

    fraction: float

    def __post_init__(self) -> None:
        """Check the fraction."""
        real(self, "fraction", lambda value: 0.0 < value < 1.0, _PART)

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "drop_smallest")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` without its smallest entries."""
        return update.map(
            lambda array: _keep_largest(array, array.size - math.floor(_times(self.fraction, array.size))),
            defence=self.name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """Share only the entries of largest magnitude, variable by variable.

    Attributes
    ----------
    count : int or None
        Number of entries kept of each variable; a smaller variable is kept whole.
    fraction : float or None
        Share of the entries kept, in (0, 1), rounded up. Exactly one of the two must be given.

    References
    ----------
    .. [1] D. Alistarh et al., "The Convergence of Sparsified Gradient Methods", NeurIPS 2018.
       https://doi.org/10.48550/arXiv.1809.10505

    Examples
    --------
    >>> TopK(count=100).name
    'top_k(count=100)'
    """

    count: int | None = None
    deterministic: ClassVar[bool] = True

    fraction: float | None = None

    def __post_init__(self) -> None:
        """Check that `count` or `fraction` is given."""
        if one_of_two(self, "count", "fraction", "TopK(fraction=0.1)") == "count":
            whole(self, "count", 1, None, "a whole number of at least 1")
        else:
            real(self, "fraction", lambda value: 0.0 < value < 1.0, _PART)

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "top_k")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return the largest entries of `update`."""

        def kept(size: int) -> int:
            if self.fraction is not None:
                return math.ceil(_times(self.fraction, size))
            return size if self.count is None else self.count

        return update.map(lambda array: _keep_largest(array, kept(array.size)), defence=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDrop:
    """Share zeros in place of entries chosen at random, independently of each other.

    Attributes
    ----------
    fraction : float
        Probability that an entry is dropped, in (0, 1).
    rescale : bool
        Divide the other entries by ``1 - fraction``, so that the expected update is the original one.

    References
    ----------
    .. [1] J. Konečný et al., "Federated Learning: Strategies for Improving Communication Efficiency", 2016.
       https://doi.org/10.48550/arXiv.1610.05492
    .. [2] J. Wangni et al., "Gradient Sparsification for Communication-Efficient Distributed Optimization",
       NeurIPS 2018. https://doi.org/10.48550/arXiv.1710.09854

    Examples
    --------
    >>> RandomDrop(fraction=0.5).name
    'random_drop(fraction=0.5)'
    """

    fraction: float
    rescale: bool = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        real(self, "fraction", lambda value: 0.0 < value < 1.0, _PART)
        flag(self, "rescale")

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "random_drop")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` with entries missing."""
        factor = 1.0 / (1.0 - self.fraction) if self.rescale else 1.0

        def thinned(array: np.ndarray) -> np.ndarray:
            zero = array.dtype.type(0)
            kept = np.where(rng.random(array.shape) >= self.fraction, array, zero)
            with np.errstate(over="ignore"):
                return kept if factor == 1.0 else np.asarray(kept.astype(np.float64) * factor, dtype=array.dtype)

        return update.map(thinned, defence=self.name)
