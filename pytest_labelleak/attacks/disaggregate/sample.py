"""One sample out of the batch: where to start from, and the way to a residual of zero (see _residual).

It has a good start: a direction that separates class c gives a row that is nearly the sample's, and its
logarithm is *linear* in a.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from .row_equation import RowResidual

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
# An old Jacobian is used again while a step with it takes this off the squared residual; ...
_STILL_HELPS = 0.04
# ... and with a new one this ends the iteration.
_CONVERGED = 0.999
_MOST_DAMPING = 1e6


# A sample's own row sees one of its features, and another sample's none of them, ...
_COPY = 0.5
# ... up to this cosine.
_DUAL = 0.05


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

    def copies(self, other: Sample) -> bool:
        """Say whether two solutions, with rows divided by their loss weights, are the same."""
        # Both are one then; their cosines are small too where features are far from dual to rows.
        return min(self._seen_by(other)) > _COPY

    def _seen_by(self, other: Sample) -> tuple[float, float]:
        return float(self.row @ other.features), float(other.row @ self.features)

    def overlaps(self, other: Sample) -> bool:
        """Say whether two solutions, with rows divided by their loss weights, are copies or mixtures of each other."""
        if self.copies(other):
            return True
        seen = self._seen_by(other)
        lengths = (
            np.linalg.norm(self.row) * np.linalg.norm(other.features),
            np.linalg.norm(other.row) * np.linalg.norm(self.features),
        )
        return bool(abs(seen[0]) > _DUAL * lengths[0] or abs(seen[1]) > _DUAL * lengths[1])


class SampleProblem(RowResidual):
    """Solve for one sample at a time."""

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
        row, deviation = row / self.scale, deviation / self.scale
        lowest = float(np.quantile(row, _AMONG_THE_LOWEST)) if column is None else float(row[column])
        if lowest >= 0.0:
            return None
        if column is None:
            shares = [part * self._floor / -lowest for part in _LOWEST]
        else:
            beyond = self._floor * self.scale.size / self._kept
            tried = (*_OWN_OUTPUTS, *(1.0 + part * beyond for part in _SURER))
            # Negative beyond the target, where the functional shows the row with its sign turned.
            shares = [(1.0 - own) * self._kept / -lowest for own in tried]
        best: tuple[float, np.ndarray] | None = None
        for share in shares:
            spread = np.hypot(share * deviation, _SHARE_ERROR * self._floor / _ABOVE_NOISE)
            fitted = self._fit(column, (share * row + self._floor) * self.scale, spread * self.scale)
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
        features = self.back @ unknowns
        noise = float(np.linalg.norm(functional) * np.linalg.norm(self.noise))
        return Sample(column=column, features=features, row=functional, residual=residual, noise=noise)
