"""Present and absent classes: linear separation from all other classes, decided on a tilted cone.

Let the columns x_j (one per class, unit length) be the gradient's columns in an orthonormal basis of its
column space (`gradient.subspace`). Every label position contributes a row ``p - onehot(y)`` that is negative at
its label alone, so for a present class c there is a direction a with ``a.x_c < 0 <= a.x_j`` for all j != c.
In other words, x_c lies outside the *cone* of the other columns, which holds all their non-negative combinations. The
column of an absent class lies inside, because the columns, suitably weighted, sum to zero.

**The tilt.** A trained network gives most absent classes a share of 1e-9 of some confident sample, and
rounding turns it into -1e-9. Columns that point the wrong way by less than their noise then span
*everything*, with coefficients of 1e9, and no class is ever outside. So every column gets one more
coordinate, a small multiple t_j of its own measured noise, and the target keeps zero there:

    distance_c = min over u >= 0 of | (x_c, 0) - sum_{j != c} u_j (x_j, t_j) |

A representation pays ``t u`` for its coefficients: harmless while they are moderate, prohibitive when
they only amplify noise. Directions that hold nothing but noise count for nothing, so an overestimated rank
does no harm.

**The decision.** The optimal residual is ``(a, -s)`` with ``s = sum t_j u_j``, and by optimality
``a.x_j <= s t_j`` for every other column. If ``|a| > s``, then ``-a / |a|`` separates x_c from columns that
are off by no more than their noise: present, and that direction is the proof. If not, the combination
represents x_c up to noise: absent, and the combination is the proof. The ratio ``|a| / s`` is
reported as the margin; it is thousands on one side and thousandths on the other, and does not depend on
any scale.

**Finding both without testing every class.** One linear program proposes the label columns (`label_program`). In a
basis that contains them, the dual vectors separate labels that occur once, all together; labels that repeat
are separated in the small space that the other labels leave over; and closings make every other column a
non-negative combination, with its price (`elimination`). Only classes without any such answer are
projected one by one. The programs and the bases propose. The direction or the combination decides, and
each is computed again from the columns themselves.

References
----------
.. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and Protecting
   Labels in Distributed Training", NeurIPS 2021. https://doi.org/10.48550/arXiv.2111.00556
.. [2] C. Davis, "Theory of positive linear dependence", Amer. J. Math. 76 (1954) 733-746.
   https://doi.org/10.2307/2372648
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import scipy.stats

from ...core.recovery import NotApplicable
from .cone_projection import Projection, project
from .elimination import Basis, EliminationRules, close, close_sparsely, examine, replace_repeated
from .label_program import Extreme, extreme_columns

__all__ = ["Combination", "Separation", "SeparationRules", "separate"]

# A column that a program finds candidates among must have more neighbours than this; with fewer, every column is
# tested, which is the same decision without the saving. Decides nothing.
_TEST_ALL_BELOW = 64
# Programs solved at most, and the spread of the logarithms of the weights of all but the first: so uneven that the
# support changes but for the labels. Programs propose; directions and combinations decide.
_MOST_DRAWS = 7
_SPREAD = 3.0
# Directions checked in one product, and columns tested before the border is looked at again: memory and time.
_CHECKED_AT_ONCE = 64
_CHUNK = 8
# Columns of earlier representations that the next one begins with, in units of the rows: time alone.
_HELPFUL = 2
# Columns that may be left without a bound before another closing is worth its time.
_FEW = 16
# Columns of unit length are known no better than this in double arithmetic, however small their noise is.
_ROUNDING = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparationRules:
    """Deciding numbers of the separation.

    Attributes
    ----------
    doubtful : float
        Factor around the border between the two answers within which neither is certain. The answers are orders of
        magnitude apart.
    elimination : EliminationRules
        The numbers of the elimination.
    """

    doubtful: float = field(default=10.0, metadata={"plateau": (2.5, 160.0)})
    elimination: EliminationRules = field(default_factory=EliminationRules)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Combination:
    """A column as a non-negative combination of others: the proof that it cannot be separated from them.

    Attributes
    ----------
    columns : ndarray of int, shape (k,)
        The others.
    coefficients : ndarray of shape (k,)
        Positive.
    missed : float
        Norm of the column's remainder beside the combination.
    paid : float
        The columns' tilt, amplified by the coefficients.
    """

    columns: np.ndarray = field(repr=False)
    coefficients: np.ndarray = field(repr=False)
    missed: float
    paid: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Separation:
    """The decision for every column, and its proof.

    Attributes
    ----------
    present : ndarray of bool, shape (C',)
        Whether the column is outside the cone of the others.
    margin : ndarray of shape (C',)
        Ratio of separation to noise for every column tested; NaN for those eliminated together.
    directions : dict of int to ndarray of shape (r,)
        For present columns: unit direction a, negative on this column alone.
    doubtful : ndarray of int
        Columns whose margin is so close to one that neither answer is safe.
    tested : int
        Number of columns that needed a projection of their own.
    weakest : float
        Distance of the nearest present column from the cone of the others; without a present column, the smallest
        distance that would have been called safe.
    """

    present: np.ndarray = field(repr=False)
    margin: np.ndarray = field(repr=False)
    directions: dict[int, np.ndarray] = field(repr=False)
    doubtful: np.ndarray = field(repr=False)
    tested: int
    weakest: float
    _points: np.ndarray = field(repr=False)
    _tilt: np.ndarray = field(repr=False)
    _projections: dict[int, Projection] = field(repr=False)
    _bases: tuple[Basis, ...] = field(repr=False)

    def combination(self, column: int) -> Combination | None:
        """Return the combination that shows a column to be absent.

        Parameters
        ----------
        column : int
            Any column.

        Returns
        -------
        Combination or None
            None for a present column.
        """
        if self.present[column]:
            return None
        if column in self._projections:
            answer = self._projections[column]
            columns, coefficients = answer.support, answer.coefficients
        else:
            basis = min(self._bases, key=lambda basis: basis.bound[column])
            columns, coefficients = basis.combine(column)
        left = self._points[:, column] - self._points[:, columns] @ coefficients
        return Combination(
            columns=columns,
            coefficients=coefficients,
            missed=float(np.linalg.norm(left)),
            paid=float(self._tilt[columns] @ coefficients),
        )

    def verified(self) -> dict[int, float]:
        """Check every direction again, against all columns at once.

        Returns
        -------
        dict of int to float
            For each present column the ratio of two depths on its own side of its direction: its own, in units of the
            median tilt, and that of the worst other column, in units of that column's tilt and at least one. Others
            need coefficients of that size to represent the column. Negative if the column is on the wrong side.
        """
        columns = list(self.directions)
        price = float(np.median(self._tilt))
        found: dict[int, float] = {}
        for start in range(0, len(columns), _CHECKED_AT_ONCE):
            some = columns[start : start + _CHECKED_AT_ONCE]
            values = -(np.stack([self.directions[column] for column in some]) @ self._points)
            for row, column in zip(values, some, strict=True):
                own = float(row[column])
                row[column] = -np.inf
                found[column] = own / price / max(float((row / self._tilt).max()), 1.0)
        return found


class _Test:
    """The state of one decision: distance, margin and proof of every column, as far as they are known."""

    def __init__(self, points: np.ndarray, tilt: np.ndarray, least: float, rules: SeparationRules) -> None:
        self.points, self.tilt, self.rules = points, tilt, rules
        self.tilted = np.vstack([points, tilt])
        self.tolerance = rules.elimination.slack * tilt
        self.price = float(np.median(tilt))
        self.near = least * self.price
        self.distance = np.full(tilt.size, np.nan)
        self.margin = np.full(tilt.size, np.nan)
        self.directions: dict[int, np.ndarray] = {}
        self.projections: dict[int, Projection] = {}
        self.projected = 0
        #: Upper bounds of the distances.
        self.bound = np.full(tilt.size, np.inf)
        self.helpful = np.zeros(0, dtype=np.int64)

    @property
    def border(self) -> float:
        """Price below which a representation shows its class to be absent: safely less than any present distance."""
        return min((float(self.distance[column]) for column in self.directions), default=0.0) / self.rules.doubtful

    def _record(self, column: int, direction: np.ndarray, margin: float) -> None:
        self.directions[column] = direction
        self.margin[column] = margin
        self.distance[column] = abs(float(direction @ self.points[:, column]))

    def directly(self, column: int, working: np.ndarray) -> None:
        """Project one column onto the cone of all others.

        A representation whose price is below the border bounds the column's distance well enough, as long as no present
        column is found so near that the border falls below it.
        """
        self.projected += 1
        answer = project(
            self.tilted,
            np.append(self.points[:, column], 0.0),
            tolerance=self.tolerance,
            # Columns that represented earlier ones are likely to represent this one as well.
            working=np.union1d(working, self.helpful),
            excluded=column,
            enough=self.price,
            priced=self.border,
        )
        separating, paid = answer.residual[:-1], abs(float(answer.residual[-1]))
        length = float(np.linalg.norm(separating))
        # The solver of an older scipy stops early: an earlier representation may be the nearer one.
        earlier = self.projections.get(column, answer)
        nearer = min(answer, earlier, key=lambda projection: projection.distance)
        if answer.optimal or answer.distance <= self.price:
            self.distance[column] = nearer.distance
            self.margin[column] = length / max(paid, self.price) if answer.optimal else 0.0
            if self.margin[column] > 1.0 and answer.distance > self.near:
                # The residual points from the cone to the class; descent is the other way.
                self._record(column, -separating / length, self.margin[column])
                return
        self.bound[column] = nearer.distance
        self.projections[column] = nearer
        fresh = np.append(answer.support, self.helpful[~np.isin(self.helpful, answer.support)])
        self.helpful = fresh[: _HELPFUL * len(self.points)]

    def by_duals(self, basis: Basis) -> None:
        """Separate the columns of a basis whose own dual is negative on all others."""
        count = basis.columns.size
        lengths = np.linalg.norm(basis.duals, axis=1)
        others = basis.coefficients / (lengths[:, None] * self.tilt)
        others[np.arange(count), basis.columns] = -np.inf
        worst = others.max(axis=1)
        for k in np.flatnonzero(worst < self.rules.elimination.slack):
            margin = 1.0 / max(float(worst[k]), float(lengths[k]) * self.price)
            if margin > 1.0:
                self._record(int(basis.columns[k]), -basis.duals[k] / lengths[k], margin)

    def in_quotient(self, basis: Basis, labels: np.ndarray, frame: np.ndarray) -> None:
        """Separate likely labels by directions that are zero on the other labels.

        Among the rows ``p - onehot(y)``, averaged per label, there is for every label a combination that is zero
        at all other labels and of one sign elsewhere (`label_program`). The space that the other labels leave over
        therefore suffices: one dimension and as many as there are repetitions.
        """
        position = {int(column): k for k, column in enumerate(basis.columns)}
        extra = np.setdiff1d(basis.columns, labels)
        common = frame.T @ self.points
        for column in labels.tolist():
            if column in self.directions:
                continue
            dual = basis.duals[position[column]]
            left = dual - frame @ (frame.T @ dual)
            left /= np.linalg.norm(left)
            reduced = np.vstack([common, left @ self.points, self.tilt])
            answer = project(
                reduced,
                np.append(reduced[:-1, column], 0.0),
                tolerance=self.tolerance,
                working=extra,
                excluded=column,
                enough=self.near,
            )
            paid = abs(float(answer.residual[-1]))
            length = float(np.linalg.norm(answer.residual[:-1]))
            margin = length / max(paid, self.price) if answer.optimal else 0.0
            if margin > self.rules.doubtful:  # a safe yes; any other answer is looked at in the whole space
                direction = frame @ answer.residual[:-2] + answer.residual[-2] * left
                self._record(column, -direction / np.linalg.norm(direction), margin)


def largest_deviation(level: float, *, columns: int, coordinates: int, degrees: int) -> float:
    """Return the norm of noise that none of several columns exceeds, but with a given probability.

    In no direction can a column be further off than by the norm of its noise. The mean square of independent normal
    noise over its coordinates, relative to that over the degrees of freedom it was measured by, follows the F law.

    Parameters
    ----------
    level : float
        Probability that any column exceeds it (Bonferroni).
    columns : int
        Number of columns C'.
    coordinates : int
        Number of coordinates r.
    degrees : int
        Degrees of freedom of the measured noise.

    Returns
    -------
    float
        In measured standard deviations of one coordinate.

    Examples
    --------
    >>> round(largest_deviation(1e-3, columns=1000, coordinates=10, degrees=1000), 1)
    6.9
    """
    return float(np.sqrt(coordinates * scipy.stats.f.isf(level / columns, coordinates, degrees)))


def _propose(points: np.ndarray, leading: int, balance: np.ndarray, test: _Test) -> list[Basis]:
    """Find bases that contain the labels, and separate as many of these as possible with them."""
    count = points.shape[1]
    found: list[Extreme] = []
    bases: list[Basis] = []
    rng = np.random.default_rng(0)
    weights, common = np.ones(count), np.arange(count)
    for draw in range(_MOST_DRAWS):
        extreme = extreme_columns(points[:leading], weights, begin=found[-1].working if found else None)
        basis = None if extreme is None else examine(test.tilted, extreme.support, test.rules.elimination)
        if extreme is None or basis is None:
            break
        found.append(extreme)
        bases = [basis]
        test.by_duals(basis)
        if len(test.directions) == basis.columns.size:
            break  # no label is repeated: the basis is the labels, and nothing is left to find
        # The first target was pulled away from labels that it did not know; the columns it found are left out next.
        weights = np.exp(_SPREAD * rng.standard_normal(count))
        weights[found[0].support] = 0.0
        if draw:
            agreed = np.intersect1d(common, extreme.support)
            if agreed.size == common.size:
                break
            common = agreed
    if not bases:
        _, _, pivots = scipy.linalg.qr(points, mode="economic", pivoting=True, check_finite=False)
        basis = examine(test.tilted, pivots[: points.shape[0]], test.rules.elimination)
        if basis is None:
            return []
        test.by_duals(basis)
        return [close_sparsely(basis, test.tilted, basis.columns)]
    (basis,) = bases
    if len(test.directions) < basis.columns.size:
        repeated = np.flatnonzero(~np.isin(basis.columns, common))
        if repeated.size:
            frame = scipy.linalg.qr(basis.duals[repeated].T, mode="economic", check_finite=False)[0]
            test.in_quotient(basis, np.intersect1d(common, basis.columns), frame)
            basis = replace_repeated(basis, test.tilted, repeated, frame)
    for others in (balance, np.ones(count)):
        basis = close(basis, test.tilted, others)
    # Noise that adds up over all columns spoils those two; a closing of few columns takes a projection.
    if np.count_nonzero(basis.bound > max(test.border, test.near)) > basis.columns.size + _FEW:
        basis = close_sparsely(basis, test.tilted, basis.columns)
    return [basis]


def separate(
    points: np.ndarray,
    noise: np.ndarray,
    *,
    deviations: float,
    least: float = 1.0,
    rules: SeparationRules | None = None,
    leading: int | None = None,
    balance: np.ndarray | None = None,
    most_tests: int | None = None,
) -> Separation:
    """Decide for every column whether it can be separated from all others.

    Parameters
    ----------
    points : ndarray of shape (r, C')
        Columns of about unit length.
    noise : ndarray of shape (C',)
        Standard deviation per coordinate of the noise in each.
    deviations : float
        Standard deviations that a column may be off by: its tilt.
    least : float, default 1.0
        Distance from the cone of the others below which no class is called present, in units of the median tilt.
    rules : SeparationRules, optional
        The deciding numbers.
    leading : int, optional
        Number of leading coordinates that are certainly signal; candidates are looked for in these.
    balance : ndarray of shape (C',), optional
        Positive weights under which the columns sum to zero, up to noise; by default all the same.
    most_tests : int, optional
        Stop after about this many single-column tests. Columns are tested in the order of their upper bound, most
        promising first; columns that were not tested are reported absent. Use it when only directions are needed.

    Returns
    -------
    Separation
        The decisions and their evidence.

    Raises
    ------
    NotApplicable
        If a column is not finite.
    """
    count = points.shape[1]
    if not (np.isfinite(points).all() and np.isfinite(noise).all()):
        raise NotApplicable("the columns differ in size by more than double precision can compare")
    rules = rules or SeparationRules()
    test = _Test(points, np.maximum(deviations * noise, _ROUNDING), least, rules)
    bases: list[Basis] = []
    working = np.arange(count)
    if count > _TEST_ALL_BELOW:
        bases = _propose(points, leading or points.shape[0], np.ones(count) if balance is None else balance, test)
        for basis in bases:
            test.bound, working = basis.bound.copy(), basis.columns
    while True:
        waiting = np.flatnonzero(np.isnan(test.distance) & (test.bound > max(test.border, test.near)))
        if waiting.size == 0 or (most_tests is not None and test.projected >= most_tests):
            break
        # Columns without any bound, the bases, come first: their answers set the border for the rest.
        unbounded = np.count_nonzero(np.isinf(test.bound[waiting]))
        for column in waiting[np.argsort(test.bound[waiting])[::-1][: unbounded or _CHUNK]]:
            test.directly(int(column), working)
    present = np.zeros(count, dtype=bool)
    present[list(test.directions)] = True
    close = (test.margin < rules.doubtful) & (test.margin > 1.0 / rules.doubtful)
    return Separation(
        present=present,
        margin=test.margin,
        directions=test.directions,
        doubtful=np.flatnonzero(close),
        tested=test.projected,
        weakest=min((test.distance[column] for column in test.directions), default=rules.doubtful * test.near),
        _points=points,
        _tilt=test.tilt,
        _projections=test.projections,
        _bases=tuple(bases),
    )
