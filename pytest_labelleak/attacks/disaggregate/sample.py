"""One sample out of the batch: a start for the equation of its row, and the way to a residual of zero.

A direction that separates class c gives a row that is nearly the sample's (see `row_equation`), and the logarithm of a
row is *linear* in the unknowns a: the start is a linear fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from .least_squares import minimise
from .row_equation import RowEquation, RowResidual

__all__ = ["LogarithmRules", "Sample", "solve", "start_from"]

# Grids of starts, of which the one with the smallest residual is taken: more points cost time, and fewer cost starts.
# Outputs tried for the label, in units of its target.
_OWN_OUTPUTS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.97)
# A trained network is often surer than smoothed targets ask: the label's own entry is then above zero. Outputs tried
# beyond the target, as shares of the way from there to one.
_SURER = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
# Where the label's own entry tells nothing, the row's lowest entries do: they are this share of minus ``e / C``.
_LOWEST = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
# A factor of the Gram matrix serves again after a step that left less than this share of the squares. The number trades
# Jacobians for steps, and the root is the same.
_REUSE = 0.04
# The linear fit of a start is regularised by this share of its mean eigenvalue; a row of too few visible entries leaves
# some unknowns open, and these stay small.
_RIDGE = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class LogarithmRules:
    """How far the logarithm of a row is trusted. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    above_noise : float
        An entry takes part if it stands this many standard deviations above its noise ...
    cone_error : float
        ... and then has this relative error at least, because the row is one of a cone and not yet the sample's.
    share_error : float
        Relative error of the constant part of a smoothed row.
    lowest : float
        Quantile of a smoothed row's entries that stands for its lowest ones.
    """

    above_noise: float = field(default=3.0, metadata={"plateau": (0.188, 6)})
    cone_error: float = field(default=0.05, metadata={"plateau": (0.00313, 0.8)})
    share_error: float = field(default=0.1, metadata={"plateau": (0.00625, 1.6)})
    lowest: float = field(default=0.05, metadata={"plateau": (0.00313, 0.2)})


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
        Part of the residual that noise in the row space explains.
    """

    column: int
    features: np.ndarray = field(repr=False)
    row: np.ndarray = field(repr=False)
    residual: float
    noise: float


def start_from(
    equation: RowEquation, column: int | None, functional: np.ndarray, *, rules: LogarithmRules
) -> np.ndarray | None:
    """Fit logits to the logarithm of the row ``functional @ rows``.

    Parameters
    ----------
    equation : RowEquation
        Row space and logits.
    column : int or None
        The label's, whose entry is left out. None if the sample is so sure that its label's entry was lost, or
        with smoothed targets as sure as they ask.
    functional : ndarray of shape (r,)
        Negative on that column, not negative on the others, up to noise.
    rules : LogarithmRules
        How far the logarithm is trusted.

    Returns
    -------
    ndarray of shape (u,) or None
        Unknowns to start from; None if too few entries stand out of the noise.
    """
    row = functional @ equation.rows
    deviation = float(np.linalg.norm(functional)) * equation.noise
    floor = equation.floor
    if not floor:
        return _fit(equation, column, row, deviation, rules)
    # How much of a smoothed row is the constant part depends on the label's own output: several are tried.
    row, deviation = row / equation.scale, deviation / equation.scale
    lowest = float(np.quantile(row, rules.lowest)) if column is None else float(row[column])
    if lowest >= 0.0:
        return None
    if column is None:
        shares = [part * floor / -lowest for part in _LOWEST]
    else:
        kept = 1.0 - equation.smoothing
        tried = (*_OWN_OUTPUTS, *(1.0 + part * equation.smoothing / kept for part in _SURER))
        # Negative beyond the target, where the functional shows the row with its sign turned.
        shares = [(1.0 - own) * kept / -lowest for own in tried]
    best: tuple[float, np.ndarray] | None = None
    residuals: dict[int, RowResidual] = {}
    for share in shares:
        spread = np.hypot(share * deviation, rules.share_error * floor / rules.above_noise)
        fitted = _fit(equation, column, (share * row + floor) * equation.scale, spread * equation.scale, rules)
        if fitted is not None:
            label = equation.favourite(fitted) if column is None else column
            if label not in residuals:
                residuals[label] = RowResidual.of(equation, label)
            residual = residuals[label]
            squares = residual.squares(residual.at(fitted))
            if best is None or squares < best[0]:
                best = squares, fitted
    return None if best is None else best[1]


def _fit(
    equation: RowEquation, column: int | None, row: np.ndarray, deviation: np.ndarray, rules: LogarithmRules
) -> np.ndarray | None:
    """Fit logits to the logarithm of a row known to `deviation`."""
    seen = row > rules.above_noise * deviation
    if column is not None:
        seen[column] = False
    if np.count_nonzero(seen) < 2:
        return None
    relative = deviation[seen] / row[seen]
    weight = 1.0 / np.sqrt(rules.cone_error**2 + relative**2)
    design = np.empty((weight.size, equation.logits.shape[1] + 1))
    design[:, :-1] = equation.logits[seen]
    design[:, -1] = 1.0  # the common factor
    design *= weight[:, None]
    wanted = weight * (np.log(row[seen]) - equation.log_scale[seen] - equation.offset[seen])
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / gram.shape[0]
    solved: np.ndarray = scipy.linalg.solve(gram, design.T @ wanted, assume_a="pos", check_finite=False)
    return solved[:-1]


def solve(equation: RowEquation, column: int, start: np.ndarray, *, most_jacobians: int) -> Sample:
    """Minimise the residual of one label.

    Parameters
    ----------
    equation : RowEquation
        Row space and logits.
    column : int
        Column of the label.
    start : ndarray of shape (u,)
        Unknowns.
    most_jacobians : int
        Largest number of Jacobians.

    Returns
    -------
    Sample
        The end of the iteration; its residual tells whether it is a sample of the batch.
    """
    residual = RowResidual.of(equation, column)
    solution = minimise(residual, start, most_jacobians=most_jacobians, reuse=_REUSE)
    row = solution.state.row
    size = float(np.linalg.norm(row))
    row = row / size
    inside = equation.space @ row - equation.space[:, column] * float(residual.label @ row)
    functional = scipy.linalg.solve_triangular(equation.triangle, inside, check_finite=False)
    return Sample(
        column=column,
        features=equation.back @ solution.point,
        row=functional,
        residual=float(np.sqrt(solution.squares)) / size,
        noise=float(np.linalg.norm(functional) * np.linalg.norm(equation.noise)),
    )
