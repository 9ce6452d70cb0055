"""Whether the samples of a batch stay together: held, leaked or inconclusive."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .outcome import HELD, LEAKED, outcome_of, within_bound
from .recovery import INCONCLUSIVE, NOT_APPLICABLE
from .verdict import NOT_RUN, Verdict

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
    has done its work no such attack makes a claim: "not applicable" everywhere. Without a control that
    decides nothing, since the model or the batch may be beyond the attacks. If they took the
    same batches apart before the defence, with the same weights, they are able on these very batches, and that they no
    longer are is what the defence did: the audit holds, each attack counting with 0 in every batch.

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
        if verdict.status != NOT_RUN and (verdict.attack in isolating or verdict.samples_isolated is not None)
    ]
    if not able:
        return INCONCLUSIVE, "inconclusive: none of the attacks isolates samples; use attacks='auto' or 'disaggregate'"
    outcome, message = outcome_of(able, limit, confidence=confidence, threshold=threshold, samples=True)
    gone = all(verdict.status == NOT_APPLICABLE for verdict in able)
    if control is None or not (outcome == HELD or gone):
        return outcome, message
    undefended, reason = isolation_outcome(control, limit if threshold is None else threshold, isolating=isolating)
    if undefended != LEAKED:
        return INCONCLUSIVE, (
            f"inconclusive: the positive control failed, the attacks isolate no more without the defence ({reason}); "
            "use a batch or a model on which they succeed undefended"
        )
    if gone:
        # No attack and no figure of the control: which of them ran depends on what was left out.
        point = "without the defence the samples came apart, with it no attack isolates any"
        return within_bound(point, able, limit, confidence, threshold, low=0.0)
    return outcome, message
