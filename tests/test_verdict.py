"""Scoring: advantage, pooling, intervals, outcomes; labels never show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_labelleak import InvalidArgumentError, Recovery, Truth, Verdict
from pytest_labelleak.auditing.evidence.confidence import (
    bounded_mean_interval,
    lower_bound,
    observations_needed,
    upper_bound,
)
from pytest_labelleak.auditing.outcome import Bar, Decision, strongest
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool as pool_for
from pytest_labelleak.auditing.questions.question import Evidence
from pytest_labelleak.core.recovery import Status

TRUTH = Truth(labels=np.array([3, 3, 7, 11]), classes=20)


def score(recovery: Recovery, truth: Truth, *, counts: bool = False) -> Verdict:
    return Labels(counts=counts).score(recovery, truth)


def pool(verdicts: Sequence[Verdict], *, confidence: float | None = None, counts: bool = True) -> Verdict:
    return pool_for(Labels(counts=counts), verdicts, confidence=confidence)


def decide(
    verdicts: Sequence[Verdict],
    limit: float,
    *,
    threshold: float | None = None,
    confidence: float | None = None,
    counts: bool = True,
) -> Decision:
    bar = Bar(limit=limit, threshold=limit if threshold is None else threshold, confidence=confidence)
    return Labels(counts=counts).decide(verdicts, bar, Evidence(protected=True))


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
    recovery = Recovery(
        attack="a",
        status="recovered",
        labels=(17364,),
        counts={17364: 1},
        sample_labels=(17364,),
        softmax=np.array([[17364.0]]),
        features=np.array([[17364.0]]),
    )
    verdict = score(recovery, truth, counts=True)
    for thing in (truth, recovery, verdict):
        assert "17364" not in repr(thing)
    assert "17364" not in str(verdict.to_record())
    assert "17364" in str(verdict.to_record(show_labels=True))


def claimed(samples: int | None, *labels: int) -> Recovery:
    return Recovery(attack="a", status="recovered", labels=labels, positions=samples)


def test_the_number_of_label_positions_is_a_finding_of_its_own() -> None:
    assert score(claimed(4, 3), TRUTH).positions_exact == 1.0  # four positions, three distinct labels
    assert score(claimed(3, 3, 7, 11), TRUTH).positions_exact == 0.0
    assert score(claimed(None, 3), TRUTH).positions_exact is None
    not_applicable = score(Recovery.not_applicable("a", "why"), TRUTH)
    assert not_applicable.positions_exact is None
    # It may be read where the set of labels tells nothing.
    full = score(claimed(4), Truth(labels=np.array([0, 1, 1, 0]), classes=2))
    assert (full.status, full.positions_exact) == ("inconclusive", 1.0)
    # A batch without a claim is one that was not read.
    several = pool([score(claimed(4), TRUTH), score(claimed(5), TRUTH), score(claimed(None), TRUTH), not_applicable])
    assert several.positions_exact == 0.25
    assert several.positions == (4, 5, None, None)
    assert pool([not_applicable, score(claimed(None), TRUTH)]).positions_exact is None


def test_the_number_of_label_positions_is_private() -> None:
    several = pool([score(claimed(90817), TRUTH), score(claimed(4), TRUTH)])
    for text in (repr(several), str(several.to_record())):
        assert "90817" not in text
    assert several.to_record(show_labels=True)["statistics"]["positions"] == [90817, 4]


def counted(counts: dict[int, int] | None) -> Recovery:
    return Recovery(attack="a", status="recovered", labels=tuple(sorted(counts or ())), counts=counts)


def test_counts_are_scored_on_request_against_multiplicities() -> None:
    exact, wrong = counted({3: 2, 7: 1, 11: 1}), counted({3: 1, 7: 2, 11: 1})
    assert score(exact, TRUTH).counts_advantage is None
    verdict = score(exact, TRUTH, counts=True)
    assert (verdict.count_accuracy, verdict.counts_exact, verdict.counts_advantage) == (1.0, 1.0, 1.0)
    verdict = score(wrong, TRUTH, counts=True)
    assert (verdict.count_accuracy, verdict.counts_exact) == (0.75, 0.0)
    assert verdict.counts_advantage == pytest.approx((0.75 - 3 / 20) / (1 - 3 / 20))
    assert score(counted(None), TRUTH, counts=True).counts_advantage is None
    several = pool([score(exact, TRUTH, counts=True), score(counted(None), TRUTH, counts=True)], confidence=0.9)
    assert (several.count_accuracy, several.counts_exact, several.counts_advantage) == (0.5, 0.5, 0.5)
    assert several.series == ((1.0, 0.0), (1.0, 0.0), (1.0, 0.0))


@pytest.mark.parametrize("counts", [{20: 1}, {-1: 1}, {3: -2}])
def test_an_attack_may_not_invent_counts(counts: dict[int, int]) -> None:
    recovery = Recovery(attack="a", status="recovered", counts=counts)
    with pytest.raises(InvalidArgumentError, match=r"class that does not exist|less than 0 times"):
        score(recovery, TRUTH, counts=True)


def test_the_larger_of_both_advantages_is_compared() -> None:
    # Eight of eleven positions hold one label; naming it eleven times says little about the set, much about counts.
    truth = Truth(labels=np.array([0] * 8 + [1, 2, 3]), classes=20)
    alone = score(counted({0: 11}), truth)
    both = score(counted({0: 11}), truth, counts=True)
    assert alone.figure == alone.advantage == both.advantage == 0.25
    assert both.figure == both.counts_advantage == pytest.approx((8 / 11 - 0.2) / 0.8)
    assert decide([alone], 0.5).outcome == "held"
    assert decide([both], 0.5).message == "leaked: counts advantage 0.66 > 0.50 (a)"
    assert strongest([score(recovered(0, 1), truth), both]) is both
    # So it is for their bounds: the set alone would do after as many batches.
    sets = pool([alone] * 300, confidence=0.95)
    counts = pool([both] * 300, confidence=0.95)
    assert counts.upper_bound > 0.66 > 0.3 > sets.upper_bound  # type: ignore[operator]


def verdict(advantage: float, status: str = "recovered", attack: str = "a") -> Verdict:
    made = status == "recovered"
    return Verdict(
        attack=attack,
        status=Status(status),
        reason="" if made else "why",
        figure=advantage if made else None,
        declared=Labels.declared,
        stats={"advantage": advantage},
    )


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
        ([verdict(0.0), verdict(0, "not run", "b")], "held"),
        ([verdict(0, "not applicable", "a"), verdict(0, "not run", "b")], "inconclusive"),
        ([verdict(0, "not run", "b")], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_outcomes_at_a_limit_of_a_tenth(verdicts: list[Verdict], outcome: str) -> None:
    decision = decide(verdicts, 0.1)
    assert decision.outcome == outcome
    assert decision.message.startswith(outcome)


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


#: Values and probabilities; the last is the one that a normal approximation fails on.
DISTRIBUTIONS = (
    ([1.0, -1.0], [0.5, 0.5]),
    ([1.0, 0.6, -0.2], [0.3, 0.5, 0.2]),
    ([0.05, 0.1], [0.5, 0.5]),
    ([1.0, 0.0], [0.03, 0.97]),
)


@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize(("values", "shares"), DISTRIBUTIONS)
def test_one_sided_bounds_cover_the_mean_as_often_as_they_say(
    values: list[float], shares: list[float], count: int
) -> None:
    rng = np.random.default_rng(count)
    mean = float(np.dot(values, shares))
    # Bounds ignore the order of a sample (see below), so that each of the few different ones is bounded once.
    samples = Counter(tuple(sorted(rng.choice(values, p=shares, size=count).tolist())) for _ in range(400))
    above = below = 0
    for sample, times in samples.items():
        above += times * (upper_bound(sample, low=-1.0, high=1.0, confidence=0.8) < mean)
        below += times * (lower_bound(sample, low=-1.0, high=1.0, confidence=0.8) > mean)
    # At most 80 expected; 104 is three standard deviations more.
    assert above <= 104
    assert below <= 104


def test_the_largest_bound_covers_the_largest_mean_of_several_attacks_without_a_correction() -> None:
    rng = np.random.default_rng(2)
    failed = 0
    of_successes = [upper_bound([0.0] * (20 - n) + [1.0] * n, low=-1.0, high=1.0, confidence=0.5) for n in range(21)]
    for _ in range(400):
        # Of equal means, any could be the largest: the least favourable case, as the others cannot help.
        successes = np.count_nonzero(rng.random((6, 20)) < 0.3, axis=1)
        failed += max(of_successes[n] for n in successes) < 0.3
    assert failed <= 230


@settings(deadline=None)
@given(
    values=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=12),
    confidence=st.floats(0.01, 0.999),
    seed=st.integers(0, 99),
)
def test_bounds_enclose_the_mean_mirror_each_other_and_ignore_the_order(
    values: list[float], confidence: float, seed: int
) -> None:
    mean = float(np.mean(values))
    low = lower_bound(values, low=-1.0, high=1.0, confidence=confidence)
    high = upper_bound(values, low=-1.0, high=1.0, confidence=confidence)
    assert -1.0 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= 1.0
    assert upper_bound([-v for v in values], low=-1.0, high=1.0, confidence=confidence) == pytest.approx(-low)
    shuffled = np.random.default_rng(seed).permutation(values)
    assert upper_bound(shuffled, low=-1.0, high=1.0, confidence=confidence) == pytest.approx(high, abs=1e-9)
    surer = upper_bound(values, low=-1.0, high=1.0, confidence=0.5 + 0.5 * confidence)
    assert surer >= high - 1e-12


@settings(deadline=None)
@given(
    values=st.lists(st.sampled_from([-0.2, 0.0, 0.05, 0.3, 1.0]), min_size=1, max_size=6),
    limit=st.sampled_from([0.1, 0.4, 0.9]),
)
def test_the_number_of_batches_that_is_said_to_be_enough_is_enough_and_no_fewer(
    values: list[float], limit: float
) -> None:
    def bound(times: int) -> float:
        return upper_bound(values * times, low=-1.0, high=1.0, confidence=0.95)

    needed = observations_needed(values, limit, low=-1.0, high=1.0, confidence=0.95)
    if needed is None:
        assert bound(50) > limit
        return
    enough = -(-needed // len(values))
    assert bound(enough) <= limit + 1e-9
    assert enough == 1 or bound(enough - 1) > limit - 1e-9


def pooled(*advantages: float, attack: str = "a", status: str = "recovered", confidence: float = 0.95) -> Verdict:
    return pool([verdict(advantage, status, attack) for advantage in advantages], confidence=confidence)


def test_a_pass_with_confidence_needs_the_bound_of_every_attack() -> None:
    def of(*verdicts: Verdict, limit: float = 0.1, threshold: float | None = None) -> tuple[str, str]:
        decision = decide(verdicts, limit, confidence=0.95, threshold=threshold)
        return decision.outcome, decision.message

    outcome, message = of(pooled(*[0.0] * 50))
    assert (outcome, message) == (
        "held",
        "held: advantage 0.00 <= 0.10 (a), the upper 95 % bound 0.09 <= 0.10; evidence: the attacks succeed without "
        "the defence",
    )
    outcome, message = of(pooled(0.0, 0.0, 0.0))
    assert outcome == "inconclusive"
    assert message == (
        "inconclusive: advantage 0.00 <= 0.10 (a), but the upper 95 % bound over 3 batch(es) is 0.77 > 0.10; "
        "pass about 40 more batches like these, or ask for less confidence"
    )
    assert of(pooled(*[0.0] * 43))[0] == "held"
    assert of(pooled(*[0.0] * 42))[0] == "inconclusive"
    assert of(pooled(0.0))[0] == "inconclusive"
    assert "no number of batches like these" in of(pooled(*[0.1] * 200))[1]
    assert of(pooled(*[0.2] * 2))[0] == "leaked"
    # One attack that scatters spoils the pass of one that does not, also if its mean is lower.
    scattered = pooled(*[1.0, -1.0] * 25, attack="b")
    assert of(pooled(*[0.05] * 500), scattered)[0] == "inconclusive"
    # So does one that did not apply, as long as there are too few batches to tell how often it does.
    assert of(pooled(*[-0.5] * 30), pooled(*[0.0] * 30, attack="b", status="not applicable"))[0] == "inconclusive"
    assert of(pooled(*[-0.5] * 30))[0] == "held"
    # A verdict without a bound, for whatever reason, is no reason to pass.
    assert of(pooled(*[0.0] * 50), pool([verdict(0.0, attack="b")] * 50))[0] == "inconclusive"
    # An attack that was not run is no reason either way.
    assert of(pooled(*[0.0] * 50), verdict(0.0, "not run", "b"))[0] == "held"
    # A baseline beyond the threshold accepts a leak; one within it does not.
    assert of(pooled(0.5, 0.5), limit=0.5, threshold=0.1)[0] == "held"
    assert of(pooled(0.0, 0.0), limit=0.05, threshold=0.1)[0] == "inconclusive"
    assert of(pooled(*[0.0] * 60), limit=0.0, threshold=0.1)[0] == "held"


def test_bounds_are_only_there_on_request() -> None:
    assert pool([verdict(0.0)]).upper_bound is None
    assert pool([verdict(0.0)] * 2).upper_bound is None
    assert pool([verdict(0.0), verdict(0.0, "inconclusive")], confidence=0.9).upper_bound is None
    assert pooled(0.0).to_record()["upper_bound"] == pytest.approx(0.98, abs=0.01)
