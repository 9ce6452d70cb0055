"""From shares of the batch to whole numbers of labels, and the size of the batch if nobody tells it.

With a loss averaged over S label positions, the bias gradient is ``b = mean(p) - n / S``: the mean output
of the network less every class's share of the labels. An estimate of ``mean(p)`` therefore gives the shares
``x = mean(p) - b``, which sum to one for every S. The number S then shows in one of two ways:

* The gradient has rank S where S is smaller than both sides of the head (see `gradient.subspace`).
* Otherwise the right S makes all counts ``n = S x`` whole at once (see `whole_numbers`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.softmax import softmax
from ...core.update import Update
from ..gradient.head import bias_gradient, kernel_blocks, only_signs
from ..gradient.reading import Reading
from .whole_numbers import WholeNumberRules, allocate, whole_positions

__all__ = [
    "Balance",
    "CountRules",
    "balance_of",
    "claim",
    "exact_positions",
    "known_weights",
    "outputs",
    "typical_input",
]


# Rounding to the nearest whole number leaves one half at most. More is left where the sum of the counts, or classes
# that are certainly present, contradict the shares.
_ROUNDED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRules:
    """When shares of a batch are counts. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    rounding : float
        Relative excess of a summed descent that rounding explains. An average descends by one at most.
    whole : WholeNumberRules
        When counts are whole by more than chance.
    """

    rounding: float = field(default=1e-3, metadata={"plateau": (6.25e-05, 0.016)})
    whole: WholeNumberRules = field(default_factory=WholeNumberRules)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Balance:
    """The bias gradient, with the divisors and targets that turn it into shares.

    Attributes
    ----------
    bias : ndarray of shape (C,)
        Data gradient of the bias, divided by `steps`.
    averaged : bool
        Whether the loss is an average over label positions; if not, it is their sum.
    steps : int
        Divisor of both gradients: the number of steps if each is an average, else 1.
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

    def shares(self, mean_output: np.ndarray, positions: int | np.ndarray = 1) -> np.ndarray:
        """Return each class's share of the labels.

        Parameters
        ----------
        mean_output : ndarray of shape (C,)
            Estimated mean of the softmax outputs.
        positions : int, or ndarray of int of shape (m, 1), default 1
            Number of label positions; needed only for a summed loss.

        Returns
        -------
        ndarray of shape (C,), or (m, C) for several numbers of a summed loss
            Summing to one.
        """
        bias = self.bias if self.averaged else self.bias / positions
        result: np.ndarray = (mean_output - self.smoothing / bias.size - bias) / (1.0 - self.smoothing)
        return result


def balance_of(update: Update, *, rules: CountRules) -> Balance:
    """Read the bias gradient of an update.

    Parameters
    ----------
    update : Update
        The update that was shared.
    rules : CountRules
        When a gradient is an average.

    Returns
    -------
    Balance
        In float64.

    Raises
    ------
    NotApplicable
        If the bias gradient is missing, zero, no softmax gradient, or reduced to its signs; or if smoothed targets hold
        no labels.
    """
    bias = bias_gradient(update)
    if bias is None:
        raise NotApplicable("the head has no bias gradient")
    if not np.any(bias):
        raise NotApplicable("the head's bias gradient is zero everywhere")
    if not np.any(bias < 0):
        raise NotApplicable("no class descends: this is no softmax cross-entropy gradient")
    if only_signs(update):
        raise NotApplicable(
            "every entry has the same magnitude: the update was reduced to its signs, and signs do not count"
        )
    smoothing = update.head.label_smoothing
    if not 0.0 <= smoothing < 1.0:
        raise NotApplicable(f"label smoothing of {smoothing:g} leaves nothing of the labels")
    averaged = update.reduction == "mean"
    if update.reduction == "unknown":
        # Averages descend by one at most, all classes and one step together.
        averaged = float(-bias[bias < 0].sum()) <= update.steps * (1.0 + rules.rounding)
    steps = update.steps if averaged else 1
    bias = bias / steps
    # A sum over S positions of smoothed targets could descend by S times as much: then no class is certain.
    bound = smoothing / update.classes if averaged or not smoothing else np.inf
    return Balance(bias=bias, averaged=averaged, steps=steps, smoothing=smoothing, present=bias < -bound)


