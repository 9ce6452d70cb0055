"""The checks of questions, adapters and attacks that read: the built-in ones pass, and each broken rule is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from pytest_labelleak import Recovery, Truth, Update
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.auditing.outcome import Bar, Decision, Outcome, compare
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.question import Evidence, Question
from pytest_labelleak.auditing.questions.samples import Samples
from pytest_labelleak.auditing.verdict import Verdict
from pytest_labelleak.capture.arrays import ArraysAdapter
from pytest_labelleak.core.errors import InvalidArgumentError
from pytest_labelleak.core.recovery import NotApplicable, Status
from pytest_labelleak.testing import check_adapter, check_attack, check_question, make_update

TRUTH = Truth(labels=np.array([3, 7, 7, 9]), classes=20)
OUTPUTS = np.eye(20)[TRUTH.labels]


def claim(**parts: Any) -> Recovery:
    return Recovery(attack="a", status=Status.RECOVERED, **parts)


RIGHT, WRONG = claim(labels=(3, 7, 9)), claim(labels=(1, 2))


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        (Labels(), RIGHT, WRONG),
        (
            Labels(counts=True),
            claim(labels=(3, 7, 9), counts={3: 1, 7: 2, 9: 1}),
            claim(labels=(1, 2), counts={1: 2, 2: 2}),
        ),
        (
            Samples(),
            claim(labels=(3, 7, 9), isolated=4, sample_labels=(3, 7, 7, 9), softmax=OUTPUTS, features=np.ones((4, 2))),
            claim(isolated=0, softmax=OUTPUTS[:0], features=np.ones((0, 2))),
        ),
    ],
    ids=["labels", "counts", "samples"],
)
def test_builtin_questions_conform(question: Question, right: Recovery, wrong: Recovery) -> None:
    check_question(question, TRUTH, right=right, wrong=wrong)


class Broken:
    """The question about labels with one member replaced."""

    def __init__(self, **replaced: Any) -> None:
        self.replaced = replaced

    def __getattr__(self, name: str) -> Any:
        if name in self.replaced:
            if self.replaced[name] is None:
                raise AttributeError(name)
            return self.replaced[name]
        return getattr(Labels(), name)


def _passes_undefended(verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
    return compare(verdicts, bar, name=lambda verdict: "advantage", low=-1.0)


def _never_holds(verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
    decision = Labels().decide(verdicts, bar, evidence)
    held = decision.outcome is Outcome.HELD
    return dataclasses.replace(decision, outcome=Outcome.INCONCLUSIVE) if held else decision


def _scored(change: Callable[[Verdict], Verdict]) -> Callable[[Recovery, Truth], Verdict]:
    return lambda recovery, truth: change(Labels().score(recovery, truth))


def _with_figure(verdict: Verdict, figure: float | None) -> Verdict:
    return dataclasses.replace(verdict, figure=figure) if verdict.status == Status.RECOVERED else verdict


def _batches(stats: Mapping[str, Any]) -> float:
    """A figure that grows with the number of batches."""
    return 0.4 * len(stats["recovered"])


@pytest.mark.parametrize(
    ("replaced", "rule"),
    [
        ({"settled": None, "low": None}, "has no low, settled"),
        ({"compared": ("advantage", "width")}, r"\['width'\] shown or compared, and not declared"),
        ({"decide": _passes_undefended}, "a wrong claim without a defence gives held. Expected inconclusive"),
        ({"decide": _never_holds}, "a wrong claim with a defence gives inconclusive. Expected held"),
        ({"settled": lambda columns, limit: "it is late"}, "settled before any attack ran"),
        ({"shown_possible": lambda columns, threshold: True}, "shown possible before any attack ran"),
        ({"exposes": lambda verdict, limit: False}, "a right claim exposes nothing"),
        ({"findings": lambda verdicts: ["words"]}, r"findings\(\) returned something else"),
        ({"figure": lambda stats: 0.5}, "the figure is not that of its statistics"),
        ({"score": lambda recovery, truth: 1.0}, r"score\(\) returned float, not a Verdict"),
        (
            {"score": _scored(lambda verdict: dataclasses.replace(verdict, status=Status.RECOVERED))},
            "on a claim that is not applicable: the verdict is recovered",
        ),
        (
            {"score": _scored(lambda verdict: dataclasses.replace(verdict, attack="b"))},
            "the verdict names 'b'",
        ),
        ({"low": 0.0}, "the figure is -0.1"),
        ({"decide": lambda verdicts, bar, evidence: "held"}, r"decide\(\) returned str"),
        (
            {"score": _scored(lambda verdict: dataclasses.replace(verdict, figure=verdict.figure or 0.4))},
            "the verdict has the figure 0.4. Expected None",
        ),
        (
            {"figure": _batches, "score": _scored(lambda verdict: _with_figure(verdict, 0.4))},
            "two batches alike give another figure than one",
        ),
        (
            {"figure": lambda stats: None, "score": _scored(lambda verdict: _with_figure(verdict, None))},
            "the right claim has no figure",
        ),
        (
            {"score": _scored(lambda verdict: Verdict(attack="a", status=verdict.status, figure=verdict.figure))},
            "the verdict declares other statistics",
        ),
    ],
)
def test_check_question_names_the_broken_rule(replaced: dict[str, Any], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_question(Broken(**replaced), TRUTH, right=RIGHT, wrong=WRONG)


def test_check_question_needs_claims_that_differ() -> None:
    with pytest.raises(AssertionError, match=r"the right claim has the figure -0\.1"):
        check_question(Labels(), TRUTH, right=WRONG, wrong=WRONG)
    with pytest.raises(AssertionError, match=r"the wrong claim has the figure 1\.0"):
        check_question(Labels(), TRUTH, right=RIGHT, wrong=RIGHT)


CASE = make_update(positions=12, features=24, classes=60, signed=True, seed=3)


class Odd(ArraysAdapter):
    """The adapter for arrays with one mistake."""

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake

    def capture(self, model: Update, batch: Any, **options: Any) -> Update:
        if self.mistake == "ignores":
            options["head"] = None
        update = super().capture(model, batch, **options)
        change = {"negated": np.negative, "reversed": lambda array: array[..., ::-1].copy()}.get(self.mistake)
        return update if change is None else update.map(change, defence="none")

    def labels(self, model: Update, batch: Any, **options: Any) -> Truth:
        truth = super().labels(model, batch, **options)
        moved = (truth.labels + 1) % truth.classes if self.mistake == "shifted" else truth.labels
        return Truth(labels=moved, classes=truth.classes)


def test_an_adapter_without_a_mistake_conforms() -> None:
    check_adapter(Odd("none"), CASE.update, CASE.labels)


@pytest.mark.parametrize(
    ("mistake", "rule"),
    [
        ("negated", "its own negative"),
        ("reversed", "classes in reverse order"),
        ("shifted", "classes before the given labels"),
        ("ignores", "it ignored head='pytest_labelleak.testing: no head has this name'"),
    ],
)
def test_check_adapter_names_the_mistake(mistake: str, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_adapter(Odd(mistake), CASE.update, CASE.labels)


def test_check_adapter_hides_no_error_of_another_kind() -> None:
    class Fails(ArraysAdapter):
        def capture(self, model: Update, batch: Any, **options: Any) -> Update:
            if options["head"] is not None:
                raise KeyError("head")
            return super().capture(model, batch, **options)

    with pytest.raises(KeyError):
        check_adapter(Fails(), CASE.update, CASE.labels)
    with pytest.raises(InvalidArgumentError, match="head="):
        ArraysAdapter().capture(CASE.update, CASE.labels, head="fc")


@dataclass(frozen=True)
class Reads:
    """An attack with a reading, whose call can go another way."""

    calls: str = "read"
    name: ClassVar[str] = "reads"

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        if reading.update.classes < 3:
            raise NotApplicable("two classes have columns of one length")
        return Recovery(attack=self.name, status=Status.RECOVERED, labels=(0,), positions=1, counts={0: 1})

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        if self.calls == "other":
            return Recovery(attack=self.name, status=Status.RECOVERED, labels=(1,), positions=1)
        return self.read(Reading(update), rng=rng)


@dataclass(frozen=True)
class Says:
    """An attack that returns one recovery."""

    said: Recovery
    name: ClassVar[str] = "says"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return self.said


def test_an_attack_that_reads_conforms() -> None:
    check_attack(Reads())


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        (Reads(calls="other"), "__call__ and read differ"),
        (
            Says(Recovery.not_applicable("says", "not applicable, because the head has no bias")),
            "the reason repeats the status",
        ),
        (Says(Recovery(attack="says", status=Status.RECOVERED, labels=(0,), counts={1: 1})), "counts must give"),
        (Says(Recovery(attack="says", status=Status.RECOVERED, labels=(0,), counts={0: 0})), "counts must give"),
        (Says(Recovery(attack="says", status=Status.RECOVERED, positions=2.0)), "positions must be a plain int"),  # type: ignore[arg-type]
    ],
)
def test_check_attack_names_the_broken_rule(attack: Any, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_attack(attack)
