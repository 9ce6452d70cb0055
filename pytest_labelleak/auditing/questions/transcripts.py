"""Transcripts: whether the words of an utterance can be rebuilt in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...asr.scoring.transcripts import TranscriptScorer
from ...core.figures import rounded
from ...core.recovery import Recovery, Status
from ...core.truth import Truth
from ..finding import Finding, percent
from ..outcome import Bar, Decision, compare
from ..scoring.labels import check_classes, position_statistics
from ..statistic import CLAIMED_SHARE, MEAN, PRIVATE_SETS, PRIVATE_VALUES, Statistics
from ..verdict import Verdict
from .controlled import held_by_evidence, stopped_by_defence
from .labels import succeeds
from .question import Advice, Evidence

__all__ = ["Transcripts"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transcripts:
    """Ask whether the transcripts can be rebuilt, word after word.

    The figure is the share of the utterances that an attack rebuilds. Guessing a transcript has no chance, so that no
    false-positive rate is subtracted.

    Attributes
    ----------
    scorer : TranscriptScorer
        Compares transcripts, up to a tolerated word error rate.
    """

    name: ClassVar[str] = "transcripts"
    figure_name: ClassVar[str] = "share of transcripts rebuilt"
    figure_statistic: ClassVar[str] = "rebuilt"
    low: ClassVar[float] = 0.0
    asks_presence: ClassVar[bool] = False
    declared: ClassVar[Statistics] = {
        "rebuilt": CLAIMED_SHARE,
        **dict.fromkeys(("precision", "exact_match", "labels", "claimed"), MEAN),
        "positions_exact": CLAIMED_SHARE,
        "recovered": PRIVATE_SETS,
        "positions": PRIVATE_VALUES,
    }
    compared: ClassVar[tuple[str, ...]] = ("rebuilt",)
    advice: ClassVar[Advice] = Advice(
        columns={"rebuilt": "rebuilt", "bound": "upper_bound", "precision": "precision", "exact": "exact_match"},
        leak="Whoever receives this update can rebuild these transcripts. Share a protected update (defence=...) and "
        "assert on that, aggregate more samples before sharing, or record the accepted figure with "
        "--labelleak-baseline.",
    )

    scorer: TranscriptScorer = field(default_factory=TranscriptScorer)

    def ignored(self, classes: int) -> np.ndarray:
        """Ignore no class."""
        return np.empty(0, dtype=np.int64)

    def prepare(self, truth: Truth) -> None:
        """Refuse nothing."""

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Score claimed transcripts; a best guess when the time ran out decides nothing."""
        stats: dict[str, Any] = {"labels": float(truth.present.size)}

        def verdict(status: Status, reason: str) -> Verdict:
            return Verdict(
                attack=recovery.attack,
                status=status,
                reason=reason,
                figure=stats.get("rebuilt") if status == Status.RECOVERED else None,
                variables=recovery.variables,
                declared=self.declared,
                stats=stats,
            )

        if truth.labels.size == 0:
            return verdict(
                Status.INCONCLUSIVE,
                "the batch holds no label: it is empty or every sample weight is zero; pass a batch with transcripts",
            )
        if recovery.status != Status.RECOVERED:
            return verdict(recovery.status, recovery.reason)
        if recovery.transcripts is None:
            return verdict(Status.NOT_APPLICABLE, "it does not tell the order of labels")
        named = [label for transcript in recovery.transcripts for label in transcript]
        check_classes(np.asarray(named, dtype=np.int64), recovery.attack, truth)
        share = self.scorer.recovered(recovery.transcripts, truth)
        if share < 1.0 and recovery.details.get("finished") is False:
            # The part that is missing might have been found with more time.
            return verdict(Status.INCONCLUSIVE, recovery.reason)
        if not share and recovery.details.get("unique") is False:
            # A guess without a single hit says that the attack cannot tell, and not that nothing is to be had.
            return verdict(Status.NOT_APPLICABLE, recovery.reason)
        said = 1 if truth.lengths is None else sum(1 for length in truth.lengths if length)
        stats |= {
            "rebuilt": share,
            "precision": min(share * said / max(len(recovery.transcripts), 1), 1.0),
            "exact_match": float(share == 1.0),
            "claimed": float(len(set(named))),
            "recovered": (tuple(named),),
            **position_statistics(recovery, truth),
        }
        return verdict(Status.RECOVERED, recovery.reason)

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the share of the transcripts rebuilt."""
        share: float | None = stats["rebuilt"]
        return share

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Leave no attack out: these are few, and each proves an order in its own way."""
        return None

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Tell whether some attack rebuilds more than the threshold."""
        return any(succeeds(self, column, threshold) for column in columns)

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Compare the shares; a defence may have stopped all attacks."""
        undefended = None
        if evidence.control is not None:
            undefended = self._compared(evidence.control, bar.of_control)
        decision = stopped_by_defence(
            self._compared(verdicts, bar),
            undefended,
            [verdict for verdict in verdicts if verdict.status != Status.NOT_RUN],
            bar,
            stopped="without the defence the transcripts were rebuilt, with it no attack rebuilds any",
        )
        failure = "the attacks rebuild no more without the defence"
        return held_by_evidence(decision, bar, evidence, undefended, failure=failure, presence=False)

    def _compared(self, verdicts: Sequence[Verdict], bar: Bar) -> Decision:
        return compare(verdicts, bar, name=lambda verdict: self.figure_name, low=self.low)

    def summary(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """Return the best attack's share, and the word error rate that it tolerates."""
        shares = [v.stats["rebuilt"] for v in verdicts if v.stats["rebuilt"] is not None]
        return {
            "rebuilt": rounded(max(shares, default=None)),
            "word_error_rate": self.scorer.word_error_rate,
        }

    def findings(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Say how many of the transcripts were rebuilt."""
        summary = self.summary(verdicts)
        rate = summary["word_error_rate"]
        how = "word for word" if not rate else f"to a word error rate of at most {rate:g}"
        text = f"{percent(summary['rebuilt'] or 0.0)} of the transcripts were rebuilt, {how}"
        return [Finding(name="transcripts", text=text, prominent=True)]

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Tell whether the attack rebuilt more than the limit."""
        return verdict.figure is not None and verdict.figure > limit
