"""LLG: label leakage from the summed columns of the kernel gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..counting.shares import exact_positions
from ..gradient.head import column_sums
from ..gradient.reading import Reading

__all__ = ["LLG"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LLG:
    """Name classes by the sign of their column sums, then spend the remaining label positions.

    First, every class with a negative column sum is present. Then, while label positions are left, the
    class with the smallest sum receives one more, and the average impact of one label is taken off
    its sum. The published attack is told the number of positions; this one takes the rank of the
    gradient for it where the gradient has one, and stops after the first step where it has none, or where the head
    has sigmoids: there a label position may have any number of labels.

    References
    ----------
    .. [1] A. Wainakh et al., "User-Level Label Leakage from Gradients in Federated Learning", PoPETs
       2022(2) 227-244. https://doi.org/10.2478/popets-2022-0043
    """

    name: ClassVar[str] = "llg"
    reference: ClassVar[str] = "Wainakh et al. 2022, doi:10.2478/popets-2022-0043"
    cost: ClassVar[str] = "subspace"
    reads: ClassVar[tuple[str, ...]] = ("kernel",)
    reads_sigmoid: ClassVar[bool] = True

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts of a reading."""
        update = reading.update
        sums = column_sums(update)
        negative = np.flatnonzero(sums < 0)
        # With features of both signs, chance makes half of the sums negative.
        if 2 * negative.size >= update.classes:
            raise NotApplicable(
                f"{negative.size} of {update.classes} column sums are negative: the features are not mostly positive, "
                "or most classes are present",
            )
        if not negative.size:
            raise NotApplicable(
                "no column sum is negative: the labels' own entries were dropped, or the features are not mostly "
                "positive"
            )
        # Behind sigmoids a position may have any number of labels, so that positions cannot be spent on them.
        positions = None if update.head.kind == "sigmoid" else exact_positions(reading)[0]
        if positions is None or positions < negative.size:
            return Recovery(attack=self.name, status=Status.RECOVERED, labels=tuple(negative.tolist()))
        impact = float(sums[negative].sum()) * (1.0 + 1.0 / update.classes) / positions
        counts = dict.fromkeys(negative.tolist(), 1)
        sums[negative] -= impact
        for _ in range(positions - negative.size):
            label = int(np.argmin(sums))
            counts[label] = counts.get(label, 0) + 1
            sums[label] -= impact
        return Recovery(
            attack=self.name, status=Status.RECOVERED, labels=tuple(sorted(counts)), counts=counts, positions=positions
        )
