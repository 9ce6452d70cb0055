"""audit and the assertion on plain arrays: outcomes, arguments, several batches, positive control."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import pytest_labelleak
from pytest_labelleak import (
    GaussianNoise,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Sign,
    UnknownNameError,
    UnsupportedModelError,
    Update,
    assert_labels_not_recoverable,
    audit,
)
from pytest_labelleak.auditing.run import run
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.testing import make_update

CASE = make_update(positions=5, features=64, classes=200, seed=1)
STRONG = GaussianNoise(relative=1000.0)


def test_an_undefended_gradient_leaks() -> None:
    with pytest.raises(LabelLeak, match=r"^leaked: advantage 1.00 > 0.10 \(") as caught:
        assert_labels_not_recoverable(CASE.update, CASE.labels)
    assert caught.value.audit.outcome == "leaked"
    by_name = {v.attack: v for v in audit(CASE.update, CASE.labels).verdicts}
    assert by_name["rlg"].exact_match == 1.0


@pytest.mark.slow
def test_enough_noise_holds_and_the_positive_control_proves_the_attacks_work() -> None:
    result = assert_labels_not_recoverable(CASE.update, CASE.labels, defence=STRONG)
    assert result.outcome == "held"
    assert max(v.advantage for v in result.control) == 1.0
    assert max(v.advantage for v in result.verdicts) <= 0.1


def test_sign_compression_does_not_hold() -> None:
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(CASE.update, CASE.labels, defence="sign")


@dataclass
class Blind:
    """An attack that finds nothing, ever."""

    name: str = "blind"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return Recovery(attack=self.name, status="recovered")


def test_a_defence_is_not_credited_when_the_attack_fails_without_it_too() -> None:
    with pytest.raises(InconclusiveAudit, match="positive control failed"):
        assert_labels_not_recoverable(CASE.update, CASE.labels, defence=Sign(), attacks=Blind())


def test_without_a_defence_nothing_holds() -> None:
    result = audit(CASE.update, CASE.labels, attacks=Blind())
    assert result.outcome == "inconclusive"
    assert "an undefended update never holds" in result.message
    assert "reads them with advantage 1.00" in result.message


@dataclass
class Able(Blind):
    """Names all labels of the undefended update, and none of the defended."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        labels = () if update.defences else tuple(sorted(set(CASE.labels.tolist())))
        return Recovery(attack=self.name, status="recovered", labels=labels)


def test_labels_that_are_visible_in_hindsight_are_never_a_pass() -> None:
    result = audit(CASE.update, CASE.labels, attacks=Able(), defence=Sign())
    assert result.outcome == "inconclusive"
    assert "the labels are visible in this update" in result.message


def test_labels_of_another_batch_are_named_as_such() -> None:
    for labels, why in (((CASE.labels + 1) % 200, "label - 1"), (199 - CASE.labels, "reverse order")):
        result = audit(CASE.update, labels, attacks=Blind())
        assert (result.outcome, why in result.message) == ("inconclusive", True)


@pytest.mark.parametrize("classes", [7, 20, 100])
def test_pure_noise_neither_leaks_nor_holds(classes: int) -> None:
    rng = np.random.default_rng(classes)
    for seed in range(5):
        update = Update.from_arrays(rng.normal(size=(16, classes)), bias_gradient=rng.normal(size=classes))
        labels = rng.integers(0, classes, 4)
        assert audit(update, labels, seed=seed, attacks=["bias_sign", "llg", "yin", "rlg"]).outcome == "inconclusive"


def test_a_budget_that_is_spent_is_inconclusive() -> None:
    @dataclass
    class Endless(Blind):
        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            while True:
                rng.random(10)

    result = audit(CASE.update, CASE.labels, attacks=Endless(), time_budget=0.3)
    assert result.outcome == "inconclusive"
    assert "the time budget of 0.3 s was spent" in result.message


@pytest.mark.parametrize(
    ("gradient", "labels", "why"),
    [
        (np.full((4, 6), np.nan), [1, 2], "24 of 24 entries"),
        (np.zeros((4, 6)), [1, 2], "zero everywhere"),
        (CASE.update.kernel_gradient, np.arange(200), "every one of the 200 classes is present"),
        (CASE.update.kernel_gradient, np.array([], dtype=int), "empty"),
    ],
)
def test_what_cannot_be_decided_is_never_a_pass(gradient: np.ndarray, labels: object, why: str) -> None:
    update = Update.from_arrays(gradient)
    assert audit(update, np.asarray(labels)).outcome == "inconclusive"
    with pytest.raises(InconclusiveAudit, match=why) as caught:
        assert_labels_not_recoverable(update, np.asarray(labels))
    assert "\n" not in str(caught.value)  # one reason for all attacks is said once


