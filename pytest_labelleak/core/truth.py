"""Truth: the labels from which an update was computed, kept apart from the update and shown to no attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import InvalidArgumentError
from .settings import note_private_values

__all__ = ["Truth"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """The labels from which one update was computed, and the features where they are known.

    Attributes
    ----------
    labels : ndarray of int, shape (S,)
        Class of every label position with a non-zero weight. Private.
    classes : int
        Number of classes C.
    features : ndarray of shape (S, d), or None
        Input of the head at each label position, to measure how well an attack recovers features. Private.
    lengths : sequence of int, or None
        For sequences, whose labels stand one sequence after the other: number of label positions of each. Private.
    """

    labels: np.ndarray = field(repr=False)
    classes: int
    features: np.ndarray | None = field(default=None, repr=False)
    lengths: Sequence[int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check type and range; no message quotes a label."""
        note_private_values()
        labels = np.asarray(self.labels)
        if labels.size == 0:
            labels = labels.astype(np.int64)
        if labels.dtype.kind not in "iu":
            raise InvalidArgumentError(f"labels have dtype {labels.dtype}. Expected integers: class indices.")
        labels = labels.reshape(-1).astype(np.int64)
        outside = int(np.count_nonzero((labels < 0) | (labels >= self.classes)))
        if outside:
            raise InvalidArgumentError(
                f"{outside} of {labels.size} labels are out of range. "
                f"Expected class indices from 0 to {self.classes - 1}: the head has {self.classes} outputs."
            )
        object.__setattr__(self, "labels", labels)
        if self.features is not None:
            object.__setattr__(self, "features", _checked_features(self.features, labels.size))
        if self.lengths is not None and sum(self.lengths) != labels.size:
            raise InvalidArgumentError(
                "the lengths of the sequences do not add up to the number of labels. Expected one length for each, of "
                "the positions that count."
            )

    @property
    def present(self) -> np.ndarray:
        """Distinct classes in the update, sorted. Private."""
        return np.unique(self.labels)


def _checked_features(given: Any, positions: int) -> np.ndarray:
    expected = f"Expected finite numbers, one row for each of the {positions} label positions: the head's input there."
    features = np.asarray(given)
    if features.dtype.kind not in "fiu":
        raise InvalidArgumentError(f"features have dtype {features.dtype}. {expected}")
    if features.ndim != 2 or features.shape[0] != positions:
        raise InvalidArgumentError(f"features have shape {features.shape}. {expected}")
    features = features.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(features)))
    if bad:
        raise InvalidArgumentError(f"{bad} of {features.size} features are not finite. {expected}")
    return features
