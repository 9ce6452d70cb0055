"""Question: the claim that an audit asks about, with its figure, its scoring, its decision and its findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...attacks import Attack
from ...core.recovery import Recovery, Status
from ...core.truth import Truth
from ..evidence.belonging import Belonging
from ..evidence.hindsight import Visibility
from ..evidence.sequential import Standing
from ..evidence.swaps import Proof
from ..evidence.visible_shares import SharesSeen
from ..finding import Finding
from ..outcome import Bar, Decision
from ..statistic import Statistics
from ..verdict import Verdict

__all__ = [
    "Advice",
    "Evidence",
    "Question",
    "every_column",
    "figure_name_of",
    "mean_figure",
    "pooled_statistic",
    "telling",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """All that a decision may rest on besides the verdicts themselves.

    Attributes
    ----------
    members : sequence of attack
        The attacks, in the order of the verdicts.
    control : sequence of Verdict or None
        With a defence: the same attacks on the undefended updates (positive control).
    protected : bool
        Whether something protects the updates: a defence, or a sum over participants.
    luck : mapping of str to float
        For each attack whose claims can be luck: probability that claims independent of the labels do as well,
        corrected for the number of attacks.
    control_luck : mapping of str to float
        The same for the undefended updates.
    level, control_level : float
        Largest such probabilities at which claims count as no luck. Looking again and again at the draws of a random
        defence lowers the first.
    certified : collection of str
        Attacks whose claims come with certificates that hold for exact updates.
    standing : Standing or None
        With a random defence: bounds of the figures over its draws.
    rested : sequence of str
        Attacks that refused their first draws and were not asked again.
    asked : int
        Number of draws that these were asked about.
    spent : bool
        Whether the time budget ended before the draws decided.
    proof : Proof or None
        The bound on every attack, where it was computed.
    look : callable or None
        Visibility of the labels in the shared updates for a receiver who chooses the threshold in hindsight, and
        whether labels and undefended updates belong together; computed on demand.
    undone : callable or None
        With a defence that is not random: whether a receiver who knows the defence can turn it around; computed on
        demand.
    look_at_shares : callable or None
        Visibility of the shares of the classes in the shared updates; computed on demand.
    """

    members: Sequence[Attack] = field(default=(), repr=False)
    control: Sequence[Verdict] | None = None
    protected: bool = False
    luck: Mapping[str, float] = field(default_factory=dict)
    control_luck: Mapping[str, float] = field(default_factory=dict)
    level: float = 0.01
    control_level: float = 0.01
    certified: Collection[str] = ()
    standing: Standing | None = None
    rested: Sequence[str] = ()
    asked: int = 0
    spent: bool = False
    proof: Proof | None = None
    look: Callable[[], tuple[Visibility | None, Belonging | None]] | None = field(default=None, repr=False)
    undone: Callable[[], bool] | None = field(default=None, repr=False)
    look_at_shares: Callable[[], SharesSeen | None] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The parts of a failure message that depend on the question.

    Attributes
    ----------
    columns : mapping of str to str
        Columns of the table of attacks: title, and the statistic or field of the verdict that it shows.
    leak : str
        The consequence of a leak and its remedy, in sentences.
    """

    columns: Mapping[str, str]
    leak: str


