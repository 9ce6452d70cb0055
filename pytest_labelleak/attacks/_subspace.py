"""The row space of an equilibrated gradient, its rank and its noise, found from the gradient alone.

The data gradient ``A = H^T D`` (features by classes, the bias gradient as one more row) has rank S, the
number of label positions, plus rounding noise. Two facts make S visible without being told:

* Every question asked later is about signs of linear functionals of the columns, so columns may be
  scaled by any positive numbers, and rows too. Rounding noise is proportional to what is rounded, so
  after *equilibration* (unit rows and columns) the noise has about the same size everywhere. In the raw
  gradient the few large label columns carry noise larger than the whole signal of a confident sample.
* Noise of equal size everywhere has a flat spectrum, the signal has not.

The subspace comes from a randomized range finder whose width grows until the flat part is inside [1]_.

References
----------
.. [1] N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53
   (2011) 217-288. https://doi.org/10.1137/090771806
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ..update import Update, unit_roundoff
from ._linear import bias_gradient, kernel_blocks

__all__ = ["GrowingRange", "ScaledGradient", "Subspace", "find_subspace", "visible_directions"]

# A residual is noise if its largest singular value is at most this many times that of a matrix of
# independent entries with the same Frobenius norm. Equilibrated rounding noise measures 1.0 to 1.6,
# also from bfloat16; a single missed signal direction measures tens to millions.
_NOISE_EDGE_FACTOR = 2.5
# Rounding of large gradients can have a few directions of its own, ten times above the rest of it.
_STRUCTURED_FACTOR = 25.0

# Values this far above the noise edge are kept even if the largest gap lies before them: one direction
# too many costs nothing in the tilted cone (see _cone), one too few costs its label.
_KEEP_FACTOR = 1.5

# Rounding of every entry once to the compute dtype counts as 1 (see noise_ratio); sums of many rounded
# terms stay under ten. A defence that is any use adds thousands.
_ROUNDING_ONLY = 30.0

# Noise that rounding does not explain is taken for noise only if the signal stands out by this factor.
_VISIBLE_GAP = 3.0

# How far above the edge of independent noise a direction must be to be more than a fluctuation of it.
_VISIBLE = 1.03

_WIDEST = 2048
_FIRST_WIDTH = 48
_TAIL = 12


class ScaledGradient:
    """The data gradient with rows and columns scaled, as a linear operator.

    Nothing wide is stored: products run over blocks of the gradient as it was shared, and the scaling
    is applied to the thin factor.

    Parameters
    ----------
    update : Update
        What was shared.
    equilibrate : bool, default True
        Scale rows and columns to unit norm, which levels noise that is proportional to what it was added
        to, such as rounding. Otherwise only the bias row is brought to the size of the others, which keeps
        noise level that was added to all entries alike.
    """

    def __init__(self, update: Update, *, equilibrate: bool = True) -> None:
        self._update = update
        self._bias = bias_gradient(update)
        # Squares of float64 gradients of 1e-200 are not representable: bring the largest entry to 1 first.
        largest = max(float(np.abs(block).max()) for _, block in self._blocks())
        self.row_scale = np.full(update.features + (self._bias is not None), 1.0 / largest)
        self.column_scale = np.ones(update.classes)
        if not equilibrate:
            rows = self._norms(axis=1)
            if self._bias is not None and rows[-1] > 0:
                self.row_scale[-1] *= np.sqrt(np.mean(rows[:-1] ** 2)) / rows[-1]
            self.columns = np.flatnonzero(self._norms(axis=0))
            self.rows = np.flatnonzero(rows)
            return
        # Columns, rows, columns: one sweep of Sinkhorn's iteration in the 2-norm is all that is needed.
        for axis in (0, 1, 0):
            norms = self._norms(axis)
            inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
            if axis == 0:
                self.column_scale *= inverse
            else:
                self.row_scale *= inverse
        self.columns = np.flatnonzero(self.column_scale)
        self.rows = np.flatnonzero(self.row_scale)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (features, and the bias) and columns (classes)."""
        return self.row_scale.size, self.column_scale.size

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        yield from kernel_blocks(self._update)
        if self._bias is not None:
            d = self._update.features
            yield slice(d, d + 1), self._bias[None].copy()  # blocks are scaled in place

    def _norms(self, axis: int) -> np.ndarray:
        total = np.zeros(self.shape[1 - axis])
        for rows, block in self._blocks():
            block *= self.row_scale[rows, None]
            block *= self.column_scale
            if axis == 0:
                total += np.einsum("ij,ij->j", block, block)
            else:
                total[rows] = np.einsum("ij,ij->i", block, block)
        norms: np.ndarray = np.sqrt(total)
        return norms

    def multiply(self, right: np.ndarray) -> np.ndarray:
        """Return ``A @ right`` for `right` of shape (C, k)."""
        right = self.column_scale[:, None] * right
        out = np.empty((self.shape[0], right.shape[1]))
        for rows, block in self._blocks():
            np.matmul(block, right, out=out[rows])
        out *= self.row_scale[:, None]
        return out

    def multiply_transposed(self, left: np.ndarray) -> np.ndarray:
        """Return ``left^T @ A`` for `left` of shape (rows, k), that is (k, C)."""
        left = self.row_scale[:, None] * left
        out = np.zeros((left.shape[1], self.shape[1]))
        for rows, block in self._blocks():
            out += left[rows].T @ block
        out *= self.column_scale
        return out

    def column_residual(self, basis: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """Return the norm of every column of ``A - basis @ coordinates``, shape (C,)."""
        total = np.zeros(self.shape[1])
        for rows, block in self._blocks():
            block *= self.row_scale[rows, None]
            block *= self.column_scale
            block -= basis[rows] @ coordinates
            total += np.einsum("ij,ij->j", block, block)
        result: np.ndarray = np.sqrt(total)
        return result


class GrowingRange:
    """A growing orthonormal basis of the operator's leading column space, with what it leaves over."""

    def __init__(self, operator: ScaledGradient) -> None:
        self._operator = operator
        self._rng = np.random.default_rng(0)
        self.basis = np.empty((operator.shape[0], 0))
        self.compressed = np.empty((0, operator.shape[1]))  # basis^T A

    def widen(self, extra: int) -> None:
        """Add `extra` directions: sketch, one power step, both with the present basis projected out."""
        operator = self._operator
        sketch = self._outside(operator.multiply(self._rng.standard_normal((operator.shape[1], extra))))
        back, _ = scipy.linalg.qr(operator.multiply_transposed(sketch).T, mode="economic", check_finite=False)
        new = self._outside(operator.multiply(back))
        self.basis = np.hstack([self.basis, new])
        self.compressed = np.vstack([self.compressed, operator.multiply_transposed(new)])

    def _outside(self, block: np.ndarray) -> np.ndarray:
        for _ in range(2):  # twice: once leaves a part in the basis that is large next to what is new
            block = block - self.basis @ (self.basis.T @ block)
            block, _ = scipy.linalg.qr(block, mode="economic", check_finite=False)
        return block

    def decompose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return left singular vectors (in the basis), singular values, and what every column has outside."""
        # By way of a QR factorisation of the tall transpose: the Gram matrix would lose half of the digits.
        triangle = scipy.linalg.qr(self.compressed.T, mode="r", check_finite=False)[0][: self.compressed.shape[0]]
        _, values, right = scipy.linalg.svd(triangle, full_matrices=False, check_finite=False)
        return right.T, values, self._operator.column_residual(self.basis, self.compressed)


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
    gap : float
        Ratio of the last signal singular value to the first noise singular value.
    noise_ratio : float
        Noise measured, in units of what rounding in the compute dtype explains.
    """

    positions: int
    rank: int
    coordinates: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    columns: np.ndarray = field(repr=False)
    directions: np.ndarray = field(repr=False)
    gap: float
    noise_ratio: float

    @property
    def exact(self) -> bool:
        """Whether rounding alone explains the noise, so that the rank counts label positions."""
        return self.noise_ratio < _ROUNDING_ONLY


def _noise_edge(frobenius: float, rows: int, columns: int) -> float:
    """Return the expected largest singular value of independent noise of a given Frobenius norm."""
    return float(frobenius / np.sqrt(rows * columns) * (np.sqrt(rows) + np.sqrt(columns)))


def _choose_rank(
    values: np.ndarray, frobenius: float, shape: tuple[int, int], smallest: float, rounding: float
) -> tuple[int, int, bool] | None:
    """Return the rank with the largest gap among those that leave nothing but noise, or None.

    Ranks that leave no more than rounding explains go first: many weak directions among few features
    look much like noise, but like far too much of it.

    Parameters
    ----------
    values : ndarray
        Leading singular values, descending; the last `_TAIL` serve as evidence only.
    frobenius : float
        Frobenius norm of what is left beyond all of `values`.
    shape : tuple of int
        Of the matrix.
    smallest : float
        Floor of double arithmetic: an exact gradient has no other noise.
    rounding : float
        Root mean square per entry of the most that rounding explains.

    Returns
    -------
    positions : int
        Number of directions above the widest gap.
    rank : int
        The same and those after it that stand out from the noise.
    exact : bool
        Whether rounding explains the rest.
    """
    usable = values.size - _TAIL if values.size < min(shape) else values.size - 1
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])  # what is left from index i on
    gaps: dict[bool, dict[int, float]] = {True: {}, False: {}}
    edges = np.empty(usable + 1)
    for rank in range(1, usable + 1):
        rows, columns = shape[0] - rank, shape[1] - rank
        edges[rank] = edge = max(_noise_edge(float(beyond[rank]), rows, columns), smallest)
        first_noise = max(float(values[rank]), smallest)
        exact = float(beyond[rank]) <= rounding * np.sqrt(rows * columns)
        highest = (_STRUCTURED_FACTOR if exact else _NOISE_EDGE_FACTOR) * edge
        if first_noise <= highest and values[rank - 1] > _KEEP_FACTOR * edge:
            gaps[exact][rank] = float(values[rank - 1]) / first_noise
    exact = bool(gaps[True])
    if not gaps[exact]:
        return None
    # The last gap that is at least half as wide as the widest, in orders of magnitude: a dominant direction
    # may stand out further from the other samples than these do from coarse rounding. What is itself no larger
    # than rounding is not counted, though: rounding noise of small matrices can end in a gap of its own.
    widest = max(gaps[exact], key=lambda rank: gaps[exact][rank])
    coarse = _noise_edge(rounding / _ROUNDING_ONLY * np.sqrt(shape[0] * shape[1]), *shape)
    positions = max(
        rank
        for rank, gap in gaps[exact].items()
        if rank == widest or (gap >= np.sqrt(gaps[exact][widest]) and values[rank - 1] > coarse)
    )
    rank = positions
    while rank < usable and values[rank] > _KEEP_FACTOR * edges[positions]:
        rank += 1
    return positions, rank, exact


