"""Distance from a cone with far more columns than rows: non-negative least squares by column generation.

scipy's solver never sees all columns. The solver gets a working set; its answer prices the rest by one matrix
product; and the worst violators join the set until none is left.

References
----------
.. [1] C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", SIAM, 1995, chapter 23.
   https://doi.org/10.1137/1.9781611971217
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

__all__ = ["Projection", "project"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """The point of a cone nearest to a target.

    Attributes
    ----------
    support : ndarray of int
        Columns with a positive coefficient.
    coefficients : ndarray
        Their coefficients.
    residual : ndarray of shape (m,)
        Target minus nearest point.
    distance : float
        Norm of the residual, computed from the coefficients and therefore always an upper bound.
    optimal : bool
        No column has a positive product with the residual, beyond tolerance: the distance is exact.
    """

    support: np.ndarray = field(repr=False)
    coefficients: np.ndarray = field(repr=False)
    residual: np.ndarray = field(repr=False)
    distance: float
    optimal: bool


def project(
    matrix: np.ndarray,
    target: np.ndarray,
    *,
    tolerance: np.ndarray,
    working: np.ndarray,
    excluded: int | None = None,
    enough: float = 0.0,
    priced: float = 0.0,
) -> Projection:
    """Project `target` onto the cone spanned by the columns of `matrix`.

    Parameters
    ----------
    matrix : ndarray of shape (m, n)
        Columns; usually n is far larger than m.
    target : ndarray of shape (m,)
        The point.
    tolerance : ndarray of shape (n,)
        A column counts as a violator only if its product with the residual exceeds this times the
        residual's norm.
    working : ndarray of int
        Columns to begin with.
    excluded : int, optional
        A column that must not be used.
    enough : float, default 0.0
        Stop once the distance is at most this.
    priced : float, default 0.0
        Stop, too, once the distance is at most this and its greater part is in the last row.

    Returns
    -------
    Projection
        The nearest point, up to the tolerance.
    """
    rows, columns = matrix.shape
    barred = np.zeros(columns, dtype=bool)
    if excluded is not None:
        barred[excluded] = True
    members = np.unique(working[~barred[working]])
    coefficients = np.zeros(0)
    residual = target
    optimal = False
    while True:
        if members.size:
            coefficients = _solve(matrix[:, members], target)
            residual = target - matrix[:, members] @ coefficients
        distance = float(np.linalg.norm(residual))
        if distance <= enough or (distance <= priced and 2.0 * residual[-1] ** 2 >= distance**2):
            break
        barred[members] = True
        prices = residual @ matrix - tolerance * distance
        prices[barred] = -np.inf
        violators = np.flatnonzero(prices > 0.0)
        if violators.size == 0:
            optimal = True
            break
        most = max(rows, 16)
        if violators.size > most:  # a full sort of fifty thousand prices takes longer than everything else here
            violators = violators[np.argpartition(prices[violators], -most)[-most:]]
        members = np.union1d(members, violators)
    used = coefficients > 0
    return Projection(
        support=members[used],
        coefficients=coefficients[used],
        residual=residual,
        distance=distance,
        optimal=optimal,
    )


def _solve(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    iterations = 10 * sum(matrix.shape)
    while True:
        try:
            solution: np.ndarray = nnls(matrix, target, maxiter=iterations)[0]
        except RuntimeError:  # not yet converged: degenerate sets can take many exchanges
            if iterations > 10_000 * sum(matrix.shape):
                raise
            iterations *= 10
        else:
            return solution
