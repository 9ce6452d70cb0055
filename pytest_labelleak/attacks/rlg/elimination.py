"""All other classes at once: combinations of a basis that contains the label columns.

Let B be independent columns that hold the labels (`label_program`), and ``x_j = sum_b T_bj x_b`` every column in that
basis. Three facts follow without a test of any single class:

* Row b of T holds the values of the b-th dual vector on every column: one on its own, zero on the rest of the basis.
  If the row is negative everywhere else, the class is separated, and the dual is its direction.
* Class j is absent if x_j is a *non-negative* combination of others. A **closing**, weights
  under which all columns sum to zero, turns any combination into such a one: added often enough, it lifts the
  negative coefficients. The gradient's own columns are a closing, since softmax errors sum to zero.
* Where labels repeat, the basis has other columns E beside the labels, for which closings are expensive. In the
  quotient by the label columns, of dimension |E|, both ``x_e`` and ``-x_e`` are non-negative combinations,
  found by small projections, and replace x_e wherever its coefficient is negative.

The price of a combination is the noise of the columns, amplified by its coefficients. The price bounds the column's
distance from the cone of the others (`separation`).

Examples
--------
Two samples and four classes: outputs (.4, .2, .2, .2) with label 0, outputs (.1, .5, .2, .2) with label 1. The errors
``p - onehot(y)`` are the rows of the array below, and its columns are the points x_0 to x_3.

>>> import numpy as np
>>> points = np.array([[-0.6, 0.2, 0.2, 0.2],
...                    [0.1, -0.5, 0.2, 0.2]])
>>> tilted = np.vstack([points, np.full(4, 1e-6)])  # and a tilt for every column
>>> basis = examine(tilted, np.array([0, 1]))
>>> basis.coefficients.round(6)
array([[ 1. ,  0. , -0.5, -0.5],
       [ 0. ,  1. , -0.5, -0.5]])

Each row is one on its own label and negative on all columns outside the basis: both labels are separated. Class 2
is absent. Its combination ``x_2 = -.5 x_0 - .5 x_1`` is negative, but all four columns sum to zero, and half of that
closing gives ``x_2 = .5 x_2 + .5 x_3``. Half of x_2 goes to the other side, and x_2 is one times x_3:

>>> closed = close(basis, tilted, np.ones(4))
>>> others, coefficients = closed.combine(2)
>>> others.tolist(), coefficients.round(6).tolist()
([3], [1.0])

Its price is the tilt of all terms before that division, and there is no such bound for the labels:

>>> closed.bound.round(8).tolist()
[inf, inf, 2e-06, 2e-06]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.linalg

from .cone_projection import Projection, project

__all__ = ["Basis", "EliminationRules", "close", "close_sparsely", "examine", "replace_repeated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EliminationRules:
    """Deciding numbers of the elimination.

    Attributes
    ----------
    slack : float
        Share of its own tilt that a column may be on the wrong side of a direction and still count as on the right one.
    own_share : float
        Smallest share that others must have in a combination of a column. A combination of nearly the column itself
        shows nothing.
    condition : float
        Largest condition of a basis' triangular factor. A basis beyond it shows nothing about the other columns.
    """

    slack: float = field(default=0.1, metadata={"plateau": (0.00625, 0.4)})
    own_share: float = field(default=0.01, metadata={"plateau": (0.000625, 0.16)})
    condition: float = field(default=1e10, metadata={"plateau": (625000000.0, 160000000000.0)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Closing:
    """Non-negative weights under which a basis and other columns sum to zero.

    Attributes
    ----------
    basis : ndarray of shape (k,)
        Weights of the basis, positive where it is to be lifted.
    others : ndarray of shape (C',)
        Weights of all other columns.
    missed : float
        Norm of the sum.
    paid : float
        Tilt of all columns with their weights.
    """

    basis: np.ndarray = field(repr=False)
    others: np.ndarray = field(repr=False)
    missed: float
    paid: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Replacements:
    """Non-negative combinations, up to label columns, of the repeated part E of a basis.

    Attributes
    ----------
    positions : ndarray of int, shape (m,)
        Places of the columns E in the basis.
    opposite : tuple of Projection
        For ``-x_e``.
    own : tuple of Projection
        For ``x_e``, without itself.
    labels : ndarray of shape (k, m)
        Coefficients on the basis, of any sign, that complete `opposite`.
    own_labels : ndarray of shape (k, m)
        The same for `own`.
    missed, own_missed : ndarray of shape (m,)
        Norm of their remainder.
    paid, own_paid : ndarray of shape (m,)
        Tilt of their columns.
    """

    positions: np.ndarray = field(repr=False)
    opposite: tuple[Projection, ...] = field(repr=False)
    own: tuple[Projection, ...] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    own_labels: np.ndarray = field(repr=False)
    missed: np.ndarray = field(repr=False)
    own_missed: np.ndarray = field(repr=False)
    paid: np.ndarray = field(repr=False)
    own_paid: np.ndarray = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """Independent columns, and every column represented by them.

    Attributes
    ----------
    columns : ndarray of int, shape (k,)
        The basis.
    duals : ndarray of shape (k, r)
        Row i is one on the i-th column of the basis and zero on its others.
    coefficients : ndarray of shape (k, C')
        Every column as a combination of the basis.
    outside : ndarray of shape (C',)
        Norm of the remainder of these combinations.
    bound : ndarray of shape (C',)
        Upper bounds of the distances from the cones of the others; infinite where there is none.
    rules : EliminationRules
        The deciding numbers.
    """

    columns: np.ndarray = field(repr=False)
    duals: np.ndarray = field(repr=False)
    coefficients: np.ndarray = field(repr=False)
    outside: np.ndarray = field(repr=False)
    bound: np.ndarray = field(repr=False)
    rules: EliminationRules
    _best: np.ndarray = field(repr=False)
    _closings: tuple[_Closing, ...] = field(default=(), repr=False)
    _replacements: _Replacements | None = field(default=None, repr=False)

    def combine(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the non-negative combination of others that has the price `bound`.

        Parameters
        ----------
        column : int
            A column with a finite bound.

        Returns
        -------
        columns : ndarray of int, shape (m,)
            The others.
        coefficients : ndarray of shape (m,)
            Positive.
        """
        closing = self._closings[self._best[column]]
        total = np.zeros(self.bound.size)
        lifted = self.coefficients[:, column].copy()
        swap = self._replacements
        if swap is not None:
            inside = np.flatnonzero(self.columns[swap.positions] == column)
            if inside.size:
                index = int(inside[0])
                lifted = swap.own_labels[:, index].copy()
                total[swap.own[index].support] += swap.own[index].coefficients
            else:
                negative = np.maximum(-lifted[swap.positions], 0.0)
                lifted[swap.positions] += negative
                lifted += swap.labels @ negative
                for index in np.flatnonzero(negative).tolist():
                    opposite = swap.opposite[index]
                    total[opposite.support] += negative[index] * opposite.coefficients
        times = _times(lifted[:, None], closing.basis)[0]
        total += times * closing.others
        total[self.columns] += lifted + times * closing.basis
        rest = 1.0 - total[column]
        total[column] = 0.0
        # Rounding leaves some coefficients that should be zero below it.
        total = np.maximum(total, 0.0) / rest
        used = np.flatnonzero(total)
        return used, total[used]


def examine(tilted: np.ndarray, chosen: np.ndarray, rules: EliminationRules | None = None) -> Basis | None:
    """Represent all columns by a basis.

    Parameters
    ----------
    tilted : ndarray of shape (r + 1, C')
        Columns, and their tilt as the last row.
    chosen : ndarray of int, shape (k,)
        Independent columns, k <= r.
    rules : EliminationRules, optional
        The deciding numbers.

    Returns
    -------
    Basis or None
        Without any bound yet; None if the columns are not independent.
    """
    rules = rules or EliminationRules()
    points = tilted[:-1]
    count = points.shape[1]
    orthogonal, triangle = scipy.linalg.qr(points[:, chosen], mode="economic", check_finite=False)
    diagonal = np.abs(np.diag(triangle))
    if diagonal.min() * rules.condition < diagonal.max():
        return None
    duals = scipy.linalg.solve_triangular(triangle, orthogonal.T, check_finite=False)
    coefficients = duals @ points
    coefficients[:, chosen] = np.eye(chosen.size)
    return Basis(
        columns=chosen,
        duals=duals,
        coefficients=coefficients,
        outside=np.linalg.norm(points - points[:, chosen] @ coefficients, axis=0),
        bound=np.full(count, np.inf),
        rules=rules,
        _best=np.zeros(count, dtype=np.int64),
    )


def replace_repeated(basis: Basis, tilted: np.ndarray, positions: np.ndarray, frame: np.ndarray) -> Basis:
    """Find non-negative combinations for the columns of a basis that are no labels, and for their opposites.

    Parameters
    ----------
    basis : Basis
        Without bounds yet.
    tilted : ndarray of shape (r + 1, C')
        Columns, and their tilt.
    positions : ndarray of int, shape (m,)
        Places of those columns in the basis.
    frame : ndarray of shape (r, m)
        Orthonormal basis of the space orthogonal to the rest of the basis, within its span.

    Returns
    -------
    Basis
        With replacements.
    """
    points, tilt = tilted[:-1], tilted[-1]
    quotient = np.vstack([frame.T @ points, tilt])
    extra = basis.columns[positions]
    found: dict[float, list[Projection]] = {1.0: [], -1.0: []}
    completed: dict[float, list[np.ndarray]] = {1.0: [], -1.0: []}
    missed: dict[float, list[float]] = {1.0: [], -1.0: []}
    for sign in (1.0, -1.0):
        for column in extra:
            target = np.append(sign * quotient[:-1, column], 0.0)
            answer = project(quotient, target, tolerance=basis.rules.slack * tilt, working=extra, excluded=int(column))
            left = sign * points[:, column] - points[:, answer.support] @ answer.coefficients
            labels = basis.duals @ left
            labels[positions] = 0.0
            found[sign].append(answer)
            completed[sign].append(labels)
            missed[sign].append(float(np.linalg.norm(left - points[:, basis.columns] @ labels)))

    def paid(answers: list[Projection]) -> np.ndarray:
        return np.array([float(tilt[answer.support] @ answer.coefficients) for answer in answers])

    return replace(
        basis,
        _replacements=_Replacements(
            positions=positions,
            opposite=tuple(found[-1.0]),
            own=tuple(found[1.0]),
            labels=np.column_stack(completed[-1.0]),
            own_labels=np.column_stack(completed[1.0]),
            missed=np.array(missed[-1.0]),
            own_missed=np.array(missed[1.0]),
            paid=paid(found[-1.0]),
            own_paid=paid(found[1.0]),
        ),
    )


def close(basis: Basis, tilted: np.ndarray, others: np.ndarray) -> Basis:
    """Use weights of the other columns as a closing, together with the weights that the basis must have then.

    Parameters
    ----------
    basis : Basis
        The basis.
    tilted : ndarray of shape (r + 1, C')
        Columns, and their tilt.
    others : ndarray of shape (C',)
        Positive weights; those of the basis itself are ignored.

    Returns
    -------
    Basis
        With lower bounds, unless the basis needed a negative weight.
    """
    others = others.copy()
    others[basis.columns] = 0.0
    weights = -(basis.coefficients @ others)
    swap = basis._replacements
    if swap is not None:
        negative = np.maximum(-weights[swap.positions], 0.0)
        weights[swap.positions] += negative
        weights += swap.labels @ negative
        for index in np.flatnonzero(negative):
            others[swap.opposite[index].support] += negative[index] * swap.opposite[index].coefficients
    return _with_closing(basis, tilted, weights, others)


def close_sparsely(basis: Basis, tilted: np.ndarray, working: np.ndarray) -> Basis:
    """Close the plain sum of a basis by few columns, as exactly as possible.

    Parameters
    ----------
    basis : Basis
        The basis.
    tilted : ndarray of shape (r + 1, C')
        Columns, and their tilt.
    working : ndarray of int
        Columns to begin with.

    Returns
    -------
    Basis
        With lower bounds.
    """
    tilt = tilted[-1]
    target = np.append(-tilted[:-1, basis.columns].sum(axis=1), 0.0)
    scale = float(np.linalg.norm(target)) or 1.0
    nearest = project(tilted, target / scale, tolerance=basis.rules.slack * tilt, working=working)
    others = np.zeros(tilt.size)
    others[nearest.support] = scale * nearest.coefficients
    return _with_closing(basis, tilted, np.ones(basis.columns.size), others)


def _times(coefficients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how often a closing must be added to lift every negative coefficient of a column, shape (C',)."""
    needed = np.maximum(-coefficients, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(needed > 0.0, needed / weights[:, None], 0.0)
    times: np.ndarray = ratio.max(axis=0)
    return times


def _with_closing(basis: Basis, tilted: np.ndarray, weights: np.ndarray, others: np.ndarray) -> Basis:
    points, tilt = tilted[:-1], tilted[-1]
    chosen, swap = basis.columns, basis._replacements
    lifting = np.ones(chosen.size, dtype=bool)
    if swap is not None:
        lifting[swap.positions] = False
    if np.any(weights < 0.0) or np.any(weights[lifting] == 0.0):
        return basis
    closing = _Closing(
        basis=weights,
        others=others,
        missed=float(np.linalg.norm(points[:, chosen] @ weights + points @ others)),
        paid=float(tilt[chosen] @ weights + tilt @ others),
    )
    lifted, missed, paid, own = basis.coefficients, basis.outside, np.zeros(tilt.size), np.zeros(tilt.size)
    if swap is not None:
        lifted = lifted.copy()
        negative = np.maximum(-lifted[swap.positions], 0.0)
        lifted[swap.positions] += negative
        lifted += swap.labels @ negative
        missed = missed + swap.missed @ negative
        paid = swap.paid @ negative
        for index, opposite in enumerate(swap.opposite):
            own[opposite.support] += negative[index, opposite.support] * opposite.coefficients
        extra = chosen[swap.positions]
        lifted[:, extra] = swap.own_labels
        missed[extra], paid[extra], own[extra] = swap.own_missed, swap.own_paid, 0.0
    # A closing or a replacement may bring in the column itself: that share goes to the other side.
    times = _times(lifted, weights)
    if swap is not None:
        own[extra] = times[extra] * weights[swap.positions]
    rest = 1.0 - own - times * others
    price = np.hypot(paid + tilt[chosen] @ lifted + times * closing.paid, missed + times * closing.missed)
    least = basis.rules.own_share
    price = np.where(rest > least, price / np.maximum(rest, least), np.inf)
    price[chosen[lifting]] = np.inf
    better = price < basis.bound
    return replace(
        basis,
        bound=np.where(better, price, basis.bound),
        _best=np.where(better, len(basis._closings), basis._best),
        _closings=(*basis._closings, closing),
    )
