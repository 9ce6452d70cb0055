"""Batches in which every class is present: counted, left out of the figure of presence, and said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from pytest_labelleak import InconclusiveAudit, LabelLeak, Recovery, Truth, Update, assert_labels_not_recoverable, audit
from pytest_labelleak.auditing.outcome import Bar
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool
from pytest_labelleak.auditing.questions.question import Evidence, every_column, mean_figure
from pytest_labelleak.core.settings import Scope, activate

CLASSES = 30
FULL = tuple(range(CLASSES))


@dataclass(frozen=True)
class Names:
    """An attack that names three classes in every update."""

    name: str = "names"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return Recovery(attack=self.name, status="recovered", labels=(3, 7, 20), positions=30)  # type: ignore[arg-type]


class Given:
    """An adapter of which a batch is a tuple of labels."""

    name = "given"

    def capture(self, model: object, batch: object, **options: object) -> Update:
        return Update.from_arrays(np.ones((2, CLASSES)))

    def labels(self, model: object, batch: object, **options: object) -> Truth:
        return Truth(labels=np.array(batch), classes=CLASSES)


def audited(batches: Sequence[tuple[int, ...]], **options: object):  # type: ignore[no-untyped-def]
    with activate(Scope(adapter=lambda model: Given())):
        return audit("anything", list(batches), attacks=Names(), **options)  # type: ignore[arg-type]


def test_full_batches_do_not_spoil_the_others() -> None:
    result = audited([(3, 7, 20), FULL, (3, 7, 20)])
    assert result.outcome == "leaked"
    assert result.advantage == 1.0
    assert result.message == "leaked: advantage 1.00 > 0.10 (names); 1 of 3 batches left out"
    assert result.batches_full == 1
    record = result.to_record()
    assert record["statistics"]["batches_full"] == 1
    assert record["verdicts"][0]["statistics"]["left_out"] == pytest.approx(1 / 3, abs=1e-6)
    assert any(finding["text"].startswith("every class is present in 1 of 3 batches") for finding in record["findings"])
    # The number of label positions can be read in them, too.
    assert result.positions_exact == pytest.approx(1 / 3)
    (verdict,) = result.verdicts
    assert verdict.series == ((1.0, 1.0),)
    assert verdict.batches == 3


def test_the_failure_of_a_test_says_that_batches_were_left_out_and_never_a_class() -> None:
    with activate(Scope(adapter=lambda model: Given())), pytest.raises(LabelLeak) as caught:
        assert_labels_not_recoverable("anything", [(3, 7, 20), FULL], attacks=Names())
    assert "1 of 2 batches left out" in str(caught.value)
    assert "every class is present in 1 of 2 batches: presence tells nothing there" in str(caught.value)


def test_where_every_batch_is_full_the_audit_points_to_the_counts() -> None:
    with activate(Scope(adapter=lambda model: Given())), pytest.raises(InconclusiveAudit) as caught:
        assert_labels_not_recoverable("anything", [FULL, FULL], attacks=Names())
    assert "every one of the 30 classes is present, so presence tells nothing" in str(caught.value)
    assert "assert_label_counts_not_recoverable or counts=True" in str(caught.value)
    assert caught.value.audit.batches_full == 2


def test_an_audit_of_batches_that_are_not_full_says_nothing_of_them() -> None:
    result = audited([(3, 7, 20)])
    assert result.batches_full == 0
    assert "left out" not in result.message
    assert all(finding.name != "batches_full" for finding in result.findings)


def test_a_bound_over_batches_counts_those_that_tell_something() -> None:
    result = audited([(1, 2, 4), FULL, FULL], confidence=0.95)
    assert result.outcome == "inconclusive"
    assert "over 1 batch(es)" in result.message


def test_no_rule_over_batches_reads_those_left_out() -> None:
    question = Labels()
    right = Recovery(attack="a", status="recovered", labels=(3, 7, 20), positions=3)  # type: ignore[arg-type]
    some = question.score(right, Truth(labels=np.array([3, 7, 20]), classes=CLASSES))
    full = question.score(right, Truth(labels=np.arange(CLASSES), classes=CLASSES))
    assert full.stats["advantage"] is None
    assert mean_figure(question, [some, full]) == 1.0
    assert question.shown_possible([[some, full]], 0.1)
    assert not question.shown_possible([[full, full]], 0.1)
    assert every_column([[some, full]], ("advantage",))
    # The number of label positions is a finding of all batches, and wrong in the full one.
    assert not every_column([[some, full]], ("advantage", "positions_exact"))
    pooled = pool(question, [some, full], confidence=0.9)
    assert pooled.status == "recovered"
    assert pooled.figure == 1.0
    assert pooled.upper_bound == 1.0
    assert pool(question, [full, full], confidence=0.9).status == "inconclusive"
    assert pool(question, [full, full], confidence=0.9).upper_bound is None
    decision = question.decide([pooled], Bar(limit=1.0, threshold=1.0), Evidence())
    assert decision.reason.endswith("1 of 2 batches left out")