def visible_directions(values: np.ndarray, frobenius: float, operator: ScaledGradient) -> int:
    """Count the leading directions that stand out of independent noise of the size of what follows them.

    Parameters
    ----------
    values : ndarray
        Leading singular values, descending.
    frobenius : float
        Frobenius norm of what is left beyond all of them.
    operator : ScaledGradient
        Where they come from.

    Returns
    -------
    int
        Possibly none, possibly all.
    """
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])
    rows, columns = operator.shape  # empty columns too: what was dropped was noise as well
    for rank, value in enumerate(values):
        if value < _VISIBLE * _noise_edge(float(beyond[rank]), rows - rank, columns - rank):
            return rank
    return int(values.size)


def find_subspace(update: Update) -> Subspace | str:
    """Find the signal's subspace, its rank and the noise around it, from the gradient alone.

    The answer is kept with the update: several attacks start from it. Its test matrix is drawn from a
    stream of its own, so that the answer does not depend on which attack asks first.

    Parameters
    ----------
    update : Update
        What was shared; finite and not zero.

    Returns
    -------
    Subspace or str
        A string is the reason why there is no such subspace.
    """
    if "subspace" not in update.scratch:
        update.scratch["subspace"] = _find_subspace(update)
    found: Subspace | str = update.scratch["subspace"]
    return found


