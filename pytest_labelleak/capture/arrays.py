"""The adapter for updates that the user computed: the "model" is the update itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import InvalidArgumentError
from ..core.tensors import to_numpy
from ..core.truth import Truth
from ..core.update import Update

__all__ = ["BY_HAND", "ArraysAdapter", "check_ignored"]

#: Remedy for a model that no adapter can capture; the end of a sentence.
BY_HAND = "compute the gradient yourself and pass Update.from_arrays(kernel_gradient=...) instead of the model"


class ArraysAdapter:
    """Passes an `Update` through; the batch holds its labels, and the features where they are to be compared."""

    name = "arrays"

    def capture(
        self,
        model: Update,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Update:
        """Return the update unchanged.

        A gradient points uphill: pass the gradient, or (weights before - weights after) of a training step; never
        after - before.
        """
        self._refuse(head=head, class_weight=class_weight)
        return model

    def labels(
        self,
        model: Update,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Truth:
        """Return `batch` as the truth: a sequence or tensor of class indices, or a dict with the indices as "y".

        The dict may also hold "features", the inputs of the head, and "lengths", the number of label positions of
        each sequence. Positions with the label `ignore_class` are left out. For a sigmoid head of several units the
        indices are the classes present at any position, one for each presence; for a single unit they are 0 and 1.
        """
        self._refuse(head=head, class_weight=class_weight)
        expected = (
            "Expected the labels behind the update: class indices as a list, a tuple or a one-dimensional array of "
            "integers; or "
            '{"y": labels, "features": array of shape (labels, features)} to have recovered features compared; or '
            '{"y": labels, "lengths": [...]} where they are those of several sequences, one after the other.'
        )
        features, lengths = None, None
        if isinstance(batch, dict) and "y" in batch and set(batch) <= {"y", "features", "lengths"}:
            lengths = batch.get("lengths")
            batch, features = batch["y"], batch.get("features")
        if features is not None:
            features = to_numpy(features)
            if features is None:
                raise InvalidArgumentError(f"batch['features'] does not convert to an array. {expected}")
            if features.ndim != 2 or features.shape[1] != model.features:
                raise InvalidArgumentError(
                    f"batch['features'] has shape {features.shape}. Expected (label positions, {model.features}): "
                    "the input of the head, whose kernel has that many rows."
                )
        labels = None if isinstance(batch, dict) else to_numpy(batch)
        if labels is None or labels.dtype == object:
            raise InvalidArgumentError(f"batch is a {type(batch).__name__}, and the model is an Update. {expected}")
        if labels.ndim != 1:
            raise InvalidArgumentError(f"batch has shape {labels.shape}, and the model is an Update. {expected}")
        if ignore_class is not None:
            labels, features, lengths = _without(check_ignored(ignore_class), labels, features, lengths)
        return Truth(labels=labels, classes=model.label_classes, features=features, lengths=lengths)

    @staticmethod
    def _refuse(**options: Any) -> None:
        for name, value in options.items():
            if value is not None:
                raise InvalidArgumentError(
                    f"{name}= has no meaning for an Update: its gradient is computed already. Leave it out."
                )


def check_ignored(value: Any) -> int:
    """Return `ignore_class` as an integer.

    Parameters
    ----------
    value : object
        The user's argument.

    Returns
    -------
    int
        The label; it may lie outside of the classes.

    Raises
    ------
    InvalidArgumentError
        If the value is no integer.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidArgumentError(
            f"ignore_class is a {type(value).__name__}. Expected the integer label of positions that the loss leaves "
            "out, such as -100."
        )
    return int(value)


def _without(ignored: int, labels: np.ndarray, features: Any, lengths: Any) -> tuple[np.ndarray, Any, Any]:
    """Leave out the positions with one label; lengths and features that do not fit the labels stay as they are."""
    keep = labels != ignored
    if lengths is not None and sum(lengths) == labels.size:
        ends = np.cumsum([0, *lengths])
        lengths = [int(keep[start:end].sum()) for start, end in itertools.pairwise(ends)]
    if features is not None and len(features) == labels.size:
        features = features[keep]
    return labels[keep], features, lengths
