"""The labels behind a Keras batch: class indices from targets of any form, without positions of weight zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.truth import Truth
from .batch import Batch, describe, leaves
from .head.finding import KerasHead

__all__ = ["Targets", "class_weights", "relabel", "select", "targets_of", "truth_of"]


def select(value: Any, head: KerasHead, name: str, outputs: int) -> Any:
    """Return the head's entry of targets or weights, which the user may give per output.

    Parameters
    ----------
    value : ndarray or nested structure
        The user's y or sample_weight.
    head : KerasHead
        The head whose entry is wanted.
    name : str
        "y" or "sample_weight", for a message.
    outputs : int
        Number of outputs of the model.

    Returns
    -------
    ndarray or None

    Raises
    ------
    InvalidArgumentError
        If the structure does not fit the outputs.
    """
    output = head.output
    chosen = value
    for key in output.path:
        if isinstance(chosen, Mapping):
            chosen = chosen.get(key, chosen)
        elif isinstance(chosen, list) and isinstance(key, int) and key < len(chosen):
            chosen = chosen[key]
    if isinstance(chosen, Mapping):
        chosen = next((chosen[key] for key in output.names if key in chosen), chosen)
    if isinstance(chosen, list):
        if outputs == 1 and len(chosen) > 1:
            chosen = np.stack(chosen) if len({array.shape for array in chosen}) == 1 else chosen
        elif output.index < len(chosen):
            chosen = chosen[output.index]
    if chosen is not None and not isinstance(chosen, np.ndarray):
        raise InvalidArgumentError(
            f"{name} ({describe(value)}) has no entry for output {output.names[0]!r}. Expected one array per output, "
            "in a list or in a dict with the outputs' names."
        )
    if chosen is not None and chosen is value and outputs > 1 and name == "y":
        raise InvalidArgumentError(
            f"y is one array of shape {value.shape}, and the model has {outputs} outputs. Expected one array "
            "per output."
        )
    return chosen


def class_weights(y: Any, weight: Any, class_weight: Mapping[int, float] | None, classes: int) -> Any:
    """Turn class weights into sample weights, as ``fit`` does.

    Parameters
    ----------
    y : ndarray or nested structure
        Targets.
    weight : ndarray, nested structure or None
        Sample weights.
    class_weight : mapping of int to float, or None
        Classes that are missing weigh 1.
    classes : int
        Number of classes C.

    Returns
    -------
    ndarray, nested structure or None
        Sample weights.

    Raises
    ------
    InvalidArgumentError
        If both are given, or `class_weight` is not such a mapping, or `y` has no one class per sample.
    """
    if class_weight is None:
        return weight
    if not isinstance(class_weight, Mapping):
        raise InvalidArgumentError(
            f"class_weight is a {type(class_weight).__name__}. Expected a dict from class index to weight."
        )
    if weight is not None:
        raise InvalidArgumentError(
            "both class_weight and sample_weight are given. Keras takes one of them: leave one out."
        )
    if not isinstance(y, np.ndarray):
        raise InvalidArgumentError(
            "class_weight= is given for a model with several outputs, which Keras does not support. Pass sample "
            "weights per output as the third item of the batch instead."
        )
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] not in (1, classes)):
        raise InvalidArgumentError(
            f"class_weight= is given and y has shape {y.shape}. Keras supports it for one label per sample: "
            f"({y.shape[0]},), ({y.shape[0]}, 1) or ({y.shape[0]}, {classes}). Pass sample weights instead."
        )
    import keras

    values: dict[int, float] = {}
    for key, value in class_weight.items():
        if not isinstance(key, (int, np.integer)) or not isinstance(value, (int, float, np.number)) or value != value:
            raise InvalidArgumentError(
                "class_weight has an entry that is not a class index with a number as its weight."
            )
        values[int(key)] = float(value)
    labels = y.argmax(-1) if y.ndim == 2 and y.shape[1] != 1 else np.round(y.reshape(-1)).astype(np.int64)
    return np.array([values.get(int(label), 1.0) for label in labels], dtype=keras.config.floatx())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Targets of the head's output, one entry for each position. All private.

    Attributes
    ----------
    labels : ndarray of int, shape (positions,), or None
        Class of every position, where y holds class indices.
    rows : ndarray of shape (positions, C), or None
        Target of every class at every position, where y holds rows. An entry that is left out is NaN.
    keep : ndarray of bool, shape (positions,)
        Positions with a weight in the loss that are neither masked nor ignored.
    shape : tuple of int
        Axes of the positions: samples, and time or place.
    """

    labels: np.ndarray | None = field(repr=False)
    rows: np.ndarray | None = field(repr=False)
    keep: np.ndarray = field(repr=False)
    shape: tuple[int, ...]


