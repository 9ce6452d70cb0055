"""Whole numbers of labels from shares of a batch, and the size of the batch if nobody tells it.

The right number S of label positions makes all counts ``S x`` whole at once. The probability that a wrong number does
as well by chance is known: the fractional parts of k shares, of which k - 1 are free, would have to fall into a ball
of the observed radius. Numbers for which that probability is not small are no candidates; of the others, the number
with the smallest error is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.special

from ...core.recovery import NotApplicable

__all__ = ["WholeNumberRules", "allocate", "chance_of_misses", "whole_positions"]

# Larger batches are not looked for.
_MOST_POSITIONS = 4096
# Candidates times classes: a second or so.
_MOST_WORK = 2e7
# Errors of exact shares are rounding of this size: smaller ones are no evidence, nor are smaller differences.
_ROUNDING = 1e-9
# Entries of a block of candidates, which several operations read while it is in the cache. Decides nothing.
_BLOCK = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeNumberRules:
    """When counts are whole by more than chance. Plateau: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    chance : float
        Largest probability that some wrong number of positions fits as well by chance.
    """

    chance: float = field(default=1e-3, metadata={"plateau": (6.25e-05, 0.016)})


def allocate(wanted: np.ndarray, positions: int, least: np.ndarray) -> np.ndarray:
    """Return the whole numbers closest to `wanted` with a given sum.

    Parameters
    ----------
    wanted : ndarray of shape (C,)
        Estimated counts.
    positions : int
        Sum of the counts; not below the sum of `least`.
    least : ndarray of int, shape (C,)
        Lower bounds, not negative.

    Returns
    -------
    ndarray of int, shape (C,)
        Non-negative counts.

    Raises
    ------
    NotApplicable
        If no class can take a count that is left over, because there is no class or no wish is finite.
    """
    counts: np.ndarray = _allocated(wanted[None], np.array([positions]), least)[0]
    return counts


def _allocated(wanted: np.ndarray, positions: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Allocate for several sums at once: `wanted` of shape (m, C), one sum for each row."""
    counts: np.ndarray = np.maximum(np.rint(np.clip(wanted, 0.0, positions[:, None])), least).astype(np.int64)
    while True:
        missing = positions - counts.sum(axis=1)
        rows = np.flatnonzero(missing)
        if not rows.size:
            return counts
        # The classes that it suits best get one more, or one less; rarely is a second round needed.
        sign = np.sign(missing[rows])[:, None]
        cost = sign * (counts[rows] - wanted[rows])
        cost[(sign < 0) & (counts[rows] <= least)] = np.inf
        usable = np.count_nonzero(np.isfinite(cost), axis=1)
        if not usable.all():
            raise NotApplicable("no class can take the labels that are left over")
        order = np.argsort(cost, axis=1, kind="stable")
        chosen = np.zeros(cost.shape, dtype=bool)
        first = np.arange(cost.shape[1]) < np.minimum(np.abs(missing[rows]), usable)[:, None]
        np.put_along_axis(chosen, order, first, axis=1)
        counts[rows] += sign * chosen


def chance_of_misses(missed: np.ndarray, free: int) -> float:
    """Return the logarithm of the probability that random shares come as close to whole numbers.

    Parameters
    ----------
    missed : ndarray of shape (k,)
        Differences from whole numbers.
    free : int
        Number of differences that are independent of each other.

    Returns
    -------
    float
        Zero where none is free.
    """
    return float(_chances(np.array([np.linalg.norm(missed)]), np.array([free]))[0])


def _chances(radius: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the same logarithms for many distances from whole numbers."""
    volume = 0.5 * free * math.log(math.pi) + free * np.log(np.maximum(radius, _ROUNDING))
    return np.where(free < 1, 0.0, volume - scipy.special.gammaln(0.5 * free + 1.0))


def whole_positions(
    shares: Callable[[Any], np.ndarray], *, at_least: int = 1, rules: WholeNumberRules | None = None
) -> tuple[int, np.ndarray] | None:
    """Find the number of positions that makes all counts whole.

    A common factor of all counts cannot be seen; the smallest number that fits is returned.

    Parameters
    ----------
    shares : callable
        From a number of positions to shares of shape (C,) that sum to one; also from numbers of shape (m, 1) to shares
        of shape (m, C), or of shape (C,) where they are the same for all.
    at_least : int, default 1
        Smallest number considered.
    rules : WholeNumberRules, optional
        When counts are whole by more than chance.

    Returns
    -------
    (int, ndarray) or None
        The number and the counts; None if no number fits better than chance would have it.
    """
    rules = rules or WholeNumberRules()
    # Classes too rare for any candidate cannot have a label. (Shares of a summed loss change with the candidate.)
    common = np.maximum(shares(at_least), shares(_MOST_POSITIONS))
    active = np.flatnonzero(common * _MOST_POSITIONS > 0.5)
    if not active.size:
        return None
    none = np.zeros(active.size, dtype=np.int64)
    last = int(min(_MOST_POSITIONS, at_least + _MOST_WORK // max(active.size, 1)))
    best: tuple[float, int, np.ndarray] | None = None
    block = max(1, _BLOCK // active.size)
    for start in range(at_least, last + 1, block):
        positions = np.arange(start, min(start + block, last + 1))
        wanted = positions[:, None] * np.broadcast_to(
            shares(positions[:, None])[..., active], (positions.size, active.size)
        )
        nearest = np.maximum(np.rint(wanted), 0.0)
        # Others are off by far more than rounding could be.
        near = np.abs(nearest.sum(axis=1) - positions) <= 0.5 * np.count_nonzero(nearest, axis=1) + 1.0
        positions, wanted = positions[near], wanted[near]
        counts = _allocated(wanted, positions, none)
        told = (counts > 0) | (wanted > 0.5)  # all others are near zero for every candidate and tell nothing
        squares, size = np.sum(np.where(told, wanted - counts, 0.0) ** 2, axis=1), np.count_nonzero(told, axis=1)
        # Every number has a chance of its own to be taken by mistake; the larger it is, the smaller.
        # The shares sum to one.
        own = np.log(positions) + 2.0 * np.log1p(np.log(positions))
        for index in np.flatnonzero(_chances(np.sqrt(squares), size - 1) + own <= math.log(rules.chance)):
            # A multiple has as many times the error; with exact shares it has the same but for rounding.
            error = float(np.sqrt(squares[index] / size[index]))
            if best is None or error < best[0] - _ROUNDING:
                best = error, int(positions[index]), counts[index]
    if best is None:
        return None
    full = np.zeros(common.size, dtype=np.int64)
    full[active] = best[2]
    return best[1], full
