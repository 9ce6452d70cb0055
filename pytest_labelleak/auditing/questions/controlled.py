"""The evidence that a pass needs: something protects, the attacks are able, and nothing shows through."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...core.recovery import Status
from ..evidence.belonging import Match
from ..evidence.sequential import Decision as Side
from ..outcome import TOLERANCE, Bar, Decision, Outcome, within_bound
from ..verdict import Verdict
from .question import Evidence

__all__ = ["confirmed", "held_by_evidence", "luck_of", "stopped_by_defence", "unseen_shares"]


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


def stopped_by_defence(
    decision: Decision, undefended: Decision | None, able: Sequence[Verdict], bar: Bar, *, stopped: str
) -> Decision:
    """Decide where attacks solve equations, so that a defence that works leaves no claim at all.

    Without a control, "not applicable" everywhere decides nothing: the model or the batch may be beyond the attacks.
    With one, their failure is the defence's work: the audit holds so far, each attack counting with 0 in every batch.

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
    stopped : str
        The effect of a defence that stopped them all, as a clause.

    Returns
    -------
    Decision
        The decision, or held.
    """
    gone = bool(able) and all(verdict.status == Status.NOT_APPLICABLE for verdict in able)
    if undefended is None or not gone:
        return decision
    # The reason names no attack and no figure of the control: which of them ran depends on those left out.
    if undefended.outcome != Outcome.LEAKED:
        return Decision(outcome=Outcome.HELD, reason=stopped)
    return within_bound(stopped, able, bar, low=0.0)


def luck_of(
    verdict: Verdict, luck: Mapping[str, float], *, level: float, certified: Collection[str], limit: float
) -> str | None:
    """Say why a claim beyond the limit may be luck.

    Parameters
    ----------
    verdict : Verdict
        The claim.
    luck : mapping of str to float
        Corrected probability by attack, as in `Evidence`.
    level : float
        Largest probability that counts as no luck.
    certified : collection of str
        Attacks whose certificates are proofs.
    limit : float
        Highest figure that is tolerated.

    Returns
    -------
    str or None
        A clause with the remedy; None if the claim is no luck.
    """
    proved = verdict.stats.get("certified")
    if verdict.attack in certified and proved is not None and proved > limit + TOLERANCE:
        return None
    probability = luck.get(verdict.attack, 0.0)
    if probability <= level:
        return None
    return (
        f"claims that are independent of the labels do as well with probability {probability:.2g}; pass more batches, "
        "or larger ones"
    )


def held_by_evidence(
    decision: Decision, bar: Bar, evidence: Evidence, undefended: Decision | None, *, failure: str, presence: bool
) -> Decision:
    """Let a pass stand only if every piece of evidence is there, and name them.

    Parameters
    ----------
    decision : Decision
        The decision by the figures.
    bar : Bar
        The numbers to compare with.
    evidence : Evidence
        The evidence.
    undefended : Decision or None
        The decision about the undefended updates; None without a defence.
    failure : str
        As for `confirmed`.
    presence : bool
        Whether the question asks which classes are present, so that labels may not be visible in hindsight.

    Returns
    -------
    Decision
        The decision, or inconclusive with the piece of evidence that is missing.
    """
    # A baseline accepts a leak, and a threshold of one tolerates every figure: neither asks for protection.
    if decision.outcome != Outcome.HELD or bar.limit > bar.threshold or bar.threshold >= 1.0:
        return decision

    def missing(text: str) -> Decision:
        return Decision(outcome=Outcome.INCONCLUSIVE, reason=f"{decision.reason}, but {text}")

    if not evidence.protected:
        why = _undefended(evidence) if presence else "that none of the attacks succeeds says something about them"
        return missing(f"nothing protects this update, and an undefended update never holds: {why}")
    proof = evidence.proof
    proved = proof is not None and proof.within(bar.threshold)
    seen, together = evidence.look() if presence and evidence.look is not None else (None, None)
    if together is not None and together.match is Match.MISTAKEN:
        return missing(f"without the defence {together.sentence}")
    checked = confirmed(decision, undefended, failure=failure)
    if checked.outcome != Outcome.HELD and not proved:
        return checked
    proofs = [] if proof is None or not proved else [f"no attack can exceed {proof.shown}"]
    standing = evidence.standing
    if standing is not None:
        bound = f"the upper bound over {standing.draws} draws of the defence is {standing.upper:.2f}"
        if standing.decision is not Side.WITHIN and not proved:
            remedy = "the time budget is spent; raise time_budget=" if evidence.spent else "use a stronger defence"
            return missing(f"{bound} > {bar.threshold:.2f}: {remedy}")
        if evidence.rested and standing.decision is Side.WITHIN:
            bound += f" ({', '.join(evidence.rested)} refused {evidence.asked} of them and rested)"
        if standing.decision is Side.WITHIN:
            proofs.append(bound)
    # A proof recomputes the update from these labels: more cannot be known about where it comes from.
    if together is not None and together.match is not Match.BELONGS and not proved:
        return missing(f"without the defence {together.sentence}")
    if seen is not None:
        if seen.beyond(bar.threshold):
            return missing(f"{seen.sentence}; none of the attacks does")
        if not proved and not seen.visible and not seen.decidable and seen.advantage > bar.threshold:
            return missing(seen.sentence)
        proofs.append("the labels are not visible in hindsight")
    if evidence.undone is not None and evidence.undone():
        return missing(
            "whoever knows the defence can turn it around: it maps updates one to one and keeps their distances, as "
            "another order of the classes does, or noise from a fixed seed; draw the noise from the generator rng= "
            "that the defence is given"
        )
    if checked.outcome == Outcome.HELD:
        proofs.append("the attacks succeed without the defence")
    return Decision(outcome=Outcome.HELD, reason=f"{decision.reason}; evidence: {', '.join(proofs)}")


def unseen_shares(decision: Decision, bar: Bar, evidence: Evidence) -> Decision:
    """Let a pass stand only if the shares of the classes are not visible to a receiver who knows them.

    Parameters
    ----------
    decision : Decision
        The decision by all other evidence.
    bar : Bar
        The numbers to compare with.
    evidence : Evidence
        The evidence.

    Returns
    -------
    Decision
        The decision, or inconclusive.
    """
    if decision.outcome != Outcome.HELD or bar.limit > bar.threshold or bar.threshold >= 1.0:
        return decision
    seen = None if evidence.look_at_shares is None else evidence.look_at_shares()
    if seen is None:
        return decision
    if seen.beyond(bar.threshold):
        reason = f"{decision.reason}, but {seen.sentence}; none of the attacks claims them"
        return Decision(outcome=Outcome.INCONCLUSIVE, reason=reason)
    reason = f"{decision.reason}, the shares of the classes are not visible in hindsight"
    return Decision(outcome=Outcome.HELD, reason=reason)


def _undefended(evidence: Evidence) -> str:
    """Say whether the labels are visible in an undefended update that no attack reads."""
    seen, together = (None, None) if evidence.look is None else evidence.look()
    if together is not None and together.match is not Match.BELONGS:
        return together.sentence
    if seen is not None and seen.visible:
        return f"{seen.sentence}; none of the attacks does"
    return "that none of the attacks reads it says something about them"
