"""Recovery: the labels that an attack claims to have read from an update, and the proof that it offers."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .settings import note_private_values

__all__ = ["Certificate", "NotApplicable", "Recovery", "Status"]


class Status(str, enum.Enum):
    """How far an attack got with one update.

    Attributes
    ----------
    RECOVERED
        The attack commits to an answer, which may be empty.
    NOT_APPLICABLE
        A precondition of the attack failed.
    INCONCLUSIVE
        The attack ran and could not decide.
    NOT_RUN
        The attack was left out, because no answer of it could change the outcome of the audit.
    """

    RECOVERED = "recovered"
    NOT_APPLICABLE = "not applicable"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"

    def __str__(self) -> str:
        """Return the text of the status for messages and records, the same on every Python."""
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
    """A precondition of an attack failed. Any code below an attack may raise it; the caller of attacks catches it.

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
    """Evidence that one class is present or absent, in a form that can be checked again.

    A class is present if a label position of the update has it. The column of a class is its column in the gradient of
    the head's kernel. The cone of some columns is the set of their non-negative combinations.

    Attributes
    ----------
    label : int
        Index of the class. Private.
    present : bool
        Whether the class is claimed present.
    margin : float
        Distance between the two answers in units of the noise found in the update; a large margin is a safe one. For
        an absent class: how many times further the weakest present class is from the cone of the other columns.
    direction : ndarray of shape (d,) or (d + 1,), or None
        For a present class: a direction in feature space along which only this class descends. It has d + 1 entries
        where the bias gradient was read as one more row of the kernel gradient.
    others : ndarray of int, shape (k,), or None
        For an absent class: the classes whose columns combine to its column. Private.
    coefficients : ndarray of shape (k,), or None
        Positive coefficients of that combination.
    residual : float
        For an absent class: norm of the difference between its column and the combination, relative to the norm of
        the column.
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
    """The claim of one attack about the labels behind one update.

    Attributes
    ----------
    attack : str
        Name of the attack.
    status : Status
        How far the attack got; its text is accepted too. `Status.RECOVERED` commits to `labels`, also to none.
    reason : str
        A clause that gives the reason for any other status, or a remark on a recovery. Holds no label.
    labels : tuple of int
        Classes claimed present, sorted. Private: shown neither in the repr nor in a report.
    counts : mapping of int to int or None
        Claimed number of label positions per class. Private.
    shares : mapping of int to float or None
        Claimed share of the label positions per class, adding up to one. An attack that cannot tell the number of
        positions claims shares in place of counts, also with the status "not applicable". Private.
    positions : int or None
        Claimed number of label positions in the update.
    certificates : tuple of Certificate
        Evidence for the classes in `labels`, where the attack has any.
    absences : sequence of Certificate
        Evidence for the classes that are not in `labels`, where the attack has any; computed on access.
    details : mapping of str to float, int or str
        Figures worth reporting, such as the rank or the noise floor. Hold no label.
    variables : tuple of str
        Names of the shared variables that the attack read, as in `Update.gradients`.
    isolated : int or None
        Number n of isolated samples: label positions whose own gradient was separated from that of the batch.
    explained : float or None
        Share of the head's gradient that the isolated samples reproduce: one minus the Frobenius norm of the
        difference, relative to the gradient's.
    sample_labels : tuple of int
        Label of each isolated sample; labels repeat. Private.
    softmax : ndarray of shape (n, C) or None
        Output of the head for each isolated sample, in the same order. Private.
    features : ndarray of shape (n, d) or None
        Input of the head for each isolated sample, in the same order. Private.
    transcripts : tuple of tuple of int, or None
        Labels in the order of speech, one tuple for every utterance; None if the attack finds no order. Private.
    """

    attack: str
    status: Status
    reason: str = ""
    labels: tuple[int, ...] = field(default=(), repr=False)
    counts: Mapping[int, int] | None = field(default=None, repr=False)
    shares: Mapping[int, float] | None = field(default=None, repr=False)
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
        """Turn the text of a status into the status."""
        note_private_values()
        object.__setattr__(self, "status", Status(self.status))

    @property
    def message(self) -> str:
        """The status and its reason as a sentence; empty for a recovery without remark."""
        return self.status.worded(self.reason)

    @classmethod
    def not_applicable(cls, attack: str, because: str, **details: Any) -> Recovery:
        """Return the recovery of an attack of which a precondition failed.

        Parameters
        ----------
        attack : str
            Name of the attack.
        because : str
            The precondition, the finding against it, and a change that would make it hold.
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
        """Return the recovery of an attack that ran and could not decide.

        Parameters
        ----------
        attack : str
            Name of the attack.
        because : str
            The obstacle, and a change that would remove it.
        **details
            Figures worth reporting.

        Returns
        -------
        Recovery
            With status "inconclusive".
        """
        return cls(attack=attack, status=Status.INCONCLUSIVE, reason=because, details=details)
