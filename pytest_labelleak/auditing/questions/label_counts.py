"""Label counts: the shares of the classes among the label positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Recovery, Status
from ...core.truth import Truth
from ..finding import Finding
from ..outcome import TOLERANCE, Bar, Decision, Outcome
from ..scoring.labels import position_statistics, share_statistics, uneven
from ..statistic import CLAIMED_SHARE, FOUND_SHARE, OF_BATCHES, PRIVATE_SHARES, PRIVATE_VALUES, Statistics
from ..verdict import Verdict
from .controlled import held_by_evidence, stopped_by_defence, unseen_shares
from .labels import batches_of, compare_labels, succeeds, with_left_out
from .question import Advice, Evidence, every_column

__all__ = ["LabelCounts"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelCounts:
    """Ask how often each class occurs among the label positions, also where every class is present.

    The figure is one minus the distance of the claimed shares from the true ones, over the distance of the best guess
    that does not look at the update. Attacks are not told the number of label positions, and need not find it.

    Attributes
    ----------
    expected : ndarray of shape (C,), or None
        Shares by class that anyone may expect beforehand, such as those of the population. Then the best uninformed
        guess is the better one of these and even shares; by default it is even shares.
    """

    name: ClassVar[str] = "label_counts"
    figure_name: ClassVar[str] = "advantage over shares"
    figure_statistic: ClassVar[str] = "shares_advantage"
    low: ClassVar[float] = -1.0
    asks_presence: ClassVar[bool] = False
    asks_counts: ClassVar[bool] = True
    compared: ClassVar[tuple[str, ...]] = ("shares_advantage",)
    declared: ClassVar[Statistics] = {
        "shares_advantage": CLAIMED_SHARE,
        "positions_exact": FOUND_SHARE,
        **dict.fromkeys(("batches_full", "left_out"), OF_BATCHES),
        "positions": PRIVATE_VALUES,
        "shares": PRIVATE_SHARES,
    }
    advice: ClassVar[Advice] = Advice(
        columns={"shares": "shares_advantage", "bound": "upper_bound"},
        leak="Whoever receives this update can tell how often each class occurs in the batch. Share a protected update "
        "(defence=...) and assert on that, aggregate more samples before sharing, or record the accepted figure with "
        "--labelleak-baseline.",
    )

    expected: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse expected shares that are none."""
        if self.expected is None:
            return
        rule = "Expected one number of at least 0 for each class, which add up to 1: the shares of the population."
        try:
            shares = np.asarray(self.expected, dtype=np.float64)
        except (TypeError, ValueError):
            raise InvalidArgumentError(
                f"expected is a {type(self.expected).__name__} without numbers. {rule}"
            ) from None
        if shares.ndim != 1 or not shares.size:
            raise InvalidArgumentError(f"expected has shape {shares.shape}. {rule}")
        bad = int(np.count_nonzero(~np.isfinite(shares) | (shares < 0.0)))
        if bad:
            raise InvalidArgumentError(f"expected has {bad} numbers that are negative or not finite. {rule}")
        if abs(float(shares.sum()) - 1.0) > _ROUNDING:
            raise InvalidArgumentError(f"expected adds up to {float(shares.sum()):.6g}. {rule}")
        object.__setattr__(self, "expected", shares)

    def ignored(self, classes: int) -> np.ndarray:
        """Ignore no class."""
        return np.empty(0, dtype=np.int64)

    def prepare(self, truth: Truth) -> None:
        """Refuse expected shares of another number of classes."""
        if self.expected is not None and self.expected.size != truth.classes:
            raise InvalidArgumentError(
                f"expected has {self.expected.size} shares, the head has {truth.classes} outputs. Expected one share "
                "for each class."
            )

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Score claimed shares; a batch whose shares are those of the best uninformed guess is left out."""
        stats: dict[str, Any] = {"batches_full": float(truth.present.size == truth.classes)}

        def verdict(status: Status, reason: str) -> Verdict:
            return Verdict(
                attack=recovery.attack,
                status=status,
                reason=reason,
                figure=stats.get("shares_advantage") if status == Status.RECOVERED else None,
                variables=recovery.variables,
                declared=self.declared,
                stats=stats,
            )

        if not truth.labels.size:
            return verdict(
                Status.INCONCLUSIVE,
                "the batch holds no label: it is empty or every sample weight is zero; pass a batch with samples",
            )
        if recovery.status == Status.RECOVERED:
            stats |= position_statistics(recovery, truth)
        stats |= share_statistics(recovery, truth, self.expected)
        if not uneven(truth, self.expected):
            stats["left_out"] = 1.0
            return verdict(
                Status.INCONCLUSIVE,
                "the classes occur as often as the best uninformed guess says, so that no claim could do better; use a "
                "batch with other shares",
            )
        if "shares_advantage" in stats:
            return verdict(Status.RECOVERED, recovery.reason if recovery.status == Status.RECOVERED else "")
        if recovery.status == Status.RECOVERED:
            return verdict(Status.NOT_APPLICABLE, "it names classes and does not count them")
        return verdict(recovery.status, recovery.reason)

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the advantage over shares, None if the attack does not count."""
        advantage: float | None = stats["shares_advantage"]
        return advantage

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Say that the shares and the number of label positions are known exactly."""
        if limit + TOLERANCE >= 1.0 or not every_column(columns, ("shares_advantage", "positions_exact")):
            return None
        return "other attacks read the counts and their sum exactly in every batch"

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Tell whether some attack succeeds."""
        return any(succeeds(self, column, threshold) for column in columns)

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Compare the advantages of the attacks that count; a defence may have stopped them all."""
        counting = {member.name for member in evidence.members if getattr(member, "counts", False)}
        # An attack need not say that it counts: its claims do, also those on the undefended updates alone.
        everyone = (*verdicts, *(evidence.control or ()))
        counting |= {verdict.attack for verdict in everyone if verdict.stats["shares_advantage"] is not None}
        able = _able(verdicts, counting)
        if not able:
            return _NONE_ABLE
        undefended = None
        if evidence.control is not None:
            controls = _able(evidence.control, counting)
            undefended = (
                compare_labels(self, controls, bar.of_control, evidence, control=True) if controls else _NONE_ABLE
            )
        decision = stopped_by_defence(
            compare_labels(self, able, bar, evidence),
            undefended,
            able,
            bar,
            stopped="without the defence the labels were counted, with it no attack counts any",
        )
        failure = "the attacks count no better without the defence"
        decision = held_by_evidence(decision, bar, evidence, undefended, failure=failure, presence=False)
        decision = unseen_shares(decision, bar, evidence)
        protects = decision.outcome == Outcome.HELD and bar.limit <= bar.threshold < 1.0
        if protects and evidence.look is not None:
            # Where some class is absent, visible labels are counts that differ from zero.
            seen, _ = evidence.look()
            if seen is not None and seen.batches and seen.beyond(bar.threshold):
                decision = Decision(
                    outcome=Outcome.INCONCLUSIVE,
                    reason=f"{decision.reason}, but {seen.sentence}; none of the attacks counts them",
                )
        return with_left_out(decision, verdicts)

    def summary(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """Return the share of the batches whose number of label positions was read, and the number of full batches."""
        read = [v.stats["positions_exact"] for v in verdicts if v.stats["positions_exact"] is not None]
        return {"positions_exact": max(read, default=None), "batches_full": batches_of(verdicts, "batches_full")[0]}

    def findings(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Say how many batches hold every class, and how many are left out."""
        full, batches = batches_of(verdicts, "batches_full")
        left_out, _ = batches_of(verdicts, "left_out")
        found = []
        if full:
            text = f"every class is present in {full} of {batches} batch(es): their shares alone are a secret"
            found.append(Finding(name="batches_full", text=text))
        if left_out:
            text = f"the best uninformed guess is right in {left_out} of {batches} batch(es), which are left out"
            found.append(Finding(name="left_out", text=text))
        return found

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Tell whether the figure is beyond the limit."""
        return verdict.figure is not None and verdict.figure > limit


#: Tolerated difference of the sum of expected shares from one.
_ROUNDING = 1e-6

_NONE_ABLE = Decision(
    outcome=Outcome.INCONCLUSIVE,
    reason="none of the attacks counts labels; use attacks='auto', 'bias_counts' or 'ilrg'",
)


def _able(verdicts: Sequence[Verdict], counting: set[str]) -> list[Verdict]:
    """Return the verdicts of the attacks that count."""
    return [verdict for verdict in verdicts if verdict.status != Status.NOT_RUN and verdict.attack in counting]
