"""Sigmoid heads: signs, counts and simulations for independent classes; one unit as two classes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise, InvalidArgumentError, Recovery, Sign, Update, attack, audit
from pytest_labelleak.attacks.registry import prepare, run
from pytest_labelleak.attacks.shadow.attack import Shadow
from pytest_labelleak.attacks.shadow.simulation import undefended
from pytest_labelleak.auditing.outcome import Outcome
from pytest_labelleak.core.recovery import Status


def sigmoid_update(
    positions: int,
    classes: int,
    *,
    features: int = 64,
    rate: float = 0.05,
    seed: int = 0,
    signed: bool = False,
    reduction: str = "mean",
    smoothing: float = 0.0,
    spread: float = 1.0,
    weights: bool = True,
) -> tuple[Update, np.ndarray]:
    """Make the update of a head of sigmoids, and its targets (S, C)."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(features, classes)) * spread / np.sqrt(features)
    bias = 0.1 * rng.normal(size=classes)
    inputs = rng.normal(size=(positions, features)) + 0.5 * rng.normal(size=features)
    inputs = inputs if signed else np.maximum(inputs, 0)
    targets = rng.random((positions, classes)) < rate
    targets[0, 0] = True
    error = 1 / (1 + np.exp(-inputs @ kernel - bias)) - (targets * (1 - smoothing) + 0.5 * smoothing)
    error /= classes * (positions if reduction == "mean" else 1)
    update = Update.from_arrays(
        (inputs.T @ error).astype("float32"),
        bias_gradient=error.sum(axis=0).astype("float32"),
        kernel=kernel.astype("float32") if weights else None,
        bias=bias.astype("float32") if weights else None,
        kind="sigmoid",
    )
    head = dataclasses.replace(update.head, label_smoothing=smoothing)
    return dataclasses.replace(update, head=head, reduction=reduction), targets


def present(targets: np.ndarray) -> set[int]:
    return set(np.flatnonzero(targets.any(axis=0)).tolist())


@pytest.mark.parametrize(("positions", "classes"), [(1, 14), (4, 40), (12, 14), (16, 100), (30, 20)])
@pytest.mark.parametrize("how", ["mean", "sum", "smoothed"])
def test_counts_are_exact_with_the_weights(positions: int, classes: int, how: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "mean": {},
        "sum": {"reduction": "sum"},
        "smoothed": {"smoothing": 0.1},
    }
    # Outputs that hardly depend on the sample, as those of a fresh network: there the estimate of their mean is exact.
    update, targets = sigmoid_update(positions, classes, spread=0.1, seed=positions, **options[how])
    found = attack("bias_counts", update)
    assert found.status is Status.RECOVERED, found.reason
    assert found.counts == {int(c): int(n) for c, n in enumerate(targets.sum(axis=0)) if n}


def test_counts_refuse_a_scaled_a_noisy_or_a_weightless_update() -> None:
    update, _ = sigmoid_update(6, 40, spread=0.3)
    scaled = update.map(lambda array: np.asarray(0.07 * array, array.dtype), defence="scaled")
    noisy = GaussianNoise(relative=3.0)(update, rng=np.random.default_rng(0))
    for other, reason in (
        (scaled, "counts whole"),
        (noisy, "counts whole"),
        (sigmoid_update(6, 40, weights=False)[0], "weights are not known"),
        (Sign()(update, rng=np.random.default_rng(0)), "reduced to its signs"),
    ):
        found = attack("bias_counts", other)
        assert found.status is Status.NOT_APPLICABLE
        assert reason in found.reason


def test_signs_name_the_labels_of_one_sample_and_no_absent_class_of_several() -> None:
    named = 0
    for seed in range(8):
        update, targets = sigmoid_update(1, 30, seed=seed, rate=0.1)
        assert set(attack("bias_sign", update).labels) == present(targets)
        update, targets = sigmoid_update(4, 30, seed=seed, rate=0.1, spread=4.0)
        found = attack("bias_sign", update)
        assert set(found.labels) <= present(targets)
        named += len(found.labels)
    assert named


def test_smoothing_makes_confident_absent_classes_descend_and_names_none_of_them() -> None:
    for seed in range(8):
        # With logits of -4 and less, errors of absent classes are below zero, and not below half of the smoothing.
        update, targets = sigmoid_update(1, 30, seed=seed, rate=0.1, smoothing=0.3, spread=8.0)
        assert update.bias_gradient is not None
        assert (update.bias_gradient[~targets[0]] < 0).any()
        assert set(attack("bias_sign", update).labels) <= present(targets)