def test_no_applicable_attack_is_inconclusive_and_says_why() -> None:
    with pytest.raises(InconclusiveAudit, match=r"no attack applies: idlg .*more than one label position"):
        assert_labels_not_recoverable(CASE.update, CASE.labels, attacks="idlg")


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), -0.1, 1.1, "0.1", True])
def test_thresholds_that_would_disarm_the_gate_are_refused(threshold: object) -> None:
    with pytest.raises(InvalidArgumentError, match="threshold="):
        audit(CASE.update, CASE.labels, threshold=threshold)  # type: ignore[arg-type]


def test_a_threshold_of_one_tolerates_everything_and_of_zero_nothing() -> None:
    assert audit(CASE.update, CASE.labels, threshold=1.0).outcome == "held"
    assert audit(CASE.update, CASE.labels, threshold=0.0).outcome == "leaked"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown attack 'nope'"):
        audit(CASE.update, CASE.labels, attacks="nope")
    with pytest.raises(UnknownNameError, match="unknown defence 'nope'"):
        audit(CASE.update, CASE.labels, defence="nope")
    with pytest.raises(InvalidArgumentError, match="attacks is empty"):
        audit(CASE.update, CASE.labels, attacks=[])
    with pytest.raises(InvalidArgumentError, match="seed=-1"):
        audit(CASE.update, CASE.labels, seed=-1)


def test_a_model_of_unknown_kind_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"builtins.object.*Update.from_arrays"):
        audit(object(), ([1], [2]))


@pytest.mark.parametrize("batch", [(np.ones(2), np.ones(2)), {"x": 1, "y": 2}, np.ones((2, 2), dtype=int)])
def test_an_update_takes_its_labels_as_batch(batch: object) -> None:
    with pytest.raises(InvalidArgumentError, match="the model is an Update"):
        audit(CASE.update, batch)
    with pytest.raises(InvalidArgumentError, match="head= has no meaning"):
        audit(CASE.update, CASE.labels, head="dense")


class Batches:
    """An adapter whose model maps the index of a batch to an update."""

    name = "batches"

    def capture(self, model: object, batch: object, **options: object) -> Update:
        return CASES[batch].update  # type: ignore[index]

    def labels(self, model: object, batch: object, **options: object) -> pytest_labelleak.Truth:
        return pytest_labelleak.Truth(labels=CASES[batch].labels, classes=200)  # type: ignore[index]


CASES = {(i,): make_update(positions=4, features=48, classes=200, seed=i) for i in range(4)}


def test_several_batches_are_pooled_with_an_interval() -> None:
    with activate(Scope(adapter=lambda model: Batches())):
        result = audit("anything", list(CASES), attacks="rlg")
    (verdict,) = result.verdicts
    assert (result.batches, verdict.batches, verdict.advantage) == (4, 4, 1.0)
    assert verdict.interval is not None
    assert verdict.interval[1] == 1.0
    assert len(verdict.recovered) == 4


