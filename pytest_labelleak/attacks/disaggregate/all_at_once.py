"""All samples that are left, at once: the second path, for where one by one stalls.

One by one, a sample's row is looked for among the rows, and its features only follow. Together, both sides of the
gradient are used: ``T = N D``, with the rows D (k, n) of the k samples that are left, and the columns of N (k, k) their
features times their loss weights (see _rowspace). So wherever all rows are roughly known, the features of all of them
are, by one linear system, and the other way round features give rows. That is the case for confident samples
under smoothed targets e: all their outputs are nearly onehot(y), all their rows nearly ``e (onehot(y) - 1 / C)``. No
logarithm of such a row says anything, so that no single sample has a start of its own; but k such rows start all k.

From there the k features and k weights are fitted to all of T, in units of its noise, by Levenberg-Marquardt on
the rows of _residual.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from .sample import Sample, SampleProblem
from .spaces import RowSpace

__all__ = ["reconstruction_error", "solve_jointly"]

# There are k * (k + 1) unknowns.
_MOST_SAMPLES = 48
# Products of one step; where there are more classes, those that stand out most are fitted.
_MOST_WORK = 10_000_000_000
# Where no bias tells how long features are, a label is taken to be this many times as likely as all others ...
_TIMES_THE_REST = 100.0
# ... with these factors on the logarithm.
_SIZES = (1.0, 0.7, 1.4)
_JACOBIANS = 40
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-12, 1e6
# The iteration ends with a step that takes less than this share off the squares.
_CONVERGED = 0.999
_Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
# What one more solution by itself makes of a joint one.
_ITERATIONS = 10


def solve_jointly(problem: SampleProblem, between: np.ndarray, *, inputs: np.ndarray | None) -> list[Sample]:
    """Solve for as many samples as the problem has dimensions.

    Parameters
    ----------
    problem : SampleProblem
        Spaces of k dimensions.
    between : ndarray of shape (k, k)
        Features in the coordinates that the rows are multiplied with.
    inputs : ndarray of shape (k,) or None
        Functional of the features that is one for every sample, if the head has a bias.

    Returns
    -------
    list of Sample
        What the best fit leads to, solved for one by one once more; their residuals tell what they are worth.
    """
    count, total = problem.rows.shape
    if count > _MOST_SAMPLES:
        return []
    plain = problem.rows / problem.scale
    labels = scipy.linalg.qr(plain, mode="r", pivoting=True, check_finite=False)[1][:count]
    anchors = plain[:, labels]
    shape = np.eye(count)
    if problem.smoothing:
        # Entries of the sure samples' rows at their labels.
        shape = problem.smoothing * (shape - 1.0 / total)
    mixed = scipy.linalg.lstsq(between @ problem.back, anchors @ np.linalg.inv(shape), check_finite=False)[0]
    best: tuple[float, np.ndarray] | None = None
    for size in _SIZES if inputs is None else (1.0,):
        if inputs is None:
            logits = problem.logits @ mixed
            ahead = logits[labels, np.arange(count)] - logits.mean(axis=0)
            weights = ahead / (size * np.log(_TIMES_THE_REST * total))
        else:
            weights = inputs @ problem.back @ mixed
        if not np.all(weights > 0.0):
            continue
        fitted = _fit(problem, between @ problem.back, labels, (mixed / weights).T, weights)
        if best is None or fitted[0] < best[0]:
            best = fitted
    if best is None:
        return []
    return [
        problem.solve(int(label), unknowns, iterations=_ITERATIONS)
        for label, unknowns in zip(labels, best[1], strict=True)
    ]


def _fit(
    problem: SampleProblem, between: np.ndarray, labels: np.ndarray, unknowns: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Fit unknowns (k, r) and weights (k,) to all rows; return the cost and the unknowns."""
    rows = _Rows(problem, between, labels)
    point, damping = (unknowns, np.log(weights)), _FIRST_DAMPING
    missed, parts = rows.evaluate(*point)
    cost = _squares(missed)
    if np.isinf(cost):
        return cost, unknowns
    for _ in range(_JACOBIANS):
        hessian, gradient = rows.derivatives(missed, parts, point[0])
        diagonal = np.maximum(np.diag(hessian), 1e-13 * np.trace(hessian))
        before = cost
        while damping < _MOST_DAMPING:
            try:
                factor = scipy.linalg.cho_factor(hessian + np.diag(damping * diagonal), check_finite=False)
            except np.linalg.LinAlgError:
                damping *= 10.0
                continue
            step = scipy.linalg.cho_solve(factor, gradient, check_finite=False)
            trial = point[0] - step[: unknowns.size].reshape(unknowns.shape), point[1] - step[unknowns.size :]
            evaluated = rows.evaluate(*trial)
            reached = _squares(evaluated[0])
            if reached < cost:
                point, (missed, parts), cost = trial, evaluated, reached
                damping = max(damping / 10.0, _LEAST_DAMPING)
                break
            damping *= 10.0
        if cost > _CONVERGED * before:
            break
    return cost, point[0]


