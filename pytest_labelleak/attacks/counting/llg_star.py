"""LLG*: counts from the summed columns of the kernel gradient, with the head's own weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import NotApplicable, Recovery
from ...core.update import Update
from ..gradient.head import column_sums
from ..gradient.reading import Reading
from .shares import CountRules, balance_of, claim, known_weights, outputs, typical_input

__all__ = ["LLGStar", "LLGStarRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LLGStarRules:
    """When column sums are worth reading. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    one_sided : float
        Share of its absolute entries that a typical input must sum to: with features of both signs, the sum of a column
        says little about its class.
    counts : CountRules
        When shares are counts.
    """

    one_sided: float = field(default=0.5, metadata={"plateau": (0.0312, 1.0)})
    counts: CountRules = field(default_factory=CountRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class LLGStar:
    """Count the labels of every class with the column sums, their offsets and the impact of one label.

    If all inputs of the head were h, the column of class c would sum to ``(1^T h) (mean(p_c) - n_c / S)``: the
    offset ``(1^T h) p_c`` without a label, and an impact of ``-(1^T h) / S`` for each. The published attack
    measures offset and impact on the gradients of dummy batches that it sends through the model; this one reads a
    typical h from the update and feeds it to the head's weights. The number S of label positions, published
    as known, is found as `shares` describes.

    The third published variant, LLG+, needs labelled data of the same kind; the attacker considered here has none.

    Parameters
    ----------
    rules : LLGStarRules
        The numbers that decide.

    References
    ----------
    .. [1] A. Wainakh et al., "User-Level Label Leakage from Gradients in Federated Learning", PoPETs
       2022(2) 227-244. https://doi.org/10.2478/popets-2022-0043
    """

    name: ClassVar[str] = "llg_star"
    reference: ClassVar[str] = "Wainakh et al. 2022, doi:10.2478/popets-2022-0043"
    cost: ClassVar[str] = "subspace"
    counts: ClassVar[bool] = True

    rules: LLGStarRules = LLGStarRules()

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts of a reading."""
        update = reading.update
        balance = balance_of(update, rules=self.rules.counts)
        known_weights(update)
        typical = typical_input(update, balance)
        mass = float(typical.sum())
        if mass == 0.0 or abs(mass) < self.rules.one_sided * float(np.abs(typical).sum()):
            raise NotApplicable("the features have both signs: the sum of a column says little about its class")
        mean = outputs(update, typical[None])[0]
        # The column sums stand in for the bias gradient, which they would be if every input summed to `mass`.
        summed = column_sums(update) / (balance.steps * mass)

        def shares(positions: int) -> np.ndarray:
            impact = summed if balance.averaged else summed / positions
            result: np.ndarray = (mean - balance.smoothing / update.classes - impact) / (1.0 - balance.smoothing)
            return result

        return claim(self.name, reading, balance, shares, rules=self.rules.counts)
