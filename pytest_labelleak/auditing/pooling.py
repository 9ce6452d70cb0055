"""One attack's verdicts over several batches, as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.recovery import Status
from .confidence import bounded_mean_interval, upper_bound
from .verdict import FURTHER_ADVANTAGES, SHARES, Verdict

__all__ = ["mean_figure", "pool"]

_MEANS = (
    *("advantage", "true_positive_rate", "false_positive_rate", "precision", "recall", "f1", "exact_match"),
    *("labels", "claimed", "chance"),
)


def pool(verdicts: Sequence[Verdict], *, confidence: float | None = None, samples: bool = False) -> Verdict:
    """Pool one attack's verdicts over batches.

    A batch on which the attack made no claim counts with advantage 0, as the attacker's loss; one
    that could not be decided makes the pooled verdict inconclusive.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one, all of the same attack.
    confidence : float, optional
        Coverage of the one-sided upper bound; without it there is none.
    samples : bool, default False
        Bound the share of label positions isolated instead of the advantage.

    Returns
    -------
    Verdict
        Means over the batches, with a confidence interval for two or more.
    """
    advantages = tuple(v.advantage for v in verdicts)
    series, low = [advantages], -1.0
    if samples:
        series, low = [tuple(v.samples_isolated or 0.0 for v in verdicts)], 0.0
    else:
        for name in FURTHER_ADVANTAGES:
            figures = [getattr(v, name) for v in verdicts]
            if any(figure is not None for figure in figures):
                series.append(tuple(figure or 0.0 for figure in figures))
    bound = None
    if confidence is not None and all(v.status != Status.INCONCLUSIVE for v in verdicts):
        bound = max(upper_bound(values, low=low, high=1.0, confidence=confidence) for values in series)
    if len(verdicts) == 1:
        return dataclasses.replace(verdicts[0], upper_bound=bound, series=tuple(series))
    for status in (Status.INCONCLUSIVE, Status.RECOVERED, Status.NOT_APPLICABLE):
        of_status = [v for v in verdicts if v.status == status]
        if of_status:
            break
    claims: dict[str, Any] = {name: _mean_of_claims([getattr(v, name) for v in verdicts]) for name in SHARES}
    means: dict[str, Any] = {name: float(np.mean([getattr(v, name) for v in verdicts])) for name in _MEANS}
    errors = [v.feature_error for v in verdicts if v.feature_error is not None]
    message = of_status[0].message
    if status == Status.INCONCLUSIVE:
        message = f"{len(of_status)} of {len(verdicts)} batches {message}"
    return Verdict(
        attack=verdicts[0].attack,
        status=status,
        message=message,
        batches=len(verdicts),
        interval=bounded_mean_interval(advantages, low=-1.0, high=1.0),
        upper_bound=bound,
        series=tuple(series),
        feature_error=float(np.median(errors)) if errors else None,
        words=_mean_of_claims([v.words for v in verdicts]),
        sensitive_present=_union([v.sensitive_present for v in verdicts]),
        sensitive_exposed=_union([v.sensitive_exposed for v in verdicts]),
        variables=tuple(dict.fromkeys(name for v in verdicts for name in v.variables)),
        recovered=tuple(labels for v in verdicts for labels in (v.recovered or ((),))),
        formed=tuple(words for v in verdicts for words in (v.formed or ((),)))
        if any(v.formed for v in verdicts)
        else (),
        positions=tuple(number for v in verdicts for number in (v.positions or (None,))),
        **means,
        **claims,
    )


def mean_figure(verdicts: Sequence[Verdict], *, samples: bool = False) -> float:
    """Return the `figure` that `pool` would give, without the rest.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one, all of the same attack.
    samples : bool, default False
        Return the mean share of label positions isolated instead.

    Returns
    -------
    float
        The largest of the mean advantages over classes, counts and words.
    """
    if samples:
        return _mean_of_claims([v.samples_isolated for v in verdicts]) or 0.0
    advantage = float(np.mean([v.advantage for v in verdicts]))
    others = (_mean_of_claims([getattr(v, name) for v in verdicts]) for name in FURTHER_ADVANTAGES)
    return max(advantage, *(-1.0 if other is None else other for other in others))


def _mean_of_claims(figures: Sequence[float | None]) -> float | None:
    """Return the mean of `figures` in which None, no claim, counts 0; None if there was never a claim."""
    if all(figure is None for figure in figures):
        return None
    return float(np.mean([figure or 0.0 for figure in figures]))


def _union(lists: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Return the indices in any of `lists`, sorted; None if there was never a list."""
    if all(indices is None for indices in lists):
        return None
    return tuple(sorted({index for indices in lists for index in indices or ()}))
