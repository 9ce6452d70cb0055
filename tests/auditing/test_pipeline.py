"""The pipeline of an audit: the truth is checked first, no attack is missed, and time that runs out is no answer."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from pytest_labelleak import (
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Truth,
    Update,
    assert_labels_not_recoverable,
    audit,
)
from pytest_labelleak.attacks import COSTS, registry
from pytest_labelleak.auditing import portfolio
from pytest_labelleak.auditing.outcome import Decision, Outcome
from pytest_labelleak.auditing.portfolio import Clock, PortfolioRun
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.core.settings import Scope, activate


@dataclass(frozen=True)
class Counting:
    """An attack that finds nothing, and counts its calls."""

    name: str = "counting"
    cost: str = COSTS[-1]
    calls: list[int] = field(default_factory=list, compare=False)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        self.calls.append(1)
        return Recovery(attack=self.name, status="recovered")  # type: ignore[arg-type]


def test_a_question_refuses_a_truth_before_any_attack_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(question: Labels, truth: Truth) -> None:
        raise InvalidArgumentError("this truth cannot be asked about")

    monkeypatch.setattr(Labels, "prepare", refuse)
    attack = Counting()
    with pytest.raises(InvalidArgumentError, match="cannot be asked about"):
        audit(Update.from_arrays(np.ones((2, 6))), np.array([1]), attacks=attack)
    assert not attack.calls


LABELS = np.array([1, 4])


@dataclass(frozen=True)
class Exact:
    """An attack that reads everything while the update is positive, and nothing else."""

    name: str = "exact"
    cost: str = COSTS[0]

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        if update.kernel_gradient[0, 0] <= 0.0:
            return Recovery(attack=self.name, status="recovered")  # type: ignore[arg-type]
        return Recovery(attack=self.name, status="recovered", labels=(1, 4), positions=2)  # type: ignore[arg-type]


def test_an_audit_that_did_not_hold_never_passes() -> None:
    update = Update.from_arrays(np.ones((2, 40)))
    with pytest.raises(InconclusiveAudit, match="an undefended update never holds"):
        assert_labels_not_recoverable(update, LABELS, attacks=Counting())
    with pytest.raises(LabelLeak, match=r"advantage 1\.00 > 0\.10") as caught:
        assert_labels_not_recoverable(update, np.array([1, 4, 1, 4]), attacks=Sure())
    assert "recovered" not in str(caught.value)


@dataclass(frozen=True)
class Sure:
    """An attack that names both labels of forty classes."""

    name: str = "sure"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return Recovery(attack=self.name, status="recovered", labels=(1, 4))  # type: ignore[arg-type]


def test_labels_that_the_capture_contradicts_decide_nothing() -> None:
    update = Update.from_arrays(np.ones((2, 40)))
    for belongs in (True, None):
        assert audit(dataclasses.replace(update, belongs=belongs), LABELS, attacks=Sure()).outcome == "leaked"
    foreign = dataclasses.replace(update, belongs=False, belongs_reason="the loss uses others at 2 of 2 positions")
    for attack in (Sure(), Counting()):
        result = audit(foreign, LABELS, attacks=attack)
        assert result.outcome == "inconclusive"
        assert "not those on which the model trains: the loss uses others at 2 of 2 positions" in result.message


def test_axes_that_nothing_tells_apart_are_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    update = Update.from_arrays(np.ones((2, 40)))
    monkeypatch.setattr(Labels, "decide", lambda *arguments: Decision(outcome=Outcome.HELD, reason="so"))
    for oriented, outcome in ((True, "held"), (False, "inconclusive")):
        turned = dataclasses.replace(update, oriented=oriented)
        assert audit(turned, LABELS, attacks=Counting()).outcome == outcome
    # A leak is one whichever axis has the classes.
    monkeypatch.undo()
    turned = dataclasses.replace(update, oriented=False)
    assert audit(turned, LABELS, attacks=Sure()).outcome == "leaked"


def test_a_baseline_accepts_a_leak_and_does_not_make_it_held() -> None:
    update = dataclasses.replace(Update.from_arrays(np.ones((2, 40))), oriented=True)
    scope = Scope(recorded_limit=lambda index: 1.0)
    with activate(scope):
        result = assert_labels_not_recoverable(update, LABELS, attacks=Sure())
    assert result.accepted
    assert scope.records[0]["outcome"] == "accepted"
    assert scope.records[0]["message"].startswith("accepted by the baseline: advantage 1.00")
    # Within the threshold there is nothing to accept, and a configured threshold is no baseline.
    with activate(Scope(recorded_limit=lambda index: 1.0)):
        assert not assert_labels_not_recoverable(update, LABELS, attacks=Counting()).accepted
    assert not assert_labels_not_recoverable(update, LABELS, attacks=Sure(), threshold=1.0).accepted


def test_attacks_are_left_out_of_assertions_by_auto_and_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "builtin_attacks", dict)

    def called(ask: object, attacks: object, classes: int = 400) -> int:
        update = Update.from_arrays(np.ones((2, classes)))
        counting = Counting()
        scope = Scope(attacks={"exact": Exact(), "counting": counting})
        with activate(scope), contextlib.suppress(LabelLeak):
            ask(update, LABELS, attacks=attacks)  # type: ignore[operator]
        return len(counting.calls)

    assert called(assert_labels_not_recoverable, "auto") == 0
    assert called(assert_labels_not_recoverable, ["exact", "counting"]) == 1
    assert called(audit, "auto") == 1
    # Two labels of forty may be luck, once two attacks have made their claims and a random defence is drawn again.
    assert called(assert_labels_not_recoverable, "auto", classes=40) == 1


def test_updates_are_not_let_go_before_the_attacks_that_may_still_need_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portfolio, "_MOST_KEPT", 0)
    question, counting = Labels(), Counting()
    made = PortfolioRun(question, [Exact(), counting], seed=0, settled=lambda columns: question.settled(columns, 0.1))
    truth = Truth(labels=LABELS, classes=6)
    for sign in (1.0, 1.0, -1.0):
        made.add(Update.from_arrays(sign * np.ones((2, 6))), truth)
    exact, counted = made.verdicts()
    assert (exact.batches, counted.batches, counted.status) == (3, 3, "recovered")
    assert len(counting.calls) == 3


def slowly(seconds: float = 1.5) -> Recovery:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return Recovery(attack="slow", status="recovered")  # type: ignore[arg-type]


def test_time_that_runs_out_stops_an_attack_without_an_answer() -> None:
    clock = Clock(0.05)
    begun = time.monotonic()
    stopped = clock.timed("slow", slowly)
    assert time.monotonic() - begun < 1.0
    assert stopped.status == "inconclusive"
    assert "the time budget of 0.05 s was spent" in stopped.reason
    assert clock.spent
    # From then on no attack begins.
    assert clock.timed("slow", lambda: pytest.fail("it began")).status == "inconclusive"


def test_an_end_that_nearly_coincides_with_the_attacks_own_leaves_nothing_behind() -> None:
    """The exception arrives inside the attack's time or not at all: never later, in the test's own code."""
    ends = []
    for number in range(200):
        clock = Clock(0.002 + number * 1e-6)
        ends.append(clock.timed("slow", lambda: slowly(0.002)).status)
        assert sum(range(2000)) == 1999000
    assert set(ends) <= {"recovered", "inconclusive"}


_TRACED = """
import sys
from pytest_labelleak import Recovery
from pytest_labelleak.auditing.portfolio import Clock

done = Clock(60.0).timed("any", lambda: Recovery(attack="any", status="recovered"))
assert done.status == "recovered"
calls = []
getattr(sys, sys.argv[1])(lambda *event: calls.append(event[1]))
(lambda: None)()
getattr(sys, sys.argv[1])(None)
assert "call" in calls
"""


@pytest.mark.parametrize("watch", ["settrace", "setprofile"])
def test_a_tracer_or_profiler_works_after_an_attack_with_a_time_budget(watch: str) -> None:
    """A withdrawn exception leaves CPython below 3.12 waiting for it, and the next traced call never returns."""
    subprocess.run([sys.executable, "-c", _TRACED, watch], check=True, timeout=60)


def test_an_attack_within_its_time_is_not_disturbed() -> None:
    for clock in (Clock(), Clock(60.0)):
        assert clock.timed("slow", lambda: slowly(0.01)).status == "recovered"
        assert not clock.spent
