"""A head tied to the input embedding: the look-ups are found and taken out, and the rest is read as usual."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_labelleak import attack
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.testing import make_update


def tied(seed=0, *, positions=12, classes=300, features=64, prompt=(290, 291), **options):
    """Return a tied update, the labels, and the tokens that were fed: the labels shifted by one, after a prompt."""
    made = make_update(positions=positions, features=features, classes=classes, seed=seed, signed=True, **options)
    fed = np.append(prompt, made.labels[:-1]).astype(int)
    lookups = np.zeros((classes, features))
    np.add.at(lookups, fed, np.random.default_rng([seed, 1]).normal(size=(fed.size, features)) / positions / 5)
    update, head = made.update, made.update.head
    kernel = update.kernel_gradient + lookups.T.astype(update.kernel_gradient.dtype)
    update = dataclasses.replace(
        update, gradients={**update.gradients, head.kernel: kernel}, head=dataclasses.replace(head, tied=True)
    )
    return update, made.labels, fed


SETTINGS = [{}, {"bias": False}, {"confidence": 0.9}, {"duplicates": 0.4}, {"bias": False, "confidence": 0.99}]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_looked_up_tokens_stand_alone(seed, options):
    update, _, fed = tied(seed, **options)
    recovery = attack("embedding_rows", update)
    assert recovery.labels == tuple(np.unique(fed).tolist())


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_labels_and_inputs_are_named_and_nothing_else(seed, options):
    update, labels, fed = tied(seed, **options)
    recovery = attack("rlg", update)
    assert set(recovery.labels) == {*labels.tolist(), *fed.tolist()}
    assert recovery.positions == labels.size
    assert recovery.details["looked_up"] == np.unique(fed).size


def test_certificates_hold_on_what_the_projection_adds():
    update, labels, fed = tied(1)
    parts = Reading(update).split()
    (proof,) = attack("rlg", update).certificates  # of the one label that was never fed
    assert proof.label == labels[-1]
    assert proof.label not in fed
    rows = np.vstack([parts.rest.kernel_gradient, parts.rest.bias_gradient])
    along = proof.direction @ rows
    assert parts.classes[np.argmin(along)] == proof.label
    assert along.min() < -1e3 * abs(np.partition(along, 1)[1].clip(max=0.0))


def test_the_merged_class_makes_the_rest_a_softmax_head():
    update, _, fed = tied(2)
    rest = Reading(update).split().rest
    assert not rest.head.tied
    assert rest.classes == update.classes - np.unique(fed).size + 1
    np.testing.assert_allclose(rest.kernel_gradient.sum(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(rest.bias_gradient.sum(), 0.0, atol=1e-6)


def test_a_table_that_nothing_was_looked_up_in_is_an_ordinary_head():
    made = make_update(positions=12, features=64, classes=300, signed=True)
    update = dataclasses.replace(made.update, head=dataclasses.replace(made.update.head, tied=True))
    assert attack("embedding_rows", update).labels == ()
    assert set(attack("rlg", update).labels) == set(made.labels.tolist())


@pytest.mark.parametrize("scale", [1e-20, 1e10])
def test_scale_does_not_matter(scale):
    update, labels, fed = tied(3)
    scaled = update.map(lambda array: array * np.float32(scale), defence="scale")
    assert set(attack("rlg", scaled).labels) == {*labels.tolist(), *fed.tolist()}


def test_more_positions_than_features_is_not_applicable():
    update, *_ = tied(positions=40, features=32, classes=300)
    for name in ("rlg", "embedding_rows"):
        recovery = attack(name, update)
        assert (recovery.status, recovery.labels) == ("not applicable", ())


def test_too_few_other_classes_is_not_applicable():
    update, *_ = tied(positions=12, features=64, classes=24, prompt=(22, 23))
    assert attack("rlg", update).status == "not applicable"


def test_attacks_that_read_the_head_alone_are_not_asked():
    update, *_ = tied()
    asked = {name for name, member in builtin_attacks().items() if run(member, update, seed=0).status == "recovered"}
    assert asked == {"bias_sign", "embedding_rows", "rlg"}
    assert "tied" in attack("llg", update).message


def test_signs_of_a_tied_gradient_are_not_applicable():
    update, *_ = tied()
    for name in ("rlg", "embedding_rows"):
        assert attack(name, update.map(np.sign, defence="sign")).status == "not applicable"
