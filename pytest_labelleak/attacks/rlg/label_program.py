"""All labels from one linear program: the columns that every other column is a negative combination of.

Let the samples carry distinct labels L. With ``P_L`` their softmax outputs at these labels, the error rows
restricted to L are ``P_L - I``, and ``(I - P_L)^{-1}`` is non-negative: I - P_L is a non-singular M-matrix,
since its rows sum to the probability of all other classes. So every column outside L is a combination of
the label columns with *non-positive* coefficients, and for a target

    t = - sum_{j not in L} w_j x_j,  w > 0,

the linear program "minimise sum(u) subject to X u = t, u >= 0" has one solution, and its support is L: any other
column in it could be bought cheaper, because using it only raises the labels' cost. The published
procedure solves one program per class; this is one for all of them, with S rows. Most columns
never enter it: the program starts from a few and takes in those that its prices ask for.

Where labels repeat, S columns are needed and there are fewer labels: the support is the labels and a few
others, and these others change with the weights w. The labels are the columns that several programs with different
weights agree on.

The program only *proposes* columns. Whether a class is present is decided by its certificate (`separation`), so that
none of the numbers below decides an answer.

References
----------
.. [1] A. Berman, R. J. Plemmons, "Nonnegative Matrices in the Mathematical Sciences", SIAM, 1994, chapter 6
   (M-matrices). https://doi.org/10.1137/1.9781611971262
.. [2] G. B. Dantzig, P. Wolfe, "Decomposition Principle for Linear Programs", Operations Research 8 (1960)
   101-111 (column generation). https://doi.org/10.1287/opre.8.1.101
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog

__all__ = ["Extreme", "extreme_columns"]

# Cost of a unit of the target that no column meets: any real column is cheaper.
_ARTIFICIAL_COST = 1e4
# The solver's own feasibility tolerance, and the excess over one that a price must have to be above one for certain.
_SOLVER_TOLERANCE = 1e-10
_PRICE_TOLERANCE = 1e-7
# Columns that enter per round, and the working set to begin with, as multiples of the number of rows.
_BEGIN = 3
_ENTER = 2
# Rounds of column generation: five to ten are usual; a degenerate program is given up.
_MOST_ROUNDS = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extreme:
    """The support of one program.

    Attributes
    ----------
    support : ndarray of int
        At most r independent columns, all labels among them.
    working : ndarray of int
        All columns that entered: where the next program may begin.
    """

    support: np.ndarray = field(repr=False)
    working: np.ndarray = field(repr=False)


def extreme_columns(points: np.ndarray, weights: np.ndarray, *, begin: np.ndarray | None = None) -> Extreme | None:
    """Solve the linear program above by column generation.

    Parameters
    ----------
    points : ndarray of shape (r, C)
        Columns of about unit length that positively span the space.
    weights : ndarray of shape (C,)
        The weights w, not negative. A label has one too as long as nobody knows that it is one, and pulls the
        target towards itself by that much.
    begin : ndarray of int, optional
        Columns to begin with, beside those that look most promising.

    Returns
    -------
    Extreme or None
        None if the program could not be solved: the columns do not positively span the space, or only
        up to noise.
    """
    rows = points.shape[0]
    target = -(points @ weights)
    length = float(np.linalg.norm(target))
    if length == 0.0:
        return None
    target /= length
    working = np.argsort(-(target @ points), kind="stable")[: _BEGIN * rows]
    if begin is not None:
        working = np.union1d(working, begin)
    for _ in range(_MOST_ROUNDS):
        answer = linprog(
            np.append(np.ones(working.size), _ARTIFICIAL_COST),
            A_eq=np.hstack([points[:, working], target[:, None]]),
            b_eq=target,
            bounds=(0, None),
            method="highs-ds",
            options={
                "presolve": False,
                "primal_feasibility_tolerance": _SOLVER_TOLERANCE,
                "dual_feasibility_tolerance": _SOLVER_TOLERANCE,
            },
        )
        if answer.status != 0:
            return None
        prices = answer.eqlin.marginals @ points
        prices[working] = -np.inf
        asked = np.flatnonzero(prices > 1.0 + _PRICE_TOLERANCE)
        if asked.size == 0:
            used = answer.x[:-1] > _SOLVER_TOLERANCE * max(float(answer.x[:-1].max(initial=0.0)), 1.0)
            if answer.x[-1] > _SOLVER_TOLERANCE or not used.any():
                return None
            return Extreme(support=working[used], working=working)
        working = np.union1d(working, asked[np.argsort(-prices[asked], kind="stable")[: _ENTER * rows]])
    return None
