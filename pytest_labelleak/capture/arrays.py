"""The adapter for gradients that come from anywhere: the "model" is the Update itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InvalidArgumentError
from ..update import Update
from ..verdict import Truth

__all__ = ["ArraysAdapter"]


class ArraysAdapter:
    """Passes an `Update` through; the batch is the array of its labels."""

    name = "arrays"

    def capture(
        self,
        model: Update,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Update:
        """Return the update itself."""
        self._refuse(head=head, class_weight=class_weight)
        return model

    def labels(
        self,
        model: Update,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Truth:
        """Return `batch`, an array of class indices, as the truth."""
        self._refuse(head=head, class_weight=class_weight)
        expected = "Expected the labels behind the update: a one-dimensional integer array of class indices."
        if isinstance(batch, (tuple, dict)):
            raise InvalidArgumentError(f"batch is a {type(batch).__name__}, and the model is an Update. {expected}")
        labels = np.asarray(batch)
        if labels.ndim != 1:
            raise InvalidArgumentError(f"batch has shape {labels.shape}, and the model is an Update. {expected}")
        return Truth(labels=labels, classes=model.classes)

    @staticmethod
    def _refuse(**options: Any) -> None:
        for name, value in options.items():
            if value is not None:
                raise InvalidArgumentError(
                    f"{name}= has no meaning for an Update: its gradient is computed already. Leave it out."
                )
