"""One audit's decision: which figures are asked about, and what positive control and sensitive terms make of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..core.recovery import Status
from ..core.sensitive import SensitiveTerms
from .outcome import HELD, LEAKED, outcome_of
from .questions.samples import isolation_outcome
from .questions.transcripts import transcript_outcome
from .questions.words import sensitive_outcome, union_of_terms
from .verdict import Verdict

__all__ = ["decide"]


def decide(
    verdicts: Sequence[Verdict],
    limit: float,
    *,
    threshold: float,
    confidence: float | None,
    control: Sequence[Verdict] | None,
    isolating: Collection[str] | None = None,
    sensitive: SensitiveTerms | None = None,
    transcripts: bool = False,
) -> tuple[str, str]:
    """Decide between held, leaked and inconclusive.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack, pooled over the batches.
    limit : float
        Highest figure that is tolerated.
    threshold, confidence : float, float or None
        As for `outcome_of`.
    control : sequence of Verdict or None
        With a defence: the same attacks on the undefended updates.
    isolating : collection of str, optional
        Where samples are asked for: names of attacks that isolate them.
    sensitive : SensitiveTerms, optional
        Where words are asked for: terms that must not be exposed.
    transcripts : bool, default False
        Whether transcripts are asked for.

    Returns
    -------
    outcome, message : str
        The message holds figures and no label.
    """
    if isolating is not None:
        return isolation_outcome(
            verdicts, limit, isolating=isolating, control=control, confidence=confidence, threshold=threshold
        )
    if transcripts:
        return transcript_outcome(verdicts, limit, control=control, confidence=confidence, threshold=threshold)
    outcome, message = outcome_of(verdicts, limit, confidence=confidence, threshold=threshold)
    # Who tolerates everything asks about the sensitive terms alone, and those have a control of their own.
    terms_alone = threshold >= 1.0 and bool(union_of_terms(verdicts)[0])
    if control is not None and outcome == HELD and not terms_alone:
        outcome, message = _with_control(outcome, message, control, threshold)
    if sensitive is None:
        return outcome, message
    return sensitive_outcome(
        outcome, message, verdicts, listed=len(sensitive), must_occur=sensitive.must_occur, control=control
    )


def _with_control(outcome: str, message: str, control: Sequence[Verdict], threshold: float) -> tuple[str, str]:
    """Turn a pass into "inconclusive" if the same attacks fail without the defence too."""
    undefended, reason = outcome_of(control, threshold)
    if undefended == LEAKED:
        return outcome, message
    return Status.INCONCLUSIVE, (
        f"inconclusive: the positive control failed, the attacks find nothing without the defence either ({reason}); "
        "use a batch or a model on which they succeed undefended"
    )
