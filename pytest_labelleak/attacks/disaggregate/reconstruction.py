"""How much of a gradient a list of samples explains: the gradient is rebuilt from them and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.update import Update
from ..gradient.head import bias_gradient, kernel_blocks
from .sample import Sample
from .spaces import RowSpace, drift_of

__all__ = ["Account", "account_for"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """Samples in plain terms, and what they add up to.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Class of each.
    features : ndarray of shape (n, d)
        Inputs of the head.
    softmax : ndarray of shape (n, C)
        What the head makes of them.
    weights : ndarray of shape (n,)
        Loss weights that reproduce the gradient best; those of very confident samples are not determined by it.
    explained : float
        ``1 - |G - sum w h (p - t)^T| / |G|`` over kernel and bias, t the (smoothed) target.
    """

    labels: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    softmax: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)
    explained: float


def account_for(update: Update, whole: RowSpace, samples: Sequence[Sample], *, temperature: float) -> Account:
    """Rebuild the gradient from `samples`.

    Nothing is fitted but one weight per sample: features are what was found, outputs and targets follow.

    Parameters
    ----------
    update : Update
        What was shared.
    whole : RowSpace
        Where the samples were found.
    samples : sequence of Sample
        At least one.
    temperature : float
        What the loss divides logits by.

    Returns
    -------
    Account
        Of all of them, sorted by label.
    """
    ordered = sorted(samples, key=lambda sample: (int(whole.columns[sample.column]), sample.residual))
    labels = whole.columns[[sample.column for sample in ordered]]
    inputs = np.stack([sample.features for sample in ordered]) @ whole.inputs.T
    softmax = _outputs(update, whole, inputs, temperature)
    weights, explained = _weigh(update, whole, inputs, softmax, labels)
    return Account(
        labels=labels,
        features=inputs[:, : update.features],
        softmax=softmax,
        weights=weights,
        explained=explained,
    )


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
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def _blocks(update: Update, whole: RowSpace, unit: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the gradient of kernel and bias, divided by `unit`."""
    for rows, block in kernel_blocks(update):
        block /= unit
        yield rows, block
    bias = bias_gradient(update)
    if whole.biased and bias is not None:
        yield slice(update.features, update.features + 1), bias[None] / unit


def _weigh(
    update: Update, whole: RowSpace, inputs: np.ndarray, softmax: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the weights (n,) by least squares, and the explained share."""
    smoothing = update.head.label_smoothing
    error = softmax - smoothing / update.classes
    error[np.arange(labels.size), labels] -= 1.0 - smoothing
    # Samples differ by orders of magnitude: with unit rows the small ones are solved for as well.
    sizes = np.linalg.norm(inputs, axis=1), np.linalg.norm(error, axis=1)
    inputs, error = inputs / sizes[0][:, None], error / sizes[1][:, None]
    # Squares of float64 gradients of 1e-200 are not representable.
    unit = max(float(np.abs(block).max()) for _, block in kernel_blocks(update))
    wanted = np.zeros(labels.size)
    total = 0.0
    for rows, block in _blocks(update, whole, unit):
        wanted += np.einsum("sd,sd->s", inputs[:, rows], error @ block.T)
        total += float(np.vdot(block, block))
    gram = (inputs @ inputs.T) * (error @ error.T)
    gram[np.diag_indices_from(gram)] *= 1.0 + 1e-14
    weights: np.ndarray = scipy.linalg.lstsq(gram, wanted, cond=1e-14, check_finite=False)[0]
    # What drowns in the rounding of the others can come out negative, and then contributes nothing.
    weights = np.maximum(weights, 0.0)
    left = 0.0
    for rows, block in _blocks(update, whole, unit):
        block -= (inputs[:, rows] * weights[:, None]).T @ error
        left += float(np.vdot(block, block))
    return unit * weights / (sizes[0] * sizes[1]), 1.0 - float(np.sqrt(left / total))
