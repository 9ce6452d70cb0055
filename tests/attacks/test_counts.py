"""Attacks that count labels: blind to the size of the batch, exact where an exact answer exists."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_labelleak import ClipNorm, GaussianNoise, Recovery, Sign, Update, attack
from pytest_labelleak.attacks import ILRG, BiasCounts, LLGStar
from pytest_labelleak.attacks.counting.ilrg import ILRGRules
from pytest_labelleak.attacks.counting.llg_star import LLGStarRules
from pytest_labelleak.attacks.counting.shares import CountRules, balance_of
from pytest_labelleak.attacks.counting.whole_numbers import WholeNumberRules, allocate, whole_positions
from pytest_labelleak.testing import check_attack

BOTH = ["bias_counts", "ilrg"]


def head_update(
    positions: int,
    features: int,
    classes: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    signed: bool = False,
    reduction: str = "mean",
    smoothing: float = 0.0,
    steps: int = 1,
    weights: bool = True,
    dtype: str = "float32",
) -> tuple[Update, dict[int, int]]:
    """Make the update of a freshly initialised head, with random labels, and their counts."""
    rng = np.random.default_rng(seed)
    kernel = (rng.normal(size=(features, classes)) * scale * np.sqrt(2 / (features + classes))).astype(dtype)
    bias = (0.1 * rng.normal(size=classes)).astype(dtype)
    kernel_gradient, bias_gradient = np.zeros((features, classes), dtype), np.zeros(classes, dtype)
    total = np.zeros(classes, int)
    for _ in range(steps):
        inputs = rng.normal(size=(positions, features)).astype(dtype)
        inputs = inputs if signed else np.maximum(inputs, 0)
        labels = rng.integers(0, classes, positions)
        logits = inputs @ kernel + bias
        error = np.exp(logits - logits.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error -= (1 - smoothing) * np.eye(classes, dtype=dtype)[labels] + np.array(smoothing / classes, dtype)
        if reduction == "mean":
            error /= np.array(positions, dtype)
        kernel_gradient += inputs.T @ error
        bias_gradient += error.sum(axis=0)
        total += np.bincount(labels, minlength=classes)
    update = Update.from_arrays(
        kernel_gradient, bias_gradient=bias_gradient, kernel=kernel if weights else None, bias=bias if weights else None
    )
    update = dataclasses.replace(
        update, reduction=reduction, steps=steps, head=dataclasses.replace(update.head, label_smoothing=smoothing)
    )
    return update, {int(c): int(total[c]) for c in np.flatnonzero(total)}


def counted(name: str, update: Update) -> Recovery:
    recovery = attack(name, update)
    assert recovery.status == "recovered", recovery.message
    assert recovery.counts is not None
    assert recovery.labels == tuple(sorted(recovery.counts))
    assert recovery.positions == sum(recovery.counts.values())
    return recovery


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("positions", "features", "classes"),
    [(1, 20, 10), (12, 64, 40), (50, 256, 400), (40, 24, 100), (128, 84, 100), (300, 84, 1000)],
    ids="{}".format,
)
@pytest.mark.slow
def test_counts_every_label_without_being_told_how_many(
    name: str, reduction: str, positions: int, features: int, classes: int
) -> None:
    """The last three have more labels than features, or than classes: no rank tells their number."""
    update, counts = head_update(positions, features, classes, reduction=reduction, seed=3)
    recovery = counted(name, update)
    assert recovery.positions == positions
    assert recovery.counts == counts
    assert recovery.details["positions_from"] == ("rank" if positions < features else "whole counts")
    assert recovery.details["off_whole_counts"] < 0.2


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.slow
def test_an_unknown_reduction_is_told_from_the_gradient(name: str, signed: bool) -> None:
    for reduction in ("mean", "sum"):
        update, counts = head_update(60, 40, 300, reduction=reduction, signed=signed)
        assert counted(name, dataclasses.replace(update, reduction="unknown")).counts == counts


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("smoothing", [0.1, 0.4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_label_smoothing_is_taken_off(name: str, smoothing: float, reduction: str) -> None:
    update, counts = head_update(12, 64, 20, smoothing=smoothing, reduction=reduction, scale=0.1)
    recovery = counted(name, update)
    assert recovery.counts == counts
    assert recovery.details["off_whole_counts"] < 0.02


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_several_steps_count_together(name: str, reduction: str) -> None:
    update, counts = head_update(8, 128, 200, steps=3, reduction=reduction)
    recovery = counted(name, update)
    assert recovery.positions == 24
    assert recovery.counts == counts


def test_bias_counts_needs_no_weights_where_outputs_are_near_uniform() -> None:
    update, counts = head_update(100, 64, 500, scale=0.1, weights=False)
    assert counted("bias_counts", update).counts == counts


@pytest.mark.slow
def test_ilrg_is_closer_to_whole_counts_than_the_bias_alone() -> None:
    """Batches with more labels than classes are the second attack's purpose."""
    off: dict[str, list[float]] = {name: [] for name in BOTH}
    for seed in range(6):
        update, _ = head_update(128, 84, 100, seed=seed, scale=1.5)
        for name in BOTH:
            off[name].append(attack(name, update).details.get("off_whole_counts", 0.3))
    assert np.mean(off["ilrg"]) < 0.9 * np.mean(off["bias_counts"])


