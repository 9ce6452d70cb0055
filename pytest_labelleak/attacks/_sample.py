"""One sample out of the batch: features whose softmax, without the label's own entry, lies in the row space.

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

It has a good start: a direction that separates class c gives a row that is nearly the sample's, and its
logarithm is *linear* in a.

With label smoothing e the row is ``w (p - (1 - e) onehot(c) - e / C)``, and ``f_j = s_j (p_j - e / C)`` with the
softmax over all classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

__all__ = ["Sample", "SampleProblem"]

# A logarithm of a row is trusted where it stands this many deviations above its noise ...
_ABOVE_NOISE = 3.0
# ... and then to this relative error, for the row is one of a cone and not yet the sample's.
_CONE_ERROR = 0.05
# With smoothed targets, how much of the row belongs to the constant part is an estimate of this relative error.
_SHARE_ERROR = 0.1
# Outputs tried for the label, in units of its target.
_OWN_OUTPUTS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97)
# A trained network is often surer than smoothed targets ask: the label's own entry is then above zero. Outputs tried
# beyond the target, as shares of the way from there to one.
_SURER = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
# Where the label's own entry tells nothing, the row's lowest entries do: they are this share of minus ``e / C``.
_LOWEST = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
_AMONG_THE_LOWEST = 0.05
# Logits that differ by more carry no weight: exp would only underflow.
_SMALLEST_LOGIT = -700.0
# An old Jacobian is used again while a step with it takes this off the squared residual; ...
_STILL_HELPS = 0.04
# ... and with a new one this ends the iteration.
_CONVERGED = 0.999
_MOST_DAMPING = 1e6
# No row is closer to uniform than this.
_UNIFORM = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One solution.

    Attributes
    ----------
    column : int
        Column of its label.
    features : ndarray of shape (r,)
        Coordinates a of its features.
    row : ndarray of shape (r,)
        Coordinates m of its error row, up to a positive factor.
    residual : float
        Norm of the normalised residual.
    noise : float
        What rounding noise in the row space explains of it.
    """

    column: int
    features: np.ndarray = field(repr=False)
    row: np.ndarray = field(repr=False)
    residual: float
    noise: float


