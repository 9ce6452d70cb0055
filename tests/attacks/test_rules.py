"""The one-line attacks: labels that they find, and updates to which they do not apply."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from pytest_labelleak import Update, attack
from pytest_labelleak.attacks import IDLG, RLG, builtin_attacks, resolve
from pytest_labelleak.attacks.rules.idlg import IDLGRules
from pytest_labelleak.core.errors import InvalidArgumentError, UnknownNameError
from pytest_labelleak.testing import LabelledUpdate, labelled_updates, make_update


@given(case=labelled_updates(bias=True))
@settings(max_examples=60, deadline=None)
def test_bias_sign_names_no_absent_class(case: LabelledUpdate) -> None:
    recovery = attack("bias_sign", case.update)
    if recovery.status == "recovered":
        assert set(recovery.labels) <= set(case.labels.tolist())


def test_bias_sign_needs_a_bias() -> None:
    case = make_update(positions=2, features=4, classes=5, bias=False)
    assert attack("bias_sign", case.update).status == "not applicable"


def test_bias_sign_allows_for_label_smoothing() -> None:
    """Confident absent classes go negative by up to smoothing / C; they must not be named."""
    probabilities = np.full(10, 1e-4)
    probabilities[3] = 1.0 - 9e-4
    smoothing = 0.1
    target = np.full(10, smoothing / 10)
    target[3] += 1.0 - smoothing
    target[3] += 0.0
    error = probabilities - target
    error[3] -= 0.2  # a label that is under-predicted
    update = Update.from_arrays(np.outer(np.ones(4), error), bias_gradient=error)
    smoothed = dataclasses.replace(
        update, reduction="mean", head=dataclasses.replace(update.head, label_smoothing=smoothing)
    )
    assert attack("bias_sign", smoothed).labels == (3,)
    assert len(attack("bias_sign", update).labels) > 1


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_idlg_names_the_label_of_one_sample(bias: bool, signed: bool) -> None:
    case = make_update(positions=1, features=16, classes=20, bias=bias, signed=signed)
    recovery = attack("idlg", case.update)
    assert recovery.labels == (int(case.labels[0]),)
    assert recovery.positions == 1


@pytest.mark.parametrize("bias", [True, False])
def test_idlg_refuses_two_samples(bias: bool) -> None:
    case = make_update(positions=2, features=16, classes=20, bias=bias, signed=True, seed=1)
    assert attack("idlg", case.update).status == "not applicable"


def test_idlg_allows_for_the_rounding_of_columns() -> None:
    case = make_update(positions=1, features=16, classes=20, bias=False, signed=True)
    assert attack(IDLG(rules=IDLGRules(roundings=1e-3)), case.update).status == "not applicable"
    two = make_update(positions=2, features=16, classes=20, bias=False, signed=True, seed=1)
    assert "multiples of one another" not in attack(IDLG(rules=IDLGRules(roundings=1e9)), two.update).message


def test_llg_says_nothing_where_signs_could_be_chance() -> None:
    error = np.array([-3.0, 1.0, 1.0, 1.0])
    assert attack("llg", Update.from_arrays(np.outer([1.0, 2.0], error))).labels == (0,)
    half = np.array([-1.0, -1.0, 1.0, 1.0])
    assert "2 of 4 column sums are negative" in attack("llg", Update.from_arrays(np.outer([1.0, 2.0], half))).message


@given(case=labelled_updates(signed=False))
@settings(max_examples=60, deadline=None)
def test_yin_names_no_absent_class_when_features_are_non_negative(case: LabelledUpdate) -> None:
    recovery = attack("yin", case.update)
    if recovery.status == "recovered":
        assert set(recovery.labels) <= set(case.labels.tolist())


def test_yin_finds_all_labels_of_relu_features() -> None:
    case = make_update(positions=20, features=128, classes=200)
    assert set(attack("yin", case.update).labels) == set(case.labels.tolist())


def test_yin_sees_that_features_are_signed() -> None:
    case = make_update(positions=5, features=64, classes=100, signed=True)
    assert attack("yin", case.update).status == "not applicable"


def test_llg_counts_repeated_labels() -> None:
    case = make_update(positions=12, features=256, classes=40, duplicates=0.5, seed=3)
    recovery = attack("llg", case.update)
    assert recovery.positions == 12
    assert sum((recovery.counts or {}).values()) == 12
    assert set(recovery.labels) == set(case.labels.tolist())


@pytest.mark.parametrize("name", builtin_attacks())
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_inconclusive(name: str, poison: float) -> None:
    gradient = make_update(positions=2, features=4, classes=6).update.kernel_gradient.copy()
    gradient[1, 2] = poison
    recovery = attack(name, Update.from_arrays(gradient))
    assert recovery.status == "inconclusive"
    assert "1 of 24 entries" in recovery.message


@pytest.mark.parametrize("name", builtin_attacks())
def test_a_zero_gradient_is_inconclusive(name: str) -> None:
    recovery = attack(name, Update.from_arrays(np.zeros((4, 6))))
    assert recovery.status == "inconclusive"
    assert "zero everywhere" in recovery.message


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown attack 'rgl'.*bias_sign.*rlg"):
        attack("rgl", make_update(positions=1, features=2, classes=3).update)


def test_resolve_keeps_each_name_once_and_refuses_impostors() -> None:
    assert [member.name for member in resolve(["rlg", "auto", "rlg"])].count("rlg") == 1
    impostor = RLG()
    with pytest.raises(InvalidArgumentError, match="two attacks are named 'rlg'"):
        resolve(["rlg", impostor])
    with pytest.raises(InvalidArgumentError, match="has no name"):
        resolve([lambda update, rng: None])