def test_ilrg_counts_classes_that_do_not_descend() -> None:
    """With more labels than classes, a present class can be predicted more often than it occurs."""
    update, counts = head_update(150, 84, 60, seed=1)
    hidden = [c for c in counts if update.bias_gradient is not None and update.bias_gradient[c] >= 0]
    assert len(hidden) > 5
    recovery = counted("ilrg", update)
    found = set(recovery.labels)
    assert np.mean([c in found for c in hidden]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_whole_counts_show_through_noise(name: str) -> None:
    """Noise of a tenth of the gradient makes absent classes descend; that must not make them certain."""
    update, counts = head_update(60, 256, 4000)
    noisy = GaussianNoise(relative=0.1)(update, rng=np.random.default_rng(0))
    assert noisy.bias_gradient is not None
    assert np.count_nonzero(noisy.bias_gradient < 0) > 10 * len(counts)
    assert counted(name, noisy).counts == counts

    update, counts = head_update(300, 84, 1000)
    noisy = GaussianNoise(relative=0.15)(update, rng=np.random.default_rng(0))
    assert noisy.bias_gradient is not None
    misled = set(np.flatnonzero(noisy.bias_gradient < 0).tolist()) - set(counts)
    assert len(misled) > 5
    recovery = counted(name, noisy)
    assert recovery.positions == 300
    assert len(misled & set(recovery.labels)) < 0.5 * len(misled)


@pytest.mark.parametrize("name", BOTH)
def test_the_scale_of_the_features_does_not_matter(name: str) -> None:
    update, counts = head_update(20, 64, 80)
    tiny = dataclasses.replace(
        update,
        gradients={**update.gradients, "kernel": update.kernel_gradient.astype(np.float64) * 1e-20},
        head=dataclasses.replace(update.head, kernel_value=update.head.kernel_value.astype(np.float64) * 1e20),
    )
    assert counted(name, tiny).counts == counts


@pytest.mark.parametrize("name", BOTH)
def test_a_batch_that_cannot_be_counted_is_refused_with_a_reason(name: str) -> None:
    update, _ = head_update(20, 32, 50)

    def reason(changed: Update) -> str:
        recovery = attack(name, changed)
        assert recovery.status == "not applicable"
        return recovery.message

    head = update.head
    rng = np.random.default_rng(0)
    kernel_only = {"kernel": update.kernel_gradient}
    no_bias = dataclasses.replace(head, bias=None, bias_value=None)
    assert "has no bias gradient" in reason(dataclasses.replace(update, gradients=kernel_only, head=no_bias))
    zero = {**kernel_only, "bias": np.zeros(50, np.float32)}
    assert "bias gradient is zero" in reason(dataclasses.replace(update, gradients=zero))
    rising = {**kernel_only, "bias": np.ones(50, np.float32)}
    assert "no class descends" in reason(dataclasses.replace(update, gradients=rising))
    assert "signs do not count" in reason(Sign()(update, rng=rng))
    assert "neither the gradient's rank nor whole counts" in reason(GaussianNoise(relative=1.0)(update, rng=rng))
    few, _ = head_update(20, 128, 200)
    assert "off whole numbers: the update was scaled" in reason(ClipNorm(norm=1e-3)(few, rng=rng))
    all_smooth = dataclasses.replace(head, label_smoothing=1.0)
    assert "label smoothing of 1" in reason(dataclasses.replace(update, head=all_smooth))
    loud = dataclasses.replace(head, kernel_value=np.full((32, 50), np.inf, np.float32))
    assert "not finite" in reason(dataclasses.replace(update, head=loud))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (BiasCounts(rules=CountRules(whole=WholeNumberRules(chance=1e-300))), "neither the gradient's rank"),
        (LLGStar(rules=LLGStarRules(one_sided=1.1)), "both signs"),
    ],
)
@pytest.mark.slow
def test_a_changed_rule_changes_the_answer(changed: Any, reason: str) -> None:
    update, _ = head_update(20, 256, 60, seed=3) if isinstance(changed, LLGStar) else head_update(40, 24, 100, seed=3)
    assert attack(type(changed)(), update).status == "recovered"
    assert reason in attack(changed, update).message


