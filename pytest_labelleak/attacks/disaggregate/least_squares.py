"""Least squares by the method of Levenberg and Marquardt, for residuals whose Jacobian J is never formed.

A residual r is known by three products: its squared sum ``r . r``, the gradient ``J^T r`` and the Gram matrix
``J^T J``. A step d solves ``(J^T J + damping diag(J^T J)) d = J^T r``. A step that makes the squares smaller is taken,
and the damping falls by ten; otherwise the damping rises by ten.

The Gram matrix is the expensive one of the three. So its factor may serve again while steps with it, and with the
gradient at the new point, go on making the squares much smaller: from a good start one factor is often enough.

References
----------
.. [1] D. W. Marquardt, "An Algorithm for Least-Squares Estimation of Nonlinear Parameters", J. SIAM 11 (1963)
   431-441. https://doi.org/10.1137/0111030
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
import scipy.linalg

__all__ = ["Residual", "Solution", "Stop", "minimise"]

# The damping says how far the first step goes, not where the last one ends; within these bounds it adapts by itself.
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-12, 1e6
_DAMPING_STEP = 10.0
# Below this share of its trace an entry of the Gram matrix's diagonal is rounding.
_ROUNDING = 1e-13
# A Jacobian that leaves more than this share of the squares is the last. Near a root every Jacobian leaves a hundredth
# or less, so that this bounds work in vain.
_CONVERGED = 0.999

State = TypeVar("State")


class Residual(Protocol[State]):
    """A residual r(x) of m entries, as products with its Jacobian J."""

    def at(self, point: np.ndarray) -> State:
        """Evaluate at a point of shape (n,); the state holds all that the other methods need."""

    def squares(self, state: State) -> float:
        """Return ``r . r``."""

    def gradient(self, state: State) -> np.ndarray:
        """Return ``J^T r``, shape (n,)."""

    def gram(self, state: State) -> np.ndarray:
        """Return ``J^T J``, shape (n, n)."""


class Stop(enum.Enum):
    """Why the iteration ended.

    Attributes
    ----------
    ZERO
        The squares are zero.
    CONVERGED
        A new Jacobian took less than a thousandth off the squares.
    STUCK
        No step makes the squares smaller, however short.
    EXHAUSTED
        All Jacobians that were allowed are used up.
    NOT_FINITE
        The squares are NaN or infinite at the start.
    """

    ZERO = "zero"
    CONVERGED = "converged"
    STUCK = "stuck"
    EXHAUSTED = "exhausted"
    NOT_FINITE = "not finite"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution(Generic[State]):
    """The end of an iteration.

    Attributes
    ----------
    point : ndarray of shape (n,)
        The point x.
    state : State
        The residual's own state there.
    squares : float
        ``r . r``; infinite if it was not finite at the start.
    stop : Stop
        Why the iteration ended.
    jacobians : int
        Number of Gram matrices that were computed.
    """

    point: np.ndarray = field(repr=False)
    state: State = field(repr=False)
    squares: float
    stop: Stop
    jacobians: int


def minimise(
    residual: Residual[State], start: np.ndarray, *, most_jacobians: int, reuse: float = 0.0
) -> Solution[State]:
    """Minimise the squares of a residual.

    Parameters
    ----------
    residual : Residual
        Products with its Jacobian.
    start : ndarray of shape (n,)
        First point.
    most_jacobians : int
        Largest number of Gram matrices.
    reuse : float, default 0.0
        A factor is used again after a step that left less than this share of the squares.

    Returns
    -------
    Solution
        The best point found, and the reason for ending there.
    """
    point, state = start, residual.at(start)
    squares = residual.squares(state)
    if not np.isfinite(squares):
        return Solution(point=point, state=state, squares=np.inf, stop=Stop.NOT_FINITE, jacobians=0)
    damping = _FIRST_DAMPING
    for jacobians in range(1, most_jacobians + 1):
        before = squares
        gram, gradient = residual.gram(state), residual.gradient(state)
        while damping <= _MOST_DAMPING:
            factor = _factor(gram, damping)
            if factor is not None:
                trial = point - scipy.linalg.cho_solve(factor, gradient, check_finite=False)
                reached = residual.at(trial)
                left = residual.squares(reached)
                if left < squares:
                    break
            damping = max(_DAMPING_STEP * damping, _LEAST_DAMPING)
        else:
            return Solution(point=point, state=state, squares=squares, stop=Stop.STUCK, jacobians=jacobians)
        damping = damping / _DAMPING_STEP if damping > _LEAST_DAMPING / _DAMPING_STEP else 0.0
        # While the old factor helps that much, only the gradient is taken anew.
        while left < squares:
            helped = left < reuse * squares
            point, state, squares = trial, reached, left
            if not helped:
                break
            trial = point - scipy.linalg.cho_solve(factor, residual.gradient(state), check_finite=False)
            reached = residual.at(trial)
            left = residual.squares(reached)
        if squares == 0.0 or squares > _CONVERGED * before:
            stop = Stop.ZERO if squares == 0.0 else Stop.CONVERGED
            return Solution(point=point, state=state, squares=squares, stop=stop, jacobians=jacobians)
    return Solution(point=point, state=state, squares=squares, stop=Stop.EXHAUSTED, jacobians=most_jacobians)


def _factor(gram: np.ndarray, damping: float) -> tuple[np.ndarray, bool] | None:
    """Factor the damped Gram matrix, or return None where rounding made it indefinite."""
    diagonal = np.diag(gram)
    damped = gram + np.diag(damping * np.maximum(diagonal, _ROUNDING * diagonal.sum()))
    try:
        factor: tuple[np.ndarray, bool] = scipy.linalg.cho_factor(damped, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    return factor
