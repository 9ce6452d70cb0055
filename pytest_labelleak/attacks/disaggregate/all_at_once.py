"""All samples that are left, at once: the second path, for batches where one by one stalls.

One by one, a sample's row is looked for among the rows, and its features only follow. Together, both sides of the
gradient are used: ``T = N D``, with the rows D (k, n) of the k samples that are left, and the columns of N (k, k) their
features times their loss weights (see `spaces`). So wherever all rows are roughly known, the features of all of them
are, by one linear system, and the other way round features give rows. Confident samples under smoothed targets e are
such a case: all their outputs are nearly onehot(y), all their rows nearly ``e (onehot(y) - 1 / C)``. The logarithm of
such a row says nothing, so that no single sample has a start of its own; but k such rows start all k.

From there the k features and k weights are fitted to all of T, in units of its noise, by `least_squares` on the rows of
`row_equation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from .least_squares import minimise
from .row_equation import RowEquation
from .sample import Sample, solve

__all__ = ["JointResidual", "JointRules", "solve_jointly"]

# There are k * (k + 1) unknowns.
_MOST_POSITIONS = 48
# Products of one step; where there are more classes, the columns that stand out most are fitted.
_MOST_WORK = 10_000_000_000
# Factors on the logarithm of `JointRules.times_the_rest`, all of which are tried.
_SIZES = (1.0, 0.7, 1.4)
# Jacobians of the joint fit, and then of each sample by itself.
_JACOBIANS = 40
_JACOBIANS_EACH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRules:
    """Start of the joint fit. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    times_the_rest : float
        Where no bias tells how long features are, a label is taken to be this many times as likely as all others.
    """

    times_the_rest: float = field(default=100.0, metadata={"plateau": (6.25, 1600.0)})


def solve_jointly(
    equation: RowEquation, between: np.ndarray, *, inputs: np.ndarray | None, rules: JointRules
) -> list[Sample]:
    """Solve for as many samples as the equation has dimensions.

    Parameters
    ----------
    equation : RowEquation
        Spaces of k dimensions.
    between : ndarray of shape (k, k)
        Features in the coordinates that the rows are multiplied with.
    inputs : ndarray of shape (k,) or None
        Functional of the features that is one for every sample, if the head has a bias.
    rules : JointRules
        Where the fit starts.

    Returns
    -------
    list of Sample
        From the best fit, each solved once more by itself; their residuals tell which of them are samples of the batch.
    """
    count, total = equation.rows.shape
    if count > _MOST_POSITIONS:
        return []
    plain = equation.rows / equation.scale
    labels = scipy.linalg.qr(plain, mode="r", pivoting=True, check_finite=False)[1][:count]
    anchors = plain[:, labels]
    shape = np.eye(count)
    if equation.smoothing:
        # Entries of the sure samples' rows at their labels.
        shape = equation.smoothing * (shape - 1.0 / total)
    sides = between @ equation.back
    mixed = scipy.linalg.lstsq(sides, anchors @ np.linalg.inv(shape), check_finite=False)[0]
    residual = JointResidual.of(equation, sides, labels)
    best: tuple[float, np.ndarray] | None = None
    for size in _SIZES if inputs is None else (1.0,):
        if inputs is None:
            logits = equation.logits @ mixed
            ahead = logits[labels, np.arange(count)] - logits.mean(axis=0)
            weights = ahead / (size * np.log(rules.times_the_rest * total))
        else:
            weights = inputs @ equation.back @ mixed
        if not np.all(weights > 0.0):
            continue
        start = np.concatenate([(mixed / weights).T.ravel(), np.log(weights)])
        fitted = minimise(residual, start, most_jacobians=_JACOBIANS)
        if best is None or fitted.squares < best[0]:
            best = fitted.squares, residual.unknowns(fitted.point)
    if best is None:
        return []
    return [
        solve(equation, int(label), unknowns, most_jacobians=_JACOBIANS_EACH)
        for label, unknowns in zip(labels, best[1], strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowsAt:
    """The rows of all samples at one point, in units of noise.

    Attributes
    ----------
    unknowns : ndarray of shape (k, u)
        Of every sample.
    factors : ndarray of shape (k,)
        Loss weights.
    errors, slopes : ndarray of shape (k, n)
        Rows of a loss weight of one; their derivative is ``diag(slope) (logits - 1 middle^T)``.
    middles : ndarray of shape (k, u)
        See there.
    sides : ndarray of shape (k, k)
        Features times loss weights, one sample a row.
    missed : ndarray of shape (k, n)
        The residual.
    """

    unknowns: np.ndarray
    factors: np.ndarray
    errors: np.ndarray
    slopes: np.ndarray
    middles: np.ndarray
    sides: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointResidual:
    """Rows of all samples less those of the gradient, a `least_squares.Residual`; made by `of`.

    A point holds unknowns (k, u) and then the logarithms of the k loss weights. The Jacobian has a sum of two outer
    products for every sample, and so do its products.

    Attributes
    ----------
    equation : RowEquation
        Spaces of k dimensions.
    between : ndarray of shape (k, u)
        From unknowns to features, in the coordinates that the rows are multiplied with.
    labels : ndarray of int, shape (k,)
        Column of each sample's label.
    chosen : ndarray of int, shape (n,)
        Columns that are fitted.
    deviation : ndarray of shape (n,)
        Standard deviation of their noise.
    """

    equation: RowEquation
    between: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    chosen: np.ndarray = field(repr=False)
    deviation: np.ndarray = field(repr=False)
    wanted: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, equation: RowEquation, between: np.ndarray, labels: np.ndarray) -> JointResidual:
        """Choose the columns that are fitted.

        Parameters
        ----------
        equation : RowEquation
            Spaces of k dimensions.
        between : ndarray of shape (k, u)
            From unknowns to features.
        labels : ndarray of int, shape (k,)
            Column of each sample's label.

        Returns
        -------
        JointResidual
            Of all columns, or of the ones that stand out most.
        """
        room = max(_MOST_WORK // (labels.size * between.shape[1]) ** 2, 2 * labels.size)
        chosen = np.arange(equation.noise.size)
        if chosen.size > room:
            visible = np.linalg.norm(equation.rows, axis=0) / equation.noise
            visible[labels] = np.inf
            chosen = np.sort(np.argpartition(visible, -room)[-room:])
        deviation = equation.noise[chosen]
        return cls(
            equation=equation,
            between=between,
            labels=labels,
            chosen=chosen,
            deviation=deviation,
            wanted=equation.rows[:, chosen] / deviation,
            logits=equation.logits[chosen],
        )

    def unknowns(self, point: np.ndarray) -> np.ndarray:
        """Return the unknowns (k, u) in a point."""
        return point[: -self.labels.size].reshape(self.labels.size, -1)

    def at(self, point: np.ndarray) -> RowsAt:
        """Evaluate at a point (k u + k,)."""
        unknowns = self.unknowns(point)
        # A step too far is one that overflows; the squares are then no smaller, and it is not taken.
        with np.errstate(over="ignore", invalid="ignore"):
            factors = np.exp(point[-self.labels.size :])
            single = [self.equation.error_row(one, int(c)) for one, c in zip(unknowns, self.labels, strict=True)]
            errors = np.stack([row[self.chosen] for row, _, _ in single]) / self.deviation
            slopes = np.stack([slope[self.chosen] for _, slope, _ in single]) / self.deviation
            sides = factors[:, None] * (unknowns @ self.between.T)
            missed = sides.T @ errors - self.wanted
        return RowsAt(
            unknowns=unknowns,
            factors=factors,
            errors=errors,
            slopes=slopes,
            middles=np.stack([middle for _, _, middle in single]),
            sides=sides,
            missed=missed,
        )

    def squares(self, state: RowsAt) -> float:
        """Return the squared Frobenius norm of the residual."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.vdot(state.missed, state.missed))

    def gradient(self, state: RowsAt) -> np.ndarray:
        """Return ``J^T r``, shape (k u + k,)."""
        seen = state.missed @ state.errors.T  # (k, k)
        weighted = state.slopes * (state.sides @ state.missed)  # (k, n)
        by_features = weighted @ self.logits - weighted.sum(axis=1)[:, None] * state.middles
        by_features += state.factors[:, None] * (seen.T @ self.between)
        by_weights = np.einsum("ks,sk->s", seen, state.sides)
        return np.concatenate([by_features.ravel(), by_weights])

    def gram(self, state: RowsAt) -> np.ndarray:
        """Return ``J^T J``, square of k u + k."""
        factors, errors, sides = state.factors, state.errors, state.sides
        count, length = state.unknowns.shape
        size = count * length
        # Row s of the error changes by inner[:, s] . du: of shape (n, k, u).
        inner = state.slopes.T[:, :, None] * (self.logits[:, None, :] - state.middles)
        flat = inner.reshape(-1, size)
        gram = (flat.T @ flat).reshape(count, length, count, length)
        across = (flat.T @ errors.T).reshape(count, length, count)
        alike, equal = sides @ sides.T, errors @ errors.T
        turned = sides @ self.between  # (k, u)
        whole = np.empty((size + count, size + count))
        first = gram * alike[:, None, :, None]
        mixed = np.einsum("t,sat,sb->satb", factors, across, turned)
        first += mixed + mixed.transpose(2, 3, 0, 1)
        first += np.einsum("s,t,st,ab->satb", factors, factors, equal, self.between.T @ self.between)
        whole[:size, :size] = first.reshape(size, size)
        second = alike[:, None, :] * across + np.einsum("s,st,ta->sat", factors, equal, turned)
        whole[:size, size:] = second.reshape(size, count)
        whole[size:, :size] = whole[:size, size:].T
        whole[size:, size:] = alike * equal
        return whole
