"""The row space of an equilibrated gradient, its rank and its noise, found from the gradient alone.

The data gradient ``A = H^T D`` (features by classes, the bias gradient as one more row) has rank S, the
number of label positions, plus rounding noise. Two facts show S to a receiver who is not told:

* Every later question is about signs of linear functionals of the columns, so that columns may be scaled by any
  positive numbers, and rows too. Rounding noise is proportional to the rounded number, so that after
  *equilibration* (unit rows and columns) the noise has about the same size everywhere. In the raw
  gradient the few large label columns carry noise larger than the whole signal of a confident sample.
* Noise of equal size everywhere has a flat spectrum; the signal has not.

Noise that was *added* to protect the gradient is of equal size before any scaling, and equilibration would
make it uneven: small columns would drown in it. If the remainder beyond the equilibrated signal is not level,
the gradient is read once more without scales, and the reading with the level remainder is believed.

The subspace comes from a randomised range finder whose width grows until the flat part is inside [1]_.

Features are redundant: each is a witness of the same S positions, so that a few hundred of them show the row space
as well as thousands. A sample of the features is tried first. Its answer is believed only if the gap in its spectrum
is wide beyond doubt and all other features lie in the row space that the sample shows, up to its noise.

References
----------
.. [1] N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53
   (2011) 217-288. https://doi.org/10.1137/090771806
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...core.recovery import NotApplicable
from ...core.update import Update, unit_roundoff
from .head import ROWS_PER_BLOCK
from .range_finder import GrowingRange, ScaledGradient
from .rank import RankRules, choose_rank, gap_after, unevenness

__all__ = ["Subspace", "SubspaceRules", "find_subspace"]

# Widths of the range finder: the first, and the last that is worth its time. The first decides nothing, because the
# width grows; the last bounds the work, and a gradient of more label positions than half of it is refused.
_FIRST_WIDTH = 48
_WIDEST = 2048

# The sample of features: at least so many rows, and so many for each direction of the basis. The sample decides
# nothing, because its answer is checked on all other features, by so many random combinations of them.
_FEWEST_WITNESSES = 512
_WITNESSES_PER_DIRECTION = 4
_PROBES = 8
# The corner of the gradient that plans the first width: its side, and how often the side may double. Too low a plan
# costs time alone.
_PLANNING_SIDE = 160
_PLANNING_DOUBLINGS = 3


# Ratio of the last singular value to the first above which the Gram matrix knows the last to a part in a million. Below
# it the range is widened as before, so that it decides nothing.
_GRAM_DEPTH = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class SubspaceRules:
    """Deciding numbers of the subspace.

    Attributes
    ----------
    level : float
        Unevenness up to which noise counts as level. Added noise measures .02 to .06 without scales, and rounding
        .03 to .2 once it is equilibrated; either measures .6 at the other's scales, unless all columns are of one size.
    unmistakable : float
        Gap that the features outside the sample could not close: they can widen it by the square root of their number.
    rank : RankRules
        The numbers of the rank.
    """

    level: float = field(default=0.35, metadata={"plateau": (0.175, 0.525)})
    unmistakable: float = field(default=100.0, metadata={"plateau": (6.25, 1600.0)})
    rank: RankRules = field(default_factory=RankRules)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subspace:
    """The directions in which a gradient holds signal, and the noise around them.

    Attributes
    ----------
    positions : int
        Estimated number of label positions S: the place of the spectrum's widest gap.
    rank : int
        Number of directions kept, at least `positions`: structured rounding may stand out from the rest,
        and so may a very confident sample.
    coordinates : ndarray of shape (rank, C')
        The equilibrated columns in an orthonormal basis of the signal's column space, without the zero columns
        of the gradient.
    noise : ndarray of shape (C',)
        Standard deviation per coordinate of the noise in each column, measured outside the signal.
    degrees : int
        Number of the further directions in which the noise of a column is measured; possibly none.
    columns : ndarray of int, shape (C',)
        Class of each column.
    directions : ndarray of shape (d or d + 1, rank)
        Maps a functional of the coordinates back to one of the gradient's rows.
    column_scale : ndarray of shape (C',)
        Factors of the gradient's columns.
    gap : float
        Ratio of the last signal singular value to the first noise singular value.
    noise_ratio : float
        The noise, in units of one rounding of every entry to the compute dtype.
    unevenness : float
        Median deviation, over columns, of the logarithm of the noise from its median, with the scales at which the
        spectrum was read.
    exact : bool
        Whether rounding alone explains the noise, so that `positions` counts label positions.
    """

    positions: int
    rank: int
    coordinates: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    degrees: int
    columns: np.ndarray = field(repr=False)
    directions: np.ndarray = field(repr=False)
    column_scale: np.ndarray = field(repr=False)
    gap: float
    noise_ratio: float
    unevenness: float
    exact: bool


def find_subspace(update: Update, rules: SubspaceRules | None = None) -> Subspace:
    """Find the signal's subspace, its rank and the noise around it, from the gradient alone.

    Several attacks start from the subspace and share it by `Reading.subspace`. The test matrix of the range finder has
    a random stream of its own, so that the answer does not depend on the order of the attacks.

    Parameters
    ----------
    update : Update
        The update that was shared; finite and not zero.
    rules : SubspaceRules, optional
        The deciding numbers.

    Returns
    -------
    Subspace
        Directions, coordinates, number of label positions and noise.

    Raises
    ------
    NotApplicable
        Where the spectrum shows no such subspace.
    """
    rules = rules or SubspaceRules()
    quick = _from_witnesses(update, rules)
    if quick is not None:
        return quick
    operator = ScaledGradient(update)
    found = _read(update, operator, GrowingRange(operator), min(_FIRST_WIDTH, *_seen(operator)), rules)
    clear = found is not None and _clear(found, rules)
    if found is not None and clear and found.exact:
        return found
    operator = ScaledGradient(update, equilibrate=False)
    added = _read(update, operator, GrowingRange(operator), min(_FIRST_WIDTH, *_seen(operator)), rules)
    if added is not None and _clear(added, rules):
        # Of two clear readings, the one in which more stands out of the noise.
        return found if found is not None and clear and found.positions >= added.positions else added
    if found is None:
        raise NotApplicable(
            f"the spectrum of the {operator.shape[0]} x {operator.shape[1]} gradient shows no gap: it is not of low "
            "rank plus noise. Either the batch has about as many label positions as the head has features or classes, "
            "or the update was protected by noise or rounding"
        )
    return found


def _clear(found: Subspace, rules: SubspaceRules) -> bool:
    return found.unevenness <= rules.level and found.gap >= rules.rank.visible_gap


def _from_witnesses(update: Update, rules: SubspaceRules) -> Subspace | None:
    """Find the subspace from some of the features, or return None where that leaves any doubt."""
    height = update.features + (update.bias_gradient is not None)
    planned = _plan(update, height)
    if planned is None:
        return None
    width = planned + 2 * rules.rank.tail
    count = max(_FEWEST_WITNESSES, _WITNESSES_PER_DIRECTION * width)
    only = np.arange(height)
    if 2 * count < height:
        only = np.sort(np.random.default_rng(1).permutation(update.features)[:count])
        only = np.append(only, np.arange(update.features, height))
    operator = ScaledGradient(update, only=only)
    if width > min(_seen(operator)) // 2:
        return None
    found = _read(update, operator, GrowingRange(operator, quick=True), width, rules)
    if found is None or not found.exact or found.gap < rules.unmistakable:
        return None
    if only.size < height and not _witnesses_agree(update, operator, found, rules.rank.noise_edge):
        return None
    return found


def _plan(update: Update, height: int) -> int | None:
    """Guess the rank from a small random part of the gradient; too low a guess only costs time."""
    rng = np.random.default_rng(2)
    rows, columns = rng.permutation(update.features), rng.permutation(update.classes)
    threshold = unit_roundoff(update.compute_dtype)
    side = _PLANNING_SIDE
    for _ in range(_PLANNING_DOUBLINGS):
        if 2 * side > min(height, update.classes):
            return None
        part = update.kernel_gradient[np.ix_(rows[:side], columns[: 2 * side])].astype(np.float64)
        for axis in (0, 1):
            norms = np.abs(part).max(axis=axis, keepdims=True)
            part = np.divide(part, norms, out=np.zeros_like(part), where=norms > 0)
        values = np.linalg.eigvalsh(part @ part.T)  # squares of singular values
        rank = int(np.count_nonzero(values > threshold * values[-1]))
        if 2 * rank < side:
            return rank
        side *= 2
    return None


def _witnesses_agree(update: Update, operator: ScaledGradient, found: Subspace, noise_edge: float) -> bool:
    """Tell whether the features left out lie in the row space found, up to the noise found."""
    rest = np.setdiff1d(np.arange(update.features), operator.members)
    basis, _ = np.linalg.qr(found.coordinates.T)
    rng = np.random.default_rng(3)
    probes = np.zeros((_PROBES, update.classes))
    witnesses = 0
    unseen = np.ones(update.classes, dtype=bool)
    unseen[operator.columns] = False
    for _, piece in operator.pieces(rest):
        if unseen.any() and np.any(piece[:, unseen]):
            return False  # a class whose gradient only they see
        scaled = piece * operator.column_scale
        norms = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        alive = norms > 0
        weights = rng.standard_normal((_PROBES, piece.shape[0]))
        weights[:, alive] /= norms[alive]
        weights[:, ~alive] = 0.0
        probes += weights @ scaled
        witnesses += int(np.count_nonzero(alive))
    inside = probes[:, operator.columns]
    outside = inside - (inside @ basis) @ basis.T
    expected = _PROBES * witnesses * float(found.noise @ found.noise)
    return float(np.sum(outside**2)) <= noise_edge**2 * expected


def _rounding_of_weights(update: Update, operator: ScaledGradient) -> float:
    """Return the noise that the rounding of weights leaves in an update that is a difference of weights.

    After every local step the weights are rounded to their own precision, however small the step is. The noise is the
    root mean square over all entries, in the units of `operator`; zero for a gradient, or where weights or learning
    rate are not known.
    """
    kernel, bias = update.head.kernel_value, update.head.bias_value
    if update.learning_rate is None or kernel is None:
        return 0.0
    total = 0.0
    for start in range(0, operator.members.size, ROWS_PER_BLOCK):
        members = operator.members[start : start + ROWS_PER_BLOCK]
        kernels = members[members < update.features]
        weights = kernel[kernels]
        if kernels.size < members.size:  # the bias comes last
            weights = np.vstack([weights, np.zeros(update.classes) if bias is None else bias])
        spacing = np.spacing(np.abs(weights)).astype(np.float64) * operator.column_scale
        total += float(np.sum((spacing * operator.row_scale[start : start + members.size, None]) ** 2))
    rows, columns = _seen(operator)
    # Uniform within half a spacing, once per step.
    return float(np.sqrt(total / (rows * columns) * update.steps / 12.0) / update.learning_rate)


def _seen(operator: ScaledGradient) -> tuple[int, int]:
    # Features that never fire and classes without a gradient take no part, not even in counting noise.
    return operator.rows.size, operator.columns.size


def _gapless(operator: ScaledGradient, smallest: float, rounding: float, rules: RankRules) -> bool:
    """Tell whether the whole spectrum certainly shows no gap, before the range is widened for nothing.

    Strong noise fills the spectrum down to its end. The Gram matrix shows that at a fraction of the price of a basis as
    wide as the gradient; its squares are precise enough as long as the last singular value is not far below the first.
    """
    values = operator.singular_values()
    if values[-1] <= _GRAM_DEPTH * values[0]:
        return False
    chosen = choose_rank(values, 0.0, _seen(operator), smallest=smallest, rounding=rounding, rules=rules)
    return chosen is None or (not chosen[2] and gap_after(values, chosen[0], smallest) < rules.visible_gap)


def _read(
    update: Update, operator: ScaledGradient, found: GrowingRange, width: int, rules: SubspaceRules
) -> Subspace | None:
    """Widen the range until the flat part of the spectrum is inside, and read the rank off it; None without a gap."""
    visible_gap = rules.rank.visible_gap
    shape = operator.shape
    seen = _seen(operator)
    full = min(seen)
    smallest = 64 * np.finfo(np.float64).eps * np.sqrt(max(shape))
    floor = smallest / np.sqrt(max(shape))
    rounding = max(unit_roundoff(update.compute_dtype) / np.sqrt(seen[0]), floor)
    of_weights = _rounding_of_weights(update, operator)
    expected = max(rounding, of_weights)
    looked = False
    while True:
        found.widen(width - found.basis.shape[1])
        left, values, left_over = found.decompose()
        frobenius = float(np.linalg.norm(left_over))
        chosen = choose_rank(values, frobenius, seen, smallest=smallest, rounding=expected, rules=rules.rank)
        if width == full == 1:
            chosen = (1, 1, False)  # one row: one direction, and no room to see any noise beside it
        # A random matrix of many samples can look like a few large directions in noise as long as only its
        # leading part has been seen. A remainder that rounding explains is accepted at once if a gap shows it; any
        # other answer must hold for the whole spectrum.
        if width == full or (
            chosen is not None and chosen[2] and gap_after(values, chosen[0], smallest) >= visible_gap
        ):
            break
        if not looked and full <= _WIDEST and not (chosen is not None and chosen[2]):
            looked = True
            if _gapless(operator, smallest, expected, rules.rank):
                return None
        # Past half of the spectrum the rest costs no more; past the widest, a gap would not be worth the time.
        width = full if 4 * width > full else 2 * width
        if width > _WIDEST:
            chosen = None
            break
    positions, rank, exact = chosen or (0, 0, False)
    gap = gap_after(values, positions, smallest)
    if gap < visible_gap and not exact:
        return None
    inside = left.T @ found.compressed
    beyond = np.sqrt(left_over**2 + (inside[rank:] ** 2).sum(axis=0))[operator.columns]
    degrees = max(seen[0] - rank, 1)
    directions = np.zeros((update.features + (update.bias_gradient is not None), rank))
    directions[operator.members] = found.basis @ left[:, :rank] * operator.row_scale[:, None]
    # A column's own residual is a small sample where few rows are left: it counts no lower than the average.
    average = float(np.sqrt(np.mean(beyond**2)))
    coordinates = inside[:rank, operator.columns]
    # Columns of unit norm, which they are already if they were equilibrated.
    unit = 1.0 / np.sqrt((coordinates**2).sum(axis=0) + beyond**2)
    # Rounding of products is in proportion to each column, that of weights is not.
    ratio = float(np.sqrt(np.mean((beyond * unit) ** 2)) / np.sqrt(degrees)) / rounding
    if of_weights > 0.0:
        ratio = min(ratio, average / float(np.sqrt(degrees)) / of_weights)
    ratio = ratio if rank < seen[0] else np.inf
    return Subspace(
        positions=positions,
        rank=rank,
        coordinates=coordinates * unit,
        noise=np.maximum(np.maximum(beyond, average) / np.sqrt(degrees) * unit, floor),
        degrees=seen[0] - rank,
        columns=operator.columns,
        directions=directions,
        column_scale=operator.column_scale[operator.columns] * unit,
        gap=gap,
        noise_ratio=ratio,
        unevenness=unevenness(np.maximum(beyond, floor)),
        exact=ratio < rules.rank.rounding_only,
    )
