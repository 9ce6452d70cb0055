"""Label counts: shares of classes where every class is present, against the best uninformed guess."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import (
    Audit,
    GaussianNoise,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Truth,
    Update,
    assert_label_counts_not_recoverable,
    assert_labels_not_recoverable,
    attack,
    audit,
)
from pytest_labelleak.auditing.questions.label_counts import LabelCounts
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.scoring.counts import distance, shares_advantage, uninformed_distance
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.testing import check_question

CLASSES = 7


def captured(batch: int, classes: int, *, seed: int = 0, features: int = 64) -> tuple[Update, np.ndarray]:
    """Return the update of a batch that holds every class, one of them most often."""
    rng = np.random.default_rng(seed)
    inputs = np.maximum(rng.normal(size=(batch, features)), 0.0)
    weights = rng.normal(size=(features, classes)) / np.sqrt(features)
    logits = inputs @ weights
    outputs = np.exp(logits - logits.max(axis=1, keepdims=True))
    outputs /= outputs.sum(axis=1, keepdims=True)
    labels = np.minimum(rng.geometric(0.85 if classes == 2 else 0.5, size=batch) - 1, classes - 1)
    labels[:classes] = np.arange(classes)
    errors = (outputs - np.eye(classes)[labels]) / batch
    update = Update.from_arrays(
        (inputs.T @ errors).astype("float32"),
        bias_gradient=errors.sum(axis=0).astype("float32"),
        kernel=weights.astype("float32"),
        bias=np.zeros(classes, "float32"),
    )
    return update, labels


class Several:
    """An adapter of which a batch is the seed of an update."""

    name = "several"

    def __init__(self, batch: int, classes: int) -> None:
        self.size = (batch, classes)

    def capture(self, model: object, batch: tuple[int], **options: object) -> Update:
        return captured(*self.size, seed=batch[0])[0]

    def labels(self, model: object, batch: tuple[int], **options: object) -> Truth:
        return Truth(labels=captured(*self.size, seed=batch[0])[1], classes=self.size[1])


def asked(batches: int, size: tuple[int, int], **options: Any) -> Audit:
    """Audit several batches of one size."""
    with activate(Scope(adapter=lambda model: Several(*size))):
        return audit("anything", [(seed,) for seed in range(batches)], question=LabelCounts(), **options)


@pytest.mark.parametrize(("batches", "size"), [(12, (32, 2)), (1, (64, 10))])
@pytest.mark.slow
def test_the_counts_leak_where_every_class_is_present(batches: int, size: tuple[int, int]) -> None:
    update, labels = captured(*size)
    assert set(labels) == set(range(size[1]))
    # Nothing tells the number of label positions, so no attack counts; the shares are there all the same.
    recovery = attack("bias_counts", update)
    assert recovery.status == "not applicable"
    assert recovery.counts is None
    assert recovery.shares is not None
    assert sum(recovery.shares.values()) == pytest.approx(1.0)
    result = asked(batches, size)
    assert result.outcome == "leaked"
    assert result.shares_advantage > 0.5
    assert result.message.startswith("leaked: advantage over shares ")
    assert result.batches_full == batches
    with activate(Scope(adapter=lambda model: Several(*size))):
        with pytest.raises(LabelLeak) as caught:
            assert_label_counts_not_recoverable("anything", [(seed,) for seed in range(batches)])
        with pytest.raises(LabelLeak, match="leaked: shares advantage"):
            assert_labels_not_recoverable("anything", [(seed,) for seed in range(batches)], counts=True)
        with pytest.raises(InconclusiveAudit, match="ask for the counts"):
            assert_labels_not_recoverable("anything", [(seed,) for seed in range(batches)])
    assert f"every class is present in {batches} of {batches} batch(es)" in str(caught.value)
    assert "read from 'kernel' and 'bias'" in str(caught.value)


def test_a_single_batch_of_two_classes_can_be_luck() -> None:
    result = asked(1, (32, 2))
    assert result.shares_advantage > 0.8
    assert result.outcome == "inconclusive"
    assert "do as well with probability 1; pass more batches" in result.message


@pytest.mark.slow
def test_enough_noise_holds_with_the_control_and_nothing_undefended_does() -> None:
    held = asked(3, (64, CLASSES), defence=GaussianNoise(relative=300.0))
    assert held.outcome == "held"
    assert "the attacks succeed without the defence" in held.message
    assert any(verdict.figure is not None and verdict.figure > 0.8 for verdict in held.control)
    leaked = asked(3, (64, CLASSES), defence=GaussianNoise(relative=0.01))
    assert leaked.outcome == "leaked"
    assert asked(3, (64, CLASSES), attacks=Even()).outcome == "inconclusive"


@dataclass(frozen=True)
class Even:
    """An attack that claims even shares."""

    name: str = "even"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        shares = dict.fromkeys(range(update.classes), 1.0 / update.classes)
        return Recovery(attack=self.name, status="recovered", shares=shares)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Guess:
    """An attack that claims random shares."""

    name: str = "guess"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        shares = rng.dirichlet(np.ones(update.classes))
        claimed = dict(enumerate((shares / shares.sum()).tolist()))
        return Recovery(attack=self.name, status="recovered", shares=claimed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Luckier(Guess):
    """Another one with a stream of its own."""

    name: str = "luckier"


@pytest.mark.slow
def test_pure_noise_is_not_called_a_leak() -> None:
    update, labels = captured(24, CLASSES)
    rng = np.random.default_rng(3)
    leaks, beyond = 0, 0
    for seed in range(40):
        noise = dataclasses.replace(
            update, gradients={name: rng.normal(size=array.shape) * 1e-3 for name, array in update.gradients.items()}
        )
        named = rng.permutation(labels)
        result = audit(
            noise, named, question=LabelCounts(), attacks=["bias_counts", "ilrg", Guess(), Luckier()], seed=seed
        )
        leaks += result.outcome == "leaked"
        beyond += result.figure > 0.1
        assert result.outcome != "held"
    assert beyond >= 4  # luck goes beyond the limit, and is told from a leak
    assert leaks == 0


@pytest.mark.slow
def test_shares_that_no_attack_claims_and_a_receiver_could_see_are_no_pass() -> None:
    @dataclass(frozen=True)
    class Blinded(Even):
        """An attack that a defence stops although the shares are still there."""

        name: str = "blinded"

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            if update.defences:
                return Recovery.not_applicable(self.name, "the update is defended")
            return dataclasses.replace(attack("bias_counts", update), attack=self.name)

    for noise, outcome in ((0.01, "inconclusive"), (300.0, "held")):
        result = asked(3, (64, CLASSES), attacks=Blinded(), defence=GaussianNoise(relative=noise))
        assert result.outcome == outcome
        assert ("shares of the classes are visible in this update" in result.message) is (outcome == "inconclusive")


def test_an_uninformed_guess_has_no_advantage() -> None:
    true = np.array([0.5, 0.2, 0.1, 0.1, 0.1])
    assert shares_advantage(np.full(5, 0.2), true) == pytest.approx(0.0)
    assert shares_advantage(true, true) == 1.0
    assert shares_advantage(np.array([0.0, 0.0, 0.0, 0.0, 1.0]), true) == -1.0
    # Who expects the population's shares is an uninformed guesser, too.
    population = np.array([0.45, 0.25, 0.1, 0.1, 0.1])
    assert shares_advantage(population, true) > 0.7
    assert shares_advantage(population, true, population) == pytest.approx(0.0)
    far = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    assert uninformed_distance(true, far) == uninformed_distance(true)


@given(st.lists(st.integers(0, 20), min_size=3, max_size=6), st.integers(0, 2**32 - 1))
def test_no_claim_is_closer_than_even_shares_over_all_orders(counts: list[int], seed: int) -> None:
    from itertools import permutations

    true = np.array(counts, dtype=float) + 1e-3
    true /= true.sum()
    claimed = np.random.default_rng(seed).dirichlet(np.ones(true.size))
    distances = [distance(claimed, true[list(order)]) for order in permutations(range(true.size))]
    assert np.mean(distances) >= uninformed_distance(true) - 1e-9


def test_the_question_conforms() -> None:
    truth = Truth(labels=np.array([0, 1, 1, 1, 1, 2, 3, 3]), classes=4)

    def claim(**parts: Any) -> Recovery:
        return Recovery(attack="a", status="recovered", **parts)  # type: ignore[arg-type]

    right = claim(counts={0: 1, 1: 4, 2: 1, 3: 2}, positions=8)
    check_question(LabelCounts(), truth, right=right, wrong=claim(shares={0: 0.5, 2: 0.5}))
    # The number of samples plays no role.
    assert LabelCounts().score(claim(counts={0: 10, 1: 40, 2: 10, 3: 20}), truth).figure == 1.0
    assert LabelCounts().score(claim(labels=(1,)), truth).status == "not applicable"
    assert LabelCounts().score(claim(counts={}), truth).status == "not applicable"
    assert LabelCounts().score(Recovery.not_applicable("a", "why"), truth).reason == "why"


def test_batches_that_anyone_would_guess_are_left_out() -> None:
    exact = Recovery(attack="a", status="recovered", counts={0: 2, 1: 2}, positions=4)  # type: ignore[arg-type]
    even = LabelCounts().score(exact, Truth(labels=np.array([0, 1, 1, 0]), classes=2))
    assert even.status == "inconclusive"
    assert even.left_out == 1.0
    assert "the best uninformed guess says" in even.message
    expecting = LabelCounts(expected=np.array([0.75, 0.25]))
    assert expecting.score(exact, Truth(labels=np.array([0, 0, 0, 1]), classes=2)).left_out == 1.0
    full = Labels(counts=True).score(exact, Truth(labels=np.array([0, 1, 1, 0]), classes=2))
    assert full.left_out == 1.0


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ("even", "expected is a str without numbers"),
        ([[0.5, 0.5]], r"shape \(1, 2\)"),
        ([], r"shape \(0,\)"),
        ([0.5, -0.5, 1.0], "1 numbers that are negative or not finite"),
        ([0.5, float("nan")], "1 numbers that are negative or not finite"),
        ([0.5, 0.4], "adds up to 0.9"),
        ([0.5, 0.5], "expected has 2 shares, the head has 10 outputs"),
    ],
)
def test_expected_shares_are_checked(expected: Any, why: str) -> None:
    update, labels = captured(64, 10)
    with pytest.raises(InvalidArgumentError, match=why):
        assert_label_counts_not_recoverable(update, labels, expected=expected)


def test_expected_shares_take_the_population_off_a_leak() -> None:
    update, labels = captured(64, 10)
    shares = np.bincount(labels, minlength=10) / labels.size

    @dataclass(frozen=True)
    class Population(Even):
        """An attack that knows the population and never looks at the update."""

        name: str = "population"

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            return Recovery(attack=self.name, status="recovered", shares=dict(enumerate(known)))  # type: ignore[arg-type]

    population = np.where(np.arange(10) == 0, shares[0] + 0.05, shares - 0.05 / 9)
    known = (np.maximum(population, 0.0) / np.maximum(population, 0.0).sum()).tolist()
    assert audit(update, labels, question=LabelCounts(), attacks=Population()).figure > 0.5
    question = LabelCounts(expected=np.array(known))
    assert audit(update, labels, question=question, attacks=Population()).figure == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        ({0: 0.5, 7: 0.5}, "class that does not exist"),
        ({0: -0.5, 1: 1.5}, "negative or not finite"),
        ({0: float("nan")}, "negative or not finite"),
        ({0: 0.5}, "add up to 0.5"),
    ],
)
def test_an_attack_may_not_invent_shares(shares: dict[int, float], why: str) -> None:
    recovery = Recovery(attack="a", status="recovered", shares=shares)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=why):
        LabelCounts().score(recovery, Truth(labels=np.array([0, 1, 1]), classes=7))


def test_claimed_shares_are_private() -> None:
    recovery = Recovery(attack="a", status="recovered", shares={4321: 0.987654, 5: 0.012346})  # type: ignore[arg-type]
    verdict = LabelCounts().score(recovery, Truth(labels=np.array([4321, 4321, 5]), classes=5000))
    for text in (repr(recovery), repr(verdict), str(verdict.to_record())):
        assert "4321" not in text
        assert "0.987654" not in text
    assert verdict.to_record(show_labels=True)["statistics"]["shares"] == [[[5, 0.012346], [4321, 0.987654]]]


def test_attacks_that_do_not_count_have_no_say() -> None:
    update, labels = captured(64, 10)
    with pytest.raises(InconclusiveAudit, match="none of the attacks counts labels"):
        assert_label_counts_not_recoverable(update, labels, attacks="bias_sign")
