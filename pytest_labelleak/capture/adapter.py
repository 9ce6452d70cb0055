"""Adapter: from a model and a batch to an Update and a Truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from ..core.truth import Truth
from ..core.update import Update

__all__ = ["Adapter"]


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
