"""The pipeline of an audit: the truth is checked first, and time that runs out is no answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from pytest_labelleak import InvalidArgumentError, Recovery, Truth, Update, audit
from pytest_labelleak.auditing.portfolio import Clock
from pytest_labelleak.auditing.questions.labels import Labels


@dataclass(frozen=True)
class Counting:
    """An attack that finds nothing, and counts its calls."""

    name: str = "counting"
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


def test_an_attack_within_its_time_is_not_disturbed() -> None:
    for clock in (Clock(), Clock(60.0)):
        assert clock.timed("slow", lambda: slowly(0.01)).status == "recovered"
        assert not clock.spent
