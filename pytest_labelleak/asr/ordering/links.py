"""Links between label positions: membership in the column space of a cell's gradient.

At step t a cell takes, among other inputs, the context c_t, which the head sees as well, and the state h_{t-1}, which
the head saw one step before. So for two label positions p and q the vector [c_q, h_p] lies in the column space of these
rows of the cell's gradient if q follows p, and [c_q, 0] if q is the first of its utterance. The part of such a vector
outside of the space is linear in both halves: one vector per q, one per p, and a link where the two cancel.

The size that noise leaves outside of a true link can be predicted. Noise of the gradient enters by the combination of
columns that the vector is. Errors of context and state show where each is tested alone, since all contexts, and all
states but the last ones, lie in the rows that take them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from .recurrence import RowFactor

__all__ = ["LinkRules", "Links", "Membership", "find_ends", "find_links"]

#: Keeps divisions by a norm of zero finite; the vectors concerned are zero, and lie in every space.
_TINY = 1e-300


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRules:
    """Numbers that decide which links are plausible.

    Attributes
    ----------
    above_noise : float
        Smallest size of a direction of the row factor, in units of the largest that pure noise has.
    outside : float
        Relative size of the part of a context outside of the rows, from which on these rows do not take the context.
    left_to_test : float
        Smallest share of a vector's entries that must be left to test; with fewer, any vector would pass.
    slack : float
        Largest part outside of a true link, in units of the part that noise and separately measured errors explain.
    gap : float
        Ratio of two neighbouring sizes in ascending order that separates true ones from the rest: costs of links, where
        as many are true as there are positions, and states that no step takes.
    rounding : float
        Relative sizes below this are rounding.
    """

    above_noise: float = field(default=3.0, metadata={"plateau": (0.19, 6.0)})
    outside: float = field(default=0.1, metadata={"plateau": (0.05, 0.4)})
    left_to_test: float = field(default=0.05, metadata={"plateau": (0.0031, 0.2)})
    slack: float = field(default=3.0, metadata={"plateau": (0.1, 6.0)})
    gap: float = field(default=5.0, metadata={"plateau": (1.2, 10.0)})
    rounding: float = field(default=1e-6, metadata={"plateau": (6.2e-8, 1.6e-5)})


class Membership:
    """Tests vectors for membership in the column space of some rows of a factor.

    Parameters
    ----------
    factor : RowFactor
        Factor of a cell's gradient.
    chosen : ndarray of int
        Rows of it.
    rules : LinkRules
        Numbers that decide.
    """

    def __init__(self, factor: RowFactor, chosen: np.ndarray, rules: LinkRules) -> None:
        self._rules = rules
        self._noise = factor.noise[chosen]
        rows = factor.rows[chosen]
        basis, values, right = scipy.linalg.svd(rows, full_matrices=False, check_finite=False)
        edge = np.sqrt(rows.shape[0]) + np.sqrt(rows.shape[1])
        kept = values > rules.above_noise * edge
        self.basis = basis[:, kept]
        self._inverse = (right[kept].T / values[kept]) if kept.any() else np.zeros((rows.shape[1], 0))
        self._zero = ~np.isfinite(self._noise)
        #: Number of a vector's entries that are left to test, once its combination of columns is chosen.
        self.freedom = int(np.count_nonzero(~self._zero)) - int(kept.sum())

    def fits(self, vectors: np.ndarray) -> bool:
        """Tell whether all of vectors (k, n) may be members, roughly, and whether the answer would mean anything."""
        rules = self._rules
        if self.freedom < max(1.0, rules.left_to_test * np.count_nonzero(~self._zero)):
            return False
        blind = np.linalg.norm(vectors[:, self._zero], axis=1)  # rows without a gradient had no input
        outside, _, sizes = self.split(vectors)
        ratio = np.linalg.norm(outside, axis=1) / np.maximum(sizes, _TINY)
        return bool(
            np.median(ratio) < rules.outside
            and np.median(blind / np.maximum(np.linalg.norm(vectors, axis=1), _TINY)) < rules.outside
        )

    def split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the part of vectors outside of the space, and the combination of columns that is the rest.

        Parameters
        ----------
        vectors : ndarray of shape (k, n)
            In the units of the gradient.

        Returns
        -------
        outside : ndarray of shape (k, n)
            In units of noise.
        weights : ndarray of shape (k, r)
            Weights of the factor's columns.
        sizes : ndarray of shape (k,)
            Norms of the vectors in units of noise.
        """
        scaled = vectors / self._noise
        inside = scaled @ self.basis
        return scaled - inside @ self.basis.T, inside @ self._inverse.T, np.linalg.norm(scaled, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """Costs of all links.

    Attributes
    ----------
    cost : ndarray of shape (S, S)
        Part outside of the space if position q (column) follows position p (row), in units of the largest that noise
        explains. A link of cost 1 and less is plausible.
    first : ndarray of shape (S,)
        The same if q is the first of its utterance.
    ends : ndarray of bool, shape (S,)
        Positions that are the last of their utterance.
    clear : bool
        Whether these stand out from all others.
    """

    cost: np.ndarray = field(repr=False)
    first: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)
    clear: bool


