"""What sensitive terms make of an outcome: one that is exposed is a leak, whatever the average says."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.recovery import Status
from ..outcome import HELD, LEAKED
from ..verdict import Verdict

__all__ = ["sensitive_outcome", "terms_missed", "union_of_terms"]


def union_of_terms(verdicts: Sequence[Verdict]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the indices of the sensitive terms that were said, and of those that any attack exposed.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Of any attacks and batches.

    Returns
    -------
    present, exposed : tuple of int
        Ascending.
    """
    present = {index for verdict in verdicts for index in verdict.sensitive_present or ()}
    exposed = {index for verdict in verdicts for index in verdict.sensitive_exposed or ()}
    return tuple(sorted(present)), tuple(sorted(exposed))


def terms_missed(verdicts: Sequence[Verdict]) -> int:
    """Count the sensitive terms that were said and that no attack exposed.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Of any attacks and batches.

    Returns
    -------
    int
        The number.
    """
    present, exposed = union_of_terms(verdicts)
    return len(set(present) - set(exposed))


def sensitive_outcome(
    outcome: str,
    message: str,
    verdicts: Sequence[Verdict],
    *,
    listed: int,
    must_occur: bool,
    control: Sequence[Verdict] | None = None,
) -> tuple[str, str]:
    """Take sensitive terms into account.

    Neither the threshold nor a baseline nor `confidence` applies to them: one term that an attack exposes in one batch
    is a leak, also where the audit is otherwise inconclusive.

    Parameters
    ----------
    outcome, message : str
        What the figures say.
    verdicts : sequence of Verdict
        One per attack.
    listed : int
        Number of terms in the list.
    must_occur : bool
        Whether a batch in which none of them occurs is inconclusive.
    control : sequence of Verdict, optional
        With a defence: the same attacks on the undefended updates. A term that these do not expose either was
        not protected by the defence, and shows nothing.

    Returns
    -------
    outcome, message : str
        As for `outcome_of`.
    """
    present, exposed = union_of_terms(verdicts)
    if exposed:
        by = ", ".join(verdict.attack for verdict in verdicts if verdict.sensitive_exposed)
        found = (
            f"{len(exposed)} of {len(present)} sensitive term(s) that were said can be formed ({by}): index "
            f"{', '.join(map(str, exposed))} of the list"
        )
        return LEAKED, f"{message}; {found}" if outcome == LEAKED else f"leaked: {found}"
    if outcome != HELD:
        return outcome, message
    if must_occur and not present:
        return Status.INCONCLUSIVE, (
            f"inconclusive: none of the {listed} sensitive term(s) occurs in the transcripts, so the list tested "
            "nothing; plant one in the batch, check how they are spelt, or leave the list out"
        )
    missed = 0 if control is None else terms_missed(control)
    if missed:
        return Status.INCONCLUSIVE, (
            f"inconclusive: {missed} of {len(present)} sensitive term(s) that were said cannot be formed without the "
            "defence either, so that the defence was not tested on them; use a batch on which they can"
        )
    return outcome, message