@dataclass
class Stopped(Blind):
    """Names all labels of undefended batches, and none of defended ones."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        known = {id(case.update): tuple(sorted(set(case.labels.tolist()))) for case in (*CASES.values(), CASE)}
        return Recovery(attack=self.name, status="recovered", labels=known.get(id(update), ()))


@pytest.mark.slow
def test_confidence_asks_for_more_batches_and_believes_its_own_number() -> None:
    def outcome(count: int, **arguments: object) -> pytest_labelleak.Audit:
        batches = [(i % 4,) for i in range(count)]
        with activate(Scope(adapter=lambda model: Batches())):
            return audit("anything", batches, attacks=Stopped(), defence=STRONG, **arguments)  # type: ignore[arg-type]

    assert outcome(5).outcome == "held"
    few = outcome(5, confidence=0.9)
    assert (few.outcome, few.confidence) == ("inconclusive", 0.9)
    more = int(few.message.split("pass about ")[1].split()[0])
    enough = outcome(5 + more, confidence=0.9)
    assert enough.outcome == "held"
    assert enough.upper_bound is not None
    assert enough.upper_bound <= 0.1 < few.upper_bound  # type: ignore[operator]
    assert outcome(4 + more, confidence=0.9).outcome == "inconclusive"
    with pytest.raises(InconclusiveAudit, match=r"over 1 batch.es. is 0.9\d > 0.10; pass about \d\d more") as caught:
        assert_labels_not_recoverable(CASE.update, CASE.labels, attacks=Stopped(), defence=STRONG, confidence=0.95)
    assert "attack          advantage  bound precision" in str(caught.value)
    with pytest.raises(InvalidArgumentError, match="confidence=1"):
        audit(CASE.update, CASE.labels, confidence=1)


def test_confidence_leaves_the_positive_control_alone() -> None:
    result = assert_labels_not_recoverable(
        CASE.update, CASE.labels, defence=STRONG, attacks="bias_sign", confidence=0.5, threshold=0.99
    )
    assert result.control[0].upper_bound is None
    assert result.upper_bound is not None


def test_no_batches_at_all_is_inconclusive() -> None:
    with activate(Scope(adapter=lambda model: Batches())), pytest.raises(InconclusiveAudit, match="empty"):
        assert_labels_not_recoverable("anything", [])


@pytest.mark.slow
def test_endless_data_is_refused() -> None:
    def endless() -> object:
        while True:
            yield (0,)

    class Empty(Batches):
        def labels(self, model: object, batch: object, **options: object) -> pytest_labelleak.Truth:
            return pytest_labelleak.Truth(labels=np.array([]), classes=200)

    with (
        activate(Scope(adapter=lambda model: Empty())),
        pytest.raises(InvalidArgumentError, match="more than 10000 batches"),
    ):
        audit("anything", endless(), attacks=Blind())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_record() -> None:
    records = [
        audit(CASE.update, CASE.labels, defence=GaussianNoise(relative=3.0), seed=seed).to_record()
        for seed in (1, 1, 2)
    ]
    assert records[0] == records[1] != records[2]


def test_a_recorded_limit_replaces_the_threshold_for_assertions_only() -> None:
    with activate(Scope(recorded_limit=lambda index: 1.0 if index == 0 else None)):
        assert audit(CASE.update, CASE.labels).outcome == "leaked"
        result = assert_labels_not_recoverable(CASE.update, CASE.labels)
        assert (result.outcome, result.limit_source, result.threshold) == ("held", "baseline", 0.1)
        with pytest.raises(LabelLeak):
            assert_labels_not_recoverable(CASE.update, CASE.labels)


@pytest.mark.parametrize(
    ("positions", "features", "classes", "why"),
    [
        (60, 16, 40, "more than features and classes"),
        (80, 64, 40, "more than classes"),
        (30, 16, 90, "more than features"),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.slow
def test_batches_too_large_for_geometry_are_read_by_attacks_that_count(
    positions: int, features: int, classes: int, why: str, signed: bool
) -> None:
    case = make_update(positions=positions, features=features, classes=classes, seed=1, duplicates=0.7, signed=signed)
    result = audit(case.update, case.labels, counts=True)
    by_name = {verdict.attack: verdict for verdict in result.verdicts}
    assert (result.outcome, result.advantage) == ("leaked", 1.0), why
    assert by_name["bias_counts"].counts_exact == 1.0
    assert result.positions_exact == 1.0
    assert by_name["rlg"].positions_exact is None  # the rank is that of the head, not the number of positions
    # Every class present: the counts can still be read, yet presence tells nothing.
    full = audit(case.update, np.arange(classes).repeat(2), counts=True)
    assert full.outcome == "inconclusive"
    assert f"every one of the {classes} classes is present" in full.message


def test_labels_stay_out_of_messages_and_records_unless_asked_for() -> None:
    case = make_update(positions=3, features=16, classes=60000, seed=1)
    secrets = [str(label) for label in case.labels]
    for show in (False, True):
        with activate(Scope()) as scope:
            scope.settings = scope.settings.override(show_labels=show)
            with pytest.raises(LabelLeak) as caught:
                assert_labels_not_recoverable(case.update, case.labels)
            text = f"{caught.value} {scope.records} {caught.value.audit!r}"
        assert all((secret in text) is show for secret in secrets)


def test_reading_the_number_of_label_positions_is_reported_without_the_number() -> None:
    @dataclass
    class Counter(Blind):
        """Names nothing, but counts right in every batch but one."""

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            wrong = update is CASES[(2,)].update
            return Recovery(attack=self.name, status="recovered", positions=913 if wrong else 4)

    line = "the number of label positions (batch size or transcript length) was read exactly in 3 of 4 batch(es)"
    for show in (False, True):
        with activate(Scope(adapter=lambda model: Batches())) as scope:
            scope.settings = scope.settings.override(show_labels=show)
            assert audit("anything", list(CASES), attacks=Counter()).positions_exact == 0.75
            with pytest.raises(LabelLeak) as caught:
                assert_labels_not_recoverable("anything", list(CASES), attacks=[Counter(), "bias_sign"])
            text = f"{caught.value} {scope.records} {caught.value.audit!r}"
        # It is no advantage: alone it does not fail a test.
        assert [record["outcome"] for record in scope.records] == ["inconclusive", "leaked"]
        assert [record["statistics"]["positions_exact"] for record in scope.records] == [0.75, 0.75]
        assert line in text
        assert ("913" in text) is show


def test_counts_are_part_of_the_audit_on_request() -> None:
    case = make_update(positions=12, features=64, classes=200, seed=3, duplicates=0.5)
    plain = audit(case.update, case.labels, attacks="bias_counts").to_record()
    assert plain["verdicts"][0]["statistics"]["counts_advantage"] is None
    counted = audit(case.update, case.labels, attacks=["bias_counts", "bias_sign"], counts=True).to_record()
    by_name = {verdict["attack"]: verdict["statistics"] for verdict in counted["verdicts"]}
    assert by_name["bias_counts"]["counts_exact"] == by_name["bias_counts"]["counts_advantage"] == 1.0
    assert by_name["bias_sign"]["counts_advantage"] is None
    with pytest.raises(LabelLeak) as caught:
        assert_labels_not_recoverable(case.update, case.labels, attacks=["bias_counts", "bias_sign"], counts=True)
    assert "attack          advantage counts precision" in str(caught.value)
    with pytest.raises(InvalidArgumentError, match="counts=1 is a int"):
        audit(case.update, case.labels, counts=1)  # type: ignore[arg-type]


def test_a_leak_of_the_counts_alone_fails_only_where_counts_are_asked_for() -> None:
    @dataclass
    class Majority(Blind):
        """Says that every position holds one label, which most of them do."""

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            return Recovery(attack=self.name, status="recovered", labels=(0,), counts={0: 11})

    class Skewed(Batches):
        """Every batch has the same labels."""

        def labels(self, model: object, batch: object, **options: object) -> pytest_labelleak.Truth:
            return pytest_labelleak.Truth(labels=np.array([0] * 8 + [1, 2, 3]), classes=200)

    with activate(Scope(adapter=lambda model: Skewed())) as scope:
        assert audit("anything", list(CASES), attacks=Majority(), threshold=0.5).outcome == "inconclusive"
        # One class in two hundred is right by luck too often for a single batch.
        assert (
            "probability 0.02"
            in audit("anything", list(CASES)[:1], counts=True, attacks=Majority(), threshold=0.5).message
        )
        scope.records.clear()
        with pytest.raises(LabelLeak, match=r"^leaked: counts advantage 0.72 > 0.50"):
            assert_labels_not_recoverable("anything", list(CASES), counts=True, attacks=Majority(), threshold=0.5)
    assert scope.records[0]["figure"] == scope.records[0]["verdicts"][0]["statistics"]["counts_advantage"]
    assert scope.records[0]["figure_ceiling"] >= scope.records[0]["figure"]


def test_a_foreign_adapter_must_agree_on_the_classes() -> None:
    class Wrong(Batches):
        def labels(self, model: object, batch: object, **options: object) -> pytest_labelleak.Truth:
            return pytest_labelleak.Truth(labels=np.array([1]), classes=7)

    with activate(Scope(adapter=lambda model: Wrong())), pytest.raises(InvalidArgumentError, match="over 7 classes"):
        audit("anything", (0,))


def test_the_truth_never_reaches_an_attack() -> None:
    """An attack sees nothing but the update: the labels are not even reachable from it."""
    seen: list[object] = []

    @dataclass
    class Spy:
        name: str = "spy"

        def __call__(self, *arguments: object, **options: object) -> Recovery:
            seen.extend([*arguments, *options.values()])
            return Recovery(attack=self.name, status="recovered")

    audit(CASE.update, CASE.labels, attacks=Spy())
    assert [type(thing) for thing in seen] == [Update, np.random.Generator]
    assert run.__kwdefaults__ is None


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, pytest_labelleak; "
        "print([m for m in ('numpy', 'scipy', 'keras', 'tensorflow', 'hypothesis') if m in sys.modules]); "
        "print(all(hasattr(pytest_labelleak, name) for name in dir(pytest_labelleak)), 'Update' in dir(pytest_labelleak))"  # noqa: E501
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True True"]
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        pytest_labelleak.nope  # noqa: B018
