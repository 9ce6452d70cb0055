"""The gradient rebuilt from samples: the part that a list of samples explains, and the part that they leave.

The gradient is ``G = sum w h (p - t)^T`` over samples of features h, outputs p, smoothed targets t and loss weights w.
Features are the solutions, outputs and targets follow from them, and one weight each is fitted.

`account_for` does so for the whole gradient as it was shared, and is the proof that an attack offers. `left_over` does
so within the row space, where a product costs as much as one sample; it decides between lists of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.softmax import softmax
from ...core.update import Update
from ..gradient.head import bias_gradient, kernel_blocks
from .row_equation import error_rows
from .sample import Sample
from .spaces import RowSpace, drift_of

__all__ = ["Account", "account_for", "left_over"]

# Weights of samples that differ by less than rounding are not told apart by the fit.
_ROUNDING = 1e-14

_Blocks = Callable[[], Iterator[tuple[slice, np.ndarray]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """Samples in plain terms, and the gradient that they add up to.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Class of each.
    features : ndarray of shape (n, d)
        Inputs of the head.
    softmax : ndarray of shape (n, C)
        Outputs of the head.
    weights : ndarray of shape (n,)
        Loss weights that reproduce the gradient best, which does not determine the weights of very confident samples.
    explained : float
        ``1 - |G - sum w h (p - t)^T| / |G|`` over kernel and bias, t the (smoothed) target.
    """

    labels: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    softmax: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    explained: float


def account_for(update: Update, whole: RowSpace, isolated: Sequence[Sample], *, temperature: float) -> Account:
    """Rebuild the gradient as it was shared.

    Parameters
    ----------
    update : Update
        The update that was shared.
    whole : RowSpace
        Bases in which the samples were found.
    isolated : sequence of Sample
        At least one.
    temperature : float
        Divisor of the logits in the loss.

    Returns
    -------
    Account
        Of all of them, sorted by label.
    """
    ordered = sorted(isolated, key=lambda sample: (int(whole.columns[sample.column]), sample.residual))
    labels = whole.columns[[sample.column for sample in ordered]]
    inputs = np.stack([sample.features for sample in ordered]) @ whole.inputs.T
    outputs = _outputs(update, whole, inputs, temperature)
    errors = error_rows(outputs, labels, smoothing=update.head.label_smoothing, classes=update.classes)
    # Squares of float64 gradients of 1e-200 are not representable.
    unit = max(float(np.abs(block).max()) for _, block in kernel_blocks(update))
    bias = bias_gradient(update) if whole.biased else None

    def blocks() -> Iterator[tuple[slice, np.ndarray]]:
        for rows, block in kernel_blocks(update):
            yield rows, block / unit
        if bias is not None:
            yield slice(update.features, update.features + 1), bias[None] / unit

    weights, left = _weigh(blocks, inputs, errors)
    total = np.sqrt(sum(float(np.vdot(block, block)) for _, block in blocks()))
    return Account(
        labels=labels,
        features=inputs[:, : update.features],
        softmax=outputs,
        weights=unit * weights,
        explained=1.0 - left / float(total),
    )


def left_over(whole: RowSpace, isolated: Sequence[Sample], *, smoothing: float) -> float:
    """Return the Frobenius norm of the part of the gradient that samples leave, within its row space.

    Parameters
    ----------
    whole : RowSpace
        Of the whole batch.
    isolated : sequence of Sample
        Possibly none.
    smoothing : float
        Label smoothing of the loss.

    Returns
    -------
    float
        In the gradient's unit.
    """
    # The gradient is U T: with U = Q R its norm is that of R T.
    triangle = scipy.linalg.qr(whole.inputs, mode="r", check_finite=False)[0][: whole.positions]
    gradient = triangle @ (whole.rows / whole.scale)
    if not isolated:
        return float(np.linalg.norm(gradient))
    features = np.stack([sample.features for sample in isolated])
    errors = error_rows(
        softmax(features @ whole.logits.T + whole.offset),
        np.array([sample.column for sample in isolated]),
        smoothing=smoothing,
        classes=whole.columns.size,
    )
    return _weigh(lambda: iter([(slice(None), gradient)]), features @ triangle.T, errors)[1]


def _weigh(blocks: _Blocks, inputs: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit ``sum_s w_s inputs_s errors_s^T`` to a matrix; return the weights (n,), and the norm of the rest.

    Parameters
    ----------
    blocks : callable
        Yields the matrix (d, C) in blocks of rows.
    inputs : ndarray of shape (n, d)
        Left factors.
    errors : ndarray of shape (n, C)
        Right factors.

    Returns
    -------
    weights : ndarray of shape (n,)
        By least squares, and not negative.
    left : float
        Frobenius norm of the matrix less the sum.
    """
    # Samples differ by orders of magnitude: with factors of unit length the small ones are solved for as well.
    sizes = np.linalg.norm(inputs, axis=1), np.linalg.norm(errors, axis=1)
    inputs, errors = inputs / sizes[0][:, None], errors / sizes[1][:, None]
    wanted = np.zeros(inputs.shape[0])
    for rows, block in blocks():
        wanted += np.einsum("sd,sd->s", inputs[:, rows], errors @ block.T)
    gram = (inputs @ inputs.T) * (errors @ errors.T)
    weights: np.ndarray = scipy.linalg.lstsq(gram, wanted, cond=_ROUNDING, check_finite=False)[0]
    # A weight that drowns in the rounding of the others can come out negative, and then contributes nothing.
    weights = np.maximum(weights, 0.0)
    squares = 0.0
    for rows, block in blocks():
        rest = block - (inputs[:, rows] * weights[:, None]).T @ errors
        squares += float(np.vdot(rest, rest))
    return weights / (sizes[0] * sizes[1]), float(np.sqrt(squares))


def _outputs(update: Update, whole: RowSpace, inputs: np.ndarray, temperature: float) -> np.ndarray:
    """Return the softmax outputs (n, C) of inputs (n, d or d + 1), over all classes of the head."""
    head = update.head
    moved = drift_of(update)
    logits = np.zeros((inputs.shape[0], update.classes))
    for part, block in kernel_blocks(update):
        weights = -moved * block
        if head.kernel_value is not None:
            weights += head.kernel_value[part]
        logits += inputs[:, part] @ weights
    offset = np.zeros(update.classes) if head.bias_value is None else head.bias_value.astype(np.float64)
    bias = bias_gradient(update)
    if whole.biased and bias is not None:
        logits += np.outer(inputs[:, -1], offset - moved * bias)
    else:
        logits += offset
    logits /= temperature
    return softmax(logits, out=logits)
