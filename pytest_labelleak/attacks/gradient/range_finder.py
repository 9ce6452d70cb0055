"""The equilibrated gradient as a linear operator, and a growing basis of its leading column space.

No wide matrix is stored: products run over blocks of the gradient as it was shared, and the scaling is applied
to the thin factor.

References
----------
.. [1] N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53
   (2011) 217-288. https://doi.org/10.1137/090771806
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg

from ...core.update import Update
from .head import ROWS_PER_BLOCK, bias_gradient

__all__ = ["GrowingRange", "ScaledGradient"]

# Passes that only look at entries run over pieces of about this many, which stay in the cache. Decides nothing.
_ENTRIES_PER_PIECE = 2**19


class ScaledGradient:
    """The data gradient with rows and columns scaled, as a linear operator.

    Parameters
    ----------
    update : Update
        The update that was shared.
    equilibrate : bool, default True
        Scale rows and columns to unit norm. Equilibration levels noise that is proportional to the entries, such as
        rounding. Otherwise all rows and columns are scaled alike, so that noise that was added to all entries alike
        stays level; the bias row alone, if it is larger than the others, is brought to their size together with its
        noise.
    only : ndarray of int, optional
        Rows to use, sorted: features, and d for the bias gradient. By default all.

    Attributes
    ----------
    members : ndarray of int, shape (n,)
        The rows in use.
    row_scale : ndarray of shape (n,)
        Factors of the rows; zero for rows of zeros.
    column_scale : ndarray of shape (C,)
        Factors of the columns; zero for columns of zeros where columns are equilibrated.
    rows, columns : ndarray of int
        Rows and columns that are not zero.
    """

    def __init__(self, update: Update, *, equilibrate: bool = True, only: np.ndarray | None = None) -> None:
        self._update = update
        self._bias = bias_gradient(update)
        whole = np.arange(update.features + (self._bias is not None))
        self.members = whole if only is None else only
        self.row_scale = np.ones(self.members.size)
        self.column_scale = np.ones(update.classes)
        if not equilibrate:
            # Squares of float64 gradients of 1e-200 are not representable: bring the largest entry to 1 first.
            self.row_scale /= float(self._peaks().max())
            rows = self._norms(axis=1)
            self.rows = np.flatnonzero(rows)
            if self._bias is not None and rows[-1] > 0:
                typical = np.sqrt(np.mean(rows[:-1] ** 2))
                self.row_scale[-1] *= min(typical / rows[-1], 1.0) if typical > 0 else 1.0
            columns = self._norms(axis=0)
            self.columns = np.flatnonzero(columns)
            self.row_scale *= np.sqrt(self.columns.size) / np.linalg.norm(columns)
            return
        # One sweep of Sinkhorn's iteration suffices: columns to a largest entry of one, which fits any exponent range,
        # then rows and columns to unit norm.
        self.column_scale = _inverse(self._peaks())
        self.row_scale = _inverse(self._norms(axis=1))
        self.column_scale *= _inverse(self._norms(axis=0))
        self.columns = np.flatnonzero(self.column_scale)
        self.rows = np.flatnonzero(self.row_scale)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (features, and the bias) and columns (classes)."""
        return self.row_scale.size, self.column_scale.size

    def pieces(
        self, members: np.ndarray | None = None, *, rows_per_piece: int = ROWS_PER_BLOCK
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the unscaled data gradient, some rows at a time, in the precision it was shared in or better.

        Parameters
        ----------
        members : ndarray of int, optional
            Other rows than those in use, sorted.
        rows_per_piece : int, default 256
            Number of rows of a piece.

        Yields
        ------
        rows : slice
            The rows, as places in `members`.
        piece : ndarray of shape (rows, C)
            Their gradient; not to be written to.
        """
        gradient, penalty = self._update.kernel_gradient, self._update.head.kernel_penalty
        members = self.members if members is None else members
        features = members[: np.searchsorted(members, self._update.features)]
        whole = features.size == self._update.features
        for start in range(0, features.size, rows_per_piece):
            place = slice(start, min(start + rows_per_piece, features.size))
            chosen = place if whole else features[place]
            piece = gradient[chosen]
            if penalty is not None:
                piece = piece.astype(np.float64) - penalty[chosen]
            yield place, piece
        if self._bias is not None and features.size < members.size:
            yield slice(features.size, features.size + 1), self._bias[None]

    def _small_pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        return self.pieces(rows_per_piece=max(1, _ENTRIES_PER_PIECE // self._update.classes))

    def _peaks(self) -> np.ndarray:
        largest = np.zeros(self._update.classes)
        for _, piece in self._small_pieces():
            np.maximum(largest, np.abs(piece).max(axis=0), out=largest)
        return largest

    def _scaled(self, rows: slice, piece: np.ndarray, dtype: np.dtype) -> np.ndarray:
        # Scales are inverses of norms and may exceed what float32 holds; their products with entries do not.
        scaled: np.ndarray = np.multiply(piece, self.column_scale.astype(dtype), dtype=dtype)
        scaled *= self.row_scale[rows, None].astype(dtype)
        return scaled

    def _norms(self, axis: int) -> np.ndarray:
        total = np.zeros(self.shape[1 - axis])
        for rows, piece in self._small_pieces():
            # Norms that serve as scales need no more than single precision, where its range suffices.
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = self._scaled(rows, piece, np.result_type(piece, np.float32))
                squares = np.einsum("ij,ij->j" if axis == 0 else "ij,ij->i", scaled, scaled, dtype=np.float64)
            if not np.isfinite(squares).all():
                scaled = self._scaled(rows, piece, np.dtype(np.float64))
                squares = np.einsum("ij,ij->j" if axis == 0 else "ij,ij->i", scaled, scaled)
            if axis == 0:
                total += squares
            else:
                total[rows] = squares
        norms: np.ndarray = np.sqrt(total)
        return norms

    def multiply(self, right: np.ndarray) -> np.ndarray:
        """Return ``A @ right`` for `right` of shape (C, k)."""
        right = self.column_scale[:, None] * right
        out = np.empty((self.shape[0], right.shape[1]))
        for rows, piece in self.pieces():
            np.matmul(piece.astype(np.float64, copy=False), right, out=out[rows])
        out *= self.row_scale[:, None]
        return out

    def multiply_transposed(self, left: np.ndarray) -> np.ndarray:
        """Return ``left^T @ A`` for `left` of shape (rows, k), that is (k, C)."""
        left = self.row_scale[:, None] * left
        out = np.zeros((left.shape[1], self.shape[1]))
        for rows, piece in self.pieces():
            out += left[rows].T @ piece.astype(np.float64, copy=False)
        out *= self.column_scale
        return out

    def singular_values(self) -> np.ndarray:
        """Return all singular values by way of the Gram matrix of the shorter side, shape (min(rows, columns),).

        The squares of the Gram matrix lose half of the digits: a value is good to eight digits, times the square of its
        ratio to the largest.

        Returns
        -------
        ndarray
            Descending, of the rows and columns that are not zero.
        """
        if self.rows.size <= self.columns.size:
            gram = np.empty((self.shape[0], self.shape[0]))
            for rows, piece in self.pieces():
                scaled = self._scaled(rows, piece, np.dtype(np.float64))
                gram[:, rows] = self.multiply(scaled.T)
            gram = gram[np.ix_(self.rows, self.rows)]
        else:
            gram = np.zeros((self.shape[1], self.shape[1]))
            for rows, piece in self.pieces():
                scaled = self._scaled(rows, piece, np.dtype(np.float64))
                gram += scaled.T @ scaled
            gram = gram[np.ix_(self.columns, self.columns)]
        squares = scipy.linalg.eigvalsh(gram, check_finite=False)[::-1]
        values: np.ndarray = np.sqrt(np.maximum(squares, 0.0))
        return values

    def column_residual(self, basis: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """Return the norm of every column of ``A - basis @ coordinates``, shape (C,)."""
        total = np.zeros(self.shape[1])
        for rows, piece in self.pieces():
            left = self._scaled(rows, piece, np.dtype(np.float64))
            left -= basis[rows] @ coordinates
            total += np.einsum("ij,ij->j", left, left)
        result: np.ndarray = np.sqrt(total)
        return result


def _inverse(norms: np.ndarray) -> np.ndarray:
    inverse: np.ndarray = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return inverse


class GrowingRange:
    """A growing orthonormal basis of the operator's leading column space, with its remainder [1]_.

    Parameters
    ----------
    operator : ScaledGradient
        The matrix.
    quick : bool, default False
        Save one of four products per widening, half a power iteration. Enough where signal and noise are far
        apart, not where leading directions barely stand out of a bulk.
    """

    def __init__(self, operator: ScaledGradient, *, quick: bool = False) -> None:
        self._operator = operator
        self._quick = quick
        self._rng = np.random.default_rng(0)
        self.basis = np.empty((operator.shape[0], 0))
        self.compressed = np.empty((0, operator.shape[1]))  # basis^T A

    def widen(self, extra: int) -> None:
        """Add `extra` directions: sketch, power step, both with the present basis projected out."""
        operator = self._operator
        if self._quick:
            sketch = self._rng.standard_normal((operator.shape[0], extra))
            sketch -= self.basis @ (self.basis.T @ sketch)
        else:
            sketch = self._outside(operator.multiply(self._rng.standard_normal((operator.shape[1], extra))))
        back, _ = scipy.linalg.qr(operator.multiply_transposed(sketch).T, mode="economic", check_finite=False)
        new = self._outside(operator.multiply(back))
        self.basis = np.hstack([self.basis, new])
        self.compressed = np.vstack([self.compressed, operator.multiply_transposed(new)])

    def _outside(self, block: np.ndarray) -> np.ndarray:
        for _ in range(
            2
        ):  # a second time, because the first leaves a part in the basis that is large beside the new one
            block = block - self.basis @ (self.basis.T @ block)
            block, _ = scipy.linalg.qr(block, mode="economic", check_finite=False)
        return block

    def decompose(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return left singular vectors (in the basis), singular values, and the norm of every column outside."""
        # By way of a QR factorisation of the tall transpose: the Gram matrix would lose half of the digits.
        triangle = scipy.linalg.qr(self.compressed.T, mode="r", check_finite=False)[0][: self.compressed.shape[0]]
        _, values, right = scipy.linalg.svd(triangle, full_matrices=False, check_finite=False)
        return right.T, values, self._operator.column_residual(self.basis, self.compressed)
