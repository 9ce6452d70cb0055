"""Labels: which classes were in the batch, and how often."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.figures import rounded
from ...core.recovery import Recovery, Status
from ...core.truth import Truth
from ..finding import Finding, percent
from ..outcome import TOLERANCE, Bar, Decision, compare
from ..scoring.labels import (
    check_classes,
    count_statistics,
    position_statistics,
    set_statistics,
    share_statistics,
    uneven,
)
from ..scoring.samples import isolation_figures
from ..statistic import (
    CLAIMED_ERROR,
    CLAIMED_SHARE,
    FOUND_SHARE,
    MEAN,
    OF_BATCHES,
    PRIVATE_SETS,
    PRIVATE_SHARES,
    PRIVATE_VALUES,
    Statistics,
)
from ..verdict import Verdict
from .controlled import held_by_evidence, luck_of, unseen_shares
from .question import Advice, Evidence, every_column, figure_name_of, mean_figure, telling

__all__ = ["DECLARED", "Labels", "findings_of_labels", "score_labels", "summary_of_labels", "with_left_out"]

#: Statistics of a claimed set of classes, which a batch with every class has none of.
_OF_SETS: Statistics = {
    **dict.fromkeys(("advantage", "true_positive_rate", "false_positive_rate", "precision", "recall", "f1"), MEAN),
    **dict.fromkeys(("exact_match", "labels", "claimed", "chance"), MEAN),
}

#: Statistics of every question about labels. The share of isolated samples is a finding beside the figure.
DECLARED: Statistics = {
    **_OF_SETS,
    **dict.fromkeys(("count_accuracy", "counts_exact", "counts_advantage", "shares_advantage"), CLAIMED_SHARE),
    "certified": CLAIMED_SHARE,
    **dict.fromkeys(("positions_exact", "isolated", "features_exposed"), FOUND_SHARE),
    **dict.fromkeys(("batches_full", "left_out"), OF_BATCHES),
    "feature_error": CLAIMED_ERROR,
    "recovered": PRIVATE_SETS,
    "positions": PRIVATE_VALUES,
    "shares": PRIVATE_SHARES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Ask whether the classes in the batch can be named.

    Attributes
    ----------
    counts : bool
        Whether the numbers of label positions by class are asked for, too. Then the largest of three advantages is
        compared: over classes, over counts corrected for chance, and over shares against the best uninformed guess.
        Shares also count in batches in which every class is present.
    """

    name: ClassVar[str] = "labels"
    figure_name: ClassVar[str] = "advantage"
    figure_statistic: ClassVar[str] = "advantage"
    low: ClassVar[float] = -1.0
    asks_presence: ClassVar[bool] = True
    declared: ClassVar[Statistics] = DECLARED

    counts: bool = False

    @property
    def compared(self) -> tuple[str, ...]:
        """Advantages over classes and, where asked for, over counts and shares."""
        return ("advantage", "counts_advantage", "shares_advantage") if self.counts else ("advantage",)

    @property
    def asks_counts(self) -> bool:
        """Whether claimed shares are compared, so that their luck is tested."""
        return self.counts

    @property
    def provable(self) -> bool:
        """Whether the bound on every attack is one for the figure: counts tell more than presence."""
        return not self.counts

    @property
    def advice(self) -> Advice:
        """Table and advice of a failure message."""
        counts = {"counts": "counts_advantage"} if self.counts else {}
        return Advice(
            columns={
                "advantage": "advantage",
                **counts,
                "bound": "upper_bound",
                "precision": "precision",
                "recall": "recall",
                "exact": "exact_match",
                **({"shares": "shares_advantage"} if self.counts else {}),
            },
            leak="Whoever receives this update can name these labels. Share a protected update (defence=...) and "
            "assert on that, aggregate more samples before sharing, or record the accepted figure with "
            "--labelleak-baseline.",
        )

    def ignored(self, classes: int) -> np.ndarray:
        """Ignore no class."""
        return np.empty(0, dtype=np.int64)

    def prepare(self, truth: Truth) -> None:
        """Refuse nothing: a truth that leaves nothing to tell is scored as inconclusive."""

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Score a claimed set of classes; inconclusive if the batch holds no class or all of them."""
        return score_labels(self, recovery, truth, counts=self.counts)

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the largest of the advantages."""
        return max((stats[name] for name in self.compared if stats[name] is not None), default=None)

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Say that each figure of the audit is the worst there can be.

        Some attack named the exact set in every batch, so no maximum can rise and a leak stays a leak; some attack
        read every number of label positions; and, where counts are asked for, some attack every multiset. Isolated
        samples are a finding of attacks that run anyway. A figure that audits report in future as a maximum over
        attacks has to be added here. Where everything is tolerated, an attack that cannot decide still matters.
        """
        exact = ("advantage", "positions_exact", *(("counts_exact",) if self.counts else ()))
        if limit + TOLERANCE >= 1.0 or not every_column(columns, exact):
            return None
        read = "labels, their number and their counts" if self.counts else "labels and their number"
        return f"other attacks read the {read} exactly in every batch"

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Tell whether some attack succeeds."""
        return any(succeeds(self, column, threshold) for column in columns)

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Compare the advantages, and ask for the evidence of a leak or a pass."""
        decision = compare_labels(self, verdicts, bar, evidence)
        undefended = None
        if evidence.control is not None:
            undefended = compare_labels(self, evidence.control, bar.of_control, evidence, control=True)
        full, batches = batches_of(verdicts, "batches_full")
        decision = held_by_evidence(
            # Where every batch is full, presence is no secret: the counts decide alone.
            decision,
            bar,
            evidence,
            undefended,
            failure=NOTHING_FOUND,
            presence=not (self.counts and full == batches),
        )
        if self.counts:
            decision = unseen_shares(decision, bar, evidence)
        return with_left_out(decision, verdicts)

    def summary(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """Return the best attack's figures at each finding."""
        return summary_of_labels(verdicts)

    def findings(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Say whether the number of label positions was read, and whether samples were isolated."""
        return findings_of_labels(verdicts)

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Tell whether the figure is beyond the limit."""
        return verdict.figure is not None and verdict.figure > limit


#: Ways on from a batch in which every class is present.
FULL_REMEDY = (
    "ask for the counts (assert_label_counts_not_recoverable or counts=True), or use a batch that misses some classes"
)

#: Why a positive control failed.
NOTHING_FOUND = "the attacks find nothing without the defence either"


def compare_labels(
    question: Any, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence, *, control: bool = False
) -> Decision:
    """Compare figures that can be luck: those over classes, over counts, over words formed from the classes.

    Parameters
    ----------
    question : Question
        The question.
    verdicts : sequence of Verdict
        One per attack.
    bar : Bar
        The numbers to compare with.
    evidence : Evidence
        Luck and certificates.
    control : bool, default False
        Whether the verdicts are those on the undefended updates.

    Returns
    -------
    Decision
        By the figures alone.
    """
    luck = evidence.control_luck if control else evidence.luck
    level = evidence.control_level if control else evidence.level

    def may_be(verdict: Verdict) -> str | None:
        return luck_of(verdict, luck, level=level, certified=evidence.certified, limit=bar.limit)

    return compare(verdicts, bar, name=lambda verdict: figure_name_of(question, verdict), low=question.low, luck=may_be)


def succeeds(question: Any, column: Sequence[Verdict], threshold: float) -> bool:
    """Tell whether one attack decides in every batch, and exceeds the threshold on average.

    Parameters
    ----------
    question : Question
        The question.
    column : sequence of Verdict
        The attack's verdicts by batch.
    threshold : float
        The figure that has to be exceeded.

    Returns
    -------
    bool
        Whether it does.
    """
    statuses = {verdict.status for verdict in telling(column)}
    if Status.INCONCLUSIVE in statuses or Status.RECOVERED not in statuses:
        return False
    figure = mean_figure(question, column)
    return figure is not None and figure > threshold + TOLERANCE


def score_labels(
    question: Any,
    recovery: Recovery,
    truth: Truth,
    *,
    counts: bool = False,
    ignored: np.ndarray | None = None,
    extra: Mapping[str, Any] | None = None,
    presence_decides: bool = True,
) -> Verdict:
    """Score a claimed set of classes.

    Parameters
    ----------
    question : Question
        Whose declared statistics include `DECLARED`.
    recovery : Recovery
        The claim.
    truth : Truth
        The labels.
    counts : bool, default False
        Score multiplicities, too.
    ignored : ndarray of int, optional
        Classes whose presence says nothing.
    extra : mapping, optional
        Further statistics of the truth, for every verdict.
    presence_decides : bool, default True
        Whether a batch in which every class is present leaves nothing to tell.

    Returns
    -------
    Verdict
        Inconclusive if the truth leaves nothing to tell.

    Raises
    ------
    InvalidArgumentError
        If the recovery names or counts classes that do not exist, or counts below zero, or if its samples
        do not fit together.
    """
    ignored = np.empty(0, np.int64) if ignored is None else ignored
    present = np.setdiff1d(truth.present, ignored, assume_unique=True)
    classes = truth.classes - ignored.size
    stats: dict[str, Any] = {"labels": float(present.size), "chance": present.size / classes, **(extra or {})}
    stats["batches_full"] = float(present.size == classes)

    def verdict(status: Status, reason: str) -> Verdict:
        return Verdict(
            attack=recovery.attack,
            status=status,
            reason=reason,
            figure=question.figure({name: one.absent for name, one in question.declared.items()} | stats)
            if status == Status.RECOVERED
            else None,
            variables=recovery.variables,
            declared=question.declared,
            stats=stats,
        )

    if present.size == 0:
        return verdict(
            Status.INCONCLUSIVE,
            "the batch holds no label: it is empty, every sample weight is zero, or (behind sigmoids) no class is "
            "present in any sample; pass a batch with samples and labels",
        )
    if recovery.status == Status.RECOVERED:
        stats |= position_statistics(recovery, truth)
        check_classes(np.asarray(recovery.sample_labels, dtype=np.int64), recovery.attack, truth)
        stats |= isolation_figures(recovery, truth.labels, truth.classes, truth.features)
    if counts:
        stats |= share_statistics(recovery, truth)
    if present.size == classes and presence_decides:
        if counts and not ignored.size and uneven(truth):
            stats |= dict.fromkeys(_OF_SETS)
            if stats.get("shares_advantage") is not None:
                if recovery.status == Status.RECOVERED and recovery.counts is not None:
                    stats |= count_statistics(recovery.counts, recovery.attack, truth)
                return verdict(Status.RECOVERED, recovery.reason if recovery.status == Status.RECOVERED else "")
            if recovery.status == Status.RECOVERED:
                return verdict(Status.NOT_APPLICABLE, "it counts no labels, and every class is present")
            return verdict(recovery.status, recovery.reason)
        stats |= {**dict.fromkeys(_OF_SETS), "left_out": 1.0}
        return verdict(
            Status.INCONCLUSIVE,
            f"every one of the {classes} classes is present, so presence tells nothing; {FULL_REMEDY}",
        )
    # An attack that claims shares alone names no class.
    if recovery.status != Status.RECOVERED and stats.get("shares_advantage") is None:
        return verdict(recovery.status, recovery.reason)
    claimed = np.unique(np.asarray(recovery.labels, dtype=np.int64))
    check_classes(claimed, recovery.attack, truth)
    if counts and uneven(truth) and recovery.status == Status.RECOVERED and recovery.counts is not None:
        stats |= count_statistics(recovery.counts, recovery.attack, truth)
    stats |= set_statistics(np.setdiff1d(claimed, ignored, assume_unique=True), present, classes)
    certified = {proof.label for proof in recovery.certificates if proof.present}
    # A certificate is a proof where rounding alone explains the noise; only then is the number of positions claimed.
    if certified and recovery.positions is not None:
        proved = np.setdiff1d(np.array(sorted(certified), dtype=np.int64), ignored)
        # A class that is proved present and is none of the labels says that the labels are those of another batch.
        if np.isin(proved, present).all():
            stats["certified"] = set_statistics(proved, present, classes)["advantage"]
    return verdict(Status.RECOVERED, recovery.reason if recovery.status == Status.RECOVERED else "")


def with_left_out(decision: Decision, verdicts: Sequence[Verdict]) -> Decision:
    """Say how many batches are left out of a figure, where others count.

    Parameters
    ----------
    decision : Decision
        The decision about the batches that count.
    verdicts : sequence of Verdict
        One per attack, pooled.

    Returns
    -------
    Decision
        The same outcome.
    """
    left_out, batches = batches_of(verdicts, "left_out")
    if not 0 < left_out < batches:
        return decision
    return dataclasses.replace(decision, reason=f"{decision.reason}; {left_out} of {batches} batches left out")


def batches_of(verdicts: Sequence[Verdict], name: str) -> tuple[int, int]:
    """Return the number of batches that a share of the batches stands for.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack, pooled.
    name : str
        A statistic that is a share of the batches and the same for all attacks.

    Returns
    -------
    number, batches : int
        That number, and the number of all batches.
    """
    ran = [verdict for verdict in verdicts if verdict.status != Status.NOT_RUN]
    if not ran:
        return 0, 0
    return round((ran[0].stats[name] or 0.0) * ran[0].batches), ran[0].batches


def summary_of_labels(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the best attack's share at each finding about labels.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack, pooled.

    Returns
    -------
    dict
        None for a finding that no attack claims. "batches_full" is the number of batches in which every class is
        present.
    """

    def best(name: str) -> float | None:
        return rounded(max((v.stats[name] for v in verdicts if v.stats[name] is not None), default=None))

    found: dict[str, Any] = {name: best(name) for name in ("positions_exact", "isolated", "features_exposed")}
    return {**found, "batches_full": batches_of(verdicts, "batches_full")[0]}


def findings_of_labels(verdicts: Sequence[Verdict]) -> list[Finding]:
    """Return sentences about the summary.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack, pooled.

    Returns
    -------
    list of Finding
        Without the number of label positions: the size of a batch or the length of a transcript is private.
    """
    found = []
    summary = summary_of_labels(verdicts)
    if summary["positions_exact"]:
        batches = verdicts[0].batches
        found.append(
            Finding(
                name="positions",
                text="the number of label positions (batch size or transcript length) was read exactly in "
                f"{round(summary['positions_exact'] * batches)} of {batches} batch(es)",
            )
        )
    full, batches = batches_of(verdicts, "batches_full")
    if full and batches_of(verdicts, "left_out")[0] == full < batches:
        found.append(
            Finding(
                name="batches_full",
                text=f"every class is present in {full} of {batches} batches: presence tells nothing there, and they "
                "are left out",
            )
        )
    isolated, exposed = summary["isolated"], summary["features_exposed"]
    if isolated:
        features = ""
        if exposed:
            features = ", with their features" if exposed >= isolated else f", {percent(exposed)} with their features"
        errors = [v.stats["feature_error"] for v in verdicts if v.stats["feature_error"] is not None]
        found.append(
            Finding(
                name="isolated",
                text=f"{percent(isolated)} of the samples were isolated{features}",
                detail=f" (median relative error {min(errors):.1g})" if errors else "",
            )
        )
    return found
