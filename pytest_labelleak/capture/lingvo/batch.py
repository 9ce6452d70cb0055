"""A lingvo input batch as numpy arrays, and its targets, checked here because a message of lingvo would quote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError, UnsupportedModelError
from ...core.truth import Truth

__all__ = ["Targets", "describe", "read_batch", "targets_of"]

_EXPECTED = (
    "Expected a lingvo NestedMap, or a dict, as a speech task takes it: src.src_inputs, src.paddings, tgt.ids, "
    "tgt.labels, tgt.paddings and optionally tgt.weights, as arrays."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Targets of the decoder, for b utterances of up to u positions.

    Attributes
    ----------
    labels : ndarray of int64, shape (b, u)
        Class of every position. Private.
    weights : ndarray of float64, shape (b, u)
        Weight of every position in the loss. Private, since the sum of a row is the length of a transcript.
    """

    labels: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)

    def truth(self, classes: int) -> Truth:
        """Return the labels of the positions with a non-zero weight.

        Parameters
        ----------
        classes : int
            Number of classes C of the head.

        Returns
        -------
        Truth
        """
        keep = self.weights != 0.0
        return Truth(labels=self.labels[keep], classes=classes, lengths=keep.sum(axis=1).tolist())


def read_batch(batch: Any) -> Any:
    """Copy a batch to numpy arrays.

    Parameters
    ----------
    batch : NestedMap or dict
        The batch, with arrays or eager tensors as leaves.

    Returns
    -------
    NestedMap
        The arrays: floats as float32 and integers as int32, as from lingvo's input generators.

    Raises
    ------
    InvalidArgumentError
        If the batch is no mapping, or holds symbolic tensors.
    """
    if not isinstance(batch, Mapping):
        raise InvalidArgumentError(f"batch is a {type(batch).__name__}. {_EXPECTED}")
    return _copy(batch, "batch")


def _copy(value: Any, path: str) -> Any:
    from lingvo.core import py_utils

    if isinstance(value, Mapping):
        return py_utils.NestedMap({key: _copy(item, f"{path}.{key}") for key, item in value.items()})
    if value is None:
        return None
    if hasattr(value, "graph") and not hasattr(value, "numpy"):
        raise InvalidArgumentError(
            f"{path} is a symbolic tensor, which may be another batch at every evaluation. "
            "Expected arrays: evaluate the batch with session.run(batch) first."
        )
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iu" and array.dtype != np.int32:
        return array.astype(np.int32)
    return array


def targets_of(batch: Any, classes: int | None = None) -> Targets:
    """Find and check the targets of a batch.

    Parameters
    ----------
    batch : NestedMap
        The batch, from `read_batch`.
    classes : int, optional
        Number of rows of the input embedding, against which ``ids`` are checked: lingvo would quote a wrong one.

    Returns
    -------
    Targets

    Raises
    ------
    InvalidArgumentError
        If labels, weights or ids are missing or do not fit.
    UnsupportedModelError
        If the targets are distributions.
    """
    found: Any = batch.get("tgt", batch)
    keys = set(found) if isinstance(found, Mapping) else set()
    if "labels" not in keys:
        raise InvalidArgumentError(f"batch has no tgt.labels; it has {sorted(batch)}. {_EXPECTED}")
    if "probs" in keys:
        raise UnsupportedModelError(
            "batch has tgt.probs: targets that are distributions have no label to score against. Remove tgt.probs."
        )
    labels = found.labels
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"tgt.labels has shape {labels.shape} and dtype {labels.dtype}. Expected integers of shape "
            "(utterances, positions)."
        )
    if "weights" in keys:
        name, weights = "weights", found.weights
    elif "paddings" in keys:
        name, weights = "paddings", found.paddings
    else:
        raise InvalidArgumentError(f"batch has neither tgt.weights nor tgt.paddings. {_EXPECTED}")
    if weights.shape != labels.shape or weights.dtype.kind != "f":
        raise InvalidArgumentError(
            f"tgt.{name} has shape {weights.shape} and dtype {weights.dtype}. Expected floats of the shape of "
            f"tgt.labels, {labels.shape}."
        )
    if classes is not None and "ids" in keys:
        outside = int(np.count_nonzero((found.ids < 0) | (found.ids >= classes)))
        if outside:
            raise InvalidArgumentError(
                f"{outside} of {found.ids.size} tgt.ids are out of range. "
                f"Expected 0 to {classes - 1}: the embedding has {classes} rows."
            )
    weights = weights.astype(np.float64)
    return Targets(labels=labels.astype(np.int64), weights=weights if name == "weights" else 1.0 - weights)


def describe(batch: Any) -> str:
    """Return the shapes in a batch as text, without a value of it.

    Parameters
    ----------
    batch : NestedMap
        The batch, from `read_batch`.

    Returns
    -------
    str
    """
    return ", ".join(f"{key} {getattr(value, 'shape', type(value).__name__)}" for key, value in batch.FlattenItems())