@runtime_checkable
class Question(Protocol):
    """One question that can be asked of attacks' claims.

    A question is the only object that knows how claims are scored and decided. Everything else, from capture to
    report, treats all questions alike. No member has a default.

    `decide` is mostly `auditing.outcome.compare` for the figures and for the control, and
    `auditing.questions.controlled.held_by_evidence` for the evidence of a pass. The smallest example is `Samples`;
    ``pytest_labelleak.testing.check_question`` checks a question.
    """

    @property
    def name(self) -> str:
        """Unique name, used in records: "labels"."""

    @property
    def figure_name(self) -> str:
        """Name of the figure in tables and reports: "share of the transcripts rebuilt"."""

    @property
    def figure_statistic(self) -> str:
        """Name under which the audit's figure can be read, too: "advantage"."""

    @property
    def low(self) -> float:
        """Least value that the figure can have."""

    @property
    def declared(self) -> Statistics:
        """The statistics that its verdicts have."""

    @property
    def compared(self) -> Sequence[str]:
        """The statistics of which the figure is the maximum."""

    @property
    def advice(self) -> Advice:
        """Table and advice of a failure message."""

    def prepare(self, truth: Truth) -> None:
        """Refuse a truth that the question cannot be asked about, before attacks run.

        Parameters
        ----------
        truth : Truth
            Labels of one batch.

        Raises
        ------
        InvalidArgumentError
            Says why.
        """

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Score one claim about one batch.

        Parameters
        ----------
        recovery : Recovery
            The claim.
        truth : Truth
            The labels.

        Returns
        -------
        Verdict
            Of one batch.
        """

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the number that is compared with the limit.

        Parameters
        ----------
        stats : mapping
            Statistics of an attack that made a claim.

        Returns
        -------
        float or None
            None if the attack has no say.
        """

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Say why no further attack can change the decision or the record.

        Parameters
        ----------
        columns : sequence of sequence of Verdict
            For each attack that ran, its verdicts by batch.
        limit : float
            Highest figure that is tolerated.

        Returns
        -------
        str or None
            The reason, as a clause; None while further attacks matter.
        """

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Tell whether attacks on undefended updates have shown all that a positive control has to show.

        Parameters
        ----------
        columns : sequence of sequence of Verdict
            For each attack that ran, its verdicts by batch.
        threshold : float
            The figure that has to be exceeded.

        Returns
        -------
        bool
            Whether further attacks can be left out.
        """

    @property
    def asks_presence(self) -> bool:
        """Whether it asks which classes are present, so that claims can be luck and labels visible in hindsight."""

    def ignored(self, classes: int) -> np.ndarray:
        """Return the classes whose presence says nothing.

        Parameters
        ----------
        classes : int
            Number of classes C of the head.

        Returns
        -------
        ndarray of int
            Often empty.
        """

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Decide between held, leaked and inconclusive. An undefended update never holds.

        Parameters
        ----------
        verdicts : sequence of Verdict
            One per attack, pooled over the batches.
        bar : Bar
            The numbers to compare with.
        evidence : Evidence
            The rest.

        Returns
        -------
        Decision
            The outcome, and the reason with figures and without labels.
        """

    def summary(self, verdicts: Sequence[Verdict]) -> Mapping[str, Any]:
        """Return statistics of the whole audit.

        Parameters
        ----------
        verdicts : sequence of Verdict
            One per attack, pooled.

        Returns
        -------
        mapping of str to object
            JSON types, without anything private.
        """

    def findings(self, verdicts: Sequence[Verdict]) -> Sequence[Finding]:
        """Return sentences about the summary.

        Parameters
        ----------
        verdicts : sequence of Verdict
            One per attack, pooled.

        Returns
        -------
        sequence of Finding
            In the order in which reports show them.
        """

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Tell whether one attack's claim is a leak by itself, so that its shared variables have to be named.

        Parameters
        ----------
        verdict : Verdict
            Of one attack, pooled.
        limit : float
            Highest figure that is tolerated.

        Returns
        -------
        bool
            True for a leak.
        """


def mean_figure(question: Question, column: Sequence[Verdict]) -> float | None:
    """Return the figure that pooling one attack's verdicts would give, without the rest.

    Parameters
    ----------
    question : Question
        The question.
    column : sequence of Verdict
        One attack's verdicts by batch, at least one.

    Returns
    -------
    float or None
        None if the attack has no say.
    """
    return question.figure({name: pooled_statistic(question, name, column) for name in question.compared})


def telling(column: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts of the batches that tell something about their question.

    A batch in which every class is present tells nothing about presence. Its verdict is marked by the statistic
    "left_out", which is the same for all attacks.

    Parameters
    ----------
    column : sequence of Verdict
        One attack's verdicts by batch.

    Returns
    -------
    list of Verdict
        All of them, if none tells anything.
    """
    return [verdict for verdict in column if not verdict.stats.get("left_out")] or list(column)


def pooled_statistic(question: Question, name: str, column: Sequence[Verdict]) -> Any:
    """Return one statistic of one attack over several batches.

    Parameters
    ----------
    question : Question
        The question.
    name : str
        A statistic that it declares.
    column : sequence of Verdict
        One attack's verdicts by batch, at least one.

    Returns
    -------
    object
        The pooled value.
    """
    one = question.declared[name]
    return one.pooled([verdict.stats[name] for verdict in (column if one.everywhere else telling(column))])


def every_column(columns: Sequence[Sequence[Verdict]], statistics: Sequence[str]) -> bool:
    """Tell whether each of some statistics is 1 in every batch for one attack or another.

    Parameters
    ----------
    columns : sequence of sequence of Verdict
        For each attack, its verdicts by batch.
    statistics : sequence of str
        Names of shares.

    Returns
    -------
    bool
        Whether no maximum over attacks of any of them can rise any more.
    """

    def complete(column: Sequence[Verdict], name: str) -> bool:
        told = telling(column)
        counted = column if column and column[0].declared[name].everywhere else told
        return all(verdict.status == Status.RECOVERED for verdict in told) and all(
            verdict.stats[name] == 1.0 for verdict in counted
        )

    return all(any(complete(column, name) for column in columns) for name in statistics)


def figure_name_of(question: Question, verdict: Verdict) -> str:
    """Return the name of the statistic that is a verdict's figure.

    Parameters
    ----------
    question : Question
        The question.
    verdict : Verdict
        A claim.

    Returns
    -------
    str
        The question's own name for its figure, or that of another statistic among those compared.
    """
    own = question.figure_statistic
    name = next((name for name in question.compared if verdict.stats[name] == verdict.figure), own)
    return question.figure_name if name == own else name.replace("_", " ")
