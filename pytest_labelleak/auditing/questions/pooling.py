"""One attack's verdicts over several batches, as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ...core.recovery import Status
from ..evidence.confidence import bounded_mean_interval, upper_bound
from ..verdict import Verdict
from .question import Question, pooled_statistic, telling

__all__ = ["pool"]


def pool(question: Question, verdicts: Sequence[Verdict], *, confidence: float | None = None) -> Verdict:
    """Pool one attack's verdicts over batches.

    A batch on which the attack made no claim counts as the attacker's loss; one
    that could not be decided makes the pooled verdict inconclusive. A batch that tells nothing about the question is
    left out, unless none tells anything.

    Parameters
    ----------
    question : Question
        The question that they answer.
    verdicts : sequence of Verdict
        At least one, all of the same attack.
    confidence : float, optional
        Coverage of the one-sided upper bound; without it there is none.

    Returns
    -------
    Verdict
        Pooled statistics, with a confidence interval for two or more.
    """
    first, *others = question.compared
    told = telling(verdicts)
    values = {name: [verdict.stats[name] for verdict in told] for name in question.compared}
    claimed = [first, *(name for name in others if any(value is not None for value in values[name]))]
    numbers = (question.declared[name].numbers(values[name]) for name in claimed)
    series = tuple(tuple(one) for one in numbers if one)
    bound = None
    if series and confidence is not None and all(verdict.status != Status.INCONCLUSIVE for verdict in told):
        bound = max(upper_bound(one, low=question.low, high=1.0, confidence=confidence) for one in series)
    if len(verdicts) == 1:
        return dataclasses.replace(verdicts[0], upper_bound=bound, series=series)
    status = next(
        status
        for status in (Status.INCONCLUSIVE, Status.RECOVERED, Status.NOT_APPLICABLE)
        if any(verdict.status == status for verdict in told)
    )
    of_status = [verdict for verdict in told if verdict.status == status]
    reason = of_status[0].reason
    if status == Status.INCONCLUSIVE:
        reason = f"{reason} (in {len(of_status)} of {len(verdicts)} batches)"
    stats = {name: pooled_statistic(question, name, verdicts) for name in question.declared}
    return Verdict(
        attack=verdicts[0].attack,
        status=status,
        reason=reason,
        figure=question.figure(stats) if status == Status.RECOVERED else None,
        batches=len(verdicts),
        interval=bounded_mean_interval(series[0], low=question.low, high=1.0) if series else None,
        upper_bound=bound,
        variables=tuple(dict.fromkeys(name for verdict in verdicts for name in verdict.variables)),
        declared=question.declared,
        stats=stats,
        series=series,
    )
