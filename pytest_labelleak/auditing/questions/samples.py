"""Whether the samples of a batch stay together: held, leaked or inconclusive."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...core.recovery import Status
from ..verdict import Verdict
from .controlled import solving_outcome

__all__ = ["isolation_outcome"]


def isolation_outcome(
    verdicts: Sequence[Verdict],
    limit: float,
    *,
    isolating: Collection[str] = (),
    control: Sequence[Verdict] | None = None,
    confidence: float | None = None,
    threshold: float | None = None,
) -> tuple[str, str]:
    """Decide as `outcome_of` does, by the share of label positions isolated.

    Only attacks that isolate samples have a say. To isolate one is to solve an equation, so where a defence
    has done its work no such attack makes a claim, and `solving_outcome` asks the positive control.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack, scored for samples.
    limit : float
        Highest share that is tolerated.
    isolating : collection of str, optional
        Names of attacks that isolate samples. Others have a say if they did.
    control : sequence of Verdict, optional
        With a defence: the same attacks on the undefended updates. An audit that holds needs one that leaks.
    confidence, threshold : float, optional
        As for `outcome_of`. The control is compared with the threshold.

    Returns
    -------
    outcome, message : str
        As for `outcome_of`.
    """
    able = [
        verdict
        for verdict in verdicts
        if verdict.status != Status.NOT_RUN and (verdict.attack in isolating or verdict.samples_isolated is not None)
    ]
    if not able:
        return (
            Status.INCONCLUSIVE,
            "inconclusive: none of the attacks isolates samples; use attacks='auto' or 'disaggregate'",
        )
    undefended = None
    if control is not None:
        undefended = isolation_outcome(control, limit if threshold is None else threshold, isolating=isolating)
    return solving_outcome(
        able,
        limit,
        undefended=undefended,
        verb="isolate",
        stopped="without the defence the samples came apart, with it no attack isolates any",
        confidence=confidence,
        threshold=threshold,
        samples=True,
    )
