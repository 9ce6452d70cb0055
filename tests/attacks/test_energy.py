"""Column energy: what it reads, what it refuses, and that noise is not named."""

from __future__ import annotations

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import GaussianNoise, Recovery, Update, attack
from pytest_labelleak.attacks.energy.attack import Energy, EnergyRules
from pytest_labelleak.attacks.energy.bulk import discoveries, split_in_two, standardised, two_normals
from pytest_labelleak.attacks.energy.columns import Statistic, read_columns
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.testing import check_attack, make_head_update, make_update

quick = hypothesis.settings(max_examples=25, deadline=None)


def advantage(recovery: Recovery, labels: np.ndarray, classes: int) -> float:
    present, claimed = set(labels.tolist()), set(recovery.labels)
    return len(claimed & present) / len(present) - len(claimed - present) / (classes - len(present))


def read(update: Update) -> Recovery:
    return attack(Energy(), update)


def layer_norm(positions: int, features: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of a fresh head without bias on normalised features, and its labels."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(positions, features)) + rng.normal(size=(positions, 4)) @ rng.normal(size=(4, features))
    inputs -= inputs.mean(axis=1, keepdims=True)
    inputs /= inputs.std(axis=1, keepdims=True)
    logits = inputs @ rng.uniform(-1, 1, (features, classes)) * np.sqrt(6 / (features + classes))
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    frequency = 1 / np.arange(1, classes + 1)
    labels = rng.choice(classes, positions, p=frequency / frequency.sum())
    error[np.arange(positions), labels] -= 1
    return (inputs.T @ error / positions).astype(np.float32), labels


def test_it_conforms() -> None:
    check_attack(Energy())


@pytest.mark.parametrize(("positions", "features", "classes"), [(300, 64, 1000), (120, 32, 500), (64, 16, 100)])
def test_it_reads_more_positions_than_features(positions: int, features: int, classes: int) -> None:
    for seed in range(3):
        gradient, labels = layer_norm(positions, features, classes, seed)
        assert advantage(read(Update.from_arrays(gradient)), labels, classes) >= 0.95


@pytest.mark.parametrize(("signed", "strength"), [(True, 1.0), (True, 3.0), (False, 3.0), (False, 10.0)])
def test_it_reads_through_noise(signed: bool, strength: float) -> None:
    case = make_head_update(positions=20, features=512, classes=500, seed=1, signed=signed, bias=False)
    noisy = GaussianNoise(relative=strength)(case.update, rng=np.random.default_rng(2))
    assert advantage(read(noisy), case.labels, 500) >= 0.95


def test_directions_tell_where_sizes_do_not() -> None:
    """Ten times the noise leaves the energies overlapping; the mean feature is found and used."""
    case = make_head_update(positions=20, features=512, classes=500, seed=3, signed=False, bias=False)
    bare = dataclasses.replace(case.update, head=dataclasses.replace(case.update.head, kernel_value=None))
    noisy = GaussianNoise(relative=15.0)(bare, rng=np.random.default_rng(4))
    energies = Statistic(name="", values=(noisy.kernel_gradient.astype(float) ** 2).sum(axis=0))
    alone = Recovery(
        attack="alone", status=Status.RECOVERED, labels=tuple(np.flatnonzero(standardised(energies) > 4).tolist())
    )
    assert advantage(alone, case.labels, 500) < 0.75
    assert advantage(read(noisy), case.labels, 500) >= 0.95


def noise(seed: int, features: int, classes: int, *, bias: bool) -> Update:
    rng = np.random.default_rng(seed)
    gradients = {"kernel": rng.normal(size=(features, classes))}
    update = Update.from_arrays(gradients["kernel"] + 1e-9, bias_gradient=rng.normal(size=classes) if bias else None)
    return dataclasses.replace(
        update, head=dataclasses.replace(update.head, kernel_value=rng.normal(size=(features, classes)))
    )


@pytest.mark.parametrize("classes", [7, 20, 100, 300])
@pytest.mark.slow
def test_pure_noise_is_not_named(classes: int) -> None:
    """At most one in a hundred at the level of 0.005; two of 100 would already be a rare event."""
    named = sum(
        read(noise(seed, 32 + seed % 64, classes, bias=seed % 2 == 0)).status is Status.RECOVERED for seed in range(100)
    )
    assert named <= 2


def test_pure_noise_is_refused_with_a_reason() -> None:
    recovery = read(noise(0, 64, 50, bias=True))
    assert recovery.status is Status.NOT_APPLICABLE
    assert "no class stands out of the bulk of the 50 columns" in recovery.reason


def test_the_level_decides() -> None:
    updates = [noise(seed, 40, 50, bias=True) for seed in range(20)]
    loose = Energy(rules=EnergyRules(level=1e3))
    assert all(attack(loose, update).status is Status.RECOVERED for update in updates)


@pytest.mark.parametrize("hidden", ["labels", "largest", "bits"])
def test_columns_that_a_defence_emptied_are_named(hidden: str) -> None:
    case = make_update(positions=8, features=64, classes=100, seed=3)
    kernel, bias = case.update.kernel_gradient, case.update.bias_gradient
    assert bias is not None
    kept = np.ones(100, dtype=np.float32)
    if hidden == "labels":
        kept[case.labels] = 0
    else:
        kept[np.argsort(-np.linalg.norm(kernel, axis=0))[:8]] = 0
    shared = Update.from_arrays(kernel * kept, bias_gradient=bias * kept)
    if hidden == "bits":
        shared = Update.from_arrays((kernel > 0).astype("f4"), bias_gradient=(bias > 0).astype("f4"))
    recovery = read(shared)
    assert set(recovery.labels) == set(case.labels.tolist())
    assert hidden == "bits" or recovery.details["side"] == "below"


def test_columns_of_zeros_are_left_out_as_absent() -> None:
    """A masked vocabulary: a third of the columns is zero, and the labels stand out of the others."""
    case = make_update(positions=10, features=64, classes=90, seed=5, signed=True, bias=False)
    kernel = case.update.kernel_gradient.copy()
    masked = np.setdiff1d(np.arange(90), case.labels)[:30]
    kernel[:, masked] = 0
    recovery = read(Update.from_arrays(kernel))
    assert set(recovery.labels) == set(case.labels.tolist())


@given(seed=st.integers(0, 1000), exponent=st.integers(-90, 90))
@quick
@pytest.mark.slow
def test_scale_changes_nothing(seed: int, exponent: int) -> None:
    case = make_head_update(positions=12, features=24, classes=40, seed=seed, signed=True, dtype="float64")
    scaled = dataclasses.replace(
        case.update, gradients={name: np.ldexp(array, exponent) for name, array in case.update.gradients.items()}
    )
    assert read(scaled).labels == read(case.update).labels


@given(seed=st.integers(0, 1000))
@quick
@pytest.mark.slow
def test_signs_of_features_change_nothing_where_sizes_tell(seed: int) -> None:
    gradient, labels = layer_norm(100, 32, 400, seed)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], 32).astype(np.float32)
    one, other = read(Update.from_arrays(gradient)), read(Update.from_arrays(gradient * signs[:, None]))
    assert min(advantage(one, labels, 400), advantage(other, labels, 400)) >= 0.95


