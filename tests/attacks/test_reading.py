"""A reading computes each value once, and raises each refusal again."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import Sign
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient import reading as module
from pytest_labelleak.attacks.gradient.rank import RankRules
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.attacks.gradient.subspace import SubspaceRules
from pytest_labelleak.core.recovery import NotApplicable
from pytest_labelleak.testing import make_update

CASE = make_update(positions=6, features=32, classes=60, signed=True)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    made: list[object] = []
    inner = module.find_subspace

    def counted(*arguments: object) -> object:
        made.append(arguments)
        return inner(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "find_subspace", counted)
    return made


def test_all_attacks_on_one_reading_compute_its_subspace_once(calls: list[object]) -> None:
    reading = Reading(CASE.update)
    statuses = {name: run(member, reading, seed=0).status for name, member in builtin_attacks().items()}
    assert statuses["rlg"] == "recovered"
    assert len(calls) == 1


def test_two_readings_share_nothing(calls: list[object]) -> None:
    for _ in range(2):
        run(builtin_attacks()["rlg"], CASE.update, seed=0)
    assert len(calls) == 2


def test_a_refusal_is_kept_and_raised_anew(calls: list[object]) -> None:
    crowded = make_update(positions=80, features=32, classes=60, signed=True)
    reading = Reading(crowded.update)
    raised = []
    for _ in range(2):
        with pytest.raises(NotApplicable, match="shows no gap") as caught:
            reading.subspace()
        raised.append(caught.value)
    assert len(calls) == 1
    assert raised[0] is not raised[1]
    assert raised[0].because == raised[1].because
    assert not reading.rounding_only()


def test_signs_are_refused_before_any_subspace_is_computed(calls: list[object]) -> None:
    reading = Reading(Sign()(CASE.update, rng=np.random.default_rng(0)))
    with pytest.raises(NotApplicable, match="reduced to its signs, and what is left has no low rank"):
        reading.require_fine()
    assert not reading.rounding_only()
    assert calls == []


def test_a_fine_gradient_is_required_in_vain() -> None:
    reading = Reading(CASE.update)
    reading.require_fine()
    assert reading.rounding_only()


def test_each_set_of_rules_has_a_value_of_its_own(calls: list[object]) -> None:
    reading = Reading(CASE.update)
    strict = SubspaceRules(rank=RankRules(rounding_only=1e-9))
    for _ in range(2):
        assert reading.subspace().exact
        assert not reading.subspace(strict).exact
        assert reading.subspace(SubspaceRules()) is reading.subspace()
    assert len(calls) == 2
