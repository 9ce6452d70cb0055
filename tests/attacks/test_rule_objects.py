"""Every deciding number of an attack is a field of its rules, has a plateau around it, and reaches the attack."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_labelleak import DropSmallest, GaussianNoise, Quantise, Recovery, Sign, Update
from pytest_labelleak.asr import Ordering
from pytest_labelleak.asr.replay.beam import ReplayRules
from pytest_labelleak.attacks import RLG, Energy, RobustRLG, Shadow, builtin_attacks, run
from pytest_labelleak.testing import make_update

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
RULED = {name: member for name, member in builtin_attacks().items() if hasattr(member, "rules")}


def numeric_fields(rules: Any, path: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Yield every numeric field of a rule object and of those inside it, with its path and its value."""
    for one in dataclasses.fields(rules):
        value = getattr(rules, one.name)
        if dataclasses.is_dataclass(value):
            yield from numeric_fields(value, f"{path}{one.name}.")
        else:
            yield f"{path}{one.name}", one, value


#: Rules of the attacks, and of those on transcripts.
RULES = {name: member.rules for name, member in RULED.items()} | {  # type: ignore[attr-defined]
    "ordering": Ordering().rules,
    "replay": ReplayRules(),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_plateau_that_holds_its_default(name: str) -> None:
    found = list(numeric_fields(RULES[name]))
    assert found
    for path, one, value in found:
        assert type(value) in {int, float}, f"{path} is no number"
        lowest, highest = one.metadata["plateau"]
        # A plateau that ends at the value is none: the value is fitted to the row that changes there.
        assert lowest < value < highest or value == lowest == 1, f"{path}={value} is not inside {lowest} to {highest}"


@pytest.mark.parametrize("name", RULED)
def test_rules_are_values(name: str) -> None:
    """A reading keeps results by the rules they were computed with, so that equal rules must be equal keys."""
    member = RULED[name]
    again = type(member)()
    assert member.rules == again.rules  # type: ignore[attr-defined]
    assert hash(member.rules) == hash(again.rules)  # type: ignore[attr-defined]


def with_rule(member: Any, path: str, value: float) -> Any:
    """Return the attack with one number replaced."""
    names = path.split(".")

    def changed(rules: Any, first: str, *rest: str) -> Any:
        return dataclasses.replace(rules, **{first: changed(getattr(rules, first), *rest) if rest else value})

    return dataclasses.replace(member, rules=changed(member.rules, *names))


@functools.cache
def update(name: str) -> Update:
    """Return a small update, defended as its name says."""
    trained = {"signed": True, "confidence": 0.9} if "trained" in name else {"signed": True}
    case = make_update(positions=8, features=64, classes=100, seed=2, **trained)  # type: ignore[arg-type]
    if name == "sure":  # rows of labels that the network is sure of vanish
        return make_update(positions=30, features=128, classes=100, seed=2, confidence=0.999995).update
    if name == "uneven":  # noise on features of different size
        sizes = 10.0 ** np.random.default_rng(0).uniform(-4, 0, (64, 1)).astype(np.float32)
        gradient = case.update.kernel_gradient * sizes
        return GaussianNoise(relative=1e-4)(Update.from_arrays(gradient), rng=np.random.default_rng(1))
    defence = {
        "plain": None,
        "trained": None,
        "drop": DropSmallest(fraction=0.9),
        "signs": Sign(),
        "lattice": Quantise(bits=8),
        "noise": GaussianNoise(relative=1e-3),
        "trained noise": GaussianNoise(relative=0.3),
    }[name]
    return case.update if defence is None else defence(case.update, rng=np.random.default_rng(0))


def said(recovery: Recovery) -> tuple[object, ...]:
    return recovery.status, recovery.labels, recovery.positions, recovery.details, recovery.reason


REACHED = [
    (RLG, "level", 1e-12, "noise"),
    (RLG, "surplus", 1e9, "sure"),
    (RLG, "balanced", 1e-9, "sure"),
    (RLG, "coarseness.scattered", 0.99, "drop"),
    (RLG, "subspace.level", 0.0, "uneven"),
    (RLG, "subspace.rank.noise_edge", 0.1, "noise"),
    (RLG, "subspace.rank.structured", 1e-3, "plain"),
    (RLG, "subspace.rank.above", 1e9, "plain"),
    (RLG, "subspace.rank.rounding_only", 1e9, "noise"),
    (RLG, "subspace.rank.visible_gap", 1e9, "noise"),
    (RLG, "separation.doubtful", 1e9, "plain"),
    (RobustRLG, "deviations", 1e-3, "trained noise"),
    (RobustRLG, "step", 3.0, "trained noise"),
    (RobustRLG, "loss", 0.999, "trained noise"),
    (RobustRLG, "agreement", 0.0, "signs"),
    (RobustRLG, "excess", -0.9, "noise"),
    (RobustRLG, "fluctuations", 1e9, "noise"),
    (RobustRLG, "coarseness.scattered", 0.99, "lattice"),
    (RobustRLG, "subspace.rank.rounding_only", 1e9, "noise"),
    (RobustRLG, "intervals.off_lattice", 1e-12, "lattice"),
    (RobustRLG, "intervals.at_the_edge", 1.0, "drop"),
    (RobustRLG, "explaining.sticks_out", 1e9, "drop"),
    (RobustRLG, "explaining.inside", 1e9, "drop"),
    (RobustRLG, "separated", 1e9, "noise"),
    (Energy, "level", 1e-300, "trained"),
    (Energy, "discovery", 0.9, "trained"),
    (Energy, "split", 1e-9, "plain"),
    (Energy, "uneven", 1e9, "trained"),
    (Energy, "directions", 1, "plain"),
    (Energy, "fluctuations", 1e9, "plain"),
    (Shadow, "power", 2.0, "noise"),
    (Shadow, "errors", 1e9, "drop"),
    (Shadow, "resembling", 1e9, "noise"),
    (Shadow, "ridge", 1e4, "noise"),
    (Shadow, "entries", 1.0, "noise"),
]


@pytest.mark.parametrize(("kind", "path", "value", "name"), REACHED, ids=lambda value: getattr(value, "name", value))
@pytest.mark.slow
def test_a_changed_rule_changes_an_answer(kind: Any, path: str, value: float, name: str) -> None:
    before = run(kind(), update(name), seed=0)
    assert said(run(kind(), update(name), seed=0)) == said(before)
    assert said(run(with_rule(kind(), path, value), update(name), seed=0)) != said(before)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    # The script sets defaults for the libraries it starts; other tests should not inherit them.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    yield importlib.import_module("bench_rules")
    sys.modules.pop("bench_rules", None)


@pytest.mark.slow
def test_the_benchmark_reads_every_rule_of_rlg_and_robust_rlg(bench: Any) -> None:
    wanted = {
        "rlg": ("1100 features", "1e-05", "16 trained to .9, tied", "20 repeated"),
        "rlg_robust": ("1100 features", "0.1", "99 %", "20 repeated", "random"),
    }
    for name, words in wanted.items():
        member = builtin_attacks()[name]
        chosen = [case for case in bench.cases() if any(word in case.name for word in words)]
        seen = set().union(*(bench.asked(member, case)[1] for case in chosen))
        assert {path for path, _ in bench.numbers(member.rules)} <= seen  # type: ignore[attr-defined]


def test_recording_the_rules_changes_no_answer(bench: Any) -> None:
    member = builtin_attacks()["rlg"]
    for case in bench.cases()[::5][:4]:
        answered, seen = bench.asked(member, case)
        assert answered == bench.answer(member, case, bench.Reading(case.update))
        assert ("coarseness", "scattered") in seen


def test_a_plateau_ends_where_the_first_row_changes(bench: Any) -> None:
    @dataclasses.dataclass(frozen=True)
    class Rules:
        edge: float = 3.0
        idle: float = 1.0

    @dataclasses.dataclass(frozen=True)
    class Stepping:
        rules: Rules = Rules()
        name = "stepping"

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            return Recovery(attack=self.name, status="recovered", labels=exact if self.rules.edge < 7.0 else exact[1:])

    case = bench.cases()[0]
    exact = tuple(sorted(set(case.labels.tolist())))
    before = [bench.asked(Stepping(), case)]
    assert bench.plateau(Stepping(), ("edge",), 3.0, [case], before) == [
        "3", "1", "0.1875", "-", "6", f"1 at 12 ({case.name})"
    ]  # fmt: skip
    # An answer that is right in part takes no part, and of a number that no row reads none can change.
    broken = Stepping(rules=Rules(edge=8.0))
    assert bench.plateau(broken, ("edge",), 8.0, [case], [bench.asked(broken, case)])[1] == "0"
    assert bench.plateau(Stepping(), ("idle",), 1.0, [case], before)[1] == "0"
