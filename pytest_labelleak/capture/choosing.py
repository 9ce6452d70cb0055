"""The adapter for a model: that of a hook, or a built-in adapter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..core.errors import UnsupportedModelError
from ..core.settings import active_scope
from ..core.update import Update
from .adapter import Adapter

__all__ = ["adapter_for", "capture_update"]


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
    raise UnsupportedModelError(
        f"cannot capture a gradient from a {type(model).__module__}.{type(model).__qualname__}. Expected a Keras 3 "
        "model, a lingvo task or an Update; for another framework compute the gradient yourself and pass "
        "Update.from_arrays(kernel_gradient=...) with the labels as batch, or provide an adapter with the hook "
        "pytest_labelleak_adapter."
    )


def capture_update(
    model: Any,
    batch: Any,
    *,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
) -> Update:
    """Capture the update that one training step of `model` on `batch` would share.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model, a lingvo task, or a model for which a hook provides an adapter.
    batch : tuple or dict
        ``(x, y)``, ``(x, y, sample_weight)`` or a dict with these keys.
    head : str, optional
        Name of the head's layer or output, where the model has several.
    training : bool, default True
        Whether layers such as dropout and batch normalisation run in training mode.
    class_weight : mapping of int to float, optional
        As in Keras' ``fit``.

    Returns
    -------
    Update
        The gradient of every trainable variable, and the place of the head among them.

    Raises
    ------
    UnsupportedModelError
        If the model, its loss or its head cannot be captured; the message names a remedy.
    """
    return adapter_for(model).capture(model, batch, head=head, training=training, class_weight=class_weight)
