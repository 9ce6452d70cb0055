"""Leaving attacks out: it happens, it is said, and it never changes what is decided or recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_labelleak import (
    GaussianNoise,
    Head,
    InconclusiveAudit,
    LabelLeak,
    Recovery,
    Truth,
    Update,
    assert_labels_not_recoverable,
    assert_samples_not_isolated,
    audit,
)
from pytest_labelleak.attacks import COSTS, builtin_attacks, resolve
from pytest_labelleak.auditing import draws, portfolio
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.testing import make_update

CLASSES = 600
LABELS = np.array([0, 0, 3])

#: What an attack may say about a batch with LABELS.
ANSWERS = {
    "exact": {"labels": (0, 3)},
    "exact, counted": {"labels": (0, 3), "positions": 3, "counts": {0: 2, 3: 1}},
    "exact, miscounted": {"labels": (0, 3), "positions": 2, "counts": {0: 1, 3: 1}},
    "half": {"labels": (0,), "positions": 3},
    "nothing": {},
    "isolated": {
        "labels": (0, 3),
        "positions": 3,
        "isolated": 3,
        "sample_labels": (0, 0, 3),
        "features": np.ones((3, 2)),
    },
    "half isolated": {"labels": (0,), "isolated": 1, "sample_labels": (0,), "features": np.ones((1, 2))},
    "bare": {"labels": (0, 3), "positions": 3, "isolated": 3, "sample_labels": (0, 0, 3)},
    "wrong": {"labels": (1, 2)},
    "not applicable": {"status": "not applicable", "reason": "of this"},
    "inconclusive": {"status": "inconclusive", "reason": "of that"},
}


@dataclass(frozen=True)
class Scripted:
    """Answers from a table: one row for the updates as captured, one for the defended."""

    name: str
    cost: str
    defended: tuple[str, ...]
    plain: tuple[str, ...]
    calls: list[int] = field(default_factory=list, compare=False)
    isolates: bool = False

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        number = int(update.kernel_gradient[0, 0]) - 1
        self.calls.append(number)
        rows = self.defended if update.defences else self.plain
        return Recovery(**{"attack": self.name, "status": "recovered", **ANSWERS[rows[number]]})


@dataclass(frozen=True)
class Mark:
    """A defence that changes nothing but the record of defences."""

    name: str = "mark"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(lambda array: array, defence=self.name)


class Numbered:
    """An adapter for batches that are (number,): the update says which it is."""

    name = "numbered"

    def __init__(self) -> None:
        self.alive: list[weakref.ref[np.ndarray]] = []
        self.most_alive = 0

    def capture(self, model: object, batch: tuple[int], **options: object) -> Update:
        gradient = np.full((2, CLASSES), float(batch[0] + 1))
        self.alive.append(weakref.ref(gradient))
        self.most_alive = max(self.most_alive, sum(ref() is not None for ref in self.alive))
        return Update(gradients={"kernel": gradient}, head=Head())

    def labels(self, model: object, batch: tuple[int], **options: object) -> Truth:
        return Truth(labels=LABELS if batch[0] >= 0 else np.array([], dtype=int), classes=CLASSES)


def run(
    attacks: list[Scripted], batches: list[tuple[int]], *, auto: bool, adapter: Numbered | None = None, **arguments: Any
) -> dict[str, Any]:
    """Assert with "auto", or with the same attacks spelled out, and return the record that is left."""
    adapter = adapter or Numbered()
    limit = arguments.pop("recorded", None)
    scope = Scope(
        attacks={attack.name: attack for attack in attacks},
        adapter=lambda model: adapter,
        recorded_limit=lambda index: limit,
    )
    with activate(scope), only_scripted(), contextlib.suppress(LabelLeak, InconclusiveAudit):
        chosen = "auto" if auto else resolve(["auto"])
        check = assert_samples_not_isolated if arguments.pop("samples", False) else assert_labels_not_recoverable
        check("anything", batches, attacks=chosen, **arguments)
    (record,) = scope.records
    return record


def only_scripted() -> contextlib.AbstractContextManager[object]:
    """Leave the built-in attacks out of "auto"."""
    return mock.patch("pytest_labelleak.attacks.registry.builtin_attacks", dict)


def members(draw: st.DrawFn, batches: int) -> list[Scripted]:
    row = st.tuples(*[st.sampled_from([*ANSWERS, "exact", "exact, counted", "isolated"])] * batches)
    constant = st.sampled_from(["exact", "exact, counted", "isolated", "half", "nothing"]).map(
        lambda answer: (answer,) * batches
    )
    rows = row | constant
    costs = st.sampled_from([*COSTS, "none of them"])
    return [
        Scripted(name=f"a{i}", cost=draw(costs), defended=draw(rows), plain=draw(rows), isolates=draw(st.booleans()))
        for i in range(draw(st.integers(1, 5)))
    ]


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_leaving_attacks_out_never_changes_what_a_full_run_decides_and_records(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    attacks = members(data.draw, count)
    batches = [(i,) for i in range(count)]
    arguments = {
        "threshold": data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.75, 1.0])),
        "recorded": data.draw(st.sampled_from([None, None, 0.0, 0.5, 1.0])),
        "confidence": data.draw(st.sampled_from([None, None, 0.5])),
        "defence": data.draw(st.sampled_from([None, Mark()])),
    }
    samples = data.draw(st.booleans())
    arguments |= {"samples": True} if samples else {"counts": data.draw(st.booleans())}
    kept = data.draw(st.sampled_from([0, 100, 2**28]))
    with mock.patch.object(portfolio, "_MOST_KEPT", kept):
        thrifty = run(attacks, batches, auto=True, **arguments)
    full = run(attacks, batches, auto=False, **arguments)

    assert all(verdict["status"] != "not run" for verdict in full["verdicts"] + full["control"])
    left_out = {
        side: [verdict["attack"] for verdict in thrifty[side] if verdict["status"] == "not run"]
        for side in ("verdicts", "control")
    }
    for side in ("verdicts", "control"):
        assert [v["attack"] for v in thrifty[side]] == [v["attack"] for v in full[side]]
        for mine, theirs in zip(thrifty[side], full[side], strict=True):
            assert mine == theirs or mine["attack"] in left_out[side]
    # The whole record but for the verdicts of those left out: outcome, message, figures, strongest attack, positions.
    # Isolated samples are a mere finding of attacks that run, unless they were asked for.
    aside = set() if samples else {"isolated", "features_exposed"}

    def kept_of(record: dict[str, Any]) -> dict[str, Any]:
        statistics = {name: value for name, value in record["statistics"].items() if name not in aside}
        findings = [finding for finding in record["findings"] if finding["name"] not in aside]
        return {**record, "verdicts": 0, "control": 0, "statistics": statistics, "findings": findings}

    def without_attacks_left_out(record: dict[str, Any]) -> dict[str, Any]:
        # The sentence about the shared variables names the attacks that read them, which are those that ran.
        findings = [finding for finding in record["findings"] if finding["name"] != "variables"]
        return {**record, "findings": findings}

    mine, theirs = kept_of(thrifty), kept_of(full)
    if left_out["verdicts"]:
        mine, theirs = without_attacks_left_out(mine), without_attacks_left_out(theirs)
    assert mine == theirs
    if left_out["verdicts"]:
        assert (full["outcome"], full["figure"], full["statistics"]["positions_exact"]) == ("leaked", 1.0, 1.0)
        figures = full["statistics"]
        assert not samples or (figures["isolated"], figures["features_exposed"]) == (1.0, 1.0)
        assert (
            not arguments.get("counts") or max(v["statistics"]["counts_exact"] or 0.0 for v in full["verdicts"]) == 1.0
        )


def scripted(name: str, cost: str, defended: str, plain: str = "exact", batches: int = 3) -> Scripted:
    return Scripted(name=name, cost=cost, defended=(defended,) * batches, plain=(plain,) * batches)


BATCHES = [(0,), (1,), (2,)]


def test_cheap_attacks_run_first_and_the_rest_is_left_out_once_everything_is_read() -> None:
    dear, middle, cheap = (
        scripted("dear", "search", "exact", "exact"),
        scripted("middle", "subspace", "exact, counted", "exact, counted"),
        scripted("cheap", "pass", "exact", "exact"),
    )
    record = run([dear, middle, cheap], BATCHES, auto=True)
    assert [(v["attack"], v["status"]) for v in record["verdicts"]] == [
        ("cheap", "recovered"),
        ("middle", "recovered"),
        ("dear", "not run"),
    ]
    assert cheap.calls == middle.calls == [0, 1, 2]
    assert dear.calls == []
    assert record["verdicts"][2]["message"] == (
        "not run, because other attacks read the labels and their number exactly in every batch"
    )
    # With counts, the multiset has to be read as well, which "middle" does too.
    assert run([dear, middle, cheap], BATCHES, auto=True, counts=True)["verdicts"][2]["status"] == "not run"
    # An attack of no known class comes after all others.
    unknown = scripted("a_first_by_name", "unheard of", "exact")
    assert [v["attack"] for v in run([unknown, dear, cheap], BATCHES, auto=True)["verdicts"]][-1] == unknown.name


def test_attacks_that_isolate_samples_are_run_where_samples_are_asked_for() -> None:
    counted, bare, apart, dear = (
        scripted("counted", "pass", "exact, counted", "exact, counted"),
        scripted("bare", "subspace", "bare", "bare"),
        scripted("isolating", "search", "isolated", "isolated"),
        scripted("later", "search", "exact", "exact"),
    )
    attacks = [counted, bare, apart, dear]
    record = run(attacks, BATCHES, auto=True, samples=True)
    assert [v["status"] for v in record["verdicts"]] == ["recovered"] * 3 + ["not run"]
    assert record["verdicts"][3]["message"] == (
        "not run, because other attacks isolated all samples with their features in every batch"
    )
    # The first that isolates all of them is the strongest.
    assert record["strongest_attack"] == "bare"
    assert (record["statistics"]["isolated"], record["statistics"]["features_exposed"]) == (1.0, 1.0)
    record = run(attacks, BATCHES, auto=True)
    assert [v["status"] for v in record["verdicts"]] == ["recovered"] + ["not run"] * 3
    assert record["statistics"]["isolated"] is None


def test_the_positive_control_for_samples_is_one_that_isolates_them() -> None:
    first = scripted("a", "pass", "nothing", "exact, counted")
    second, third = scripted("b", "search", "not applicable", "isolated"), scripted("c", "search", "nothing", "exact")
    second = dataclasses.replace(second, isolates=True)
    record = run([first, second, third], BATCHES, auto=True, samples=True, defence=Mark())
    assert record["outcome"] == "held"
    assert [v["status"] for v in record["control"]] == ["recovered", "recovered", "not run"]


def test_the_positive_control_stops_at_its_first_success() -> None:
    first, second = scripted("a", "pass", "nothing", "half"), scripted("b", "search", "nothing", "exact")
    record = run([first, second], BATCHES, auto=True, defence=Mark())
    # The made-up gradients show no label, so that nothing says that these updates belong to the labels.
    assert record["outcome"] == "inconclusive"
    assert [v["status"] for v in record["verdicts"]] == ["recovered", "recovered"]
    assert [v["status"] for v in record["control"]] == ["recovered", "not run"]
    assert second.calls == [0, 1, 2]


def test_a_success_that_does_not_last_is_made_up_for() -> None:
    """The cheap one fails in the last batch: the dear one runs on all of them after all."""
    cheap = Scripted(name="a", cost="pass", defended=(), plain=("exact, counted", "exact, counted", "half"))
    dear = scripted("b", "search", "exact", "exact")
    record = run([cheap, dear], BATCHES, auto=True)
    assert dear.calls == [0, 1, 2]
    assert (record["strongest_attack"], record["figure"]) == ("b", 1.0)


@pytest.mark.parametrize("how", ["measured", "spelled out", "no number", "everything tolerated"])
def test_nothing_is_left_out_where_it_would_be_missed(how: str) -> None:
    cheap = scripted("a", "pass", "exact", "exact" if how == "no number" else "exact, counted")
    dear = scripted("b", "search", "inconclusive", "inconclusive")
    if how == "measured":
        scope = Scope(attacks={"a": cheap, "b": dear}, adapter=lambda model: Numbered())
        with activate(scope), only_scripted():
            audit("anything", BATCHES)
    else:
        run([cheap, dear], BATCHES, auto=how != "spelled out", threshold=1.0 if how == "everything tolerated" else 0.1)
    assert dear.calls == [0, 1, 2]


def test_an_empty_batch_among_others_is_inconclusive_either_way() -> None:
    attacks = [scripted("a", "pass", "exact, counted", "exact, counted"), scripted("b", "search", "exact")]
    for batches in ([(0,), (-1,)], [(-1,), (0,)]):
        thrifty, full = (run(attacks, batches, auto=auto) for auto in (True, False))
        assert thrifty == full
        assert thrifty["outcome"] == "inconclusive"


@pytest.mark.parametrize(("auto", "kept", "most"), [(False, 0, 1), (False, 2**28, 6), (True, 0, 2), (True, 2**28, 6)])
def test_updates_do_not_pile_up(auto: bool, kept: int, most: int) -> None:
    attacks = [scripted("a", "pass", "", "exact, counted", 6), scripted("b", "search", "", "exact", 6)]
    adapter = Numbered()
    rules = draws.DrawRules(most_kept=kept)
    with mock.patch.object(portfolio, "_MOST_KEPT", kept), mock.patch.object(draws, "DrawRules", return_value=rules):
        run(attacks, [(i,) for i in range(6)], auto=auto, adapter=adapter)
    assert adapter.most_alive == most
    assert len(attacks[1].calls) == (0 if auto and kept else 6)


def test_the_built_in_attacks_are_in_a_known_cost_class() -> None:
    costs = [member.cost for member in resolve(["auto"])]  # type: ignore[attr-defined]
    assert costs == sorted(costs, key=COSTS.index)
    assert {member.name for member in resolve(["auto"])} == set(builtin_attacks())
    assert [member.name for member in resolve(["rlg", "bias_sign"])] == ["rlg", "bias_sign"]


def test_the_failure_names_what_was_left_out() -> None:
    case = make_update(positions=5, features=64, classes=200, seed=1)
    with pytest.raises(LabelLeak) as caught:
        assert_labels_not_recoverable(case.update, case.labels)
    statuses = {verdict.attack: verdict.status for verdict in caught.value.audit.verdicts}
    assert set(statuses) == set(builtin_attacks())
    left_out = [name for name, status in statuses.items() if status == "not run"]
    assert "rlg_robust" in left_out
    assert f"  {', '.join(left_out)}: not run, because other attacks read" in str(caught.value)


@dataclass(frozen=True)
class Studious:
    """Names class 0 once it is prepared, and records the updates that it was prepared on and asked about."""

    prepared_on: list[Update] = field(default_factory=list, compare=False)
    asked: list[tuple[Update, bool]] = field(default_factory=list, compare=False)
    ready: bool = False
    name = "studious"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        self.asked.append((update, self.ready))
        return Recovery(attack=self.name, status="recovered", labels=(0,) if self.ready else ())

    def prepared(self, update: Update, *, rng: np.random.Generator) -> Studious:
        self.prepared_on.append(update)
        return dataclasses.replace(self, ready=True)


def test_an_attack_is_prepared_once_for_each_batch_and_asked_about_every_draw() -> None:
    studious = Studious()
    with activate(Scope(adapter=lambda model: Numbered())):
        audit("anything", [(0,), (1,)], attacks=[studious], defence=GaussianNoise(relative=0.1))
    drawn = [ready for update, ready in studious.asked if update.defences]
    assert len(drawn) > 2 * 2, "the defence is drawn again"
    assert all(drawn), "the first draw is answered by the prepared attack as well"
    assert len(studious.prepared_on) == 2
    assert all(update.defences for update in studious.prepared_on)
