"""Yin et al.: with non-negative features a negative entry anywhere in a column gives its class away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.head import kernel_blocks

__all__ = ["Yin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Yin:
    """Name every class whose kernel-gradient column has a negative entry.

    With features that are non-negative (after ReLU, sigmoid, softmax, or pooling of these) the column
    of an absent class is a sum of products of non-negative numbers. The published rule takes the S
    smallest column minima; this attack is not told S, and takes the negative minima.

    The sign of the features is read off the gradient: with signed features, and under noise, *every* column has
    negative entries, and the rule says nothing.

    References
    ----------
    .. [1] H. Yin et al., "See through Gradients: Image Batch Recovery via GradInversion", CVPR 2021.
       https://doi.org/10.1109/CVPR46437.2021.01607
    """

    name: ClassVar[str] = "yin"
    reference: ClassVar[str] = "Yin et al. 2021, doi:10.1109/CVPR46437.2021.01607"
    cost: ClassVar[str] = "pass"
    reads: ClassVar[tuple[str, ...]] = ("kernel",)
    reads_sigmoid: ClassVar[bool] = True

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes with a negative entry."""
        lowest = np.full(update.classes, np.inf)
        highest = np.full(update.classes, -np.inf)
        for _, block in kernel_blocks(update):
            np.minimum(lowest, block.min(axis=0), out=lowest)
            np.maximum(highest, block.max(axis=0), out=highest)
        if not np.any((lowest >= 0) & (highest > 0)):
            raise NotApplicable(
                "every class has a negative entry in its column: the features are not non-negative (no ReLU before "
                "the head), every class is present, or the update is noisy",
            )
        named = np.flatnonzero(lowest < 0)
        if not named.size:
            raise NotApplicable(
                "no entry of the gradient is negative: the labels' own entries were dropped, or the signs were"
            )
        return Recovery(attack=self.name, status=Status.RECOVERED, labels=tuple(named.tolist()))
