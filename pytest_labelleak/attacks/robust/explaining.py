"""Labels from intervals: explain every column by others, and name the columns that nothing explains.

A label column of class y is ``-m_y h_y`` plus little, where m_y is the probability that its sample gives to other
classes. A class without a label has the column ``sum over y of p_yj h_y``: a combination of *negated* label columns
with coefficients ``p_yj / m_y``, at least zero and at most one. So the label columns are the fewest columns whose
negatives explain all others. And since the coefficients are small, the column with the largest unexplained part is a
label: an absent class takes less from each sample than this sample's label gives. The method is the successive
projection algorithm for separable non-negative factorisation [1]_, with the sign as a bonus.

A column is explained if a combination stays inside its intervals (`gradient.intervals`). The distances of the best
combination's entries from their intervals are the column's *unexplained part*; the column sticks out by the length of
that part. Intervals are where dropping and rounding differ from noise: a dropped entry costs nothing as long as a
small value explains it. A column that was dropped as a whole is gone: columns without any entry do not differ, so
that their labels cannot be told apart.

A label that comes several times has the mean of its samples for a column, and other columns stick out to
either side of it. Such columns become *members* of the explanation too, with coefficients of either sign, and are not
named. Two facts tell them from labels: a second column sticks out the same way, where a label has opposite ones
alone; and they lie in the cone of the others (`rlg.separation`). Where too little is left for either, they are named
wrongly.

Examples
--------
Two features, four classes, two samples: outputs (.4, .2, .2, .2) with label 0 and features (8, 0), outputs
(.1, .5, .2, .2) with label 1 and features (0, 8). The summed gradient is

    -4.8   1.6   1.6   1.6
      .8  -4.0   1.6   1.6

and a defence drops the .8. The smallest survivor, 1.6, is the unit: column 0 is (-3, 0) with an interval of +-1 around
the zero, column 1 is (1, -2.5), columns 2 and 3 are (1, 1).

* Column 0 is the longest, and becomes the first member: its negative, (3, 0 +- 1), may explain the others.
* A third of it explains the first entry of column 1. The second, -2.5, sticks out: column 1 is the second member.
* Columns 2 and 3 are explained: ``(1, 1) = .47 (3, 0) + .4 (-1, 2.5)``. The labels are 0 and 1.

>>> import numpy as np
>>> from pytest_labelleak import Update
>>> update = Update.from_arrays(np.array([[-4.8, 1.6, 1.6, 1.6], [0.0, -4.0, 1.6, 1.6]]))
>>> intervals = Intervals(kind="dropped", unit=1.6, bias_unit=None, rows=np.arange(2), columns=np.arange(4))
>>> found = explain(update, intervals)
>>> sorted(found.labels), found.explained_by
([0, 1], 2)

References
----------
.. [1] N. Gillis, S. A. Vavasis, "Fast and Robust Recursive Algorithms for Separable Nonnegative Matrix
   Factorization", IEEE TPAMI 36 (2014) 698-714. https://doi.org/10.1109/TPAMI.2013.226
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.recovery import NotApplicable
from ...core.update import Update
from ..gradient.intervals import Intervals
from ..rlg.cone_projection import project

__all__ = ["Explained", "ExplainingRules", "explain"]

# Columns whose intervals are fitted in one product: memory alone.
_COLUMNS_PER_BLOCK = 1024
# Sweeps of coordinate descent within one step of the fit, which goes on with further steps.
_SWEEPS = 2
# Columns looked at more closely in one round, and members suspected of being none; others come in the next round.
_CANDIDATES = 32
_SUSPECTS = 3
# Rounds in which the cone may send members back.
_RECHECKS = 4
# Members at most. About as many columns as a third of the rows explain anything, pure noise as well.
_MOST, _FEWEST = 256, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainingRules:
    """Deciding numbers of the explanation. Lengths are in units of the smallest entry that can be seen.

    Attributes
    ----------
    sticks_out : float
        Length from which on an unexplained part counts. An entry of a label that nothing explains has 1; chance may
        explain some of it.
    shorter : float
        Share of the longest unexplained part that further columns of the same round may lack.
    own_direction : float
        Cosine to the other columns of the round below which a column has a direction of its own.
    alike : float
        Cosine between two unexplained parts from which on they stick out the same way.
    same_size : float
        Share of a member's unexplained part below which another's is the fit's inaccuracy.
    opposed : float
        Share of an unexplained part that may remain for the member with either sign to explain it.
    crowd : int
        Columns that may stick out slightly beside twice the members, before the intervals count as too narrow.
    far : float
        Length of an entry from which on the intervals may be too narrow at all.
    widening : float
        Length by which intervals that are too narrow are widened, up to three times.
    deviations : float
        Tilt of the cone, in standard deviations.
    smallest_tilt : float
        Floor of the tilt, for columns that are known exactly.
    inside : float
        Ratio of separation to price below which a member lies in the cone of the others.
    iterations : int
        Steps of a fit that is continued later.
    thorough : int
        Steps of a fit that decides.
    """

    sticks_out: float = field(default=0.5, metadata={"plateau": (0.455, 0.75)})
    shorter: float = field(default=0.3, metadata={"plateau": (0.0187, 4.8)})
    own_direction: float = field(default=0.5, metadata={"plateau": (0.0312, 0.75)})
    alike: float = field(default=0.5, metadata={"plateau": (0.0312, 0.75)})
    same_size: float = field(default=0.05, metadata={"plateau": (0.00313, 0.2)})
    opposed: float = field(default=0.25, metadata={"plateau": (0.125, 0.375)})
    crowd: int = field(default=10, metadata={"plateau": (1, 40)})
    far: float = field(default=4.0, metadata={"plateau": (0.25, 64.0)})
    widening: float = field(default=1.0, metadata={"plateau": (0.25, 16.0)})
    deviations: float = field(default=2.0, metadata={"plateau": (0.5, 32)})
    smallest_tilt: float = field(default=1e-6, metadata={"plateau": (6.25e-08, 1.6e-05)})
    inside: float = field(default=0.7, metadata={"plateau": (0.0437, 2.8)})
    iterations: int = field(default=8, metadata={"plateau": (4, 128)})
    thorough: int = field(default=60, metadata={"plateau": (30, 960)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """Labels found by explaining the rest, each with a direction along which its column descends.

    Attributes
    ----------
    labels : dict of int to float
        Classes named, and the length of their unexplained parts.
    directions : dict of int to ndarray of shape (d,) or (d + 1,)
        Functional of the gradient's rows for each of them.
    explained_by : int
        Number of columns that explain all others.
    """

    labels: dict[int, float] = field(repr=False)
    directions: dict[int, np.ndarray] = field(repr=False)
    explained_by: int


class _Explanation:
    """The members so far, and the coefficients with which they explain all columns."""

    def __init__(self, update: Update, intervals: Intervals, rules: ExplainingRules) -> None:
        self._update, self._intervals, self.rules = update, intervals, rules
        self.classes = intervals.columns
        self.slack = 0.0  # added to all half-widths
        self.members: list[int] = []  # places in `classes`
        self.label = np.zeros(0, dtype=bool)  # members that are labels; the others have either sign
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
        centre, width = self._intervals.of(self._update, self.classes[columns])
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

    def fit(self, columns: np.ndarray, iterations: int | None = None) -> None:
        """Improve the coefficients of some columns; sets norm and largest entry of their unexplained parts."""
        iterations = self.rules.iterations if iterations is None else iterations
        for start in range(0, columns.size, _COLUMNS_PER_BLOCK):
            block = columns[start : start + _COLUMNS_PER_BLOCK]
            self.unexplained(block, iterations)

    def unexplained(self, columns: np.ndarray, iterations: int | None = None) -> np.ndarray:
        """Fit some columns and return the signed distance of each entry from its interval."""
        iterations = self.rules.thorough if iterations is None else iterations
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
        rules = self.rules
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
        certain = (length > rules.deviations * noise * np.sqrt(basis.shape[1])) | np.isin(columns, self.members)
        columns, points, noise, length = columns[certain], points[:, certain], noise[certain], length[certain]
        length[length == 0] = 1.0
        # Exact columns get a tilt of rounding size, so that they are not used with coefficients of any size either.
        tilt = np.maximum(rules.deviations * noise / length, rules.smallest_tilt)
        tilted = np.vstack([points / length, tilt])
        place = {int(column): k for k, column in enumerate(columns)}
        own = np.array([place[member] for member in self.members])
        within = np.zeros(own.size, dtype=bool)
        for member, k in enumerate(own):
            target = np.append(tilted[:-1, k], 0.0)
            answer = project(tilted, target, tolerance=0.1 * tilt, working=own, excluded=int(k))
            price = abs(float(answer.residual[-1]))
            within[member] = float(np.linalg.norm(answer.residual[:-1])) < rules.inside * price
        return within

    def check(self, columns: np.ndarray) -> bool:
        """Ask the cone which members are labels, and return whether that changes anything."""
        label = ~self.inside_cone(np.union1d(columns, self.members)) & ~self._freed
        changed = bool(np.any(label != self.label))
        self.label = label
        return changed

    def free(self, members: list[int]) -> None:
        """Mark some members as no labels, for good."""
        self._freed[members] = True
        self.label[members] = False

    def opposed(self, column: int, outside: np.ndarray) -> int | None:
        """Return a member whose column, not negated, explains most of another's unexplained part; or None.

        Parameters
        ----------
        column : int
            The other column.
        outside : ndarray of shape (rows,)
            Its unexplained part.

        Returns
        -------
        int or None
            Index of the member.
        """
        rules = self.rules
        own = self.unexplained(np.array(self.members))
        length = np.linalg.norm(own, axis=0) * np.linalg.norm(outside)
        cosine = np.divide(outside @ own, length, out=np.zeros_like(length), where=length > 0)
        centre, width = self.intervals([column])
        for k in np.argsort(-cosine)[:_SUSPECTS]:
            if cosine[k] < rules.alike:
                break
            if not self.label[k] or np.linalg.norm(outside) < rules.same_size * np.linalg.norm(own[:, k]):
                continue
            lowest = np.where(self.label, 0.0, -np.inf)
            lowest[k] = -np.inf
            start = self.coefficients[:, [column]]
            _, left = _fit(centre, width, self._against, self._loose, start, lowest, rules.thorough)
            if np.linalg.norm(left) < rules.opposed * np.linalg.norm(outside):
                return int(k)
        return None


def explain(update: Update, intervals: Intervals, rules: ExplainingRules | None = None) -> Explained | None:
    """Name the classes whose columns are needed to explain all others.

    Parameters
    ----------
    update : Update
        The update that was shared.
    intervals : Intervals
        The interval of every entry.
    rules : ExplainingRules, optional
        The deciding numbers.

    Returns
    -------
    Explained or None
        None if too many columns stick out: then the intervals are wrong.

    Raises
    ------
    NotApplicable
        If lengths of columns overflow.
    """
    rules = rules or ExplainingRules()
    state = _Explanation(update, intervals, rules)
    level = float(state.size.max(initial=0.0))
    if not np.isfinite(level):
        raise NotApplicable("the entries differ in size by more than double precision can compare")
    most = max(_FEWEST, min(_MOST, intervals.rows.size // 3))
    coarse = float(state.peak.max(initial=0.0)) > rules.far
    rechecks, stale = 0, False
    # Every round halves the level down to a positive floor, widens the slack at most four times, adds one of at most
    # `most` members, frees one of them for good, asks the cone one of at most `_RECHECKS` times, or ends.
    while True:
        floor = max(level / 2.0, rules.sticks_out)
        active = np.flatnonzero(state.size >= floor)
        if state.members and stale:
            state.fit(active)
            stale = False
        waiting = _waiting(state, active, floor)
        slight = waiting[state.peak[waiting] <= 1.0]
        crowd = 2 * len(state.members) + rules.crowd
        suspicious = coarse and bool(state.members) and slight.size > crowd
        if suspicious:  # or the fit has only not come far enough
            state.fit(slight, rules.thorough)
            waiting = _waiting(state, active, floor)
        if suspicious and np.count_nonzero(state.peak[waiting] <= 1.0) > crowd:
            # Far more columns stick out a little than have stuck out far: the intervals are too narrow. Noise was
            # added before entries were dropped, or they were rounded at random.
            state.slack += rules.widening
            stale = True
            if state.slack > 3.0 * rules.widening:
                return None
        elif waiting.size:
            if len(state.members) >= most:
                return None
            stale = _take(state, waiting, floor)
        elif floor > rules.sticks_out:
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
        direction = np.zeros(update.features + (intervals.bias_unit is not None))
        direction[intervals.rows] = -own[: intervals.rows.size, k] / margin / intervals.unit
        if intervals.bias_unit is not None:
            direction[-1] = -own[-1, k] / margin / intervals.bias_unit
        labels[label], directions[label] = margin, direction
    return Explained(labels=labels, directions=directions, explained_by=len(state.members))


def _waiting(state: _Explanation, active: np.ndarray, floor: float) -> np.ndarray:
    """Return the columns that stick out and are no members yet."""
    waiting = active[(state.norm[active] >= floor) & (state.peak[active] > state.rules.sticks_out)]
    others: np.ndarray = waiting[~np.isin(waiting, state.members)]
    return others


def _take(state: _Explanation, waiting: np.ndarray, floor: float) -> bool:
    """Add the columns that stick out most, or free the members that turn out not to be labels.

    The answer tells whether anything changed: a closer look at the candidates may explain all of them.
    """
    rules = state.rules
    order = waiting[np.argsort(-state.norm[waiting])][:_CANDIDATES]
    outside = state.unexplained(order)
    keep = np.flatnonzero((state.norm[order] >= floor) & (state.peak[order] > rules.sticks_out))
    if keep.size == 0:
        return False
    keep = keep[np.argsort(-state.norm[order[keep]])]
    keep = keep[state.norm[order[keep]] >= (1.0 - rules.shorter) * state.norm[order[keep[0]]]]
    # Others that stick out about as much, in directions of their own, are taken along.
    unit = outside[:, keep] / state.norm[order[keep]]
    alike = np.abs(unit.T @ unit)
    chosen: list[int] = []
    for k in range(keep.size):
        if all(alike[k, other] < rules.own_direction for other in chosen):
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
        Columns to combine.
    loose : ndarray of shape (rows, k)
        Half-widths of their own intervals, which widen the others' in proportion to the coefficients.
    values : ndarray of shape (k, n)
        Coefficients to start from.
    lowest : ndarray of shape (k,)
        Smallest value allowed for each coefficient.
    iterations : int
        Number of steps.

    Returns
    -------
    values : ndarray of shape (k, n)
        The coefficients.
    outside : ndarray of shape (rows, n)
        Signed distance of each entry from its interval.
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
