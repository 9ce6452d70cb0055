"""A decision that a positive control confirms: a defence is credited only where attacks succeed without it."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.recovery import Status
from ..outcome import Bar, Decision, Outcome, within_bound
from ..verdict import Verdict

__all__ = ["confirmed", "confirmed_or_stopped"]


def confirmed(decision: Decision, undefended: Decision | None, *, failure: str) -> Decision:
    """Turn a pass into "inconclusive" if the same attacks fail without the defence, too.

    Parameters
    ----------
    decision : Decision
        The decision about the defended updates.
    undefended : Decision or None
        The decision about the undefended updates; None without a defence.
    failure : str
        The failure of the attacks without the defence, as a clause: "the attacks find nothing ...".

    Returns
    -------
    Decision
        The decision itself, or inconclusive.
    """
    if undefended is None or decision.outcome != Outcome.HELD or undefended.outcome == Outcome.LEAKED:
        return decision
    return Decision(
        outcome=Outcome.INCONCLUSIVE,
        reason=(
            f"the positive control failed, {failure} ({undefended.message}); "
            "use a batch or a model on which they succeed undefended"
        ),
    )


def confirmed_or_stopped(
    decision: Decision,
    undefended: Decision | None,
    able: Sequence[Verdict],
    bar: Bar,
    *,
    failure: str,
    stopped: str,
) -> Decision:
    """Decide where attacks solve equations, so that a defence that works leaves no claim at all.

    Without a control, "not applicable" everywhere decides nothing: the model or the batch may be beyond the attacks.
    If they succeed on the same batches before the defence, they are able to, and their failure is the
    defence's work: the audit holds, each attack counting with 0 in every batch.

    Parameters
    ----------
    decision : Decision
        The decision by the figures.
    undefended : Decision or None
        The decision about the undefended updates; None without a defence.
    able : sequence of Verdict
        One per attack that has a say.
    bar : Bar
        The numbers to compare with.
    failure : str
        As for `confirmed`.
    stopped : str
        The effect of a defence that stopped them all, as a clause.

    Returns
    -------
    Decision
        Held, leaked or inconclusive.
    """
    gone = bool(able) and all(verdict.status == Status.NOT_APPLICABLE for verdict in able)
    if undefended is None or not gone:
        return confirmed(decision, undefended, failure=failure)
    # The reason names no attack and no figure of the control: which of them ran depends on those left out.
    held = within_bound(stopped, able, bar, low=0.0)
    if undefended.outcome != Outcome.LEAKED:
        held = Decision(outcome=Outcome.HELD, reason=stopped)
    return confirmed(held, undefended, failure=failure)