def targets_of(batch: Batch, head: KerasHead, weight: Any, *, outputs: int, mask: np.ndarray | None = None) -> Targets:
    """Read the targets of the head's output.

    Parameters
    ----------
    batch : Batch
        The batch.
    head : KerasHead
        The head.
    weight : ndarray, nested structure or None
        Sample weights, class weights included.
    outputs : int
        Number of outputs of the model.
    mask : ndarray of bool or None
        Keras' mask on the predictions.

    Returns
    -------
    Targets
        The targets of every position, and the positions that count.

    Raises
    ------
    InvalidArgumentError
        If y cannot be read as labels. The message gives the number of wrong entries and quotes none.
    """
    y = select(batch.y, head, "y", outputs)
    if y is None:
        raise InvalidArgumentError(f"y has no labels for output {head.output.names[0]!r}: the entry is None.")
    if y.size == 0:
        return Targets(labels=np.empty(0, np.int64), rows=None, keep=np.empty(0, bool), shape=(0,))
    if y.dtype.kind not in "iufb" and y.dtype.name != "bfloat16":
        raise InvalidArgumentError(
            f"y has dtype {y.dtype}. Expected class indices (integers) or rows of {head.classes} probabilities."
        )
    if y.dtype.kind not in "iub":
        y = y.astype(np.float64)
        bad = int(np.count_nonzero(~np.isfinite(y)))
        if bad:
            raise InvalidArgumentError(f"y has {bad} of {y.size} entries that are NaN or infinite. Expected labels.")
    rank = len(head.output.tensor.shape)
    if head.sigmoid and head.classes == 1 and y.ndim == rank - 1:
        y = y[..., None]
    rows = y.ndim == rank and y.shape[-1] == head.classes and (head.sigmoid or head.classes > 1)
    _check_form(y, head, rows, rank)
    shape = y.shape[:-1] if y.ndim == rank else y.shape
    keep = _weighted(select(weight, head, "sample_weight", outputs), shape)
    if mask is not None and mask.shape == shape:
        keep = keep & mask
    keep = keep.reshape(-1)
    if head.sigmoid:
        return Targets(labels=None, rows=_binary(y.reshape(-1, head.classes), head), keep=keep, shape=shape)
    if rows:
        return Targets(labels=None, rows=y.reshape(-1, head.classes), keep=keep, shape=shape)
    labels = _from_indices(y.reshape(-1))
    known = ~np.isin(labels, head.loss.ignored)
    # A label out of range is an error even where the weight is zero.
    outside = int(np.count_nonzero(known & ((labels < 0) | (labels >= head.classes))))
    if outside:
        raise InvalidArgumentError(
            f"{outside} of {int(known.sum())} labels are out of range. Expected class indices from 0 to "
            f"{head.classes - 1}: the head has {head.classes} outputs. If the loss leaves out the positions of one "
            "label, say which label with ignore_class=."
        )
    return Targets(labels=labels, rows=None, keep=keep & known, shape=shape)


