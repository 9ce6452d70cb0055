"""Labels from a gradient of which every entry is known up to an interval: explain, and name what cannot be explained.

A label column of class y is ``-m_y h_y`` plus little, where m_y is all the probability that its sample gives to other
classes. A class without a label has the column ``sum over y of p_yj h_y``: a combination of *negated* label columns
with coefficients ``p_yj / m_y``, at least zero and at most one. So the label columns are the fewest columns whose
negatives explain all others. And since the coefficients are small, the column with the largest unexplained part is a
label: an absent class takes less from each sample than this sample's label gives. That is the successive projection
algorithm for separable non-negative factorisation [1]_, with the sign as a bonus.

Explaining means staying inside the intervals (see `_bounds`), which is where dropping and rounding differ from noise:
what was dropped costs nothing as long as it is explained by something small. What was wholly dropped is gone: columns
without any entry left differ in nothing, so nobody can tell which of them had a label.

Where a label comes several times, its negated column is only a mean of its samples, and other columns stick out to
either side. They take part as directions of either sign, and are not named. Two things tell them from labels: a second
column sticks out the same way, where a label has none but opposite ones; and they lie in the cone of the
others (see `_cone`). Where too little is left for either, they are named wrongly.

References
----------
.. [1] N. Gillis, S. A. Vavasis, "Fast and Robust Recursive Algorithms for Separable Nonnegative Matrix
   Factorization", IEEE TPAMI 36 (2014) 698-714. https://doi.org/10.1109/TPAMI.2013.226
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.update import Update
from ..gradient.intervals import Bounds
from ..rlg.cone_projection import project

__all__ = ["Peeled", "peel"]

# An entry of a label that nothing explains sticks out by 1, the smallest that can be seen; chance may explain some
# of it.
_STICKS_OUT = 0.5
# Columns that stick out about as much are taken together, if they do so in directions of their own.
_AS_LARGE = 0.7
_BATCH_COSINE = 0.5
_CANDIDATES = 32
# Iterations of the fit: few where it goes on later, many where something is decided by it.
_ITERATIONS, _THOROUGH = 8, 60
_SWEEPS = 2
_COLUMNS_PER_BLOCK = 1024
# About as many columns as a third of the rows explain anything, also pure noise.
_MOST, _FEWEST = 256, 8
# A member is no label if another column sticks out the same way. (If that is far smaller, it is the fit's accuracy.)
_SUSPECTS = 3
_ALIKE = 0.5
_SAME_SIZE = 0.05
# Intervals are too narrow if far more columns stick out slightly than there are members, and entries are far larger.
_CROWD = 10
_FAR = 4.0
_LARGEST_SLACK = 3.0
# The cone test of the members (see _cone): tilt in standard deviations, its floor, and when a column counts as inside.
_DEVIATIONS = 2.0
_SMALLEST_TILT = 1e-6
_HELD = 0.7
_RECHECKS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peeled:
    """Labels found by explaining the rest, each with a direction along which its column descends.

    Attributes
    ----------
    labels : dict of int to float
        Classes named, and how far their columns stick out, in units of the smallest entry that can be seen.
    directions : dict of int to ndarray of shape (d,) or (d + 1,)
        Functional of the gradient's rows for each of them.
    explained_by : int
        Number of columns that explain all others.
    """

    labels: dict[int, float] = field(repr=False)
    directions: dict[int, np.ndarray] = field(repr=False)
    explained_by: int


class _Explanation:
    """Columns chosen so far, and the coefficients with which they explain the others."""

    def __init__(self, update: Update, bounds: Bounds) -> None:
        self._update, self._bounds = update, bounds
        self.classes = bounds.columns
        self.slack = 0.0  # added to all half-widths
        self.members: list[int] = []  # positions in `classes`
        self.label = np.zeros(0, dtype=bool)  # which of them; the others have either sign
        self._freed = np.zeros(0, dtype=bool)
        self.coefficients = np.zeros((0, self.classes.size))
        self._against = np.zeros((0, 0))
        self._loose = np.zeros((0, 0))
        self.norm = np.zeros(self.classes.size)
        self.peak = np.zeros(self.classes.size)
        self.fit(np.arange(self.classes.size))
        self.size = self.norm.copy()

    def intervals(self, columns: np.ndarray | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return centres and half-widths of some columns."""
        centre, width = self._bounds.of(self._update, self.classes[columns])
        return centre, width + self.slack

    def add(self, columns: list[int]) -> None:
        """Take more columns for labels."""
        centre, width = self.intervals(columns)
        self._against = np.hstack([self._against, -centre]) if self.members else -centre
        self._loose = np.hstack([self._loose, width]) if self.members else width
        self.members += columns
        self.label = np.append(self.label, np.ones(len(columns), dtype=bool))
        self._freed = np.append(self._freed, np.zeros(len(columns), dtype=bool))
        self.coefficients = np.vstack([self.coefficients, np.zeros((len(columns), self.classes.size))])

    def fit(self, columns: np.ndarray, iterations: int = _ITERATIONS) -> None:
        """Improve the coefficients of some columns; sets what sticks out of their intervals, norm and largest entry."""
        for start in range(0, columns.size, _COLUMNS_PER_BLOCK):
            block = columns[start : start + _COLUMNS_PER_BLOCK]
            self.unexplained(block, iterations)

    def unexplained(self, columns: np.ndarray, iterations: int = _THOROUGH) -> np.ndarray:
        """Fit some columns and return how far each entry stays outside of its interval, signed."""
        centre, width = self.intervals(columns)
        if not self.members:
            outside = _outside(centre, width)
            self.norm[columns] = np.sqrt(np.einsum("ij,ij->j", outside, outside))
            self.peak[columns] = np.abs(outside).max(axis=0)
            return outside
        lowest = np.where(self.label, 0.0, -np.inf)
        start = self.coefficients[:, columns]
        values, outside = _fit(centre, width, self._against, self._loose, start, lowest, iterations)
        self.coefficients[:, columns] = values
        self.norm[columns] = np.sqrt(np.einsum("ij,ij->j", outside, outside))
        self.peak[columns] = np.abs(outside).max(axis=0)
        return outside

    def inside_cone(self, columns: np.ndarray) -> np.ndarray:
        """Return for every member whether the cone of all `columns` but itself holds it."""
        basis, _ = scipy.linalg.qr(self._against, mode="economic", check_finite=False)
        points = np.empty((basis.shape[1], columns.size))
        noise = np.empty(columns.size)
        for start in range(0, columns.size, _COLUMNS_PER_BLOCK):
            here = slice(start, start + _COLUMNS_PER_BLOCK)
            centre, width = self.intervals(columns[here])
            explained = self._against @ self.coefficients[:, columns[here]]
            points[:, here] = basis.T @ np.clip(explained, centre - width, centre + width)
            noise[here] = np.sqrt(np.mean(width**2, axis=0) / 3.0)  # evenly spread over the interval
        length = np.linalg.norm(points, axis=0)
        # A column no larger than its own uncertainty has no direction that could be used against a label.
        certain = (length > _DEVIATIONS * noise * np.sqrt(basis.shape[1])) | np.isin(columns, self.members)
        columns, points, noise, length = columns[certain], points[:, certain], noise[certain], length[certain]
        length[length == 0] = 1.0
        # Exact columns get a tilt of rounding size, so that they are not used with coefficients of any size either.
        tilt = np.maximum(_DEVIATIONS * noise / length, _SMALLEST_TILT)
        tilted = np.vstack([points / length, tilt])
        place = {int(column): k for k, column in enumerate(columns)}
        own = np.array([place[member] for member in self.members])
        held = np.zeros(own.size, dtype=bool)
        for member, k in enumerate(own):
            target = np.append(tilted[:-1, k], 0.0)
            answer = project(tilted, target, tolerance=0.1 * tilt, working=own, excluded=int(k))
            held[member] = float(np.linalg.norm(answer.residual[:-1])) < _HELD * abs(float(answer.residual[-1]))
        return held

    def check(self, columns: np.ndarray) -> bool:
        """Ask the cone which members are labels, and return whether that changes anything."""
        label = ~self.inside_cone(np.union1d(columns, self.members)) & ~self._freed
        changed = bool(np.any(label != self.label))
        self.label = label
        return changed

    def free(self, members: list[int]) -> None:
        """Take some members for no labels, for good."""
        self._freed[members] = True
        self.label[members] = False

    def opposed(self, column: int, outside: np.ndarray) -> int | None:
        """Return a member whose column, not negated, explains most of what sticks out of another; or None.

        Parameters
        ----------
        column : int
            The other.
        outside : ndarray of shape (rows,)
            What sticks out of it.
        """
        own = self.unexplained(np.array(self.members))
        length = np.linalg.norm(own, axis=0) * np.linalg.norm(outside)
        cosine = np.divide(outside @ own, length, out=np.zeros_like(length), where=length > 0)
        centre, width = self.intervals([column])
        for k in np.argsort(-cosine)[:_SUSPECTS]:
            if cosine[k] < _ALIKE:
                break
            if not self.label[k] or np.linalg.norm(outside) < _SAME_SIZE * np.linalg.norm(own[:, k]):
                continue
            lowest = np.where(self.label, 0.0, -np.inf)
            lowest[k] = -np.inf
            _, left = _fit(centre, width, self._against, self._loose, self.coefficients[:, [column]], lowest, _THOROUGH)
            if np.linalg.norm(left) < 0.5 * np.linalg.norm(outside):
                return int(k)
        return None


