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

__all__ = ["Equilibrated", "Subspace", "find_subspace"]

# A residual is noise if its largest singular value is at most this many times that of a matrix of
# independent entries with the same Frobenius norm. Equilibrated rounding noise measures 1.0 to 1.6,
# also from bfloat16; a single missed signal direction measures tens to millions.
_NOISE_EDGE_FACTOR = 2.5

# Values this far above the noise edge are kept even if the largest gap lies before them: one direction
# too many costs nothing in the tilted cone (see _cone), one too few costs its label.
_KEEP_FACTOR = 1.5

# Rounding of every entry once to the compute dtype counts as 1 (see noise_ratio); sums of many rounded
# terms stay under ten. A defence that is any use adds thousands.
_ROUNDING_ONLY = 30.0

# Noise that rounding does not explain is taken for noise only if the signal stands out by this factor.
_VISIBLE_GAP = 3.0

_WIDEST = 2048
_FIRST_WIDTH = 48
_TAIL = 12


class Equilibrated:
    """The data gradient with rows and columns scaled to unit norm, as a linear operator.

    Nothing wide is stored: products run over blocks of the gradient as it was shared.

    Parameters
    ----------
    update : Update
        What was shared.
    """

    def __init__(self, update: Update) -> None:
        self._update = update
        self._bias = bias_gradient(update)
        self.row_scale = np.ones(update.features + (self._bias is not None))
        self.column_norm = np.ones(update.classes)
        # Columns, rows, columns: one sweep of Sinkhorn's iteration in the 2-norm is all that is needed.
        self.column_norm = self._norms(axis=0)
        nonzero = self.column_norm > 0
        self.columns = np.flatnonzero(nonzero)
        self.column_norm[~nonzero] = 1.0
        rows = self._norms(axis=1)
        self.row_scale = np.where(rows > 0, 1.0 / np.where(rows > 0, rows, 1.0), 0.0)
        again = self._norms(axis=0)
        self.column_norm *= np.where(again > 0, again, 1.0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (features, and the bias) and columns (classes)."""
        return self.row_scale.size, self.column_norm.size

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        for rows, block in kernel_blocks(self._update):
            block *= self.row_scale[rows, None]
            block /= self.column_norm
            yield rows, block
        if self._bias is not None:
            d = self._update.features
            yield slice(d, d + 1), (self._bias * self.row_scale[d] / self.column_norm)[None]

    def _norms(self, axis: int) -> np.ndarray:
        # Scaled before squaring: gradients of 1e-30 are legitimate and their squares are not representable.
        top = max((float(np.abs(block).max()) for _, block in self._blocks()), default=0.0)
        if top == 0.0:
            return np.zeros(self.shape[1 - axis])
        if axis == 0:
            total = np.zeros(self.shape[1])
            for _, block in self._blocks():
                total += ((block / top) ** 2).sum(axis=0)
        else:
            total = np.concatenate([((block / top) ** 2).sum(axis=1) for _, block in self._blocks()])
        norms: np.ndarray = top * np.sqrt(total)
        return norms

    def multiply(self, right: np.ndarray) -> np.ndarray:
        """Return ``A @ right`` for `right` of shape (C, k)."""
        out = np.empty((self.shape[0], right.shape[1]))
        for rows, block in self._blocks():
            out[rows] = block @ right
        return out

    def multiply_transposed(self, left: np.ndarray) -> np.ndarray:
        """Return ``left^T @ A`` for `left` of shape (rows, k), that is (k, C)."""
        out = np.zeros((left.shape[1], self.shape[1]))
        for rows, block in self._blocks():
            out += left[rows].T @ block
        return out

    def column_residual(self, basis: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """Return the norm of every column of ``A - basis @ coordinates``, shape (C,)."""
        total = np.zeros(self.shape[1])
        for rows, block in self._blocks():
            block -= basis[rows] @ coordinates
            total += (block**2).sum(axis=0)
        result: np.ndarray = np.sqrt(total)
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subspace:
    """Where the signal of a gradient lives.

    Attributes
    ----------
    rank : int
        Estimated number of label positions S.
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
) -> tuple[int, bool] | None:
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
    rank : int
        Number of signal directions.
    exact : bool
        Whether rounding explains the rest.
    """
    usable = values.size - _TAIL if values.size < min(shape) else values.size - 1
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])  # what is left from index i on
    best: tuple[bool, float, int] | None = None
    edges = np.empty(usable + 1)
    for rank in range(1, usable + 1):
        rows, columns = shape[0] - rank, shape[1] - rank
        edges[rank] = edge = max(_noise_edge(float(beyond[rank]), rows, columns), smallest)
        first_noise = max(float(values[rank]), smallest)
        if first_noise > _NOISE_EDGE_FACTOR * edge or values[rank - 1] <= _KEEP_FACTOR * edge:
            continue
        exact = float(beyond[rank]) <= rounding * np.sqrt(rows * columns)
        best = max(best or (False, 0.0, 0), (exact, float(values[rank - 1]) / first_noise, rank))
    if best is None:
        return None
    exact, _, rank = best
    while rank < usable and values[rank] > _KEEP_FACTOR * _NOISE_EDGE_FACTOR * edges[best[2]]:
        rank += 1
    return rank, exact


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
    rng = np.random.default_rng(0)
    operator = Equilibrated(update)
    shape = operator.shape
    full = min(shape[0], operator.columns.size)
    smallest = 64 * np.finfo(np.float64).eps * np.sqrt(max(shape))
    width = min(_FIRST_WIDTH, full)
    floor = smallest / np.sqrt(max(shape))
    expected = max(unit_roundoff(update.compute_dtype) / np.sqrt(shape[0]), floor)
    rounding = _ROUNDING_ONLY * expected
    while True:
        sketch = operator.multiply(rng.standard_normal((shape[1], width)))
        for _ in range(2):  # two power steps: flat tails leave little for one
            basis, _ = scipy.linalg.qr(sketch, mode="economic", check_finite=False)
            back, _ = scipy.linalg.qr(operator.multiply_transposed(basis).T, mode="economic", check_finite=False)
            sketch = operator.multiply(back)
        basis, _ = scipy.linalg.qr(sketch, mode="economic", check_finite=False)
        compressed = operator.multiply_transposed(basis)
        left, values, _ = scipy.linalg.svd(compressed, full_matrices=False, check_finite=False)
        left_over = operator.column_residual(basis, compressed)
        frobenius = float(np.linalg.norm(left_over))
        chosen = _choose_rank(values, frobenius, (shape[0], operator.columns.size), smallest, rounding)
        if width == full == 1:
            chosen = (1, False)  # one row: one direction, and no room to see any noise beside it
        # A random matrix of many samples can look like a few large directions in noise as long as only its
        # leading part has been seen. What rounding explains is accepted at once; anything else must hold
        # for the whole spectrum.
        if (chosen is not None and chosen[1]) or width == full:
            break
        # Past half of the spectrum the rest costs no more; past the widest, a gap would not be worth the time.
        width = full if 4 * width > full else 2 * width
        if width > _WIDEST:
            chosen = None
            break
    rank, exact = chosen or (0, False)
    gap = float(values[rank - 1] / max(values[rank] if rank < values.size else 0.0, smallest)) if rank else 0.0
    if gap < _VISIBLE_GAP and not exact:
        return (
            f"the spectrum of the {shape[0]} x {shape[1]} gradient shows no gap: it is not of low rank plus noise. "
            "Either the batch has about as many label positions as the head has features or classes, or the update "
            "was protected by noise or rounding"
        )
    directions = basis @ left[:, :rank]
    coordinates = (left[:, :rank].T @ compressed)[:, operator.columns]
    beyond = np.sqrt(left_over**2 + ((left[:, rank:].T @ compressed) ** 2).sum(axis=0))[operator.columns]
    degrees = max(shape[0] - rank, 1)
    # A column's own residual is a small sample where few rows are left: never trust it below the average.
    average = float(np.sqrt(np.mean(beyond**2)))
    noise = np.maximum(np.maximum(beyond, average) / np.sqrt(degrees), floor)
    return Subspace(
        rank=rank,
        coordinates=coordinates,
        noise=noise,
        columns=operator.columns,
        directions=directions * operator.row_scale[:, None],
        gap=gap,
        noise_ratio=float(average / np.sqrt(degrees) / expected) if rank < shape[0] else np.inf,
    )
