"""Counts from the bias gradient: the part that the mean output of the network leaves over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import Recovery
from ...core.update import Update
from ..gradient.reading import Reading
from .shares import CountRules, balance_of, claim, outputs, typical_input
from .sigmoid_counts import count_behind_sigmoids

__all__ = ["BiasCounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasCounts:
    """Count the labels of every class with the bias gradient and an estimate of the mean output.

    The bias gradient of an averaged softmax cross-entropy is ``b_c = mean(p_c) - n_c / S``, so
    ``n_c = S (mean(p_c) - b_c)``. The published attacks estimate ``mean(p)`` with dummy batches. This
    one reads a typical input of the head from the gradient and feeds it to the head's own weights; without
    the weights it takes ``1 / C``, which an untrained network is close to. The number S of label
    positions, published as known, is found as `shares` describes.

    Behind sigmoids every class is counted by itself, with the weights; see `sigmoid_counts`.

    Parameters
    ----------
    rules : CountRules
        The numbers that decide.

    References
    ----------
    .. [1] J. Geng et al., "Towards General Deep Leakage in Federated Learning", 2021.
       https://doi.org/10.48550/arXiv.2110.09074
    .. [2] D. I. Dimitrov, M. Balunović, N. Konstantinov, M. Vechev, "Data Leakage in Federated Averaging",
       TMLR 2022. https://doi.org/10.48550/arXiv.2206.12395
    """

    name: ClassVar[str] = "bias_counts"
    reference: ClassVar[str] = "Geng et al. 2021, doi:10.48550/arXiv.2110.09074"
    cost: ClassVar[str] = "subspace"
    reads_sigmoid: ClassVar[bool] = True
    counts: ClassVar[bool] = True

    rules: CountRules = field(default_factory=CountRules)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts of a reading."""
        update = reading.update
        if update.head.kind == "sigmoid":
            return count_behind_sigmoids(self.name, reading, rules=self.rules)
        balance = balance_of(update, rules=self.rules)
        mean = np.full(update.classes, 1.0 / update.classes)
        if update.head.kernel_value is not None and update.head.bias_value is not None:
            mean = outputs(update, typical_input(update, balance)[None])[0]
        return claim(self.name, reading, balance, lambda positions: balance.shares(mean, positions), rules=self.rules)