def _find_subspace(update: Update) -> Subspace | str:
    operator = ScaledGradient(update)
    shape = operator.shape
    # Features that never fire and classes without a gradient take no part, not even in counting noise.
    seen = (operator.rows.size, operator.columns.size)
    full = min(seen)
    smallest = 64 * np.finfo(np.float64).eps * np.sqrt(max(shape))
    floor = smallest / np.sqrt(max(shape))
    expected = max(unit_roundoff(update.compute_dtype) / np.sqrt(seen[0]), floor)
    found = GrowingRange(operator)
    width = min(_FIRST_WIDTH, full)
    while True:
        found.widen(width - found.basis.shape[1])
        left, values, left_over = found.decompose()
        frobenius = float(np.linalg.norm(left_over))
        chosen = _choose_rank(values, frobenius, seen, smallest, _ROUNDING_ONLY * expected)
        if width == full == 1:
            chosen = (1, 1, False)  # one row: one direction, and no room to see any noise beside it
        # A random matrix of many samples can look like a few large directions in noise as long as only its
        # leading part has been seen. What rounding explains is accepted at once; anything else must hold
        # for the whole spectrum.
        if (chosen is not None and chosen[2]) or width == full:
            break
        # Past half of the spectrum the rest costs no more; past the widest, a gap would not be worth the time.
        width = full if 4 * width > full else 2 * width
        if width > _WIDEST:
            chosen = None
            break
    positions, rank, exact = chosen or (0, 0, False)
    gap = float(values[positions - 1] / max([*values[positions : positions + 1], smallest])) if positions else 0.0
    if gap < _VISIBLE_GAP and not exact:
        return (
            f"the spectrum of the {shape[0]} x {shape[1]} gradient shows no gap: it is not of low rank plus noise. "
            "Either the batch has about as many label positions as the head has features or classes, or the update "
            "was protected by noise or rounding"
        )
    inside = left.T @ found.compressed
    beyond = np.sqrt(left_over**2 + (inside[rank:] ** 2).sum(axis=0))[operator.columns]
    degrees = max(seen[0] - rank, 1)
    # A column's own residual is a small sample where few rows are left: never trust it below the average.
    average = float(np.sqrt(np.mean(beyond**2)))
    return Subspace(
        positions=positions,
        rank=rank,
        coordinates=inside[:rank, operator.columns],
        noise=np.maximum(np.maximum(beyond, average) / np.sqrt(degrees), floor),
        columns=operator.columns,
        directions=found.basis @ left[:, :rank] * operator.row_scale[:, None],
        gap=gap,
        noise_ratio=float(average / np.sqrt(degrees) / expected) if rank < seen[0] else np.inf,
    )
