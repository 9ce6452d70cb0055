"""The adapter for Keras 3 models on TensorFlow, JAX and torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.truth import Truth
from ...core.update import Update
from .batch import Batch
from .belonging import mask_of
from .gradient import shared_step
from .head.finding import KerasHead, find_head, ignoring
from .head.graph import outputs_of
from .inputs import guarded, prepare, tensors
from .state import untouched
from .truth import class_weights, relabel, targets_of, truth_of
from .update import update_of

__all__ = ["KerasAdapter"]


class KerasAdapter:
    """Captures the gradient of a Keras model's own compiled loss.

    The model stays bit-identical: weights, optimizer, metrics, BatchNormalization statistics, seed generators and
    global random states. One exception: a model that is not built yet is built, as by ``fit``.
    """

    name = "keras"

    def capture(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Update:
        """Compute the gradient that one training step of `model` on `batch` would share.

        Parameters
        ----------
        model : keras.Model
            A compiled model.
        batch : tuple or dict
            ``(x, y)``, ``(x, y, sample_weight)`` or a dict with these keys.
        head : str, optional
            Name of an output or of the layer that makes the logits.
        training : bool, default True
            Mode of the forward pass.
        class_weight : mapping of int to float, optional
            As in ``fit``.
        ignore_class : int, optional
            Label of the positions that a loss of the user's own leaves out.

        Returns
        -------
        Update
            The gradient of every trainable variable, by the variable's path. `Update.belongs` says whether the labels
            of the batch explain the errors of the logits, and `Update.belongs_reason` which labels do.

        Raises
        ------
        InvalidArgumentError
            If the batch does not fit the model.
        UnknownNameError
            If `head` names nothing.
        UnsupportedModelError
            If the model's gradient cannot be captured, or does not depend on classes.
        """
        data = prepare(model, batch)
        with untouched(model):
            outputs = guarded(model, data, lambda: outputs_of(model, data.x))
            found = ignoring(find_head(model, outputs, head), ignore_class)
            weight = class_weights(data.y, data.sample_weight, class_weight, found.classes)
            # Checks the labels: frameworks quote a wrong one.
            truth_of(targets_of(data, found, weight, outputs=len(outputs)), found)
            given = weight
            if not data.size:
                raise InvalidArgumentError("the batch is empty. Expected at least one sample.")
            x, y, weight = tensors((data.x, data.y, weight))
            step = guarded(model, data, lambda: shared_step(model, x, y, weight, training=training, head=found))
            mask = mask_of(step.observed)
            targets = targets_of(data, found, given, outputs=len(outputs), mask=mask)
            return update_of(model, found, step, targets)

    def labels(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Truth:
        """Return the labels of `batch`, without label positions of weight zero, masked and ignored positions.

        Parameters
        ----------
        model : keras.Model
            A compiled model.
        batch : tuple or dict
            As for `capture`.
        head : str, optional
            As for `capture`.
        class_weight : mapping of int to float, optional
            As for `capture`.
        ignore_class : int, optional
            As for `capture`.

        Returns
        -------
        Truth
            The labels; none for an empty batch.

        Raises
        ------
        InvalidArgumentError
            If y does not hold labels.
        UnknownNameError, UnsupportedModelError
            As for `capture`.
        """
        data = prepare(model, batch)
        with untouched(model):
            outputs = guarded(model, data, lambda: outputs_of(model, data.x))
            found = ignoring(find_head(model, outputs, head), ignore_class)
            weight = class_weights(data.y, data.sample_weight, class_weight, found.classes)
            mask = _mask(model, data, found) if data.size else None
            return truth_of(targets_of(data, found, weight, outputs=len(outputs), mask=mask), found)

    def relabelled(
        self,
        model: Any,
        batch: Any,
        labels: np.ndarray,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Any:
        """Return the batch with other labels at its label positions.

        Parameters
        ----------
        model : keras.Model
            A compiled model.
        batch : tuple or dict
            As for `capture`.
        labels : ndarray of int, shape (S,)
            The other labels, in the order of those of `labels`.
        head : str, optional
            As for `capture`.
        class_weight : mapping of int to float, optional
            As for `capture`.
        ignore_class : int, optional
            As for `capture`.

        Returns
        -------
        tuple
            The batch.

        Raises
        ------
        InvalidArgumentError
            If the batch cannot hold these labels, or its inputs may hold labels, too.
        """
        data = prepare(model, batch)
        with untouched(model):
            outputs = guarded(model, data, lambda: outputs_of(model, data.x))
            found = ignoring(find_head(model, outputs, head), ignore_class)
            weight = class_weights(data.y, data.sample_weight, class_weight, found.classes)
            mask = _mask(model, data, found)
            targets = targets_of(data, found, weight, outputs=len(outputs), mask=mask)
            return relabel(data, found, targets, labels, outputs=len(outputs))


def _mask(model: Any, data: Batch, head: KerasHead) -> np.ndarray | None:
    """Return Keras' mask on the head's output, or None; Keras masks positions of sequences only."""
    import keras

    if len(head.output.tensor.shape) < 3:
        return None

    def run() -> Any:
        (x,) = tensors((data.x,))
        with keras.StatelessScope():
            prediction = keras.tree.flatten(model(x))[head.output.index]
            mask = getattr(prediction, "_keras_mask", None)
            return None if mask is None else np.asarray(keras.ops.convert_to_numpy(mask)).astype(bool)

    mask: np.ndarray | None = guarded(model, data, run)
    return mask