def peel(update: Update, bounds: Bounds) -> Peeled | None:
    """Name the classes whose columns are needed to explain all others.

    Parameters
    ----------
    update : Update
        What was shared.
    bounds : Bounds
        What is known of every entry.

    Returns
    -------
    Peeled or None
        None if too many columns stick out: then the intervals are not what they were taken for.
    """
    state = _Explanation(update, bounds)
    level = float(state.size.max(initial=0.0))
    most = max(_FEWEST, min(_MOST, bounds.rows.size // 3))
    coarse = float(state.peak.max(initial=0.0)) > _FAR
    rechecks, stale = 0, False
    while True:
        floor = max(level / 2.0, _STICKS_OUT)
        active = np.flatnonzero(state.size >= floor)
        if state.members and stale:
            state.fit(active)
            stale = False
        waiting = _waiting(state, active, floor)
        slight = waiting[state.peak[waiting] <= 1.0]
        crowd = 2 * len(state.members) + _CROWD
        suspicious = coarse and bool(state.members) and slight.size > crowd
        if suspicious:  # or the fit has only not come far enough
            state.fit(slight, _THOROUGH)
            waiting = _waiting(state, active, floor)
        if suspicious and np.count_nonzero(state.peak[waiting] <= 1.0) > crowd:
            # Far more columns stick out a little than have stuck out far: the intervals are too narrow. Noise was
            # added before entries were dropped, or they were rounded at random.
            state.slack += 1.0
            stale = True
            if state.slack > _LARGEST_SLACK:
                return None
        elif waiting.size:
            if len(state.members) >= most:
                return None
            stale = _take(state, waiting, floor)
        elif floor > _STICKS_OUT:
            level, stale = floor, True
        elif rechecks == _RECHECKS or not state.members or not state.check(active):
            break
        else:
            rechecks += 1
            stale = True
    own = state.unexplained(np.array(state.members, dtype=np.intp))
    labels, directions = {}, {}
    for k in np.flatnonzero(state.label):
        label = int(state.classes[state.members[k]])
        margin = float(np.linalg.norm(own[:, k]))
        if margin == 0:
            continue
        direction = np.zeros(update.features + (bounds.bias_unit is not None))
        direction[bounds.rows] = -own[: bounds.rows.size, k] / margin / bounds.unit
        if bounds.bias_unit is not None:
            direction[-1] = -own[-1, k] / margin / bounds.bias_unit
        labels[label], directions[label] = margin, direction
    return Peeled(labels=labels, directions=directions, explained_by=len(state.members))


def _waiting(state: _Explanation, active: np.ndarray, floor: float) -> np.ndarray:
    """Return the columns that stick out and are no members yet."""
    waiting = active[(state.norm[active] >= floor) & (state.peak[active] > _STICKS_OUT)]
    others: np.ndarray = waiting[~np.isin(waiting, state.members)]
    return others


def _take(state: _Explanation, waiting: np.ndarray, floor: float) -> bool:
    """Add the columns that stick out most, or free the members that turn out not to be labels.

    Returns whether anything changed: a closer look at the candidates may explain all of them.
    """
    order = waiting[np.argsort(-state.norm[waiting])][:_CANDIDATES]
    outside = state.unexplained(order)
    keep = np.flatnonzero((state.norm[order] >= floor) & (state.peak[order] > _STICKS_OUT))
    if keep.size == 0:
        return False
    keep = keep[np.argsort(-state.norm[order[keep]])]
    keep = keep[state.norm[order[keep]] >= _AS_LARGE * state.norm[order[keep[0]]]]
    # Others that stick out about as much, in directions of their own, are taken along.
    unit = outside[:, keep] / state.norm[order[keep]]
    alike = np.abs(unit.T @ unit)
    chosen: list[int] = []
    for k in range(keep.size):
        if all(alike[k, other] < _BATCH_COSINE for other in chosen):
            chosen.append(k)
    columns = [int(order[keep[k]]) for k in chosen]
    if state.members:
        freed = {state.opposed(column, outside[:, keep[k]]) for column, k in zip(columns, chosen, strict=True)}
        found = [member for member in freed if member is not None]
        if found:
            state.free(found)
            return True
    state.add(columns)
    return True


def _outside(centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    beyond: np.ndarray = np.sign(centre) * np.maximum(np.abs(centre) - width, 0.0)
    return beyond


def _fit(
    centre: np.ndarray,
    width: np.ndarray,
    against: np.ndarray,
    loose: np.ndarray,
    values: np.ndarray,
    lowest: np.ndarray,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring ``against @ values`` as near to the intervals as possible, by accelerated coordinate descent.

    The squared distance from a box is convex and has the quadratic with the same Gram matrix as its majoriser, so
    every step is a non-negative least-squares problem that all columns share.

    Parameters
    ----------
    centre, width : ndarray of shape (rows, n)
        The intervals.
    against : ndarray of shape (rows, k)
        What to combine.
    loose : ndarray of shape (rows, k)
        Half-width of its own intervals: what is combined is not known any better.
    values : ndarray of shape (k, n)
        Where to start.
    lowest : ndarray of shape (k,)
        Smallest value allowed for each coefficient.

    Returns
    -------
    values : ndarray of shape (k, n)
        The coefficients.
    outside : ndarray of shape (rows, n)
        How far each entry stays outside.
    """
    gram = against.T @ against
    loose_squares = loose**2
    lead, momentum = values.copy(), 1.0
    for iteration in range(iterations + 1):
        outside = _outside(centre - against @ lead, width + np.sqrt(loose_squares @ lead**2))
        if iteration == iterations:
            break
        slope = against.T @ outside
        change = np.zeros_like(lead)
        for _ in range(_SWEEPS):
            for k in range(lead.shape[0]):
                step = (slope[k] - gram[k] @ change) / gram[k, k]
                change[k] = np.maximum(lead[k] + change[k] + step, lowest[k]) - lead[k]
        following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        new = lead + change
        if iteration < iterations - 1:
            lead = np.maximum(new + (momentum - 1.0) / following * (new - values), lowest[:, None])
        else:
            lead = new
        values, momentum = new, following
    return lead, outside