class SampleProblem:
    """Solve for one sample at a time, in a row space of r dimensions.

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
        self.rows, self.noise, self.offset = rows, noise, offset
        self._scale, self._log_scale = scale, np.log(scale)
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
        self._back = right[kept].T / values[kept]
        self._forth = right[kept] * values[kept, None]

    def unknowns(self, features: np.ndarray) -> np.ndarray:
        """Return the unknowns that stand for coordinates `features` (r,)."""
        return np.asarray(self._forth @ features)

    def start(self, column: int | None, functional: np.ndarray) -> np.ndarray | None:
        """Fit logits to the logarithm of the row ``functional @ rows``.

        Parameters
        ----------
        column : int or None
            The label's, whose entry is left out. None if the sample is so sure that its label's entry was lost, or
            with smoothed targets as sure as they ask.
        functional : ndarray of shape (r,)
            Negative on that column, not negative on the others, up to noise.

        Returns
        -------
        ndarray or None
            Unknowns to start from; None if too few entries stand out of the noise.
        """
        row = functional @ self.rows
        deviation = float(np.linalg.norm(functional)) * self.noise
        if not self._floor:
            return self._fit(column, row, deviation)
        # How much of a smoothed row is the constant part depends on the label's own output: try several.
        row, deviation = row / self._scale, deviation / self._scale
        lowest = float(np.quantile(row, _AMONG_THE_LOWEST)) if column is None else float(row[column])
        if lowest >= 0.0:
            return None
        if column is None:
            shares = [part * self._floor / -lowest for part in _LOWEST]
        else:
            beyond = self._floor * self._scale.size / self._kept
            tried = (*_OWN_OUTPUTS, *(1.0 + part * beyond for part in _SURER))
            # Negative beyond the target, where the functional shows the row with its sign turned.
            shares = [(1.0 - own) * self._kept / -lowest for own in tried]
        best: tuple[float, np.ndarray] | None = None
        for share in shares:
            spread = np.hypot(share * deviation, _SHARE_ERROR * self._floor / _ABOVE_NOISE)
            fitted = self._fit(column, (share * row + self._floor) * self._scale, spread * self._scale)
            if fitted is not None:
                label = self.favourite(fitted) if column is None else column
                shape = self._evaluate(fitted, label)[0]
                missed = float(np.linalg.norm(self._outside(shape, self._label(label)[1])))
                if best is None or missed < best[0]:
                    best = missed, fitted
        return None if best is None else best[1]

    def _fit(self, column: int | None, row: np.ndarray, deviation: np.ndarray) -> np.ndarray | None:
        """Fit logits to the logarithm of a row known to `deviation`."""
        seen = row > _ABOVE_NOISE * deviation
        if column is not None:
            seen[column] = False
        if np.count_nonzero(seen) < 2:
            return None
        relative = deviation[seen] / row[seen]
        weight = 1.0 / np.sqrt(_CONE_ERROR**2 + relative**2)
        design = np.empty((weight.size, self.logits.shape[1] + 1))
        design[:, :-1] = self.logits[seen]
        design[:, -1] = 1.0  # the common factor
        design *= weight[:, None]
        wanted = weight * (np.log(row[seen]) - self._log_scale[seen] - self.offset[seen])
        gram = design.T @ design
        # Rows of few visible entries do not determine everything; what they leave open stays small.
        gram[np.diag_indices_from(gram)] += 1e-10 * np.trace(gram) / gram.shape[0]
        solved: np.ndarray = scipy.linalg.solve(gram, design.T @ wanted, assume_a="pos", check_finite=False)
        return solved[:-1]

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
        output = np.exp(np.maximum(logits - logits.max(), _SMALLEST_LOGIT))
        output /= output.sum()
        middle = output @ self.logits
        row, slope = self._scale * (output - self._floor), self._scale * output
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

    def solve(self, column: int, start: np.ndarray, *, iterations: int) -> Sample:
        """Minimise the residual from `start` with Levenberg-Marquardt steps.

        The Jacobian is only taken anew where the last one stopped helping: from a good start one is enough.

        Parameters
        ----------
        column : int
            The label's.
        start : ndarray
            Unknowns.
        iterations : int
            Most Jacobians taken.

        Returns
        -------
        Sample
            Wherever it ended; the residual tells what it is worth.
        """
        label, extra = self._label(column)
        unknowns, damping = start, 1e-3
        row, slope, middle = self._evaluate(unknowns, column)
        aside = self._aside(row, column)
        missed = self._outside(row, extra)
        cost = float(missed @ missed)
        for _ in range(iterations):
            # Columns that the softmax all but leaves out take no part.
            active = np.flatnonzero(slope > 1e-9)
            jacobian = self.logits[active] - (0.0 if middle is None else middle)
            jacobian *= slope[active, None]
            whole = aside[active] @ jacobian
            inside = np.vstack([self.space[:, active] @ jacobian, extra[active] @ jacobian])
            # The normalisation takes out the row itself, before the projection does the rest.
            inside -= np.outer(np.append(self.space @ row, extra @ row), whole)
            across = np.outer(row[active] @ jacobian, whole)
            hessian = jacobian.T @ jacobian - across - across.T + float(row @ row) * np.outer(whole, whole)
            hessian -= inside.T @ inside
            diagonal = np.maximum(np.diag(hessian), 1e-13 * np.trace(hessian))
            before, fresh, factor = cost, True, None
            while True:
                if factor is None:
                    try:
                        factor = scipy.linalg.cho_factor(hessian + np.diag(damping * diagonal), check_finite=False)
                    except np.linalg.LinAlgError:
                        damping = max(10.0 * damping, 1e-12)
                        if damping > _MOST_DAMPING:
                            break
                        continue
                weighted = slope * (missed - (row @ missed) * aside)
                gradient = self.logits.T @ weighted
                if middle is not None:
                    gradient -= weighted.sum() * middle
                trial = unknowns - scipy.linalg.cho_solve(factor, gradient, check_finite=False)
                evaluated = self._evaluate(trial, column)
                trial_missed = self._outside(evaluated[0], extra)
                trial_cost = float(trial_missed @ trial_missed)
                if trial_cost < cost:
                    helped = trial_cost < _STILL_HELPS * cost
                    unknowns, (row, slope, middle), missed, cost = trial, evaluated, trial_missed, trial_cost
                    aside = self._aside(row, column)
                    if fresh:
                        damping = damping / 10.0 if damping > 1e-13 else 0.0
                    fresh = False
                    if not helped:
                        break
                elif fresh and damping < _MOST_DAMPING:
                    damping, factor = max(10.0 * damping, 1e-12), None
                else:
                    break
            if cost > _CONVERGED * before or cost == 0.0:
                break
        size = float(np.linalg.norm(row))
        return self._sample(column, unknowns, row / size, float(np.sqrt(cost)) / size, label)

    def _sample(self, column: int, unknowns: np.ndarray, row: np.ndarray, residual: float, label: np.ndarray) -> Sample:
        inside = self.space @ row - self.space[:, column] * float(label @ row)
        functional = scipy.linalg.solve_triangular(self._triangle, inside, check_finite=False)
        features = self._back @ unknowns
        noise = float(np.linalg.norm(functional) * np.linalg.norm(self.noise))
        return Sample(column=column, features=features, row=functional, residual=residual, noise=noise)
