"""The errors of a Keras head's logits, compared with the labels of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..belonging import Block, Finding, explain_errors
from .head.finding import KerasHead
from .probe import Observation
from .truth import Targets

__all__ = ["belonging_of", "mask_of", "step_errors"]

#: Entries of a block of label positions; the number bounds memory and decides nothing.
_BLOCK = 2**22


def mask_of(observed: Observation | None) -> np.ndarray | None:
    """Return Keras' mask on the prediction.

    Parameters
    ----------
    observed : Observation or None
        The head's tensors.

    Returns
    -------
    ndarray of bool, or None
    """
    if observed is None or observed.mask is None:
        return None
    return np.asarray(_host(observed.mask)).astype(bool)


def belonging_of(head: KerasHead, observed: Observation | None, targets: Targets, *, compute_dtype: str) -> Finding:
    """Tell whether the labels of a batch explain the errors of the head's logits in the captured backward pass.

    Features, outputs and errors are those of the pass that gave the gradient, so dropout and other noise are the same.

    Parameters
    ----------
    head : KerasHead
        The head.
    observed : Observation or None
        The head's tensors.
    targets : Targets
        Targets of the head's output, with the positions that count.
    compute_dtype : str
        Arithmetic of the backward pass.

    Returns
    -------
    Finding
        Belief and reason.
    """
    if observed is None:
        return Finding(
            belongs=None, reason="the logits of the head could not be seen in the forward pass, nor their errors"
        )
    logits = _joined(observed.logits, len(targets.shape))
    errors = _joined(observed.errors, len(targets.shape))
    if logits is None or errors is None:
        return Finding(belongs=None, reason=f"the head is called {len(observed.logits)} times in one forward pass")
    axes = tuple(int(length) for length in logits.shape[:-1])
    pooled = len(targets.shape) == 1 and len(axes) > 1 and axes[0] == targets.shape[0]
    if not pooled and axes != targets.shape:
        return Finding(
            belongs=None, reason=f"the head has logits at positions {axes}, and the labels have shape {targets.shape}"
        )
    if not np.isfinite(_host(errors[:1])).all():
        return Finding(belongs=None, reason="the errors of the logits are not finite")
    prediction = observed.prediction
    comparable = tuple(prediction.shape) == (*targets.shape, head.classes)

    def blocks() -> Iterator[Block]:
        count = targets.shape[0]
        each = max(1, int(np.prod(logits.shape)) // max(count, 1))
        step = max(1, _BLOCK // each)
        inner = int(np.prod(targets.shape[1:]))
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            error, logit = (np.asarray(_host(tensor[part]), np.float64) for tensor in (errors, logits))
            outputs = [] if pooled else [_activated(logit, head)]
            if pooled:
                error = error.sum(axis=tuple(range(1, error.ndim - 1)))
            if comparable:
                given = np.asarray(_host(prediction[part]), np.float64)
                outputs += [given] if _is_probability(given, head) else []
                outputs.append(_activated(given, head))
            rows = slice(part.start * inner, part.stop * inner)
            yield Block(
                errors=error.reshape(-1, head.classes),
                outputs=tuple(output.reshape(-1, head.classes) for output in outputs),
                targets=(targets.labels if targets.rows is None else targets.rows)[rows],  # type: ignore[index]
                keep=targets.keep[rows],
            )

    return explain_errors(
        blocks(),
        compute_dtype=compute_dtype,
        sigmoid=head.sigmoid,
        label_smoothing=head.loss.label_smoothing,
        crossentropy=head.loss.targets != "unknown",
    )


def step_errors(observed: Observation | None, head: KerasHead) -> tuple[np.ndarray, np.ndarray] | None:
    """Return features (S, d) and errors of the logits (S, C) at all positions, None where they were not seen.

    Parameters
    ----------
    observed : Observation or None
        The head's tensors.
    head : KerasHead
        The head.

    Returns
    -------
    features, errors : tuple of ndarray, or None
    """
    if observed is None or len(observed.features) != len(observed.errors):
        return None
    width = int(np.prod(head.kernel.shape)) // head.classes
    errors = np.concatenate([_host(error).reshape(-1, head.classes) for error in observed.errors]).astype(np.float64)
    parts = [np.asarray(_host(part)) for part in observed.features]
    if sum(part.size for part in parts) != len(errors) * width:
        return None  # a convolution over a neighbourhood
    return np.concatenate([part.reshape(-1, width) for part in parts]).astype(np.float64), errors


def _joined(tensors: list[Any], axes: int) -> Any:
    """Return the tensor of one call; or that of several calls, one for each time step, joined along the time."""
    import keras

    if len(tensors) == 1:
        return tensors[0]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if axes != 2 or len(shapes) != 1 or len(next(iter(shapes))) != 2:
        return None
    return keras.ops.stack(tensors, axis=1)


def _host(tensor: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


def _activated(logits: np.ndarray, head: KerasHead) -> np.ndarray:
    if head.sigmoid:
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def _is_probability(values: np.ndarray, head: KerasHead) -> bool:
    inside = bool(((values >= 0.0) & (values <= 1.0)).all())
    return inside and (head.sigmoid or bool((np.abs(values.sum(axis=-1) - 1.0) < 0.05).all()))
