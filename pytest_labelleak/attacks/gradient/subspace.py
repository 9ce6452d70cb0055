"""The row space of an equilibrated gradient, its rank and its noise, found from the gradient alone.

The data gradient ``A = H^T D`` (features by classes, the bias gradient as one more row) has rank S, the
number of label positions, plus rounding noise. Two facts make S visible without being told:

* Every question asked later is about signs of linear functionals of the columns, so columns may be
  scaled by any positive numbers, and rows too. Rounding noise is proportional to what is rounded, so
  after *equilibration* (unit rows and columns) the noise has about the same size everywhere. In the raw
  gradient the few large label columns carry noise larger than the whole signal of a confident sample.
* Noise of equal size everywhere has a flat spectrum, the signal has not.

Noise that was *added* to protect the gradient is of equal size before any scaling, and equilibration would
make it uneven: small columns would drown in it. Where what is left beyond the equilibrated signal is not level,
the gradient is therefore read once more as it is, and the reading whose rest is level is believed.

The subspace comes from a randomized range finder whose width grows until the flat part is inside [1]_.

Features are redundant: each is a witness of the same S positions, so a few hundred of them show the row space
as well as thousands. They are tried first, and believed only if the gap in their spectrum is wide beyond
doubt and all other features lie in the row space that they show, up to its noise.

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
from .rank import NOISE_EDGE_FACTOR, ROUNDING_ONLY, TAIL, VISIBLE_GAP, choose_rank, gap_after, unevenness

__all__ = ["Subspace", "find_subspace"]

# Unevenness up to which noise counts as level. Noise that was added shows .02 to .06 as it is, and rounding .03 to
# .2 once it is equilibrated; each shows .6 at the other's scales, unless all columns are of one size.
_LEVEL = 0.35

_WIDEST = 2048
_FIRST_WIDTH = 48

# Every feature is a witness of the same S label positions, so some of them suffice where their spectrum
# leaves no doubt: this many rows at least, and this many times the width of the basis.
_FEWEST_WITNESSES = 512
_WITNESSES_PER_DIRECTION = 4
# A gap that the other features could not close: they can make it wider by the square root of their number.
_UNMISTAKABLE = 100.0
# Random combinations of the features left out, by which a label position that only they see is noticed.
_PROBES = 8
# The sample by which the first width is planned: side, and how much further it may grow.
_PLANNING_SIDE = 160
_PLANNING_DOUBLINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subspace:
    """Where the signal of a gradient lives.

    Attributes
    ----------
    positions : int
        Estimated number of label positions S: where the spectrum's widest gap is.
    rank : int
        Number of directions kept, at least `positions`: structured rounding may stand out from the rest,
        and so may a very confident sample.
    coordinates : ndarray of shape (rank, C')
        The equilibrated columns in an orthonormal basis of the signal's column space; zero columns
        of the gradient are left out.
    noise : ndarray of shape (C',)
        Standard deviation per coordinate of the noise in each column, measured outside the signal.
    columns : ndarray of int, shape (C',)
        Class of each column.
    directions : ndarray of shape (d or d + 1, rank)
        Maps a functional of the coordinates back to one of the gradient's rows.
    column_scale : ndarray of shape (C',)
        What the gradient's columns were multiplied by.
    gap : float
        Ratio of the last signal singular value to the first noise singular value.
    noise_ratio : float
        Noise measured, in units of what rounding in the compute dtype explains.
    unevenness : float
        Median deviation, over columns, of the logarithm of the noise from its median, with the scales at which the
        spectrum was read.
    """

    positions: int
    rank: int
    coordinates: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    columns: np.ndarray = field(repr=False)
    directions: np.ndarray = field(repr=False)
    column_scale: np.ndarray = field(repr=False)
    gap: float
    noise_ratio: float
    unevenness: float

    @property
    def exact(self) -> bool:
        """Whether rounding alone explains the noise, so that the rank counts label positions."""
        return self.noise_ratio < ROUNDING_ONLY


def find_subspace(update: Update) -> Subspace:
    """Find the signal's subspace, its rank and the noise around it, from the gradient alone.

    Several attacks start from it and share it by `Reading.subspace`. Its test matrix is drawn from a
    stream of its own, so that the answer does not depend on which attack asks first.

    Parameters
    ----------
    update : Update
        What was shared; finite and not zero.

    Returns
    -------
    Subspace
        Directions, coordinates, number of label positions and noise.

    Raises
    ------
    NotApplicable
        Where the spectrum shows no such subspace.
    """
    quick = _from_witnesses(update)
    if quick is not None:
        return quick
    operator = ScaledGradient(update)
    found = _read(update, operator, GrowingRange(operator), min(_FIRST_WIDTH, *_seen(operator)))
    clear = found is not None and found.unevenness <= _LEVEL and found.gap >= VISIBLE_GAP
    if found is not None and clear and found.exact:
        return found
    operator = ScaledGradient(update, equilibrate=False)
    added = _read(update, operator, GrowingRange(operator), min(_FIRST_WIDTH, *_seen(operator)))
    if added is not None and added.unevenness <= _LEVEL and added.gap >= VISIBLE_GAP:
        # Of two clear readings, the one in which more stands out of the noise.
        return found if found is not None and clear and found.positions >= added.positions else added
    if found is None:
        raise NotApplicable(
            f"the spectrum of the {operator.shape[0]} x {operator.shape[1]} gradient shows no gap: it is not of low "
            "rank plus noise. Either the batch has about as many label positions as the head has features or classes, "
            "or the update was protected by noise or rounding"
        )
    return found


def _from_witnesses(update: Update) -> Subspace | None:
    """Find the subspace from some of the features, or return None where that leaves any doubt."""
    height = update.features + (update.bias_gradient is not None)
    planned = _plan(update, height)
    if planned is None:
        return None
    width = planned + 2 * TAIL
    count = max(_FEWEST_WITNESSES, _WITNESSES_PER_DIRECTION * width)
    only = np.arange(height)
    if 2 * count < height:
        only = np.sort(np.random.default_rng(1).permutation(update.features)[:count])
        only = np.append(only, np.arange(update.features, height))
    operator = ScaledGradient(update, only=only)
    if width > min(_seen(operator)) // 2:
        return None
    found = _read(update, operator, GrowingRange(operator, quick=True), width)
    if found is None or not found.exact or found.gap < _UNMISTAKABLE:
        return None
    if only.size < height and not _witnesses_agree(update, operator, found):
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


def _witnesses_agree(update: Update, operator: ScaledGradient, found: Subspace) -> bool:
    """Tell whether the features left out lie in the row space found, up to the noise found."""
    rest = np.setdiff1d(np.arange(update.features), operator.members)
    basis, _ = np.linalg.qr(found.coordinates.T)
    rng = np.random.default_rng(3)
    probes = np.zeros((_PROBES, update.classes))
    witnesses = 0
    left_out = ScaledGradient.__new__(ScaledGradient)
    left_out.__dict__.update(operator.__dict__, members=rest, row_scale=np.ones(rest.size))
    unseen = np.ones(update.classes, dtype=bool)
    unseen[operator.columns] = False
    for _, piece in left_out.pieces():
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
    return float(np.sum(outside**2)) <= NOISE_EDGE_FACTOR**2 * expected


def _rounding_of_weights(update: Update, operator: ScaledGradient) -> float:
    """Return what the rounding of weights leaves in an entry, scaled, if the update is a difference of weights.

    After every local step the weights are rounded to their own precision, whatever the size of the step. It is the
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


def _read(update: Update, operator: ScaledGradient, found: GrowingRange, width: int) -> Subspace | None:
    """Widen the range until the flat part of the spectrum is inside, and read the rank off it; None without a gap."""
    shape = operator.shape
    seen = _seen(operator)
    full = min(seen)
    smallest = 64 * np.finfo(np.float64).eps * np.sqrt(max(shape))
    floor = smallest / np.sqrt(max(shape))
    rounding = max(unit_roundoff(update.compute_dtype) / np.sqrt(seen[0]), floor)
    of_weights = _rounding_of_weights(update, operator)
    expected = max(rounding, of_weights)
    while True:
        found.widen(width - found.basis.shape[1])
        left, values, left_over = found.decompose()
        frobenius = float(np.linalg.norm(left_over))
        chosen = choose_rank(values, frobenius, seen, smallest, ROUNDING_ONLY * expected)
        if width == full == 1:
            chosen = (1, 1, False)  # one row: one direction, and no room to see any noise beside it
        # A random matrix of many samples can look like a few large directions in noise as long as only its
        # leading part has been seen. What rounding explains is accepted at once if a gap shows it; anything else
        # must hold for the whole spectrum.
        if width == full or (
            chosen is not None and chosen[2] and gap_after(values, chosen[0], smallest) >= VISIBLE_GAP
        ):
            break
        # Past half of the spectrum the rest costs no more; past the widest, a gap would not be worth the time.
        width = full if 4 * width > full else 2 * width
        if width > _WIDEST:
            chosen = None
            break
    positions, rank, exact = chosen or (0, 0, False)
    gap = gap_after(values, positions, smallest)
    if gap < VISIBLE_GAP and not exact:
        return None
    inside = left.T @ found.compressed
    beyond = np.sqrt(left_over**2 + (inside[rank:] ** 2).sum(axis=0))[operator.columns]
    degrees = max(seen[0] - rank, 1)
    directions = np.zeros((update.features + (update.bias_gradient is not None), rank))
    directions[operator.members] = found.basis @ left[:, :rank] * operator.row_scale[:, None]
    # A column's own residual is a small sample where few rows are left: never trust it below the average.
    average = float(np.sqrt(np.mean(beyond**2)))
    coordinates = inside[:rank, operator.columns]
    # Columns of unit norm, which they are already if they were equilibrated.
    unit = 1.0 / np.sqrt((coordinates**2).sum(axis=0) + beyond**2)
    # Rounding of products is in proportion to each column, that of weights is not.
    ratio = float(np.sqrt(np.mean((beyond * unit) ** 2)) / np.sqrt(degrees)) / rounding
    if of_weights > 0.0:
        ratio = min(ratio, average / float(np.sqrt(degrees)) / of_weights)
    return Subspace(
        positions=positions,
        rank=rank,
        coordinates=coordinates * unit,
        noise=np.maximum(np.maximum(beyond, average) / np.sqrt(degrees) * unit, floor),
        columns=operator.columns,
        directions=directions,
        column_scale=operator.column_scale[operator.columns] * unit,
        gap=gap,
        noise_ratio=ratio if rank < seen[0] else np.inf,
        unevenness=unevenness(np.maximum(beyond, floor)),
    )
