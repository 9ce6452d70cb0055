"""What an attack that puts words in order claims was said, and what about it is certain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.recovery import Recovery, Status

__all__ = ["Transcripts"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transcripts:
    """What an attack claims was said.

    Attributes
    ----------
    attack : str
        Its name.
    status : {"recovered", "not applicable", "inconclusive"}
        "inconclusive" if the time ran out before there was any order.
    message : str
        Reason for a status other than "recovered", or what is uncertain.
    transcripts : tuple of tuple of int
        Labels in order, one tuple for every utterance, end-of-sentence labels included. In the order of utterances
        only by chance. Private.
    certain : tuple of tuple of bool
        For every two neighbours, whether no other order is plausible there. Private.
    unique : bool
        Whether nothing else is plausible at all.
    finished : bool
        False if the time ran out before everything was tried.
    variables : tuple of str
        Names of the shared variables that were read.
    seconds : mapping of str to float
        Where the processor time went: "apart" and "order".
    details : mapping of str to float
        "largest_used" and "smallest_refused": backward errors of links, in units of the largest that noise explains.
    """

    attack: str
    status: str
    message: str = ""
    transcripts: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    certain: tuple[tuple[bool, ...], ...] = field(default=(), repr=False)
    unique: bool = False
    finished: bool = True
    variables: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict, repr=False)
    details: Mapping[str, float] = field(default_factory=dict)

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
            status=Status(self.status),
            reason=self.message.removeprefix(f"{self.status}, because "),
            labels=tuple(sorted(labels)),
            counts=dict(sorted(labels.items())) if recovered else None,
            positions=labels.total() if recovered else None,
            details={**self.details, "unique": self.unique, "finished": self.finished},
            variables=self.variables,
            transcripts=self.transcripts if recovered else None,
        )
