"""Which label position can follow which: membership in the column space of a cell's gradient.

At step t a cell takes, among other things, the context c_t that the head sees as well, and the state h_{t-1}, which is
what the head saw one step before. So for two label positions p and q the vector [c_q, h_p] is in the column space
of these rows of the cell's gradient if q follows p, and [c_q, 0] if q is the first of its utterance. What is outside of
the space is linear in both parts: one vector for every q, one for every p, and a link where they cancel.

What noise leaves outside of a true link can be foretold: noise of the gradient enters by the combination of columns
that the vector is, and the errors of context and state are seen where each is tested alone, since all contexts, and all
states but the last ones, are in the rows that take them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from .recurrence import RowFactor

__all__ = ["Links", "Membership", "find_ends", "find_links"]

#: Directions of the row factor whose size is no more than this many times that of pure noise are noise.
_ABOVE_NOISE = 3.0
#: Contexts are in the rows that take them, but for noise: as far outside as this they are not, in relative size.
_OUTSIDE = 0.1
#: Share of a vector's entries that must be left to test; with fewer, chance would pass.
_LEFT_TO_TEST = 0.05
#: A true link may leave this many times what noise and errors that are measured alone explain ...
_SLACK = 10.0
#: ... or more, up to this factor, if there are as many links as positions and this factor lies between them and others.
_GAP = 10.0
#: Smaller relative sizes differ by chance.
_ROUNDING = 1e-6
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
        self._zero = ~np.isfinite(self._noise)
        #: How many entries of a vector are left to test, once its combination of columns is chosen.
        self.freedom = int(np.count_nonzero(~self._zero)) - int(kept.sum())

    def fits(self, vectors: np.ndarray) -> bool:
        """Tell whether all of vectors (k, n) may be members, roughly, and whether that would mean anything."""
        if self.freedom < max(1.0, _LEFT_TO_TEST * np.count_nonzero(~self._zero)):
            return False
        blind = np.linalg.norm(vectors[:, self._zero], axis=1)  # rows without a gradient had no input
        outside, _, sizes = self.split(vectors)
        ratio = np.linalg.norm(outside, axis=1) / np.maximum(sizes, _TINY)
        return bool(
            np.median(ratio) < _OUTSIDE
            and np.median(blind / np.maximum(np.linalg.norm(vectors, axis=1), _TINY)) < _OUTSIDE
        )

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """What can follow what.

    Attributes
    ----------
    cost : ndarray of shape (S, S)
        What is left outside if position q (column) follows position p (row), in units of the most that noise explains.
    first : ndarray of shape (S,)
        The same if q is the first of its utterance.
    ends : ndarray of bool, shape (S,)
        Which positions are the last of one.
    clear : bool
        Whether the last ones stand out from all others.
    """

    cost: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
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
        For every placement that fits. Empty if the head sees the state alone, or nothing of what the
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
        last = factor.inputs - width
        # Inputs are concatenated: the context is at one end, or anywhere if there are several other inputs.
        for offset in range(1, last) if anywhere else sorted({0, last}):
            place = np.arange(offset, offset + width)
            alone = Membership(factor, place)
            if alone.fits(context) and not _drowned(factor, units):
                found.append(_test(factor, alone, place, context, state))
    return found


def _test(factor: RowFactor, alone: Membership, place: np.ndarray, context: np.ndarray, state: np.ndarray) -> Links:
    positions, width = context.shape
    units = state.shape[1]
    states = np.arange(factor.inputs, factor.inputs + units)
    # What is outside of the space that takes it alone is the error of a context, or of a state; ...
    outside, _, _ = alone.split(context)
    error_current = np.linalg.norm(outside, axis=1) / np.sqrt(alone.freedom)
    member = Membership(factor, states)
    outside, _, _ = member.split(state)
    error_before = np.linalg.norm(outside, axis=1) / np.sqrt(max(member.freedom, 1))

    both = Membership(factor, np.concatenate([place, states]))
    current = both.split(np.hstack([context, np.zeros((positions, units))]))
    before = both.split(np.hstack([np.zeros((positions, width)), state]))

    def cost_of(outside: np.ndarray, weights: np.ndarray, error: np.ndarray) -> np.ndarray:
        # The gradient holds noise of unit size, of which a combination of its columns takes this much.
        noise: np.ndarray = np.sqrt(max(both.freedom, 1) * (weights**2 + error**2)) * _SLACK
        cost: np.ndarray = np.divide(outside, noise, out=np.zeros_like(outside), where=outside > 0.0)
        return cost

    first = cost_of(np.linalg.norm(current[0], axis=1), np.linalg.norm(current[1], axis=1), error_current)
    cost = cost_of(
        _norms(before[0], current[0]),
        _norms(before[1], current[1]),
        np.hypot(error_before[:, None], error_current[None, :]),
    )
    np.fill_diagonal(cost, np.inf)
    # ... except that no space takes the last states.
    ends, clear = find_ends(factor, state)
    cost[ends] = np.inf
    # Every position follows another or is a first one: that many of all are true.
    every = np.sort(np.concatenate([cost[np.isfinite(cost)], first]))
    if every.size > positions and every[positions] > _GAP * every[positions - 1] and every[positions - 1] < _GAP**2:
        between = float(np.sqrt(every[positions] * every[positions - 1]))
        cost, first = cost / between, first / between
    return Links(cost=cost, first=first, ends=ends, clear=clear)


def _drowned(factor: RowFactor, units: int) -> bool:
    """Tell whether the rows that take the state hold something, but none of it stands out of the noise."""
    states = np.arange(factor.inputs, factor.inputs + units)
    return bool(np.isfinite(factor.noise[states]).any()) and not Membership(factor, states).basis.size


def find_ends(factor: RowFactor, state: np.ndarray) -> tuple[np.ndarray, bool]:
    """Find the states that no step takes: those of the last position of each utterance.

    Parameters
    ----------
    factor : RowFactor
        Of a cell's gradient.
    state : ndarray of shape (S, h)
        States of all positions.

    Returns
    -------
    ends : ndarray of bool, shape (S,)
        At least one; all if the rows of the state have no gradient.
    clear : bool
        Whether they stand out from the others.
    """
    member = Membership(factor, np.arange(factor.inputs, factor.inputs + state.shape[1]))
    if not member.basis.size:
        return np.ones(len(state), bool), True
    outside, _, whole = member.split(state)
    missing = np.linalg.norm(outside, axis=1) / np.maximum(whole, _TINY)
    order = np.argsort(-missing)
    sizes = np.maximum(missing[order], _ROUNDING)
    jumps = sizes[:-1] / sizes[1:]
    number = int(np.argmax(jumps)) + 1
    ends = np.zeros(missing.size, bool)
    ends[order[:number]] = True
    return ends, bool(jumps[number - 1] > _GAP)


def _norms(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the norms (p, q) of all sums of a row and a column; the differences are not formed from squares."""
    return np.stack([np.linalg.norm(row + columns, axis=1) for row in rows])