def find_links(
    factor: RowFactor, features: np.ndarray, units: int, *, rules: LinkRules, anywhere: bool = False
) -> list[Links]:
    """Place the two parts of the head's input among a cell's rows, and test all pairs of positions.

    Parameters
    ----------
    factor : RowFactor
        Factor of the gradient of a cell with `units` units.
    features : ndarray of shape (S, d)
        Inputs of the head.
    units : int
        Size of the state, which is the first or the last part of the head's input; the rest is the context.
    rules : LinkRules
        Numbers that decide.
    anywhere : bool, default False
        Look for the context in the middle of the cell's inputs, instead of at either end.

    Returns
    -------
    list of Links
        One for every placement that fits. Empty if the head sees the state alone, or no input of the cell.
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
            alone = Membership(factor, place, rules)
            if alone.fits(context) and not _drowned(factor, units, rules):
                found.append(_test(factor, alone, place, context, state, rules))
    return found


def _test(
    factor: RowFactor, alone: Membership, place: np.ndarray, context: np.ndarray, state: np.ndarray, rules: LinkRules
) -> Links:
    positions, width = context.shape
    units = state.shape[1]
    states = np.arange(factor.inputs, factor.inputs + units)
    # The part of a context outside of the rows that take it alone is the context's error. The same holds for states ...
    outside, _, _ = alone.split(context)
    error_current = np.linalg.norm(outside, axis=1) / np.sqrt(alone.freedom)
    member = Membership(factor, states, rules)
    outside, _, _ = member.split(state)
    error_before = np.linalg.norm(outside, axis=1) / np.sqrt(max(member.freedom, 1))

    both = Membership(factor, np.concatenate([place, states]), rules)
    current = both.split(np.hstack([context, np.zeros((positions, units))]))
    before = both.split(np.hstack([np.zeros((positions, width)), state]))

    def cost_of(outside: np.ndarray, weights: np.ndarray, error: np.ndarray) -> np.ndarray:
        # The gradient holds noise of unit size, of which a combination of its columns takes this much.
        noise: np.ndarray = np.sqrt(max(both.freedom, 1) * (weights**2 + error**2)) * rules.slack
        cost: np.ndarray = np.divide(outside, noise, out=np.zeros_like(outside), where=outside > 0.0)
        return cost

    first = cost_of(np.linalg.norm(current[0], axis=1), np.linalg.norm(current[1], axis=1), error_current)
    cost = cost_of(
        _norms(before[0], current[0]),
        _norms(before[1], current[1]),
        np.hypot(error_before[:, None], error_current[None, :]),
    )
    np.fill_diagonal(cost, np.inf)
    # ... except for the last states, which no step takes.
    ends, clear = find_ends(factor, state, rules)
    cost[ends] = np.inf
    # Every position follows another or is a first one, so as many links are true as there are positions.
    every = np.sort(np.concatenate([cost[np.isfinite(cost)], first]))
    if (
        every.size > positions
        and every[positions] > rules.gap * every[positions - 1]
        and every[positions - 1] < rules.gap**2
    ):
        between = float(np.sqrt(every[positions] * every[positions - 1]))
        cost, first = cost / between, first / between
    return Links(cost=cost, first=first, ends=ends, clear=clear)


def _drowned(factor: RowFactor, units: int, rules: LinkRules) -> bool:
    """Tell whether the rows that take the state hold a gradient, none of which stands out of the noise."""
    states = np.arange(factor.inputs, factor.inputs + units)
    return bool(np.isfinite(factor.noise[states]).any()) and not Membership(factor, states, rules).basis.size


def find_ends(factor: RowFactor, state: np.ndarray, rules: LinkRules) -> tuple[np.ndarray, bool]:
    """Find the states that no step takes: those of the last position of each utterance.

    Parameters
    ----------
    factor : RowFactor
        Factor of a cell's gradient.
    state : ndarray of shape (S, h)
        States of all positions.
    rules : LinkRules
        Numbers that decide.

    Returns
    -------
    ends : ndarray of bool, shape (S,)
        At least one; all if the rows of the state have no gradient.
    clear : bool
        Whether they stand out from the others.
    """
    member = Membership(factor, np.arange(factor.inputs, factor.inputs + state.shape[1]), rules)
    if not member.basis.size:
        return np.ones(len(state), bool), True
    outside, _, whole = member.split(state)
    missing = np.linalg.norm(outside, axis=1) / np.maximum(whole, _TINY)
    order = np.argsort(-missing)
    sizes = np.maximum(missing[order], rules.rounding)
    jumps = sizes[:-1] / sizes[1:]
    number = int(np.argmax(jumps)) + 1
    ends = np.zeros(missing.size, bool)
    ends[order[:number]] = True
    return ends, bool(jumps[number - 1] > rules.gap)


def _norms(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the norms (p, q) of all sums of a row and a column; differences are not formed from squares."""
    return np.stack([np.linalg.norm(row + columns, axis=1) for row in rows])