def truth_of(targets: Targets, head: KerasHead) -> Truth:
    """Return the labels of the positions that count.

    Parameters
    ----------
    targets : Targets
        Targets of the head's output.
    head : KerasHead
        The head.

    Returns
    -------
    Truth
        One label for each position with a non-zero weight that is neither masked nor ignored by the loss. A row that
        mixes classes has several labels. A sigmoid head has one label for each class whose target is above one half;
        a single sigmoid unit has classes 0 and 1, and one label for each target.

    Raises
    ------
    InvalidArgumentError
        If a row has entries that are no probabilities.
    """
    keep, shape = targets.keep, targets.shape
    # Sequences have a length each: the number of label positions. The positions of an image have no order.
    lengths = keep.reshape(shape).sum(axis=1).tolist() if len(shape) == 2 else None
    if targets.rows is None:
        labels = np.empty(0, np.int64) if targets.labels is None else targets.labels[keep]
        return Truth(labels=labels, classes=head.classes, lengths=lengths)
    rows = targets.rows[keep]
    if head.sigmoid and head.classes == 1:
        told = rows[np.isfinite(rows)]
        return Truth(labels=(told > 0.5).astype(np.int64), classes=2)
    if head.sigmoid:
        return Truth(labels=np.nonzero(rows > 0.5)[1], classes=head.classes)
    labels = _from_rows(rows)
    # The labels of a row that mixes classes have no order.
    return Truth(labels=labels, classes=head.classes, lengths=lengths if labels.size == len(rows) else None)


def relabel(batch: Batch, head: KerasHead, targets: Targets, labels: np.ndarray, *, outputs: int) -> tuple[Any, ...]:
    """Return a batch with other labels at the positions that count.

    Parameters
    ----------
    batch : Batch
        The batch.
    head : KerasHead
        The head.
    targets : Targets
        Its targets.
    labels : ndarray of int, shape (S,)
        The other labels, in the order of those of `truth_of`.
    outputs : int
        Number of outputs of the model.

    Returns
    -------
    tuple
        ``(x, y)`` or ``(x, y, sample_weight)``. Where y holds rows, the targets of the two classes change places.

    Raises
    ------
    InvalidArgumentError
        If a row mixes classes, if the loss ignores one of the labels, or if the inputs may hold the labels, too.
    """
    y = select(batch.y, head, "y", outputs)
    _refuse_labels_in_inputs(batch, head, y, targets)
    places = np.flatnonzero(targets.keep)
    if head.sigmoid or truth_of(targets, head).labels.size != int(targets.keep.sum()) or labels.size != len(places):
        raise InvalidArgumentError("the targets hold several classes at one position. Expected one label for each.")
    if np.isin(labels, head.loss.ignored).any():
        raise InvalidArgumentError("the loss ignores one of the labels. Expected classes that it counts.")
    if targets.rows is None:
        fresh = y.flatten()
        fresh[places] = labels
    else:
        fresh = y.reshape(-1, head.classes).copy()
        before = fresh[places].argmax(axis=1)
        taken, given = fresh[places, before], fresh[places, labels]
        fresh[places, before] = given
        fresh[places, labels] = taken
    whole = _replaced(batch.y, y, fresh.reshape(y.shape))
    return (batch.x, whole) if batch.sample_weight is None else (batch.x, whole, batch.sample_weight)


def _refuse_labels_in_inputs(batch: Batch, head: KerasHead, y: np.ndarray, targets: Targets) -> None:
    """Refuse inputs that may be labels: tokens of a sequence, or the labels themselves."""
    flat = y.argmax(-1) if targets.rows is not None else y
    others = [array for _, array in leaves(batch.y) if array.shape != y.shape]
    for array in others:
        if np.array_equal(flat.ravel(), array.argmax(-1).ravel() if array.ndim > flat.ndim else array.ravel()):
            raise InvalidArgumentError(
                "another output is trained on the same labels in another form. Expected targets of one form."
            )
    for _, array in leaves(batch.x):
        tokens = len(targets.shape) > 1 and (array.dtype.kind not in "f" or array.shape[-1] == head.classes)
        copied = array.size == flat.size and array.dtype.kind in "iuf" and np.array_equal(array.ravel(), flat.ravel())
        if tokens or copied:
            raise InvalidArgumentError(
                "the inputs may hold the labels, as those of a decoder do. Expected inputs that stay as they are where "
                "a label is another."
            )


def _replaced(structure: Any, old: np.ndarray, new: np.ndarray) -> Any:
    """Return a nested structure with one array in the place of another, and of its equals.

    Outputs that are trained on the same labels tell of them together.
    """
    if isinstance(structure, np.ndarray):
        return new if structure.shape == old.shape and np.array_equal(structure, old) else structure
    if isinstance(structure, Mapping):
        return {key: _replaced(item, old, new) for key, item in structure.items()}
    return [_replaced(item, old, new) for item in structure] if isinstance(structure, list) else structure


