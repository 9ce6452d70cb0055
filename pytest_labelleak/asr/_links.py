"""Which label position can follow which: membership in the column space of a cell's gradient.

At step t a cell takes, among other things, the context c_t that the head sees as well, and the state h_{t-1}, which is
what the head saw one step before. So for two label positions p and q the vector [c_q, h_p] is in the column space
of these rows of the cell's gradient if q follows p, and [c_q, 0] if q is the first of its utterance. What is outside of
the space is linear in both parts: one vector for every q, one for every p, and a link where they cancel.

Everything is measured by backward error: how much noise the gradient must hold for the vector to be in its column
space exactly, in units of the noise it does hold. True members measure about one whatever the size of a step's error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg

from ._recurrence import RowFactor

__all__ = ["Links", "Membership", "find_links"]

#: Directions of the row factor whose size is no more than this many times that of pure noise are noise.
_ABOVE_NOISE = 3.0
#: Contexts are in the rows that take them, but for noise: as far outside as this they are not, in relative size.
_OUTSIDE = 0.1
#: A true link may exceed what its context and its state measure alone by this factor, for it is the largest of many ...
_SLACK = 10.0
#: ... or by any other if there are as many links as positions and this factor lies between them and all others.
_GAP = 10.0
#: At least this share of positions is not the last of its utterance, whatever the utterances.
_INNER = 0.25
#: Tiny sizes that are no sizes.
_TINY = 1e-300


class Membership:
    """Tests vectors for membership in the column space of some rows of a factor.

    Parameters
    ----------
    factor : RowFactor
        The rows.
    chosen : ndarray of int
        Which of them.
    """

    def __init__(self, factor: RowFactor, chosen: np.ndarray) -> None:
        self._noise = factor.noise[chosen]
        rows = factor.rows[chosen]
        basis, values, right = scipy.linalg.svd(rows, full_matrices=False, check_finite=False)
        edge = np.sqrt(rows.shape[0]) + np.sqrt(rows.shape[1])
        kept = values > _ABOVE_NOISE * edge
        self.basis = basis[:, kept]
        self._inverse = (right[kept].T / values[kept]) if kept.any() else np.zeros((rows.shape[1], 0))
        self.freedom = max(rows.shape[0] - int(kept.sum()), 1)

    def split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what of vectors is outside, and the combination of columns that the inside is.

        Parameters
        ----------
        vectors : ndarray of shape (k, n)
            In the units of the gradient.

        Returns
        -------
        outside : ndarray of shape (k, n)
            In units of noise.
        weights : ndarray of shape (k, r)
            Of the columns of the factor.
        sizes : ndarray of shape (k,)
            Norms of the vectors in units of noise.
        """
        scaled = vectors / self._noise
        inside = scaled @ self.basis
        return scaled - inside @ self.basis.T, inside @ self._inverse.T, np.linalg.norm(scaled, axis=1)

    def error(self, outside: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return backward errors from norms of what is outside and of the weights."""
        bottom = np.sqrt(self.freedom) * np.maximum(weights, _TINY)
        with np.errstate(over="ignore"):
            error: np.ndarray = np.where(outside > 0.0, outside / bottom, 0.0)
        return error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """What can follow what.

    Attributes
    ----------
    cost : ndarray of shape (S, S)
        Backward error of position q (column) following position p (row), in units of the largest that noise explains.
    begins, ends : ndarray of bool, shape (S,)
        Which positions are the first and the last of an utterance; as many of either.
    clear : bool
        Whether the last ones stand out from all others.
    """

    cost: np.ndarray = field(repr=False)
    begins: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)
    clear: bool


def find_links(factor: RowFactor, features: np.ndarray, units: int, *, anywhere: bool = False) -> list[Links]:
    """Place the two parts of the head's input among a cell's rows, and test all pairs of positions.

    Parameters
    ----------
    factor : RowFactor
        Of a cell of `units` units.
    features : ndarray of shape (S, d)
        Inputs of the head.
    units : int
        Size of the state, which is the first or the last part of the head's input; the rest is the context.
    anywhere : bool, default False
        Look for the context in the middle of the cell's inputs, and not at either end.

    Returns
    -------
    list of Links
        For every placement that fits, the best first. Empty if the head sees the state alone, or nothing of what the
        cell takes.
    """
    width = features.shape[1] - units
    if width < 1 or width > factor.inputs:
        return []
    found = []
    for state, context in (
        (features[:, :units], features[:, units:]),
        (features[:, width:], features[:, :width]),
    ):
        for offset, outside in _offsets(factor, context, anywhere=anywhere):
            found.append((outside, _test(factor, np.arange(offset, offset + width), context, state)))
    return [links for _, links in sorted(found, key=lambda item: item[0])]


def _offsets(factor: RowFactor, context: np.ndarray, *, anywhere: bool) -> list[tuple[int, float]]:
    """Return where among the input rows the contexts fit, with their median relative distance from the space."""
    width = context.shape[1]
    last = factor.inputs - width
    found: list[tuple[int, float]] = []
    for offset in range(1, last) if anywhere else sorted({0, last}):
        chosen = np.arange(offset, offset + width)
        if not np.isfinite(factor.noise[chosen]).any():
            continue
        outside, _, sizes = Membership(factor, chosen).split(context)
        ratio = float(np.median(np.linalg.norm(outside, axis=1) / np.maximum(sizes, _TINY)))
        if ratio < _OUTSIDE:
            found.append((offset, ratio))
    return found


def _test(factor: RowFactor, place: np.ndarray, context: np.ndarray, state: np.ndarray) -> Links:
    positions, width = context.shape
    units = state.shape[1]
    states = np.arange(factor.inputs, factor.inputs + units)
    alone = Membership(factor, place)
    outside, weights, _ = alone.split(context)
    usual = alone.error(np.linalg.norm(outside, axis=1), np.linalg.norm(weights, axis=1))

    member = Membership(factor, states)
    outside, weights, _ = member.split(state)
    previous = member.error(np.linalg.norm(outside, axis=1), np.linalg.norm(weights, axis=1))

    both = Membership(factor, np.concatenate([place, states]))
    current = both.split(np.hstack([context, np.zeros((positions, units))]))
    before = both.split(np.hstack([np.zeros((positions, width)), state]))
    first = both.error(np.linalg.norm(current[0], axis=1), np.linalg.norm(current[1], axis=1))
    cost = both.error(_norms(before[0], current[0]), _norms(before[1], current[1]))
    np.fill_diagonal(cost, np.inf)

    # What a pair may cost: each position's state and context were found to some error, which is measured alone.
    common = max(1.0, float(np.median(usual)), _finite(float(np.quantile(previous, _INNER))))
    tolerance = _SLACK * np.maximum(common, np.maximum.outer(_finite(previous), usual))
    tolerance_first = _SLACK * np.maximum(common, usual)
    # Every position follows another or is a first one: that many of all are true.
    every = np.sort(np.concatenate([cost[np.isfinite(cost)], first]))
    if every.size > positions and every[positions] > _GAP * every[positions - 1]:
        between = float(np.sqrt(every[positions] * max(every[positions - 1], 1.0)))
        tolerance, tolerance_first = np.full_like(cost, between), np.full_like(first, between)
    begins = first <= tolerance_first
    order = np.argsort(-previous)
    ends = np.zeros(positions, bool)
    ends[order[: int(begins.sum())]] = True
    inner = previous[~ends]
    # States of utterances of one label reach no other step, and their gradient is zero.
    clear = bool(begins.any() and previous[ends].min() > _GAP * inner.max()) if inner.size else not member.basis.size
    return Links(cost=cost / tolerance, begins=begins, ends=ends, clear=clear)


def _finite(values: Any) -> Any:
    return np.where(np.isfinite(values), values, 0.0)


def _norms(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the norms (p, q) of all sums of a row and a column; the differences are not formed from squares."""
    return np.stack([np.linalg.norm(row + columns, axis=1) for row in rows])