def _squares(missed: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        cost = float(np.vdot(missed, missed))
    return cost if np.isfinite(cost) else np.inf


class _Rows:
    """The rows of all samples in units of noise, less those of the gradient, and the derivative of their squares.

    The Jacobian is never formed: it has a sum of two outer products for every sample, and so do its products.
    """

    def __init__(self, problem: SampleProblem, between: np.ndarray, labels: np.ndarray) -> None:
        self.problem, self.between, self.labels = problem, between, labels
        room = max(_MOST_WORK // (labels.size * between.shape[1]) ** 2, 2 * labels.size)
        self.chosen = np.arange(problem.noise.size)
        if self.chosen.size > room:
            visible = np.linalg.norm(problem.rows, axis=0) / problem.noise
            visible[labels] = np.inf
            self.chosen = np.sort(np.argpartition(visible, -room)[-room:])
        self.deviation = problem.noise[self.chosen]
        self.wanted = problem.rows[:, self.chosen] / self.deviation
        self.logits = problem.logits[self.chosen]

    def evaluate(self, unknowns: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, _Parts]:
        """Return what is missed (k, n) at unknowns (k, r) and logarithms of weights (k,)."""
        # A step too far is one that overflows; the squares are then no smaller, and it is not taken.
        with np.errstate(over="ignore", invalid="ignore"):
            factors = np.exp(logs)
            single = [self.problem.error_row(one, int(c)) for one, c in zip(unknowns, self.labels, strict=True)]
            errors = np.stack([row[self.chosen] for row, _, _ in single]) / self.deviation
            slopes = np.stack([slope[self.chosen] for _, slope, _ in single]) / self.deviation
            middles = np.stack([middle for _, _, middle in single])
            sides = factors[:, None] * (unknowns @ self.between.T)
            missed = sides.T @ errors - self.wanted
        return missed, (factors, errors, slopes, middles, sides)

    def derivatives(self, missed: np.ndarray, parts: _Parts, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the Gauss-Newton approximation of the Hessian of half the squared sum, and the gradient."""
        factors, errors, slopes, middles, sides = parts
        count, length = unknowns.shape
        # Row s of the error changes by inner[:, s] . du: of shape (n, k, r).
        inner = slopes.T[:, :, None] * (self.logits[:, None, :] - middles)
        flat = inner.reshape(-1, count * length)
        gram = (flat.T @ flat).reshape(count, length, count, length)
        across = (flat.T @ errors.T).reshape(count, length, count)
        alike, equal = sides @ sides.T, errors @ errors.T
        turned = sides @ self.between  # (k, r)
        hessian = np.empty((count * (length + 1), count * (length + 1)))
        first = gram * alike[:, None, :, None]
        mixed = np.einsum("t,sat,sb->satb", factors, across, turned)
        first += mixed + mixed.transpose(2, 3, 0, 1)
        first += np.einsum("s,t,st,ab->satb", factors, factors, equal, self.between.T @ self.between)
        size = count * length
        hessian[:size, :size] = first.reshape(size, size)
        second = alike[:, None, :] * across + np.einsum("s,st,ta->sat", factors, equal, turned)
        hessian[:size, size:] = second.reshape(size, count)
        hessian[size:, :size] = hessian[:size, size:].T
        hessian[size:, size:] = alike * equal
        seen = missed @ errors.T  # (k, k)
        by_features = np.einsum("nsa,sn->sa", inner, sides @ missed)
        by_features += factors[:, None] * (seen.T @ self.between)
        by_weights = np.einsum("ks,sk->s", seen, sides)
        return hessian, np.concatenate([by_features.ravel(), by_weights])


def reconstruction_error(whole: RowSpace, samples: Sequence[Sample], *, smoothing: float) -> float:
    """Return what samples leave of the gradient, as a Frobenius norm, within its row space.

    Parameters
    ----------
    whole : RowSpace
        Of the whole batch.
    samples : sequence of Sample
        Their outputs follow from their features, and one weight each is fitted.
    smoothing : float
        Label smoothing of the loss.

    Returns
    -------
    float
        In the gradient's unit.
    """
    rows = whole.rows / whole.scale
    # The gradient is U T: with U = Q R its norm is that of R T.
    triangle = scipy.linalg.qr(whole.inputs, mode="r", check_finite=False)[0][: whole.samples]
    left = triangle @ rows
    if not samples:
        return float(np.linalg.norm(left))
    features = np.stack([sample.features for sample in samples])
    logits = features @ whole.logits.T + whole.offset
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error -= smoothing / whole.columns.size
    error[np.arange(len(samples)), [sample.column for sample in samples]] -= 1.0 - smoothing
    right = features @ triangle.T
    sizes = np.linalg.norm(right, axis=1) * np.linalg.norm(error, axis=1)
    gram = (right @ right.T) * (error @ error.T) / np.outer(sizes, sizes)
    wanted = np.einsum("si,si->s", right, error @ left.T) / sizes
    weights = np.maximum(scipy.linalg.lstsq(gram, wanted, cond=1e-14, check_finite=False)[0], 0.0) / sizes
    return float(np.linalg.norm(left - (right * weights[:, None]).T @ error))
