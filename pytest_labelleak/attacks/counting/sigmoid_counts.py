"""Counts behind sigmoids: every class is counted by itself, from the mean output that the weights give."""

from __future__ import annotations

import math

import numpy as np
import scipy.special

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.head import bias_gradient, kernel_blocks, only_signs
from ..gradient.reading import Reading
from .shares import CountRules, exact_positions, known_weights
from .whole_numbers import chance_of_misses

__all__ = ["count_behind_sigmoids"]

# Larger batches are not looked for.
_MOST_POSITIONS = 1024


def count_behind_sigmoids(attack: str, reading: Reading, *, rules: CountRules) -> Recovery:
    """Count the labels of every class behind sigmoids.

    The bias gradient of class c is ``b_c = (sigma_c - n_c / S) / C``, with sigma_c the mean output of the class over
    the S label positions, for a loss that is a mean over classes too, as in Keras and PyTorch. So
    ``n_c = S (sigma_c - C b_c)``, and no class depends on another. The mean output is that of the typical input, with
    the weights of the head.

    Parameters
    ----------
    attack : str
        Name of the attack.
    reading : Reading
        The update that was shared.
    rules : CountRules
        When shares are counts.

    Returns
    -------
    Recovery
        Classes and counts. The number of label positions is that of the rank, or the one that makes all counts whole.

    Raises
    ------
    NotApplicable
        If weights or bias gradient are missing, if no number of label positions makes the counts whole, or if no class
        has a label.
    """
    update = reading.update
    kernel, bias = known_weights(update)
    gradient = bias_gradient(update)
    if gradient is None or not np.any(gradient):
        raise NotApplicable("the head has no bias gradient, or it is zero everywhere")
    if only_signs(update):
        raise NotApplicable(
            "every entry has the same magnitude: the update was reduced to its signs, and signs do not count"
        )
    unit = gradient / float(np.abs(gradient).max())
    typical = np.concatenate([block @ unit for _, block in kernel_blocks(update)]) / float(unit @ gradient)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = scipy.special.expit(typical @ kernel.astype(np.float64) + bias)
    if not np.isfinite(mean).all():
        raise NotApplicable("the estimated outputs of the head are not finite")
    positions, at_least = exact_positions(reading)
    numbers = range(at_least, _MOST_POSITIONS + 1) if positions is None else (positions,)
    errors = gradient * update.classes / update.steps
    best: tuple[float, np.ndarray] | None = None
    for number in numbers:
        wanted = number * _shares(update, mean, errors, number)
        counts = np.clip(np.rint(wanted), 0, number)
        told = (counts > 0) | (wanted > 0.5)
        if positions is not None:
            # An absent class is at zero for every number of positions, and for an update that was not scaled alone.
            told |= number * mean > 0.5
        missed = (wanted - counts)[told]
        likely = chance_of_misses(missed, missed.size)
        if positions is None:
            # Every number has a chance of its own to be taken by mistake; the larger it is, the smaller.
            likely += math.log(number) + 2.0 * math.log1p(math.log(number))
        if likely > math.log(rules.whole.chance):
            continue
        error = float(np.sqrt(np.mean(missed**2)))
        if best is None or error < best[0] - 1e-9:
            best = error, counts.astype(np.int64)
    if best is None:
        raise NotApplicable(
            "no number of label positions makes the counts whole: the batch is too large for how well the network's "
            "mean output can be estimated, or the update is noisy or was scaled",
        )
    error, counts = best
    labels = np.flatnonzero(counts)
    if not labels.size:
        raise NotApplicable("no class has a label, as far as the mean output of the head can be estimated")
    return Recovery(
        attack=attack,
        status=Status.RECOVERED,
        labels=tuple(labels.tolist()),
        counts={int(label): int(counts[label]) for label in labels},
        details={
            "positions_from": "whole counts" if positions is None else "rank",
            "off_whole_counts": float(f"{error:.2g}"),
        },
    )


def _shares(update: Update, mean: np.ndarray, errors: np.ndarray, positions: int) -> np.ndarray:
    """Return the share of the label positions that have a class, for every class."""
    if update.reduction == "sum":
        errors = errors / positions
    smoothing = update.head.label_smoothing
    result: np.ndarray = (mean - errors - 0.5 * smoothing) / (1.0 - smoothing)
    return result
