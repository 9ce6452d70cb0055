"""Samples: whether the batch comes apart into its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.recovery import Recovery, Status
from ...core.truth import Truth
from ..finding import Finding
from ..outcome import TOLERANCE, Bar, Decision, Outcome, compare
from ..statistic import Statistics
from ..verdict import Verdict
from .controlled import held_by_evidence, stopped_by_defence
from .labels import DECLARED, findings_of_labels, score_labels, succeeds, summary_of_labels
from .question import Advice, Evidence, every_column

__all__ = ["Samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Ask whether single samples can be separated from the batch, each with its label.

    The figure is the share of label positions that an attack isolates with the right label. Only attacks that isolate
    samples have a say; the classes named are a finding beside it.
    """

    name: ClassVar[str] = "samples"
    figure_name: ClassVar[str] = "share of samples isolated"
    figure_statistic: ClassVar[str] = "isolated"
    low: ClassVar[float] = 0.0
    asks_presence: ClassVar[bool] = False
    declared: ClassVar[Statistics] = DECLARED
    compared: ClassVar[tuple[str, ...]] = ("isolated",)
    advice: ClassVar[Advice] = Advice(
        columns={
            "isolated": "isolated",
            "advantage": "advantage",
            "bound": "upper_bound",
            "precision": "precision",
            "recall": "recall",
            "exact": "exact_match",
        },
        leak="Whoever receives this update and has the model's weights can take the batch apart: each of these "
        "samples by itself, with its label. Share a protected update (defence=...) and assert on that, keep the "
        "head's gradient back, or record the accepted figure with --labelleak-baseline.",
    )

    def ignored(self, classes: int) -> np.ndarray:
        """Ignore no class."""
        return np.empty(0, dtype=np.int64)

    def prepare(self, truth: Truth) -> None:
        """Refuse nothing."""

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Score isolated samples, which can be told apart where every class is present, too."""
        return score_labels(self, recovery, truth, presence_decides=False)

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the share of label positions isolated, None if the attack isolates none."""
        share: float | None = stats["isolated"]
        return share

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Say that all samples are out with their features, and their number is known."""
        if limit + TOLERANCE >= 1.0 or not every_column(columns, ("isolated", "features_exposed", "positions_exact")):
            return None
        return "other attacks isolated all samples with their features in every batch"

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Tell whether some attack isolates more than the threshold."""
        return any(succeeds(self, column, threshold) for column in columns)

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Compare the shares of the attacks that isolate samples; a defence may have stopped them all."""
        isolating = {member.name for member in evidence.members if getattr(member, "isolates", False)}
        able = _able(verdicts, isolating)
        if not able:
            return _NONE_ABLE
        undefended = None
        if evidence.control is not None:
            controls = _able(evidence.control, isolating)
            undefended = self._compared(controls, bar.of_control) if controls else _NONE_ABLE
        decision = stopped_by_defence(
            self._compared(able, bar),
            undefended,
            able,
            bar,
            stopped="without the defence the samples came apart, with it no attack isolates any",
        )
        failure = "the attacks isolate no more without the defence"
        return held_by_evidence(decision, bar, evidence, undefended, failure=failure, presence=False)

    def _compared(self, verdicts: Sequence[Verdict], bar: Bar) -> Decision:
        return compare(verdicts, bar, name=lambda verdict: self.figure_name, low=self.low)

    def summary(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """Return the best attack's figures at each finding."""
        return summary_of_labels(verdicts)

    def findings(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Say whether the number of label positions was read, and how many samples were isolated."""
        return findings_of_labels(verdicts)

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Tell whether the attack isolated more than the limit."""
        return verdict.figure is not None and verdict.figure > limit


_NONE_ABLE = Decision(
    outcome=Outcome.INCONCLUSIVE,
    reason="none of the attacks isolates samples; use attacks='auto' or 'disaggregate'",
)


def _able(verdicts: Sequence[Verdict], isolating: set[str]) -> list[Verdict]:
    return [
        verdict
        for verdict in verdicts
        if verdict.status != Status.NOT_RUN and (verdict.attack in isolating or verdict.stats["isolated"] is not None)
    ]
