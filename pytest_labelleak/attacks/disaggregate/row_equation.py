"""The equation of one sample: its softmax, without the label's own entry, lies in the row space.

A sample with label c has the error row ``w (p - onehot(c))``, ``p = softmax(K a)`` (see _rowspace for K and a). Solving
for a so that ``p - onehot(c)`` lies in the row space has a trivial root: ``p = onehot(c)``, which a confident sample
is a millionth away from. So the label's own entry is left out. All other entries of the row are

    w p_j = exp(K_j a) * (a common factor),    j != c,

which knows neither how confident the sample is nor its weight, and needs no sign, no p_c and none of its rounding
(``p_c - 1`` is where single precision loses everything). Up to the factor, the residual

    r(a) = (I - V^T V) f / |f - u|,    f_j = s_j exp(K_j a) for j != c,   f_c free,

with V an orthonormal basis of the row space and s the scale of the columns, is zero for the sample alone. Dividing by
the distance from the uniform output u matters in untrained networks: the sum of all rows is nearly uniform, so
``a = 0`` nearly solves the equation, and would draw in every start between two samples that share a label.

With label smoothing e the row is ``w (p - (1 - e) onehot(c) - e / C)``, and ``f_j = s_j (p_j - e / C)`` with the
softmax over all classes.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

__all__ = ["RowResidual"]

# Logits that differ by more carry no weight: exp would only underflow.
_SMALLEST_LOGIT = -700.0
# No row is closer to uniform than this.
_UNIFORM = 1e-6


class RowResidual:
    """What a sample's row lacks of the row space, of r dimensions.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of the error rows, equilibrated.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in each of its columns.
    logits : ndarray of shape (n, r)
        Logits K of the basis of the features.
    offset : ndarray of shape (n,)
        Logits that do not depend on the features.
    scale : ndarray of shape (n,)
        What columns were multiplied by.
    smoothing : float, default 0.0
        Label smoothing of the loss. If not zero, `rows` has to hold every class.
    """

    def __init__(
        self,
        rows: np.ndarray,
        noise: np.ndarray,
        logits: np.ndarray,
        offset: np.ndarray,
        scale: np.ndarray,
        *,
        smoothing: float = 0.0,
    ) -> None:
        self.rows, self.noise, self.offset, self.smoothing = rows, noise, offset, smoothing
        self.scale, self._log_scale = scale, np.log(scale)
        self._uniform = scale / np.linalg.norm(scale)
        self._floor = smoothing / scale.size
        self._kept = 1.0 - smoothing
        orthogonal, self._triangle = scipy.linalg.qr(rows.T, mode="economic", check_finite=False)
        self.space = np.ascontiguousarray(orthogonal.T)
        # Unknowns in which the logits are orthonormal: steps then have a natural length.
        basis, triangle = scipy.linalg.qr(logits, mode="economic", check_finite=False)
        left, values, right = scipy.linalg.svd(triangle, check_finite=False)
        kept = values > 1e-12 * values[0]
        self.logits = basis @ left[:, kept]
        self.back = right[kept].T / values[kept]
        self._forth = right[kept] * values[kept, None]

    def unknowns(self, features: np.ndarray) -> np.ndarray:
        """Return the unknowns that stand for coordinates `features` (r,)."""
        return np.asarray(self._forth @ features)

    def _label(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what the row space lacks of the label's own entry: divided by its squared length, and normalised."""
        label = -self.space.T @ self.space[:, column]
        label[column] += 1.0
        length = max(float(np.linalg.norm(label)), 1e-14)
        return label / length**2, label / length

    def _outside(self, block: np.ndarray, extra: np.ndarray) -> np.ndarray:
        """Project columns of `block` (n, k) onto what neither the row space nor `extra` reaches."""
        block = block - self.space.T @ (self.space @ block)
        return np.asarray(block - np.multiply.outer(extra, extra @ block))

    def favourite(self, unknowns: np.ndarray) -> int:
        """Return the column of the largest output."""
        return int(np.argmax(self.logits @ unknowns + self.offset))

    def _evaluate(self, unknowns: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the normalised row f (n,) without the label's entry, and its derivative.

        The latter is ``diag(slope) (K - 1 middle^T)``, but for what the normalisation takes out.
        """
        logits = self.logits @ unknowns + self.offset
        if not self._floor:
            logits += self._log_scale
            logits[column] = -np.inf
            row = np.exp(np.maximum(logits - logits.max(), _SMALLEST_LOGIT))
            row[column] = 0.0
            row /= self._size(row, column)
            return row, row, None
        output = self._softmax(logits)
        middle = output @ self.logits
        row, slope = self.scale * (output - self._floor), self.scale * output
        row[column] = slope[column] = 0.0
        length = self._size(row, column)
        return row / length, slope / length, middle

    def _aside(self, row: np.ndarray, column: int) -> np.ndarray:
        """Return the part of a row that is not uniform."""
        others = max(1.0 - float(self._uniform[column]) ** 2, 1e-12)
        part: np.ndarray = row - float(self._uniform @ row) / others * self._uniform
        part[column] = 0.0
        return part

    def _size(self, row: np.ndarray, column: int) -> float:
        """Return the length of that part, or a little if the row has none."""
        return max(float(np.linalg.norm(self._aside(row, column))), _UNIFORM * float(np.linalg.norm(row)))

    def error_row(self, unknowns: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the whole row of a loss weight of one, with its label's entry, and its derivative.

        The latter is ``diag(slope) (K - 1 middle^T)``.
        """
        output = self._softmax(self.logits @ unknowns + self.offset)
        row = self.scale * (output - self._floor)
        row[column] -= self.scale[column] * self._kept
        return row, self.scale * output, output @ self.logits

    @staticmethod
    def _softmax(logits: np.ndarray) -> np.ndarray:
        output = np.exp(np.maximum(logits - logits.max(), _SMALLEST_LOGIT))
        output /= output.sum()
        return np.asarray(output)
