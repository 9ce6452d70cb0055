"""Adapter: from a model and a batch to an Update and a Truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from ..core.truth import Truth
from ..core.update import Update

__all__ = ["Adapter"]


@runtime_checkable
class Adapter(Protocol):
    """Captures updates from one kind of model.

    `labels` is called before `capture`, which is not called for a batch without labels. An argument that has no meaning
    for the model is refused and not ignored. Errors count labels and quote none.
    ``pytest_labelleak.testing.check_adapter`` checks these rules. The smallest example is `capture/arrays.py`.

    A further method is optional: ``relabelled(model, batch, labels, *, head=None, class_weight=None,
    ignore_class=None)`` returns the batch with other labels at the label positions, in the order of `labels`, and
    raises InvalidArgumentError where the batch cannot hold them, or where the inputs may hold the labels too. With
    it, an audit can recompute the update for other labels, which a proof takes.
    """

    @property
    def name(self) -> str:
        """Short name for messages."""

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
        """Compute the update that a participant would share for one batch, and leave the model unchanged.

        Parameters
        ----------
        model : object
            The user's model.
        batch : object
            One batch: ``(x, y)``, ``(x, y, sample_weight)``, a dict, or another form that the model takes.
        head : str, optional
            Name of the classification head's layer or output, where there are several.
        training : bool, default True
            Whether layers such as dropout and batch normalisation run in training mode.
        class_weight : mapping of int to float, optional
            As in Keras' ``fit``.
        ignore_class : int, optional
            Label of the positions that the loss leaves out, where the loss itself does not show it. The argument is
            passed only where the user gives it, so an adapter may lack it.

        Returns
        -------
        Update
            The gradients, without a trace of the truth, and in `Update.head` the weights of the head. A gradient points
            uphill: pass the gradient, or (weights before - weights after) of a training step; never after - before.
        """

    def labels(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Truth:
        """Return the labels of the same batch, without the label positions of weight zero.

        Parameters
        ----------
        model : object
            The user's model.
        batch : object
            The batch, as for `capture`.
        head : str, optional
            As for `capture`.
        class_weight : mapping of int to float, optional
            As for `capture`.
        ignore_class : int, optional
            As for `capture`.

        Returns
        -------
        Truth
            The labels against which the claims of attacks are scored.
        """