def _binary(rows: np.ndarray, head: KerasHead) -> np.ndarray:
    """Return the targets of a sigmoid head, NaN where they are left out."""
    rows = rows.astype(np.float64)
    rows[np.isin(rows, head.loss.ignored)] = np.nan
    outside = int(np.count_nonzero((rows < 0.0) | (rows > 1.0)))
    if outside:
        raise InvalidArgumentError(
            f"y has {outside} of {rows.size} entries outside of [0, 1]. Expected a target for each class of a sigmoid "
            "head: 0, 1, or a probability. If the loss leaves out entries of one value, say which with ignore_class=."
        )
    return rows


def _check_form(y: np.ndarray, head: KerasHead, rows: bool, rank: int) -> None:
    where = f"y has shape {y.shape} for output {head.output.names[0]!r} of {head.classes} classes"
    if head.sigmoid:
        if not rows:
            raise InvalidArgumentError(
                f"{where}. Expected {rank} dimension(s), the last of length {head.classes}: a target for each class of "
                "a sigmoid head."
            )
        return
    if rows and head.loss.targets == "classes":
        raise InvalidArgumentError(
            f"{where}, which are rows of probabilities, but the loss {head.loss.name!r} takes class indices. Use "
            "categorical_crossentropy, or pass y.argmax(-1)."
        )
    if not rows and head.loss.targets == "rows":
        raise InvalidArgumentError(
            f"{where}, but the loss {head.loss.name!r} takes rows of {head.classes} probabilities. Use "
            "sparse_categorical_crossentropy, or pass keras.utils.to_categorical(y, num_classes)."
        )
    if not rows and not (y.ndim == rank - 1 or (y.ndim == rank and y.shape[-1] == 1)):
        raise InvalidArgumentError(
            f"{where}. Expected {rank - 1} dimension(s) of class indices, or {rank} with the last of length "
            f"{head.classes} (probabilities)."
        )


def _from_indices(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind == "f":
        broken = int(np.count_nonzero(labels != np.round(labels)))
        if broken:
            raise InvalidArgumentError(
                f"y has {broken} of {labels.size} entries that are not whole numbers. Expected class indices."
            )
        # A label far out of range would overflow the integer type; the Truth checks the range.
        labels = np.clip(labels, -(2.0**53), 2.0**53)
    return labels.astype(np.int64)


def _from_rows(rows: np.ndarray) -> np.ndarray:
    """Return, row by row, the classes with more than 1/C of the row's mass, and the largest class."""
    rows = rows.astype(np.float64)
    negative = int(np.count_nonzero(rows < 0.0))
    if negative:
        raise InvalidArgumentError(f"y has {negative} of {rows.size} entries below zero. Expected probabilities.")
    if not len(rows):
        return np.empty(0, np.int64)
    mass = rows.sum(axis=1, keepdims=True)
    # Label smoothing gives the other classes at most 1/C; in a mixture of two classes both have more.
    present = rows > mass * (1.0 + 1e-6) / rows.shape[1]
    present[np.arange(len(rows)), rows.argmax(axis=1)] = True
    present &= mass > 0.0  # a row of zeros is no label
    return np.nonzero(present)[1]


def _weighted(weight: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a boolean array: True at label positions with a non-zero weight."""
    if weight is None:
        return np.ones(shape, bool)
    if weight.dtype.kind not in "iufb":
        raise InvalidArgumentError(f"sample_weight has dtype {weight.dtype}. Expected numbers.")
    bad = int(np.count_nonzero(~np.isfinite(weight)))
    if bad:
        raise InvalidArgumentError(
            f"sample_weight has {bad} of {weight.size} entries that are NaN or infinite. Expected finite weights."
        )
    # keras.losses.Loss drops or adds a last axis of length 1 before broadcasting, and so does this function.
    if weight.ndim == len(shape) + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    try:
        return np.asarray(np.broadcast_to(weight != 0, shape))
    except ValueError:
        fitting = False
    if not fitting:
        raise InvalidArgumentError(
            f"sample_weight has shape {weight.shape}, which does not fit the labels' {shape}. "
            "Expected one weight per sample or per label."
        )
    return np.ones(shape, bool)
