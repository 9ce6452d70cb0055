"""The equation of one sample: its softmax, without the label's own entry, lies in the row space.

A sample with label c has the error row ``w (p - onehot(c))``, ``p = softmax(K a)`` (see `spaces` for K and a). The
condition that ``p - onehot(c)`` lies in the row space has a trivial root, ``p = onehot(c)``, and a confident sample is
a millionth away from it. So the label's own entry is left out. All other entries of the row are

    w p_j = exp(K_j a) * (a common factor),    j != c.

They depend neither on the sample's confidence nor on its weight, and need no sign, no p_c and none of its rounding
(``p_c - 1`` is where single precision loses everything). Up to the factor, the residual

    r(a) = (I - V^T V) f / |f - u|,    f_j = s_j exp(K_j a) for j != c,   f_c free,

with V an orthonormal basis of the row space and s the scale of the columns, is zero for the sample alone. The divisor
is the distance from the uniform output u. It matters in untrained networks: the sum of all rows is nearly uniform, so
``a = 0`` nearly solves the equation, and would draw in every start between two samples that share a label.

With label smoothing e the row is ``w (p - (1 - e) onehot(c) - e / C)``, and ``f_j = s_j (p_j - e / C)`` with the
softmax over all classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.softmax import softmax

__all__ = ["RowEquation", "RowResidual", "error_rows"]

# Floors under divisors. None is met where the equation holds: a row that is uniform to a millionth, a column that is
# the whole uniform row, a label's entry that the row space reaches to the last digit.
_UNIFORM = 1e-6
_WHOLE = 1e-12
_REACHED = 1e-14
# Directions of the features in which logits change by less than this share of the most are rounding.
_SAME_LOGITS = 1e-12
# Columns whose entries are this small beside a row of about unit length add less to the Gram matrix than its rounding.
_NO_PART = 1e-9


def error_rows(outputs: np.ndarray, labels: np.ndarray, *, smoothing: float, classes: int) -> np.ndarray:
    """Return outputs less their targets: the error rows of a loss weight of one.

    Parameters
    ----------
    outputs : ndarray of shape (n, C')
        Softmax outputs in some columns.
    labels : ndarray of int, shape (n,)
        Column of each label.
    smoothing : float
        Label smoothing e of the loss.
    classes : int
        Number C of classes that the smoothed target is spread over.

    Returns
    -------
    ndarray of shape (n, C')
        A new array.
    """
    errors: np.ndarray = outputs - smoothing / classes
    errors[np.arange(labels.size), labels] -= 1.0 - smoothing
    return errors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowEquation:
    """Row space of r dimensions and the logits of its features; made by `of`.

    Attributes
    ----------
    rows : ndarray of shape (r, n)
        Basis of the error rows, equilibrated.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in each column.
    offset : ndarray of shape (n,)
        Logits that do not depend on the features.
    scale : ndarray of shape (n,)
        Factors by which the columns were multiplied.
    log_scale : ndarray of shape (n,)
        Their logarithms.
    uniform : ndarray of shape (n,)
        Uniform row u of unit length.
    smoothing : float
        Label smoothing e of the loss.
    space : ndarray of shape (r, n)
        Orthonormal basis V of the row space.
    triangle : ndarray of shape (r, r)
        ``rows = triangle^T V``.
    logits : ndarray of shape (n, u)
        Orthonormal logits of the unknowns, so that steps have a natural length.
    back, forth : ndarray of shape (r, u), (u, r)
        From unknowns to coordinates of the features, and the other way.
    """

    rows: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    offset: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    log_scale: np.ndarray = field(repr=False)
    uniform: np.ndarray = field(repr=False)
    smoothing: float
    space: np.ndarray = field(repr=False)
    triangle: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)
    back: np.ndarray = field(repr=False)
    forth: np.ndarray = field(repr=False)

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        noise: np.ndarray,
        logits: np.ndarray,
        offset: np.ndarray,
        scale: np.ndarray,
        *,
        smoothing: float = 0.0,
    ) -> RowEquation:
        """Factor the row space and the logits.

        Parameters
        ----------
        rows : ndarray of shape (r, n)
            Basis of the error rows, equilibrated.
        noise : ndarray of shape (n,)
            Standard deviation of the noise in each column.
        logits : ndarray of shape (n, r)
            Logits K of the basis of the features.
        offset : ndarray of shape (n,)
            Logits that do not depend on the features.
        scale : ndarray of shape (n,)
            Factors by which the columns were multiplied.
        smoothing : float, default 0.0
            Label smoothing of the loss. If not zero, `rows` has to hold every class.

        Returns
        -------
        RowEquation
            Ready for any label.
        """
        orthogonal, rows_triangle = scipy.linalg.qr(rows.T, mode="economic", check_finite=False)
        basis, triangle = scipy.linalg.qr(logits, mode="economic", check_finite=False)
        left, values, right = scipy.linalg.svd(triangle, check_finite=False)
        kept = values > _SAME_LOGITS * values[0]
        return cls(
            rows=rows,
            noise=noise,
            offset=offset,
            scale=scale,
            log_scale=np.log(scale),
            uniform=scale / np.linalg.norm(scale),
            smoothing=smoothing,
            space=np.ascontiguousarray(orthogonal.T),
            triangle=rows_triangle,
            logits=basis @ left[:, kept],
            back=right[kept].T / values[kept],
            forth=right[kept] * values[kept, None],
        )

    @property
    def floor(self) -> float:
        """Target of every class but the label: ``e / C``."""
        return self.smoothing / self.scale.size

    def unknowns(self, features: np.ndarray) -> np.ndarray:
        """Return the unknowns (u,) that stand for coordinates (r,) of features."""
        return np.asarray(self.forth @ features)

    def favourite(self, unknowns: np.ndarray) -> int:
        """Return the column of the largest output."""
        return int(np.argmax(self.logits @ unknowns + self.offset))

    def error_row(self, unknowns: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the whole row of a loss weight of one, with its label's entry, and its derivative.

        Parameters
        ----------
        unknowns : ndarray of shape (u,)
            The sample's.
        column : int
            Column of its label.

        Returns
        -------
        row, slope : ndarray of shape (n,)
            The row; the derivative is ``diag(slope) (logits - 1 middle^T)``.
        middle : ndarray of shape (u,)
            Mean of the logits under the output.
        """
        output = softmax(self.logits @ unknowns + self.offset)
        target = np.array([column])
        row = error_rows(output[None], target, smoothing=self.smoothing, classes=self.scale.size)[0]
        return self.scale * row, self.scale * output, output @ self.logits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowAt:
    """The row at one point.

    Attributes
    ----------
    row : ndarray of shape (n,)
        Normalised row f without the label's entry.
    slope : ndarray of shape (n,)
        Its derivative is ``diag(slope) (logits - 1 middle^T)``, less the part that the normalisation takes out.
    middle : ndarray of shape (u,) or None
        Mean of the logits under the output; None for zero.
    aside : ndarray of shape (n,)
        Part of `row` that is not uniform, of unit length.
    missed : ndarray of shape (n,)
        The residual: part of `row` that neither the row space nor the label's entry reaches.
    """

    row: np.ndarray
    slope: np.ndarray
    middle: np.ndarray | None
    aside: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowResidual:
    """The residual r(a) for one label, a `least_squares.Residual`; made by `of`.

    Attributes
    ----------
    equation : RowEquation
        Row space and logits.
    column : int
        Column of the label.
    label : ndarray of shape (n,)
        Part of the label's unit vector outside the row space, divided by its squared length.
    extra : ndarray of shape (n,)
        The same of unit length: the direction that the free entry f_c adds to the row space.
    """

    equation: RowEquation
    column: int
    label: np.ndarray = field(repr=False)
    extra: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, equation: RowEquation, column: int) -> RowResidual:
        """Take one label's entry out of the equation.

        Parameters
        ----------
        equation : RowEquation
            Row space and logits.
        column : int
            Column of the label.

        Returns
        -------
        RowResidual
            For that label.
        """
        outside = -equation.space.T @ equation.space[:, column]
        outside[column] += 1.0
        length = max(float(np.linalg.norm(outside)), _REACHED)
        return cls(equation=equation, column=column, label=outside / length**2, extra=outside / length)

    def at(self, point: np.ndarray) -> RowAt:
        """Evaluate at unknowns (u,)."""
        equation, column = self.equation, self.column
        logits = equation.logits @ point + equation.offset
        middle: np.ndarray | None = None
        if not equation.smoothing:
            logits += equation.log_scale
            logits[column] = -np.inf
            row = slope = np.exp(logits - logits.max())
        else:
            output = softmax(logits)
            middle = output @ equation.logits
            row, slope = equation.scale * (output - equation.floor), equation.scale * output
            row[column] = slope[column] = 0.0
        uniform = equation.uniform
        others = max(1.0 - float(uniform[column]) ** 2, _WHOLE)
        aside = row - float(uniform @ row) / others * uniform
        aside[column] = 0.0
        length = max(float(np.linalg.norm(aside)), _UNIFORM * float(np.linalg.norm(row)))
        row = row / length
        missed = row - equation.space.T @ (equation.space @ row)
        missed -= self.extra * float(self.extra @ missed)
        return RowAt(
            row=row,
            slope=row if middle is None else slope / length,
            middle=middle,
            aside=aside / length,
            missed=missed,
        )

    def squares(self, state: RowAt) -> float:
        """Return the squared length of the residual."""
        return float(state.missed @ state.missed)

    def gradient(self, state: RowAt) -> np.ndarray:
        """Return ``J^T r``, shape (u,)."""
        weighted = state.slope * (state.missed - float(state.row @ state.missed) * state.aside)
        gradient: np.ndarray = self.equation.logits.T @ weighted
        if state.middle is not None:
            gradient -= weighted.sum() * state.middle
        return gradient

    def gram(self, state: RowAt) -> np.ndarray:
        """Return ``J^T J``, shape (u, u)."""
        space, row = self.equation.space, state.row
        active = np.flatnonzero(state.slope > _NO_PART)
        jacobian = self.equation.logits[active] - (0.0 if state.middle is None else state.middle)
        jacobian *= state.slope[active, None]
        whole = state.aside[active] @ jacobian
        inside = np.vstack([space[:, active] @ jacobian, self.extra[active] @ jacobian])
        # The normalisation takes out the row itself, before the projection does the rest.
        inside -= np.outer(np.append(space @ row, self.extra @ row), whole)
        across = np.outer(row[active] @ jacobian, whole)
        gram: np.ndarray = jacobian.T @ jacobian - across - across.T + float(row @ row) * np.outer(whole, whole)
        gram -= inside.T @ inside
        return gram