@pytest.mark.parametrize("name", [*BOTH, "llg_star"])
def test_counts_that_contradict_the_shares_by_more_than_rounding_are_refused(name: str) -> None:
    few, counts = head_update(20, 128, 200)
    assert dict(attack(name, few).counts or {}) == counts
    for factor in (0.25, 4.0):
        scaled = few.map(lambda array, factor=factor: array * np.float32(factor), defence="scaled")
        assert attack(name, scaled).counts is None


def test_an_average_descends_by_one_and_its_rounding() -> None:
    update = dataclasses.replace(head_update(40, 24, 100, seed=3)[0], reduction="unknown")
    assert balance_of(update, rules=CountRules()).averaged
    assert not balance_of(update, rules=CountRules(rounding=-0.99)).averaged


def test_a_class_as_frequent_as_the_usual_ones_gets_an_input_of_its_own() -> None:
    update, _ = head_update(150, 84, 60, seed=1)
    few = attack(ILRG(rules=ILRGRules(usual=1.0)), update)
    assert few.details != attack("ilrg", update).details


def test_ilrg_needs_the_weights() -> None:
    update, _ = head_update(4, 32, 50, weights=False)
    assert "pass kernel= and bias=" in attack("ilrg", update).message


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
@given(
    positions=st.integers(1, 40),
    features=st.integers(1, 30),
    classes=st.integers(2, 30),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    reduction=st.sampled_from(["mean", "sum", "unknown"]),
)
@settings(max_examples=60, deadline=None)
def test_any_head_gets_an_answer_that_adds_up(name: str, **head: Any) -> None:
    update, _ = head_update(**head)
    recovery = attack(name, update)
    if recovery.status != "recovered":
        assert recovery.status == "not applicable" or "zero everywhere" in recovery.message
        return
    assert recovery.positions == sum((recovery.counts or {}).values())
    assert min((recovery.counts or {}).values()) >= 1
    bias = update.bias_gradient
    assert bias is not None
    if recovery.details["positions_from"] == "rank":  # without noise, a class that descends is there
        assert set(np.flatnonzero(bias < 0).tolist()) <= set(recovery.labels)