def known_weights(update: Update) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the head, or refuse an update without them.

    Parameters
    ----------
    update : Update
        The update that was shared.

    Returns
    -------
    kernel : ndarray of shape (d, C)
    bias : ndarray of shape (C,)

    Raises
    ------
    NotApplicable
        If either is not known.
    """
    if update.head.kernel_value is None or update.head.bias_value is None:
        raise NotApplicable("the head's weights are not known; pass kernel= and bias= with the gradient")
    return update.head.kernel_value, update.head.bias_value


def typical_input(update: Update, balance: Balance) -> np.ndarray:
    """Estimate the mean input of the head, up to differences between classes.

    If all inputs were the same h, the kernel gradient would be ``outer(h, b)``. The estimate is the least-squares
    solution for h, in which classes count the more the larger their bias gradient is.

    Parameters
    ----------
    update : Update
        The update that was shared.
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
    """Return the outputs of the head for some inputs, with its own weights.

    Parameters
    ----------
    update : Update
        The update that was shared, with the values of kernel and bias.
    inputs : ndarray of shape (m, d)
        Inputs of the head.

    Returns
    -------
    ndarray of shape (m, C)
        Softmax outputs.

    Raises
    ------
    NotApplicable
        If the weights are not known, or if an output is not finite: an estimated input can be anything.
    """
    kernel, bias = known_weights(update)
    with np.errstate(over="ignore", invalid="ignore"):
        # In the kernel's own precision: a wide copy of it would be larger than anything else here.
        logits = (inputs.astype(kernel.dtype) @ kernel).astype(np.float64) + bias
        result = softmax(logits, out=logits)
    if not np.isfinite(result).all():
        raise NotApplicable("the estimated outputs of the head are not finite")
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
    if not reading.counts_positions():
        return None, 1
    update = reading.update
    # Behind a softmax the rows of the gradient sum to zero over the classes, which takes one from the largest rank.
    most = update.classes - (update.head.kind == "softmax")
    most = min(update.features + (update.bias_gradient is not None), most)
    return (subspace.positions if subspace.positions < most else None), subspace.positions


def claim(
    attack: str,
    reading: Reading,
    balance: Balance,
    shares: Callable[[int], np.ndarray],
    positions: int | None = None,
    source: str = "rank",
    *,
    rules: CountRules,
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
        Where the number comes from.
    rules : CountRules
        When shares are counts.

    Returns
    -------
    Recovery
        The counts. Where nothing tells the number of positions, or the counts are no whole numbers, the status is "not
        applicable"; of an averaged loss the shares are claimed all the same.

    Raises
    ------
    NotApplicable
        If shares are not finite, or more classes descend than there are positions.
    """
    if not np.isfinite(shares(positions or 1)).all():
        raise NotApplicable("the estimated outputs of the head are not finite")
    at_least = 1
    if positions is None:
        positions, at_least = exact_positions(reading)
    if positions is None:
        found = whole_positions(shares, at_least=at_least, rules=rules.whole)
        if found is None:
            return _shares_alone(
                attack,
                "neither the gradient's rank nor whole counts tell the number of label positions: the batch is too "
                "large for how well the network's mean output can be estimated, or the update is noisy",
                balance,
                shares,
            )
        # Noise makes absent classes descend too: here the shares alone say which classes are present.
        source, (positions, counts) = "whole counts", found
    else:
        certain = int(np.count_nonzero(balance.present))
        if certain > positions:
            raise NotApplicable(
                f"{certain} classes descend at {positions} label positions: these are no averages of softmax errors",
            )
        counts = allocate(positions * shares(positions), positions, balance.present.astype(np.int64))
    wanted = positions * shares(positions)
    error = float(np.sqrt(np.mean((wanted - counts)[(counts > 0) | (wanted > 0.5)] ** 2)))
    if error > _ROUNDED:
        return _shares_alone(
            attack,
            f"the counts would be {error:.2g} off whole numbers: the update was scaled, or the mean output of the "
            "network cannot be estimated from its gradient",
            balance,
            shares,
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


def _shares_alone(attack: str, because: str, balance: Balance, shares: Callable[[int], np.ndarray]) -> Recovery:
    """Return a refusal to count that holds the shares, where these do not depend on the number of positions."""
    claimed = None
    if balance.averaged:
        nearest = _nearest_histogram(shares(1))
        claimed = {int(label): float(nearest[label]) for label in np.flatnonzero(nearest)}
    return Recovery(attack=attack, status=Status.NOT_APPLICABLE, reason=because, shares=claimed)


def _nearest_histogram(shares: np.ndarray) -> np.ndarray:
    """Return the non-negative shares closest to the given ones, in the sense of least squares, that sum to one.

    They are the given ones less one number, cut off at zero: estimates of absent classes scatter around zero.
    """
    descending = np.sort(shares)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, shares.size + 1)
    kept = int(np.count_nonzero(descending > excess))
    result: np.ndarray = np.maximum(shares - excess[kept - 1], 0.0)
    return result
