"""Whether the transcripts of a batch stay private: held, leaked or inconclusive."""

from __future__ import annotations

from collections.abc import Sequence

from .outcome import HELD, LEAKED, outcome_of, within_bound
from .recovery import INCONCLUSIVE, NOT_APPLICABLE
from .verdict import NOT_RUN, Verdict

__all__ = ["transcript_outcome"]


def transcript_outcome(
    verdicts: Sequence[Verdict],
    limit: float,
    *,
    control: Sequence[Verdict] | None = None,
    confidence: float | None = None,
    threshold: float | None = None,
) -> tuple[str, str]:
    """Decide as `outcome_of` does, by the share of the transcripts recovered.

    To put words in order is to solve equations, so where a defence has done its work no attack makes a claim: "not
    applicable" everywhere. That decides nothing by itself, but if the same attacks read the same batches
    before the defence, it is what the defence did.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack, scored for transcripts.
    limit : float
        Highest share that is tolerated.
    control : sequence of Verdict, optional
        With a defence: the same attacks on the undefended updates. An audit that holds needs one that leaks.
    confidence, threshold : float, optional
        As for `outcome_of`. The control is compared with the threshold.

    Returns
    -------
    outcome, message : str
        As for `outcome_of`.
    """
    able = [verdict for verdict in verdicts if verdict.status != NOT_RUN]
    outcome, message = outcome_of(able, limit, confidence=confidence, threshold=threshold)
    gone = bool(able) and all(verdict.status == NOT_APPLICABLE for verdict in able)
    if control is None or not (outcome == HELD or gone):
        return outcome, message
    undefended, reason = outcome_of(control, limit if threshold is None else threshold)
    if undefended != LEAKED:
        return INCONCLUSIVE, (
            f"inconclusive: the positive control failed, the attacks rebuild no more without the defence ({reason}); "
            "use a batch or a model on which they succeed undefended"
        )
    if gone:
        point = "without the defence the transcripts were rebuilt, with it no attack rebuilds any"
        return within_bound(point, able, limit, confidence, threshold, low=0.0)
    return outcome, message
