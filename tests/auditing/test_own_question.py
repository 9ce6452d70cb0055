"""A fifth question costs one object: everything from portfolio to report treats it like the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jsonschema
import numpy as np
import pytest

from pytest_labelleak import (
    Audit,
    GaussianNoise,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Truth,
    Update,
    Verdict,
    audit,
)
from pytest_labelleak.auditing.assertions.asserting import asserted
from pytest_labelleak.auditing.finding import Finding, percent
from pytest_labelleak.auditing.outcome import Bar, Decision, compare
from pytest_labelleak.auditing.questions.controlled import confirmed
from pytest_labelleak.auditing.questions.question import Advice, Evidence, Question
from pytest_labelleak.auditing.statistic import CLAIMED_SHARE, Statistics
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.plugin.report import html, json_report, markdown, rows, terminal
from pytest_labelleak.testing import make_update


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSize:
    """Ask whether the number of label positions can be read."""

    name: ClassVar[str] = "batch size"
    figure_name: ClassVar[str] = "share of batch sizes read"
    figure_statistic: ClassVar[str] = "read"
    low: ClassVar[float] = 0.0
    declared: ClassVar[Statistics] = {"read": CLAIMED_SHARE}
    compared: ClassVar[tuple[str, ...]] = ("read",)
    asks_presence: ClassVar[bool] = False
    advice: ClassVar[Advice] = Advice(columns={"read": "read"}, leak="Pad batches to one size.")

    def ignored(self, classes: int) -> np.ndarray:
        """Ignore no class."""
        return np.empty(0, dtype=np.int64)

    def prepare(self, truth: Truth) -> None:
        """Refuse a batch of one, whose size is no secret."""
        if truth.labels.size == 1:
            raise InvalidArgumentError("the batch holds 1 position. Expected several.")

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Compare the numbers."""
        status, stats = recovery.status, {}
        if status == Status.RECOVERED and recovery.positions is not None:
            stats = {"read": float(recovery.positions == truth.labels.size)}
        return Verdict(
            attack=recovery.attack,
            status=status,
            reason=recovery.reason,
            figure=stats.get("read"),
            variables=recovery.variables,
            declared=self.declared,
            stats=stats,
        )

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the share."""
        return stats["read"]

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Stop at the first attack that reads every size."""
        read = any(all(verdict.stats["read"] == 1.0 for verdict in column) for column in columns)
        return "another attack reads every size" if read else None

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Stop likewise."""
        return self.settled(columns, threshold) is not None

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Compare, and let a control confirm."""

        def compared(of: Sequence[Verdict], with_: Bar) -> Decision:
            return compare(of, with_, name=lambda verdict: self.figure_name, low=self.low)

        control = None if evidence.control is None else compared(evidence.control, bar.of_control)
        return confirmed(compared(verdicts, bar), control, failure="no size is read without the defence either")

    def summary(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """Return the best share."""
        return {"read": max((v.stats["read"] for v in verdicts if v.stats["read"] is not None), default=None)}

    def findings(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Say it."""
        share = self.summary(verdicts)["read"] or 0.0
        return [Finding(name="size", text=f"{percent(share)} of the sizes were read", prominent=True)]

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Compare with the limit."""
        return verdict.figure is not None and verdict.figure > limit


def assert_batch_size_not_readable(model: Any, batch: Any, **arguments: Any) -> Audit:
    return asserted(model, batch, lambda settings: BatchSize(), **arguments)


CASE = make_update(positions=5, features=64, classes=200, seed=1)


@dataclass(frozen=True)
class Wrong:
    """Reads the size of an undefended update of five positions."""

    name: str = "wrong"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return Recovery(attack=self.name, status=Status.RECOVERED, positions=7 if update.defences else 5)


def test_it_is_a_question() -> None:
    assert isinstance(BatchSize(), Question)


def test_it_leaks_holds_and_refuses() -> None:
    with activate(Scope()) as scope, pytest.raises(LabelLeak) as caught:
        assert_batch_size_not_readable(CASE.update, CASE.labels)
    text = str(caught.value)
    assert text.startswith("leaked: share of batch sizes read 1.00 > 0.10 (")
    assert "  100 % of the sizes were read" in text
    assert "not run, because another attack reads every size" in text
    assert "read from 'kernel'" in text
    assert text.endswith("  Pad batches to one size.")
    assert caught.value.audit.read == 1.0

    (record,) = scope.records
    assert (record["question"], record["figure_name"]) == ("batch size", "share of batch sizes read")
    assert record["statistics"] == {"read": 1.0}
    record.pop("figure_ceiling")
    report = rows.build([{"test": "t", "index": 0, "test_outcome": "failed", **record}])
    jsonschema.validate(report, json_report.schema())
    shown = [markdown.render(report), html.render(report), "\n".join(line for line, _ in terminal.lines(report))]
    for one in shown:
        assert "100 % of the sizes were read" in one
        assert "1.00 (share of batch sizes read)" in one

    wrong = Wrong()
    held = assert_batch_size_not_readable(CASE.update, CASE.labels, attacks=wrong, defence=GaussianNoise(relative=1.0))
    assert (held.outcome, held.figure, held.control[0].figure) == ("held", 0.0, 1.0)
    with pytest.raises(InconclusiveAudit, match="the positive control failed, no size is read without"):
        assert_batch_size_not_readable(CASE.update, CASE.labels[:4], attacks=wrong, defence="sign")
    with pytest.raises(InvalidArgumentError, match="1 position"):
        assert_batch_size_not_readable(CASE.update, CASE.labels[:1])


def test_audit_takes_it_too() -> None:
    result = audit(CASE.update, CASE.labels, question=BatchSize(), attacks="rlg")
    assert (result.outcome, result.read) == ("leaked", 1.0)
    with pytest.raises(InvalidArgumentError, match="question= and samples= are given"):
        audit(CASE.update, CASE.labels, question=BatchSize(), samples=True)
