"""Several local training steps as one batch: afterwards a federated client shares a difference of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InvalidArgumentError, quoted

__all__ = ["LocalSteps"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalSteps:
    """Batches on which a participant trains, one step each, before it shares an update.

    An adapter that supports local steps takes this object in place of a batch. The participant takes plain gradient
    steps and shares ``(weights before - weights after) / learning_rate``, rounded as weights are.

    Attributes
    ----------
    batches : sequence of batch
        One batch per step; the same batch may occur several times. Private.
    learning_rate : float
        Learning rate of the local steps.

    Raises
    ------
    InvalidArgumentError
        If there is no batch, or the learning rate is not positive and finite.
    """

    batches: Sequence[Any] = field(repr=False)
    learning_rate: float

    def __post_init__(self) -> None:
        """Check both fields."""
        if not isinstance(self.batches, (list, tuple)) or not self.batches:
            raise InvalidArgumentError(
                f"batches is a {type(self.batches).__name__} without items or of the wrong kind. "
                "Expected a list of at least one batch."
            )
        if not (isinstance(self.learning_rate, (int, float)) and 0.0 < self.learning_rate < math.inf):
            raise InvalidArgumentError(
                f"learning_rate={quoted(self.learning_rate)}. Expected a positive, finite number."
            )