@pytest.mark.parametrize("name", ["yin", "llg"])
def test_rules_for_non_negative_features_hold_behind_sigmoids(name: str) -> None:
    for seed in range(5):
        update, targets = sigmoid_update(4, 30, seed=seed, rate=0.03)
        found = attack(name, update)
        if found.status is Status.RECOVERED:
            assert set(found.labels) <= present(targets)
        assert found.counts is None  # positions may have any number of labels
        if name == "yin":
            assert set(found.labels) == present(targets)


@pytest.mark.parametrize(("signed", "weights", "power"), [(False, True, 0.8), (True, True, 0.75), (False, False, 0.4)])
@pytest.mark.slow
def test_the_shadow_attack_simulates_sigmoids(signed: bool, weights: bool, power: float) -> None:
    reached = []
    for seed in range(3):
        update, targets = sigmoid_update(4, 150, rate=0.01, signed=signed, seed=seed, weights=weights)
        found = attack(Shadow(simulations=12, sizes=(4, 16, 40)), update)
        named, true = set(found.labels), present(targets)
        reached.append(len(named & true) / len(true) - len(named - true) / (150 - len(true)))
    assert np.mean(reached) >= power


def test_simulated_sigmoids_are_independent_and_have_several_labels() -> None:
    update, _ = sigmoid_update(4, 50)
    made = [undefended(update, 16, "signed", np.random.default_rng(seed)) for seed in range(12)]
    assert all(one.update.head.kind == "sigmoid" for one in made)
    # Behind a softmax these sums would be zero, to rounding.
    sums = [abs(float(one.update.gradients["bias"].sum())) for one in made]
    assert np.median(sums) > 0.1
    assert max(int(one.present.sum()) for one in made) > 16


def unit(target: float, seed: int = 0, *, bias: bool = True) -> Update:
    rng = np.random.default_rng(seed)
    inputs, kernel = rng.normal(size=12), rng.normal(size=(12, 1)) / 3
    error = 1 / (1 + np.exp(-inputs @ kernel)) - target
    return Update.from_arrays(
        np.outer(inputs, error),
        bias_gradient=error if bias else None,
        kernel=kernel,
        bias=np.zeros(1),
        compute_dtype="float64",
        kind="sigmoid",
    )


@pytest.mark.parametrize("label", [0, 1])
def test_one_unit_tells_two_classes_apart(label: int) -> None:
    update = unit(label)
    assert (update.classes, update.label_classes) == (1, 2)
    both = update.both_classes()
    assert (both.classes, both.head.kind) == (2, "softmax")
    np.testing.assert_array_equal(both.kernel_gradient.sum(axis=1), 0.0)
    assert both.both_classes() is both
    for name in ("bias_sign", "idlg"):
        assert attack(name, update).labels == (label,)


def test_the_two_classes_of_a_unit_keep_penalties_and_other_variables() -> None:
    update = unit(1.0)
    penalty = np.full((12, 1), 0.5)
    update = dataclasses.replace(
        update,
        gradients={**update.gradients, "other": np.ones(3)},
        head=dataclasses.replace(update.head, kernel_penalty=penalty),
    )
    both = update.both_classes()
    np.testing.assert_array_equal(both.head.kernel_penalty, [[-0.5, 0.5]] * 12)
    np.testing.assert_array_equal(both.head.kernel_value, np.hstack([np.zeros((12, 1)), update.head.kernel_value]))
    assert both.gradients["other"] is update.gradients["other"]


class _Sees:
    """Tells the shape of the update that it is asked about."""

    name = "sees"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return Recovery(attack=self.name, status=Status.RECOVERED, details={"classes": update.classes})

    def prepared(self, update: Update, *, rng: np.random.Generator) -> _Sees:
        if update.classes != 2:
            raise ValueError(update.classes)
        return _Sees()


def test_every_attack_sees_both_classes_also_when_prepared() -> None:
    assert run(_Sees(), unit(1.0), seed=0).details["classes"] == 2  # type: ignore[arg-type]
    member = _Sees()
    assert prepare(member, unit(1.0), seed=0) is not member  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_audit_of_units_scores_classes_zero_and_one() -> None:
    labels = [0, 1, 1, 0, 1, 0, 0, 1, 1]
    updates = [unit(label, seed) for seed, label in enumerate(labels)]
    measured = audit(updates, [[label] for label in labels])
    assert measured.outcome is Outcome.LEAKED
    assert (measured.figure, measured.classes) == (1.0, 2)
    hidden = audit(updates, [[label] for label in labels], defence=GaussianNoise(relative=300.0))
    assert hidden.outcome is not Outcome.LEAKED
    with pytest.raises(InvalidArgumentError, match="from 0 to 1"):
        audit(updates[:1], [[2]])


def test_both_labels_of_a_unit_leave_nothing_to_name() -> None:
    measured = audit(unit(0.5), [0, 1])
    assert measured.outcome is Outcome.INCONCLUSIVE
    assert "every one of the 2 classes is present" in measured.message
