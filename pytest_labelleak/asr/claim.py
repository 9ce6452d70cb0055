"""Transcripts: the claim of an attack that puts label positions in order, and the part of it that is certain."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..core.recovery import NotApplicable, Recovery, Status

__all__ = ["Transcripts", "claim_or_refusal"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transcripts:
    """Claim of an attack that puts label positions in order.

    Attributes
    ----------
    attack : str
        Name of the attack.
    status : Status
        "inconclusive" if the time ran out before there was any order.
    reason : str
        Why the status is another than "recovered", as a clause; else a remark on uncertain parts. Holds no label.
    transcripts : tuple of tuple of int
        Labels in order, one tuple per utterance, end-of-sentence labels included. The order of the utterances is
        arbitrary. Private.
    certain : tuple of tuple of bool
        For every pair of neighbours, whether no other order is plausible there. Private.
    unique : bool
        Whether no other set of transcripts is plausible.
    finished : bool
        False if the time ran out before every possibility was tried.
    variables : tuple of str
        Names of the shared variables that were read.
    seconds : mapping of str to float
        Processor time of two stages: "apart", isolating the positions (0 where another attack has isolated them), and
        "order".
    details : mapping of str to float
        "largest_used" and "smallest_refused": sizes of the errors of links, in units of the attack's own limit.
    """

    attack: str
    status: Status
    reason: str = ""
    transcripts: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    certain: tuple[tuple[bool, ...], ...] = field(default=(), repr=False)
    unique: bool = False
    finished: bool = True
    variables: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict, repr=False)
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The reason as a sentence for people, empty for a claim without remark."""
        return self.status.worded(self.reason)

    def over_steps(self, steps: int) -> Transcripts:
        """Return the claim as it holds for an update that sums several local steps.

        The weights move between local steps, and both attacks compute with one set of weights. The transcripts may be
        right; the sizes of errors that certify a link are those of one step.

        Parameters
        ----------
        steps : int
            Number of local steps in the update.

        Returns
        -------
        Transcripts
            For more than one step, without a certain link.
        """
        if steps <= 1 or self.status != Status.RECOVERED:
            return self
        because = f"the update sums {steps} local steps, between which the weights moved, so no link is certain"
        return dataclasses.replace(
            self,
            reason="; ".join(filter(None, (self.reason, because))),
            certain=tuple((False,) * len(links) for links in self.certain),
            unique=False,
        )

    def as_recovery(self) -> Recovery:
        """Return the claim in the form that an audit scores: with labels and counts beside the transcripts.

        Returns
        -------
        Recovery
        """
        labels = Counter(label for transcript in self.transcripts for label in transcript)
        recovered = self.status == Status.RECOVERED
        return Recovery(
            attack=self.attack,
            status=self.status,
            reason=self.reason,
            labels=tuple(sorted(labels)),
            counts=dict(sorted(labels.items())) if recovered else None,
            positions=labels.total() if recovered else None,
            details={**self.details, "unique": self.unique, "finished": self.finished},
            variables=self.variables,
            transcripts=self.transcripts if recovered else None,
        )


def claim_or_refusal(attack: str, compute: Callable[[], Transcripts]) -> Transcripts:
    """Return a claim also where the attack does not apply, for callers who ask for transcripts and not for a Recovery.

    Parameters
    ----------
    attack : str
        Name of the attack.
    compute : callable
        Returns the claim, or raises `NotApplicable`.

    Returns
    -------
    Transcripts
    """
    try:
        return compute()
    except NotApplicable as refusal:
        return Transcripts(attack=attack, status=Status.NOT_APPLICABLE, reason=refusal.because)
