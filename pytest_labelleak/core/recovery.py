"""Recovery: what an attack claims to have read from an update, and the proof it offers."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Certificate", "NotApplicable", "Recovery", "Status"]


class Status(str, enum.Enum):
    """How far an attack got with one update.

    Attributes
    ----------
    RECOVERED
        It commits to an answer, also to an empty one.
    NOT_APPLICABLE
        A precondition failed.
    INCONCLUSIVE
        It ran and could not decide.
    NOT_RUN
        It was left out, because nothing that it could find would change anything.
    """

    RECOVERED = "recovered"
    NOT_APPLICABLE = "not applicable"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"

    def __str__(self) -> str:
        """Return the text that messages and records hold, the same on every Python."""
        return self.value

    __format__ = str.__format__  # type: ignore[assignment]

    def worded(self, reason: str) -> str:
        """Return the one wording of a status and its reason.

        Parameters
        ----------
        reason : str
            A clause; for `RECOVERED` a remark, possibly empty.

        Returns
        -------
        str
            The remark itself, or "not applicable, because ..." and the like.

        Examples
        --------
        >>> Status.NOT_APPLICABLE.worded("the head has no bias")
        'not applicable, because the head has no bias'
        """
        return reason if self is Status.RECOVERED else f"{self}, because {reason}"


class NotApplicable(Exception):  # noqa: N818 - a refusal and no error
    """A precondition of an attack failed. Raised anywhere below an attack, caught where attacks are called.

    Parameters
    ----------
    because : str
        The precondition, the finding against it, and a change that would make it hold; a clause without a label.
    **details
        Figures worth reporting, as in `Recovery.details`.
    """

    def __init__(self, because: str, **details: Any) -> None:
        super().__init__(because)
        self.because = because
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """Why one class is claimed present or absent, in a form that can be checked again.

    Attributes
    ----------
    label : int
        The class. Private.
    present : bool
        What is claimed.
    margin : float
        Distance between the two answers in units of the noise found in the update; large is safe. For an
        absent class: how many times further the weakest present class is from the cone of the others.
    direction : ndarray of shape (d,) or (d + 1,), or None
        For a present class: feature-space direction along which only this class descends; one longer if the
        bias gradient is a row too.
    others : ndarray of int, shape (k,), or None
        For an absent class: classes whose columns its own is a non-negative combination of. Private.
    coefficients : ndarray of shape (k,), or None
        Their coefficients, positive.
    residual : float
        For an absent class: norm of what the combination leaves of its column, relative to the column.
    """

    label: int = field(repr=False)
    present: bool
    margin: float
    direction: np.ndarray | None = field(default=None, repr=False)
    others: np.ndarray | None = field(default=None, repr=False)
    coefficients: np.ndarray | None = field(default=None, repr=False)
    residual: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recovery:
    """What one attack claims about the labels behind one update.

    Attributes
    ----------
    attack : str
        Name of the attack.
    status : Status
        Or its text. `Status.RECOVERED` commits to `labels`, also when that is empty.
    reason : str
        Why the status is another than "recovered", as a clause; else a remark. Holds no label.
    labels : tuple of int
        Classes claimed present, sorted. Private: not in the repr, not in any report.
    counts : mapping of int to int or None
        Claimed number of label positions per class. Private.
    positions : int or None
        Claimed number of label positions in the update.
    certificates : tuple of Certificate
        Evidence for the classes named, where the attack has any.
    absences : sequence of Certificate
        Evidence for the classes not named, where the attack has any; made when it is asked for.
    details : mapping of str to float, int or str
        Figures worth reporting (rank, noise floor). Hold no label.
    variables : tuple of str
        The shared variables that the claim was read from, by their names in the update.
    isolated : int or None
        Number n of single samples that were separated from the batch.
    explained : float or None
        Share of the head's gradient that these samples reproduce: one less the relative Frobenius norm of what
        they leave over.
    sample_labels : tuple of int
        Label of each isolated sample; labels repeat. Private.
    softmax : ndarray of shape (n, C) or None
        The head's output for each, in the same order. Private.
    features : ndarray of shape (n, d) or None
        The head's input for each, in the same order. Private.
    transcripts : tuple of tuple of int, or None
        Labels in the order they were said, one tuple for every utterance; None if the attack does not tell. Private.
    """

    attack: str
    status: Status
    reason: str = ""
    labels: tuple[int, ...] = field(default=(), repr=False)
    counts: Mapping[int, int] | None = field(default=None, repr=False)
    positions: int | None = None
    certificates: tuple[Certificate, ...] = field(default=(), repr=False)
    absences: Sequence[Certificate] = field(default=(), repr=False)
    details: Mapping[str, Any] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    isolated: int | None = None
    explained: float | None = None
    sample_labels: tuple[int, ...] = field(default=(), repr=False)
    softmax: np.ndarray | None = field(default=None, repr=False)
    features: np.ndarray | None = field(default=None, repr=False)
    transcripts: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Take the status as text, too."""
        object.__setattr__(self, "status", Status(self.status))

    @property
    def message(self) -> str:
        """The reason as a sentence for people, empty for a recovery without remark."""
        return self.status.worded(self.reason)

    @classmethod
    def not_applicable(cls, attack: str, because: str, **details: Any) -> Recovery:
        """State that a precondition of `attack` failed.

        Parameters
        ----------
        attack : str
            Name of the attack.
        because : str
            The precondition, what was found, and what would make it hold.
        **details
            Figures worth reporting.

        Returns
        -------
        Recovery
            With status "not applicable".
        """
        return cls(attack=attack, status=Status.NOT_APPLICABLE, reason=because, details=details)

    @classmethod
    def inconclusive(cls, attack: str, because: str, **details: Any) -> Recovery:
        """State that `attack` ran and could not decide.

        Parameters
        ----------
        attack : str
            Name of the attack.
        because : str
            What stopped it and what would help.
        **details
            Figures worth reporting.

        Returns
        -------
        Recovery
            With status "inconclusive".
        """
        return cls(attack=attack, status=Status.INCONCLUSIVE, reason=because, details=details)
