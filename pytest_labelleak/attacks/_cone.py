"""Which classes are present: linear separation from all other classes, decided on a tilted cone.

Let the columns x_j (one per class, unit length) be the gradient's columns in an orthonormal basis of its
column space (see _subspace). Every label position contributes a row ``p - onehot(y)`` that is negative at
its label alone, so for a present class c there is a direction a with ``a.x_c < 0 <= a.x_j`` for all j != c.
That is: x_c lies outside the cone of the other columns. For an absent class it lies inside, because the
columns, suitably weighted, sum to zero.

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
represents x_c up to what noise explains: absent, and the combination is the proof. The ratio ``|a| / s`` is
reported as the margin; it is thousands on one side and thousandths on the other, and does not depend on
any scale.

**Elimination.** Testing C classes is not needed. Take r independent columns B (pivoted QR; label columns are the
largest, so they are chosen first) and write ``-sum(B)`` as a non-negative combination of columns. Together they
give coefficients of every other class by one matrix product, and with them an upper bound of its distance.
The dual vectors of B are directions to try: many separate their own column from all others at once. Only the
few classes about which neither says anything are tested one by one.

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

from ._nnls import project

__all__ = ["DEVIATIONS", "Separation", "separate"]

#: Standard deviations of noise that a column may be off by.
DEVIATIONS = 10.0
# A class represented at this many times the usual price of one column is not pursued further.
_CHEAP = 10.0
_TEST_ALL_BELOW = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Separation:
    """The decision for every column.

    Attributes
    ----------
    present : ndarray of bool, shape (C',)
        Whether the column is outside the cone of the others.
    margin : ndarray of shape (C',)
        Ratio of separation to noise for every column tested; NaN for those eliminated together.
    directions : dict of int to ndarray of shape (r,)
        For present columns: unit direction a, negative on this column alone.
    tested : int
        Number of columns that needed a test of their own.
    """

    present: np.ndarray = field(repr=False)
    margin: np.ndarray = field(repr=False)
    directions: dict[int, np.ndarray] = field(repr=False)
    tested: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Basis:
    """What one set of independent columns says about all classes at once.

    Attributes
    ----------
    columns : ndarray of int
        The basis and the columns that close it.
    bound : ndarray of shape (C',)
        Upper bounds of the distances; infinite where there is none.
    margin : dict of int to float
        For columns that the basis' dual vectors separate outright: by how much.
    directions : dict of int to ndarray of shape (r,)
        Those dual vectors, of unit length, negative on their column alone.
    """

    columns: np.ndarray
    bound: np.ndarray
    margin: dict[int, float]
    directions: dict[int, np.ndarray]


def _examine_basis(tilted: np.ndarray, tolerance: np.ndarray) -> _Basis:
    """Choose a basis and bound or separate as many columns with it as possible."""
    points, tilt = tilted[:-1], tilted[-1]
    rank = points.shape[0]
    _, _, pivots = scipy.linalg.qr(points, mode="economic", pivoting=True, check_finite=False)
    chosen = pivots[:rank]
    block = points[:, chosen]
    target = np.append(-block.sum(axis=1), 0.0)
    scale = float(np.linalg.norm(target)) or 1.0
    closing = project(tilted, target / scale, tolerance=tolerance, working=pivots[: 4 * rank])
    coefficients = np.linalg.lstsq(block, points, rcond=None)[0]

    # The chosen columns plus the closing combination are zero, up to the closing residual. As many times as
    # the most negative coefficient asks for, they may be added to make all coefficients non-negative.
    times = np.maximum(-coefficients, 0.0).max(axis=0)
    once = float(tilt[chosen].sum() + scale * closing.coefficients @ tilt[closing.support])
    paid = tilt[chosen] @ coefficients + times * once
    missed = times * scale * float(np.linalg.norm(closing.residual[:-1]))
    missed += np.linalg.norm(points - block @ coefficients, axis=0)
    bound = np.hypot(paid, missed)
    # A closing column is in its own combination that often: bring that share to the other side.
    own = np.zeros(points.shape[1])
    own[closing.support] = scale * closing.coefficients
    rest = 1.0 - times * own
    bound = np.where(rest > 0.01, bound / np.maximum(rest, 0.01), np.inf)
    bound[chosen] = np.inf

    # Row k of the coefficients is what the k-th dual vector gives on every column: one on its own. Where it is
    # negative on all others, or positive by less than a tenth of their tilt, the class is separated.
    duals = np.linalg.pinv(block)
    lengths = np.linalg.norm(duals, axis=1)
    others = coefficients / (lengths[:, None] * tilt)
    others[np.arange(rank), chosen] = -np.inf
    worst = others.max(axis=1)
    apart = np.flatnonzero(worst < 0.1)
    return _Basis(
        columns=np.union1d(chosen, closing.support),
        bound=bound,
        margin={int(chosen[k]): float(1.0 / max(worst[k], lengths[k] * np.median(tilt))) for k in apart},
        directions={int(chosen[k]): -duals[k] / lengths[k] for k in apart},
    )


def separate(points: np.ndarray, noise: np.ndarray, *, deviations: float = DEVIATIONS) -> Separation:
    """Decide for every column whether it can be separated from all others.

    Parameters
    ----------
    points : ndarray of shape (r, C')
        Columns of about unit length.
    noise : ndarray of shape (C',)
        Standard deviation per coordinate of the noise in each.
    deviations : float, default 10
        How many of these a column may be off by. What was rounded by exact arithmetic can afford many.

    Returns
    -------
    Separation
        The decisions and their evidence.
    """
    count = points.shape[1]
    tilt = deviations * noise
    tilted = np.vstack([points, tilt])
    tolerance = 0.1 * tilt
    distance = np.full(count, np.nan)
    margin = np.full(count, np.nan)
    directions: dict[int, np.ndarray] = {}
    price = float(np.median(tilt))

    def test(column: int) -> None:
        target = np.append(points[:, column], 0.0)
        answer = project(tilted, target, tolerance=tolerance, working=basis, excluded=column, enough=_CHEAP * price)
        separating, paid = answer.residual[:-1], abs(float(answer.residual[-1]))
        length = float(np.linalg.norm(separating))
        distance[column] = answer.distance
        margin[column] = length / max(paid, price) if answer.optimal else 0.0
        if margin[column] > 1.0:
            # The residual points from the cone to the class; descent is the other way.
            directions[column] = -separating / length

    if count <= _TEST_ALL_BELOW:
        bound, basis = np.full(count, np.inf), np.arange(count)
        for column in range(count):
            test(column)
    else:
        found = _examine_basis(tilted, tolerance)
        bound, basis = found.bound, found.columns
        for column, direction in found.directions.items():
            directions[column] = direction
            margin[column] = found.margin[column]
            distance[column] = abs(float(direction @ points[:, column]))
    while True:
        # Whatever is represented at a smaller price than any present class keeps as its distance is absent.
        border = min((distance[column] for column in directions), default=0.0) / 10.0
        waiting = np.flatnonzero(np.isnan(distance) & (bound > max(border, _CHEAP * price)))
        if waiting.size == 0:
            break
        # First those without any bound, the basis: what they turn out to be sets the border for the rest.
        unbounded = np.count_nonzero(np.isinf(bound[waiting]))
        for column in waiting[np.argsort(bound[waiting])[::-1][: unbounded or 32]]:
            test(int(column))
    present = np.zeros(count, dtype=bool)
    present[list(directions)] = True
    return Separation(
        present=present, margin=margin, directions=directions, tested=int(np.count_nonzero(~np.isnan(distance)))
    )
