"""Whether the transcripts of a batch stay private: held, leaked or inconclusive."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.recovery import Status
from ..outcome import outcome_of
from ..verdict import Verdict
from .controlled import solving_outcome

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

    To put words in order is to solve equations, so where a defence has done its work no attack makes a claim, and
    `solving_outcome` asks the positive control.

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
    able = [verdict for verdict in verdicts if verdict.status != Status.NOT_RUN]
    return solving_outcome(
        able,
        limit,
        undefended=None if control is None else outcome_of(control, limit if threshold is None else threshold),
        verb="rebuild",
        stopped="without the defence the transcripts were rebuilt, with it no attack rebuilds any",
        confidence=confidence,
        threshold=threshold,
    )
