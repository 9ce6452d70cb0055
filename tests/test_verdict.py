"""Scoring: advantage, pooling, intervals, outcomes; labels never show."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import InvalidArgumentError, Recovery, Truth, Verdict
from pytest_labelleak.interval import bounded_mean_interval
from pytest_labelleak.outcome import outcome_of
from pytest_labelleak.verdict import pool, score

TRUTH = Truth(labels=np.array([3, 3, 7, 11]), classes=20)


def recovered(*labels: int) -> Recovery:
    return Recovery(attack="a", status="recovered", labels=labels)


@pytest.mark.parametrize(
    ("labels", "advantage", "precision", "recall", "exact"),
    [
        ((3, 7, 11), 1.0, 1.0, 1.0, 1.0),
        ((), 0.0, 0.0, 0.0, 0.0),
        (tuple(range(20)), 0.0, 3 / 20, 1.0, 0.0),
        ((3, 7), 2 / 3, 1.0, 2 / 3, 0.0),
        ((3, 7, 11, 12), 1 - 1 / 17, 3 / 4, 1.0, 0.0),
        ((0, 1), -2 / 17, 0.0, 0.0, 0.0),
    ],
)
def test_figures_of_one_batch(
    labels: tuple[int, ...], advantage: float, precision: float, recall: float, exact: float
) -> None:
    verdict = score(recovered(*labels), TRUTH)
    assert verdict.advantage == pytest.approx(advantage)
    assert verdict.precision == pytest.approx(precision)
    assert verdict.recall == pytest.approx(recall)
    assert verdict.exact_match == exact
    assert verdict.labels == 3
    assert verdict.chance == pytest.approx(3 / 20)


def test_random_guessing_has_no_advantage_on_average() -> None:
    rng = np.random.default_rng(0)
    guesses = [score(recovered(*map(int, np.flatnonzero(rng.random(20) < 0.4))), TRUTH).advantage for _ in range(4000)]
    assert abs(np.mean(guesses)) < 0.02


def test_presence_of_every_class_is_inconclusive() -> None:
    verdict = score(recovered(0, 1, 2), Truth(labels=np.array([0, 1, 2, 1]), classes=3))
    assert verdict.status == "inconclusive"
    assert "every one of the 3 classes is present" in verdict.message


def test_no_label_is_inconclusive() -> None:
    assert score(recovered(), Truth(labels=np.array([]), classes=3)).status == "inconclusive"


def test_an_attack_may_not_invent_classes() -> None:
    with pytest.raises(InvalidArgumentError, match="named a class that does not exist"):
        score(recovered(20), TRUTH)


@pytest.mark.parametrize("bad", [[-1, 2], [1, 20], [99917364]])
def test_labels_out_of_range_are_counted_not_quoted(bad: list[int]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"1 of \d labels are out of range.*0 to 19") as caught:
        Truth(labels=np.array(bad), classes=20)
    assert "917364" not in str(caught.value)


def test_labels_must_be_integers() -> None:
    with pytest.raises(InvalidArgumentError, match="dtype float64"):
        Truth(labels=np.array([1.5]), classes=20)


def test_nothing_private_in_any_repr() -> None:
    truth = Truth(labels=np.array([17364]), classes=20000)
    recovery = recovered(17364)
    verdict = score(recovery, truth)
    for thing in (truth, recovery, verdict):
        assert "17364" not in repr(thing)
    assert "17364" not in str(verdict.to_record())
    assert "17364" in str(verdict.to_record(show_labels=True))


def verdict(advantage: float, status: str = "recovered", attack: str = "a") -> Verdict:
    return Verdict(attack=attack, status=status, advantage=advantage, message="" if status == "recovered" else "why")


def test_pooling_averages_and_carries_an_interval() -> None:
    pooled = pool([verdict(1.0), verdict(0.5), verdict(0.0)])
    assert pooled.advantage == pytest.approx(0.5)
    assert pooled.batches == 3
    assert pooled.interval is not None
    assert pooled.interval[0] < 0.5 < pooled.interval[1]


def test_one_batch_without_a_claim_counts_for_the_defender_and_one_undecided_spoils_the_pool() -> None:
    pooled = pool([verdict(1.0), verdict(0.0, "not applicable")])
    assert (pooled.status, pooled.advantage) == ("recovered", 0.5)
    assert pool([verdict(1.0), verdict(0.0, "inconclusive")]).status == "inconclusive"
    assert pool([verdict(0.0, "not applicable")] * 2).status == "not applicable"


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ([verdict(0.1)], "held"),
        ([verdict(0.11)], "leaked"),
        ([verdict(-1.0)], "held"),
        ([verdict(0.05), verdict(0.9, attack="b")], "leaked"),
        ([verdict(0.9), verdict(0, "inconclusive", "b")], "leaked"),
        ([verdict(0.0), verdict(0, "inconclusive", "b")], "inconclusive"),
        ([verdict(0.0), verdict(0, "not applicable", "b")], "held"),
        ([verdict(0, "not applicable", "b")], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_outcomes_at_a_limit_of_a_tenth(verdicts: list[Verdict], outcome: str) -> None:
    decided, message = outcome_of(verdicts, 0.1)
    assert decided == outcome
    assert message.startswith(outcome)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        values = rng.choice([1.0, 0.6, -0.2], p=[0.3, 0.5, 0.2], size=12)
        low, high = bounded_mean_interval(values, low=-1.0, high=1.0)
        assert -1.0 <= low <= high <= 1.0
        covered += low <= 0.56 <= high
    assert covered >= 285


def test_the_interval_narrows_with_the_number_of_batches() -> None:
    widths = []
    for n in (5, 50, 500):
        low, high = bounded_mean_interval([0.4, 0.6] * n, low=-1.0, high=1.0)
        assert low <= 0.5 <= high
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] < 0.1
