"""The adapter for a model: that of a hook, or a built-in adapter; and each batch with the model that it belongs to."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InvalidArgumentError, UnsupportedModelError
from ..core.settings import active_scope
from ..core.update import Update
from .adapter import Adapter
from .batches import iter_batches

__all__ = ["adapter_for", "capture_update", "iter_captures", "open_model"]


def adapter_for(model: Any) -> Adapter:
    """Choose the adapter for a model: from hooks first, then for updates, Keras and lingvo.

    Parameters
    ----------
    model : object
        The model to audit.

    Returns
    -------
    Adapter
        The first adapter that takes the model.

    Raises
    ------
    UnsupportedModelError
        If no adapter takes this kind of model.
    """
    adapter: Adapter | None = active_scope().adapter(model)
    if adapter is not None:
        return adapter
    if isinstance(model, Update):
        from .arrays import ArraysAdapter

        return ArraysAdapter()
    # A Keras model exists only where keras is imported already: an import just to find out would cost seconds.
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model):
        from .keras.adapter import KerasAdapter

        return KerasAdapter()
    lingvo = sys.modules.get("lingvo.core.base_model")
    if lingvo is not None and isinstance(model, (lingvo.BaseTask, lingvo.SingleTaskModel)):
        from .lingvo.adapter import LingvoAdapter

        return LingvoAdapter()
    if isinstance(model, (str, os.PathLike)):
        raise UnsupportedModelError(
            f"model is the path {os.fspath(model)!r}. Expected a model: load it with keras.saving.load_model(path)."
        )
    if isinstance(model, (list, tuple)):
        raise UnsupportedModelError(
            f"model is a {type(model).__name__}. Expected one model, or a list of Updates with a list of labels, one "
            "entry for each Update."
        )
    raise UnsupportedModelError(
        f"cannot capture a gradient from a {type(model).__module__}.{type(model).__qualname__}. Expected a Keras 3 "
        "model, a lingvo task or an Update; for another framework compute the gradient yourself and pass "
        "Update.from_arrays(kernel_gradient=...) with the labels as batch, or provide an adapter with the hook "
        "pytest_labelleak_adapter."
    )


def open_model(model: Any) -> Any:
    """Load a saved Keras model whose path was passed instead of the model.

    Parameters
    ----------
    model : object
        A model, or the path of a ``.keras`` file.

    Returns
    -------
    object
        The loaded model; any other object, and a path that a hook's adapter takes, unchanged.

    Raises
    ------
    UnsupportedModelError
        If the path names no ``.keras`` file, if Keras is missing, or if Keras refuses the file. Keras' safe mode stays
        on: a file with a Lambda layer holds code, and the code is not run.
    """
    if not isinstance(model, (str, os.PathLike)) or active_scope().adapter(model) is not None:
        return model
    path = Path(os.fsdecode(model))
    where = f"model is the path {str(path)!r}"
    if path.suffix != ".keras" or not path.is_file():
        found = "which is no file" if not path.is_file() else "which is no .keras file"
        raise UnsupportedModelError(
            f"{where}, {found}. Expected a model, or the path of an existing file that model.save('name.keras') wrote."
        )
    try:
        keras = importlib.import_module("keras")
    except Exception as error:  # Keras raises errors of its backend here
        raise UnsupportedModelError(
            f"{where}, and keras cannot be imported ({type(error).__name__}). Install keras with a backend, or pass "
            "an Update."
        ) from None
    try:
        return keras.saving.load_model(path)
    except Exception as error:
        raise UnsupportedModelError(
            f"{where}, and keras.saving.load_model cannot read it ({type(error).__name__}). Load the model yourself "
            "(custom objects, safe_mode) and pass the model."
        ) from None


def iter_captures(model: Any, batch: Any) -> Iterator[tuple[Adapter, Any, Any]]:
    """Yield each batch with the adapter and the model that it belongs to.

    Parameters
    ----------
    model : object
        A model, the path of a saved Keras model, or a list or tuple of updates.
    batch : object
        The batch or batches; for several updates a list or tuple with the labels of each.

    Yields
    ------
    adapter, model, batch : tuple
        For several updates the model is one of them.

    Raises
    ------
    InvalidArgumentError
        If there are not as many labels as updates, or the updates have heads of different shapes.
    UnsupportedModelError
        If no adapter takes the model.
    """
    model = open_model(model)
    if isinstance(model, (list, tuple)) and model and all(isinstance(item, Update) for item in model):
        yield from _paired(model, batch)
        return
    adapter = adapter_for(model)
    for item in iter_batches(batch):
        yield adapter, model, item


def _paired(updates: list[Update] | tuple[Update, ...], batch: Any) -> Iterator[tuple[Adapter, Any, Any]]:
    """Pair updates with their labels."""
    expected = f"Expected a list of {len(updates)} batches of labels, one for each Update."
    several = isinstance(batch, (list, tuple)) or (isinstance(batch, np.ndarray) and batch.ndim == 2)
    if not several:
        raise InvalidArgumentError(
            f"model is a list of {len(updates)} Updates, and batch is a {type(batch).__name__}. {expected}"
        )
    if len(batch) != len(updates):
        raise InvalidArgumentError(
            f"model is a list of {len(updates)} Updates, and batch has {len(batch)} entries. {expected}"
        )
    for number, (update, item) in enumerate(zip(updates, batch, strict=True)):
        if (update.classes, update.head.kind) != (updates[0].classes, updates[0].head.kind):
            raise InvalidArgumentError(
                f"Update number {number} has a {update.head.kind} head of {update.classes} classes, the first a "
                f"{updates[0].head.kind} head of {updates[0].classes}. Expected Updates of one model: audit the "
                "others apart."
            )
        if np.ndim(item) == 0 and not isinstance(item, dict):
            raise InvalidArgumentError(
                f"model is a list of {len(updates)} Updates, and batch has a lone {type(item).__name__} as its entry "
                f"number {number}. {expected}"
            )
        yield adapter_for(update), update, item


def capture_update(
    model: Any,
    batch: Any,
    *,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
    ignore_class: int | None = None,
) -> Update:
    """Capture the update that one training step of `model` on `batch` would share.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model or the path of its ``.keras`` file, a lingvo task, or a model for which a hook
        provides an adapter.
    batch : tuple or dict
        ``(x, y)``, ``(x, y, sample_weight)`` or a dict with these keys.
    head : str, optional
        Name of the head's layer or output, where the model has several.
    training : bool, default True
        Whether layers such as dropout and batch normalisation run in training mode.
    class_weight : mapping of int to float, optional
        As in Keras' ``fit``.
    ignore_class : int, optional
        Label of the positions that a loss of your own leaves out, such as -100. The losses of Keras show theirs.

    Returns
    -------
    Update
        The gradient of every trainable variable, and the place of the head among them.

    Raises
    ------
    UnsupportedModelError
        If the model, its loss or its head cannot be captured; the message names a remedy.
    """
    model = open_model(model)
    options = {} if ignore_class is None else {"ignore_class": ignore_class}
    return adapter_for(model).capture(model, batch, head=head, training=training, class_weight=class_weight, **options)
