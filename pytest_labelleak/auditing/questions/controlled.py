"""Held, leaked or inconclusive, where attacks solve equations: what a defence has stopped makes no claim at all."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.recovery import Status
from ..outcome import HELD, LEAKED, outcome_of, within_bound
from ..verdict import Verdict

__all__ = ["solving_outcome"]


def solving_outcome(
    able: Sequence[Verdict],
    limit: float,
    *,
    undefended: tuple[str, str] | None,
    verb: str,
    stopped: str,
    confidence: float | None,
    threshold: float | None,
    samples: bool = False,
) -> tuple[str, str]:
    """Decide as `outcome_of` does, and let a positive control say what "not applicable" everywhere means.

    Without a control that decides nothing, since the model or the batch may be beyond the attacks. If they succeed on
    the same batches before the defence, they are able to, and that they no longer do is what the defence
    did: the audit holds, each attack counting with 0 in every batch.

    Parameters
    ----------
    able : sequence of Verdict
        One per attack that has a say.
    limit : float
        Highest figure that is tolerated.
    undefended : tuple of (str, str) or None
        With a defence: outcome and message of the same attacks without it.
    verb : str
        What the attacks do, for messages: "isolate".
    stopped : str
        What a defence that stopped them all did, for messages.
    confidence, threshold : float or None
        As for `outcome_of`.
    samples : bool, default False
        As for `outcome_of`.

    Returns
    -------
    outcome, message : str
        As for `outcome_of`.
    """
    outcome, message = outcome_of(able, limit, confidence=confidence, threshold=threshold, samples=samples)
    gone = bool(able) and all(verdict.status == Status.NOT_APPLICABLE for verdict in able)
    if undefended is None or not (outcome == HELD or gone):
        return outcome, message
    before, reason = undefended
    if before != LEAKED:
        return Status.INCONCLUSIVE, (
            f"inconclusive: the positive control failed, the attacks {verb} no more without the defence ({reason}); "
            "use a batch or a model on which they succeed undefended"
        )
    if gone:
        # No attack and no figure of the control: which of them ran depends on what was left out.
        return within_bound(stopped, able, limit, confidence, threshold, low=0.0)
    return outcome, message
