"""iLRG: counts from the mean input of each class and the network's own output for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import NotApplicable, Recovery
from ...core.update import Update
from ..gradient.head import kernel_blocks
from ..gradient.reading import Reading
from .shares import (
    Balance,
    CountRules,
    balance_of,
    claim,
    exact_positions,
    known_weights,
    outputs,
    typical_input,
)
from .whole_numbers import whole_positions

__all__ = ["ILRG", "ILRGRules"]

# Classes times outputs: 400 MB in float64.
_MOST_OUTPUTS = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ILRGRules:
    """Which classes get an input of their own. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    usual : float
        A class that does not descend gets one if its rough share is this many times the median share of the classes
        that descend; no class is solved for with less.
    counts : CountRules
        When shares are counts.
    """

    usual: float = field(default=0.25, metadata={"plateau": (0.0156, 1)})
    counts: CountRules = field(default_factory=CountRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class ILRG:
    """Recover the mean input of every class, let the head predict from it, and solve for the counts.

    The mean outputs ``P_c`` of the classes' samples determine the mean output of the batch,
    ``mean(p) = sum_c (n_c / S) P_c``, so that the bias gradient is linear in the counts. Each ``P_c`` is
    the softmax, under the head's own weights, of the class's mean input.

    The published attack takes ``G[:, c] / b_c`` for that input. Both sides of this fraction are
    differences that cancel for a class about as frequent as it is predicted. Here the predictions are
    moved to one side first: with a typical input h and output p,
    ``G[:, c] = p_c h - (n_c / S) h_c`` is solved for ``h_c``, which divides by a share of the labels
    and not by a difference. The number S of label positions, published as known, is found as `shares`
    describes.

    Parameters
    ----------
    rules : ILRGRules
        The numbers that decide.

    References
    ----------
    .. [1] K. Ma, Y. Sun, J. Cui, D. Li, Z. Guan, J. Liu, "Instance-wise Batch Label Restoration via
       Gradients in Federated Learning", ICLR 2023. https://openreview.net/forum?id=FIrQfNSOoTr
    """

    name: ClassVar[str] = "ilrg"
    reference: ClassVar[str] = "Ma et al. 2023, openreview:FIrQfNSOoTr"
    cost: ClassVar[str] = "subspace"
    counts: ClassVar[bool] = True

    rules: ILRGRules = ILRGRules()

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the classes and their counts of a reading."""
        update = reading.update
        rules = self.rules
        balance = balance_of(update, rules=rules.counts)
        known_weights(update)
        common = typical_input(update, balance)
        output = outputs(update, common[None])[0]
        positions, source = None, "rank"
        if not balance.averaged:
            # How much a label weighs against an output is known only with the number of positions.
            positions, at_least = exact_positions(reading)
            if positions is None:
                found = whole_positions(
                    lambda n: balance.shares(output, n), at_least=at_least, rules=rules.counts.whole
                )
                positions, source = (None if found is None else found[0]), "whole counts"
            if positions is None:
                raise NotApplicable("the loss is a sum, and nothing tells over how many label positions")
        rough = balance.shares(output, positions or 1)
        # Classes that descend are worth an input of their own, and others about as frequent.
        usual = rules.usual * float(np.median(rough[balance.bias < 0]))
        chosen = np.flatnonzero((balance.bias < 0) | (rough > usual))
        if usual <= 0.0:
            raise NotApplicable(
                "the classes that descend have no share of the labels: the mean output cannot be estimated"
            )
        if chosen.size * update.classes > _MOST_OUTPUTS:
            raise NotApplicable(f"{chosen.size} of {update.classes} classes may be present: too many to solve for")
        shares = _solve(update, balance, common, output, chosen, np.maximum(rough[chosen], usual), positions or 1)
        return claim(self.name, reading, balance, lambda n: shares, positions, source, rules=rules.counts)


def _solve(
    update: Update,
    balance: Balance,
    common: np.ndarray,
    output: np.ndarray,
    chosen: np.ndarray,
    rough: np.ndarray,
    positions: int,
) -> np.ndarray:
    """Return the shares of all classes, given rough ones of the chosen.

    Parameters
    ----------
    update : Update
        The update that was shared.
    balance : Balance
        Its bias gradient.
    common : ndarray of shape (d,)
        Typical input of the head.
    output : ndarray of shape (C,)
        Output of the head for it.
    chosen : ndarray of int, shape (m,)
        Classes with an input of their own. All others share the typical one.
    rough : ndarray of shape (m,)
        Their shares, positive.
    positions : int
        Number of label positions; used for a summed loss only.

    Returns
    -------
    ndarray of shape (C,)
        Summing to one.
    """
    scale = balance.steps if balance.averaged else positions
    kept = 1.0 - balance.smoothing
    columns = np.vstack([block[:, chosen] for _, block in kernel_blocks(update)]) / scale
    floor = balance.smoothing / update.classes
    inputs = (np.outer(output[chosen] - floor, common) - columns.T) / (kept * rough)[:, None]
    predicted = outputs(update, inputs)
    # mean(p) = P^T x + (1 - sum(x)) p in place of p: linear in the shares x of the chosen classes.
    matrix = kept * np.eye(chosen.size) - predicted[:, chosen].T + output[chosen][:, None]
    right = kept * balance.shares(output, positions)[chosen]
    share = np.linalg.lstsq(matrix, right, rcond=None)[0]
    mean = share @ predicted + (1.0 - share.sum()) * output
    return balance.shares(mean, positions)
