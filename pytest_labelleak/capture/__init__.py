"""Capture: from the user's own model and batch to an Update, and to the truth kept apart from it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from ..errors import UnsupportedModelError
from ..settings import active_scope
from ..truth import Truth
from ..update import Update
from .batches import iter_batches

__all__ = ["Adapter", "adapter_for", "capture_update", "iter_batches"]


@runtime_checkable
class Adapter(Protocol):
    """Knows how to capture updates from one kind of model."""

    @property
    def name(self) -> str:
        """Short name, used in messages."""

    def capture(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Update:
        """Compute what a participant would share for one batch, leaving the model unchanged.

        Parameters
        ----------
        model : object
            The user's model.
        batch : object
            One batch: ``(x, y)``, ``(x, y, sample_weight)``, a dict, or whatever the model takes.
        head : str, optional
            Name of the classification head's layer or output, where there are several.
        training : bool, default True
            Whether layers such as dropout and batch normalisation run in training mode.
        class_weight : mapping of int to float, optional
            As in Keras' ``fit``.

        Returns
        -------
        Update
            Without a trace of the truth.
        """

    def labels(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Truth:
        """Return the labels of the same batch, positions of weight zero left out.

        Parameters
        ----------
        model : object
            The user's model.
        batch : object
            The batch.
        head : str, optional
            As for `capture`.
        class_weight : mapping of int to float, optional
            As for `capture`.

        Returns
        -------
        Truth
            What the attacks are scored against.
        """


def adapter_for(model: Any) -> Adapter:
    """Choose the adapter for a model: hooks first, then plain updates, then Keras and lingvo.

    Parameters
    ----------
    model : object
        What the user wants audited.

    Returns
    -------
    Adapter
        The adapter.

    Raises
    ------
    UnsupportedModelError
        If nobody knows this kind of model.
    """
    adapter: Adapter | None = active_scope().adapter(model)
    if adapter is not None:
        return adapter
    if isinstance(model, Update):
        from .arrays import ArraysAdapter

        return ArraysAdapter()
    # A Keras model cannot exist without keras having been imported: never import it only to find out.
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model):
        from .keras import KerasAdapter

        return KerasAdapter()
    lingvo = sys.modules.get("lingvo.core.base_model")
    if lingvo is not None and isinstance(model, (lingvo.BaseTask, lingvo.SingleTaskModel)):
        from .lingvo import LingvoAdapter

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
    """Capture what one training step of `model` on `batch` would share.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model, or anything a hook provides an adapter for.
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
        The gradient of every trainable variable, and where the head is among them.

    Raises
    ------
    UnsupportedModelError
        If the model, its loss or its head cannot be captured; says what to do.
    """
    return adapter_for(model).capture(model, batch, head=head, training=training, class_weight=class_weight)
