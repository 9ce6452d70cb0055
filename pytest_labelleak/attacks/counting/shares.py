"""From shares of the batch to whole numbers of labels, and the size of the batch if nobody tells it.

With a loss averaged over S label positions, the bias gradient is ``b = mean(p) - n / S``: the mean output
of the network less every class's share of the labels. So whoever estimates ``mean(p)`` knows the shares
``x = mean(p) - b``, which sum to one whatever S is. That the counts ``n = S x`` are whole numbers then
gives S away in one of two ways:

* The gradient has rank S where S is smaller than both sides of the head (see _subspace).
* Otherwise the right S makes all ``S x`` whole at once (see _whole).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.head import ROWS_PER_BLOCK, bias_gradient, kernel_blocks
from ..gradient.reading import Reading
from .whole_numbers import allocate, whole_positions

__all__ = [
    "Balance",
    "balance_of",
    "claim",
    "exact_positions",
    "outputs",
    "typical_input",
]

#: Root mean square distance from whole numbers beyond which counts mean nothing; random ones have 0.29.
_FAR_OFF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Balance:
    """The bias gradient, and what it takes to turn it into shares.

    Attributes
    ----------
    bias : ndarray of shape (C,)
        Data gradient of the bias, divided by `steps`.
    averaged : bool
        Whether the loss is an average over label positions; if not, it is their sum.
    steps : int
        What both gradients are to be divided by: the number of steps if each is an average, else 1.
    smoothing : float
        Label smoothing e: targets are ``(1 - e) onehot + e / C``.
    present : ndarray of bool, shape (C,)
        Classes that descend more than smoothing alone can make them: certainly in the batch.
    """

    bias: np.ndarray = field(repr=False)
    averaged: bool
    steps: int
    smoothing: float
    present: np.ndarray = field(repr=False)

    def shares(self, mean_output: np.ndarray, positions: int = 1) -> np.ndarray:
        """Return each class's share of the labels.

        Parameters
        ----------
        mean_output : ndarray of shape (C,)
            Estimated mean of the softmax outputs.
        positions : int, default 1
            Number of label positions; needed only for a summed loss.

        Returns
        -------
        ndarray of shape (C,)
            Summing to one.
        """
        bias = self.bias if self.averaged else self.bias / positions
        result: np.ndarray = (mean_output - self.smoothing / bias.size - bias) / (1.0 - self.smoothing)
        return result


def balance_of(update: Update) -> Balance | str:
    """Read the bias gradient of an update.

    Parameters
    ----------
    update : Update
        What was shared.

    Returns
    -------
    Balance or str
        A string is the reason why the attack does not apply.
    """
    bias = bias_gradient(update)
    if bias is None:
        return "the head has no bias gradient"
    if not np.any(bias):
        return "the head's bias gradient is zero everywhere"
    if not np.any(bias < 0):
        return "no class descends: this is no softmax cross-entropy gradient"
    if _only_signs(update):
        return "every entry has the same magnitude: the update was reduced to its signs, and signs do not count"
    smoothing = update.head.label_smoothing
    if not 0.0 <= smoothing < 1.0:
        return f"label smoothing of {smoothing:g} leaves nothing of the labels"
    averaged = update.reduction == "mean"
    if update.reduction == "unknown":
        # Averages descend by one at most, all classes and one step together.
        averaged = float(-bias[bias < 0].sum()) <= update.steps * 1.001
    steps = update.steps if averaged else 1
    bias = bias / steps
    # A sum over S positions of smoothed targets could descend by S times as much: then no class is certain.
    bound = smoothing / update.classes if averaged or not smoothing else np.inf
    return Balance(bias=bias, averaged=averaged, steps=steps, smoothing=smoothing, present=bias < -bound)


def _only_signs(update: Update) -> bool:
    seen = 0
    top = float(np.abs(update.kernel_gradient).max())
    for start in range(0, update.features, ROWS_PER_BLOCK):  # as a rule the first block settles it
        block = np.abs(update.kernel_gradient[start : start + ROWS_PER_BLOCK])
        if np.any((block > 0) & (block < top)):
            return False
        seen += int(np.count_nonzero(block))
    return seen > 2


def typical_input(update: Update, balance: Balance) -> np.ndarray:
    """Estimate the mean input of the head, up to what differs between classes.

    If all inputs were the same h, the kernel gradient would be ``outer(h, b)``: this is its least-squares
    solution, in which classes count the more the larger their bias gradient is.

    Parameters
    ----------
    update : Update
        What was shared.
    balance : Balance
        Its bias gradient.

    Returns
    -------
    ndarray of shape (d,)
        The estimate.
    """
    bias = balance.bias * balance.steps  # as large as the kernel's gradient is
    top = float(np.abs(bias).max())  # scaled before squaring: the square of a tiny gradient is zero
    bias = bias / top
    return np.concatenate([block @ bias for _, block in kernel_blocks(update)]) / top / float(bias @ bias)


def outputs(update: Update, inputs: np.ndarray) -> np.ndarray:
    """Return what the head makes of some inputs, with its own weights.

    Parameters
    ----------
    update : Update
        With the values of kernel and bias.
    inputs : ndarray of shape (m, d)
        Inputs of the head.

    Returns
    -------
    ndarray of shape (m, C)
        Softmax outputs.
    """
    kernel, bias = update.head.kernel_value, update.head.bias_value
    if kernel is None or bias is None:
        raise TypeError("outputs() needs the head's weights; check for them first")
    # Estimated inputs can be anything; what overflows is refused by `claim`.
    with np.errstate(over="ignore", invalid="ignore"):
        # In the kernel's own precision: a wide copy of it would be larger than anything else here.
        logits = (inputs.astype(kernel.dtype) @ kernel).astype(np.float64) + bias
        logits -= logits.max(axis=1, keepdims=True)
        result: np.ndarray = np.exp(logits, out=logits)
        result /= result.sum(axis=1, keepdims=True)
    return result


def exact_positions(reading: Reading) -> tuple[int | None, int]:
    """Count label positions by the rank of the gradient.

    Parameters
    ----------
    reading : Reading
        The update that was shared.

    Returns
    -------
    positions : int or None
        Their number, where rounding explains all noise and the rank is smaller than the head allows.
    at_least : int
        A lower bound.
    """
    try:
        subspace = reading.subspace()
    except NotApplicable:
        return None, 1
    if not subspace.exact:
        return None, 1
    update = reading.update
    # The rows of the gradient sum to zero over the classes, which takes one from the largest rank.
    most = min(update.features + (update.bias_gradient is not None), update.classes - 1)
    return (subspace.positions if subspace.positions < most else None), subspace.positions


def claim(
    attack: str,
    reading: Reading,
    balance: Balance,
    shares: Callable[[int], np.ndarray],
    positions: int | None = None,
    source: str = "rank",
) -> Recovery:
    """Turn shares into counts and counts into a claim.

    Parameters
    ----------
    attack : str
        Name of the attack.
    reading : Reading
        The update that was shared.
    balance : Balance
        Its bias gradient.
    shares : callable
        From a number of positions to shares of shape (C,) that sum to one.
    positions : int, optional
        That number, where the attack found it already.
    source : str, default "rank"
        What it was found from.

    Returns
    -------
    Recovery
        The counts, or why they cannot be told.
    """
    if not np.isfinite(shares(positions or 1)).all():
        return Recovery.not_applicable(attack, "the estimated outputs of the head are not finite")
    at_least = 1
    if positions is None:
        positions, at_least = exact_positions(reading)
    if positions is None:
        found = whole_positions(shares, at_least=at_least)
        if found is None:
            return Recovery.not_applicable(
                attack,
                "neither the gradient's rank nor whole counts tell the number of label positions: the batch is too "
                "large for how well the network's mean output can be estimated, or the update is noisy",
            )
        source, (positions, counts) = "whole counts", found
        # Noise makes absent classes descend too: here the shares have a say in what is certain.
        wanted = positions * shares(positions)
        least = balance.present & (wanted > 0.25)
        if int(np.count_nonzero(least)) <= positions:
            counts = allocate(wanted, positions, least.astype(np.int64))
    else:
        certain = int(np.count_nonzero(balance.present))
        if certain > positions:
            return Recovery.not_applicable(
                attack,
                f"{certain} classes descend at {positions} label positions: these are no averages of softmax errors",
            )
        counts = allocate(positions * shares(positions), positions, balance.present.astype(np.int64))
    wanted = positions * shares(positions)
    error = float(np.sqrt(np.mean((wanted - counts)[(counts > 0) | (wanted > 0.5)] ** 2)))
    if error > _FAR_OFF:
        return Recovery.not_applicable(
            attack,
            f"the counts would be {error:.2g} off whole numbers: the update was scaled, or the mean output of the "
            "network cannot be estimated from its gradient",
        )
    labels = np.flatnonzero(counts)
    return Recovery(
        attack=attack,
        status=Status.RECOVERED,
        labels=tuple(labels.tolist()),
        counts={int(label): int(counts[label]) for label in labels},
        positions=positions,
        details={"positions_from": source, "off_whole_counts": float(f"{error:.2g}")},
    )