@given(seed=st.integers(0, 1000), data=st.data())
@quick
@pytest.mark.slow
def test_renaming_the_classes_renames_the_answer(seed: int, data: st.DataObject) -> None:
    gradient = layer_norm(40, 24, 60, seed)[0]
    order = np.array(data.draw(st.permutations(range(60)), label="order"))
    renamed = read(Update.from_arrays(gradient[:, order]))
    assert {int(order[label]) for label in renamed.labels} == set(read(Update.from_arrays(gradient)).labels)


def test_a_split_is_clear_only_where_the_parts_are_apart() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=200)
    assert not split_in_two(one, 0.15).clear
    two = np.concatenate([one, rng.normal(size=10) + 30])
    split = split_in_two(two, 0.15)
    assert split.clear
    assert np.flatnonzero(split.upper).tolist() == list(range(200, 210))
    assert not split_in_two(np.repeat([0.0, 1.0], 50), 0.15).clear  # two values are no two bulks


def test_a_false_discovery_rate_names_by_rank() -> None:
    tails = np.log(np.array([0.001, 0.02, 0.03, 0.5, 0.9]))
    assert discoveries(tails, 0.1).tolist() == [True, True, True, False, False]
    assert discoveries(tails, 0.01).tolist() == [True, False, False, False, False]
    assert not discoveries(np.log(np.full(5, 0.5)), 0.1).any()


def test_two_normal_bulks_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=300), 5 + rng.normal(size=100)])
    start = values > 6
    mixture = two_normals(values, start)
    assert abs(int(mixture.upper.sum()) - 100) <= 6
    assert mixture.gain > 0.1
    assert two_normals(rng.normal(size=400), start).gain < 0.05


def test_the_matched_filter_leaves_out_the_own_part_of_a_class() -> None:
    gradient = np.random.default_rng(2).normal(size=(30, 12))
    columns = read_columns(Update.from_arrays(gradient), directions=4, fluctuations=3.3)
    named = np.arange(12) < 5
    found = columns.against(named).values
    entries = gradient / np.abs(gradient).max()
    for label in range(12):
        others = entries[:, [c for c in range(5) if c != label]].sum(axis=1)
        assert found[label] == pytest.approx(others @ entries[:, label] / np.linalg.norm(others))