class _OnRandomHeads:
    """The attack, on updates that have weights; the checks for third parties give it none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        kernel = np.random.default_rng(0).normal(size=update.kernel_gradient.shape).astype(np.float32)
        head = dataclasses.replace(update.head, kernel_value=kernel)
        if update.bias_gradient is not None:
            head = dataclasses.replace(head, bias_value=np.zeros(update.classes, np.float32))
        return attack(self.name, dataclasses.replace(update, head=head))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.slow
def test_conforms_with_weights_that_have_nothing_to_do_with_the_gradient(name: str) -> None:
    check_attack(_OnRandomHeads(name))


# The arithmetic


@given(
    wanted=st.lists(st.floats(-2, 6), min_size=1, max_size=4),
    positions=st.integers(1, 9),
)
def test_allocate_finds_the_closest_counts(wanted: list[float], positions: int) -> None:
    counts = allocate(np.array(wanted), positions, np.zeros(len(wanted), int))
    assert counts.sum() == positions
    assert counts.min() >= 0
    if abs(sum(wanted) - positions) > 0.5 * len(wanted) or min(wanted) < -0.5:
        return  # farther off than shares are; a sum is all that is promised

    def cost(some: Any) -> float:
        return float(((np.array(some) - np.array(wanted)) ** 2).sum())

    every = (c for c in itertools.product(range(positions + 1), repeat=len(wanted)) if sum(c) == positions)
    assert cost(counts) <= min(map(cost, every)) + 1e-9


def test_allocate_respects_lower_bounds_and_wild_wishes() -> None:
    least = np.array([1, 1, 0])
    assert allocate(np.array([-5.0, 0.1, 3.0]), 3, least).tolist() == [1, 1, 1]
    assert allocate(np.array([1e300, -1e300, 0.0]), 4, least).tolist() == [3, 1, 0]


@pytest.mark.parametrize("positions", [6, 37, 500])
def test_whole_positions_finds_the_smallest_number_that_fits(positions: int) -> None:
    rng = np.random.default_rng(positions)
    counts = np.bincount(rng.integers(0, 20, positions), minlength=40)
    shares = counts / positions + rng.normal(size=40) * 1e-2 / positions
    found = whole_positions(lambda n: shares)
    assert found is not None
    factor = int(np.gcd.reduce(counts))
    assert found[0] == positions // factor
    assert np.array_equal(found[1] * factor, counts)


@pytest.mark.slow
def test_whole_positions_takes_the_smallest_multiple_not_excluded() -> None:
    for seed in range(20):
        counts = np.random.default_rng(seed).integers(0, 5, 12)
        exact = whole_positions(lambda n, counts=counts: counts / counts.sum())
        assert exact is not None
        assert exact[0] == counts.sum() // np.gcd.reduce(counts)
    shares = np.array([4, 4, 8, 4, 0, 12, 4, 4]) / 40
    found = whole_positions(lambda n: shares)
    assert found is not None
    assert found[0] == 10
    found = whole_positions(lambda n: shares, at_least=15)
    assert found is not None
    assert found[0] == 20


@pytest.mark.slow
def test_whole_positions_is_not_fooled_by_random_shares() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 5, 10, 50):
        for _ in range(4):
            shares = rng.dirichlet(np.ones(classes))
            assert whole_positions(lambda n, shares=shares: shares) is None


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_llg_star_counts_with_column_sums(steps: int, smoothing: float) -> None:
    update, counts = head_update(20, 256, 60, seed=3, steps=steps, smoothing=smoothing)
    recovery = attack("llg_star", update)
    assert recovery.status == "recovered", recovery.message
    right = sum(min(counts.get(label, 0), count) for label, count in recovery.counts.items())
    assert recovery.positions == 20 * steps
    assert right >= 0.8 * recovery.positions


def test_llg_star_needs_weights_and_one_sided_features() -> None:
    update, _ = head_update(20, 256, 60, seed=3, weights=False)
    assert "weights are not known" in attack("llg_star", update).message
    update, _ = head_update(20, 256, 60, seed=3, signed=True)
    assert "both signs" in attack("llg_star", update).message


def test_llg_does_not_take_the_largest_possible_rank_for_a_count() -> None:
    update, _ = head_update(80, 128, 40, seed=3)
    assert attack("llg", update).positions is None
