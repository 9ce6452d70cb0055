"""Proofs for batches: swaps of labels, their means and samples, heads of arrays, and laws that are not kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_labelleak import Aggregate, ClipNorm, Compose, GaussianNoise, LaplaceNoise, Sign, Truth, Update
from pytest_labelleak.auditing.evidence.proof import Bound, gaussian_advantage, pair_bound
from pytest_labelleak.auditing.evidence.swaps import (
    Proof,
    ProofRules,
    Swappable,
    broken_law,
    head_alone,
    proof_by_swaps,
)
from pytest_labelleak.defences import NoiseLaw

CLASSES = 9


def outputs_of(inputs, kernel, bias):
    logits = inputs @ kernel + bias
    outputs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return outputs / outputs.sum(axis=1, keepdims=True)


def head(labels=(1, 4, 7), features=5, seed=0, weights=None):
    """Return an update with its truth, and a function from labels to the update recomputed from the start."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((len(labels), features))
    kernel, bias = rng.standard_normal((features, CLASSES)), rng.standard_normal(CLASSES)
    outputs = outputs_of(inputs, kernel, bias)
    weights = np.full(len(labels), 1.0 / len(labels)) if weights is None else np.asarray(weights)

    def recompute(given):
        errors = (outputs - np.eye(CLASSES)[given]) * weights[:, None]
        return Update.from_arrays(inputs.T @ errors, bias_gradient=errors.sum(axis=0), kernel=kernel, bias=bias)

    truth = Truth(labels=np.array(labels), classes=CLASSES, features=inputs)
    return recompute(truth.labels), truth, recompute


def swappable(labels=(1, 4, 7), **options):
    _, truth, recompute = head(labels, **options)
    return Swappable(labels=truth.labels, classes=CLASSES, recompute=recompute)


@pytest.mark.parametrize("labels", [(1, 4, 7), (1, 1, 4), (2, 2, 2, 2)])
def test_all_swaps_are_those_of_every_position_and_class(labels):
    batch = swappable(labels)
    singles = {tuple(batch.swapped("positions", number)) for number in range(batch.size("positions"))}
    expected = {
        (*labels[:place], other, *labels[place + 1 :])
        for place in range(len(labels))
        for other in range(CLASSES)
        if other != labels[place]
    }
    assert singles == expected
    moved = {tuple(batch.swapped("classes", number)) for number in range(batch.size("classes"))}
    absent = set(range(CLASSES)) - set(labels)
    assert moved == {tuple(other if y == old else y for y in labels) for old in set(labels) for other in absent}


def test_few_swaps_are_all_computed_and_need_no_confidence():
    law = GaussianNoise(absolute=0.7).noise_law
    update, truth, _ = head()
    proof = proof_by_swaps([swappable()], law, rng=np.random.default_rng(0))
    closed = head_alone(update, truth, law)
    assert isinstance(closed, Bound)
    assert proof.confidence is None
    assert proof.positions == pytest.approx(closed.positions, rel=1e-6)
    assert proof.classes == pytest.approx(closed.classes, rel=1e-6)
    assert proof.bound == max(proof.positions, proof.classes)
    assert proof.swaps == 3 * (CLASSES - 1)


@pytest.mark.parametrize("labels", [(1, 4, 7), (1, 1, 4)])
def test_a_sample_of_the_swaps_bounds_the_mean_over_all(labels):
    law = GaussianNoise(absolute=0.7).noise_law
    batches = [swappable(labels, seed=seed) for seed in (0, 1)]
    everything = proof_by_swaps(batches, law, rng=np.random.default_rng(0))
    for most in (4, 16):
        rules = ProofRules(most_swaps=most)
        sampled = proof_by_swaps(batches, law, rng=np.random.default_rng(0), rules=rules)
        assert sampled.confidence == 0.99
        assert sampled.swaps <= 2 * most
        assert everything.positions < sampled.positions <= 1.0
        assert everything.classes < sampled.classes <= 1.0


def test_a_sample_of_positions_without_absent_classes_bounds_no_class():
    law = GaussianNoise(absolute=0.7).noise_law
    batch = swappable(tuple(range(CLASSES - 1)))
    everything = proof_by_swaps([batch], law, rng=np.random.default_rng(0))
    sampled = proof_by_swaps([batch], law, rng=np.random.default_rng(0), rules=ProofRules(most_swaps=3))
    assert everything.classes < sampled.classes


def test_batches_count_alike_whatever_their_size():
    law = GaussianNoise(absolute=0.7).noise_law
    small, large = swappable((1,), seed=0), swappable((1, 2, 3, 4), seed=1)
    single = [proof_by_swaps([batch], law, rng=np.random.default_rng(0)) for batch in (small, large)]
    both = proof_by_swaps([small, large], law, rng=np.random.default_rng(0))
    assert both.positions == pytest.approx(np.mean([proof.positions for proof in single]))


def test_a_swap_that_the_batch_cannot_hold_hides_nothing():
    batch = swappable()
    picky = dataclasses.replace(batch, recompute=lambda labels: None if 8 in labels else batch.recompute(labels))
    law = GaussianNoise(absolute=1e3).noise_law
    assert proof_by_swaps([batch], law, rng=np.random.default_rng(0)).bound < 0.01
    proof = proof_by_swaps([picky], law, rng=np.random.default_rng(0))
    assert proof.positions == pytest.approx(1 / 8, abs=0.01)
    assert proof.classes == pytest.approx(1 / 6, abs=0.01)


def test_captures_that_differ_by_themselves_prove_nothing():
    batch, rng = swappable(), np.random.default_rng(0)

    def recompute(labels):
        return batch.recompute(labels).map(lambda array: array + rng.normal(0.0, 0.1, array.shape), defence="luck")

    law = GaussianNoise(absolute=0.1).noise_law
    proof = proof_by_swaps([dataclasses.replace(batch, recompute=recompute)], law, rng=np.random.default_rng(0))
    assert proof.bound is None
    assert "differ" in proof.because


def test_an_update_that_no_label_changes_is_that_of_other_labels():
    batch = swappable()
    fixed = dataclasses.replace(batch, recompute=lambda labels: batch.recompute(batch.labels))
    proof = proof_by_swaps([fixed], GaussianNoise(absolute=1.0).noise_law, rng=np.random.default_rng(0))
    assert proof.bound is None
    assert "no other label changes the update" in proof.because


def test_time_that_runs_out_is_no_proof():
    law = GaussianNoise(absolute=1.0).noise_law
    proof = proof_by_swaps([swappable()], law, rng=np.random.default_rng(0), spent=lambda: True)
    assert proof.bound is None
    assert "time budget" in proof.because


def test_deterministic_defences_before_the_noise_act_on_both_updates():
    update, truth, recompute = head()
    law = Compose([Sign(), GaussianNoise(absolute=2.0)]).noise_law
    batch = head_alone(update, truth, law)
    assert isinstance(batch, Swappable)
    proof = proof_by_swaps([batch], law, rng=np.random.default_rng(0))
    plain = NoiseLaw(absolute=2.0)
    signs = [Sign()(each, rng=np.random.default_rng(0)).gradients for each in (update, recompute([1, 4, 2]))]
    assert pair_bound(*signs, plain) > 0.1
    expected = []
    for place in range(3):
        for other in set(range(CLASSES)) - {truth.labels[place]}:
            labels = truth.labels.copy()
            labels[place] = other
            signs[1] = Sign()(recompute(labels), rng=np.random.default_rng(0)).gradients
            expected.append(pair_bound(*signs, plain))
    assert proof.positions == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_sum_with_others_changes_no_difference():
    update, truth, _ = head()
    other, _, _ = head(seed=5)
    law = Compose([Aggregate(clients=[other]), GaussianNoise(absolute=0.7)]).noise_law
    alone = head_alone(update, truth, GaussianNoise(absolute=0.7).noise_law)
    summed = proof_by_swaps([head_alone(update, truth, law)], law, rng=np.random.default_rng(0))
    assert summed.positions == pytest.approx(alone.positions, rel=1e-6)


def test_labels_replaced_at_random_need_no_update():
    batch = dataclasses.replace(swappable((1, 1, 4)), recompute=lambda labels: None)
    proof = proof_by_swaps([batch], NoiseLaw(kind="none", randomised=0.25), rng=np.random.default_rng(0))
    assert proof.positions == 0.25
    assert proof.classes == pytest.approx(np.mean([1 - 0.75**2, 0.25]))


@pytest.mark.parametrize("weights", [None, (0.2, 0.5, 0.1)])
def test_weights_of_positions_are_solved_for(weights):
    update, truth, _ = head(weights=weights)
    bound = head_alone(update, truth, NoiseLaw(absolute=0.5))
    lengths = (
        np.hstack([truth.features, np.ones((3, 1))])
        * (np.full(3, 1 / 3) if weights is None else np.array(weights))[:, None]
    )
    distances = np.sqrt(2.0 * (lengths**2).sum(axis=1)) / 0.5
    assert bound.positions == pytest.approx(float(gaussian_advantage(distances).mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (lambda update, truth: (update, dataclasses.replace(truth, features=None)), "features"),
        (lambda update, truth: (Update.from_arrays(update.kernel_gradient), truth), "weights of the head"),
        (lambda update, truth: (dataclasses.replace(update, steps=2), truth), "no gradient of one step"),
        (lambda update, truth: (update.map(lambda a: a, defence="sign"), truth), "no gradient of one step"),
        (
            lambda update, truth: (update, dataclasses.replace(truth, labels=np.roll(truth.labels, 1))),
            "do not give the gradient",
        ),
        (
            lambda update, truth: (
                dataclasses.replace(update, gradients={**update.gradients, "more": np.ones(3)}),
                truth,
            ),
            "other variables than the head",
        ),
    ],
    ids=["features", "weights", "steps", "defended", "labels", "variables"],
)
def test_heads_that_cannot_be_recomputed_say_why(change, because):
    update, truth, _ = head()
    found = head_alone(*change(update, truth), NoiseLaw(absolute=1.0))
    assert isinstance(found, str)
    assert because in found


def test_a_variable_without_noise_proves_nothing():
    update, truth, _ = head()
    assert "without noise" in head_alone(update, truth, NoiseLaw(absolute={"kernel": 1.0}))


@pytest.mark.parametrize(
    "defence",
    [
        GaussianNoise(absolute=0.1),
        LaplaceNoise(relative=2.0),
        Compose([ClipNorm(norm=0.01), GaussianNoise(absolute=0.1)]),
        Compose([Sign(), LaplaceNoise(absolute=0.1)]),
    ],
    ids=lambda defence: defence.name,
)
def test_a_law_is_compared_with_the_noise(defence):
    update, _, _ = head(features=400)
    shared, again = (defence(update, rng=np.random.default_rng(seed)) for seed in (3, 4))
    assert broken_law(update, shared, again, defence.noise_law) is None
    scale = "absolute" if defence.noise_law.absolute else "relative"
    double = dataclasses.replace(defence.noise_law, **{scale: 2.0 * getattr(defence.noise_law, scale)})
    assert "less noise" in broken_law(update, shared, again, double)


def test_a_variable_that_is_left_as_it_is_breaks_the_law():
    update, _, _ = head()
    shared, again = (GaussianNoise(absolute=0.1)(update, rng=np.random.default_rng(seed)) for seed in range(2))
    shared = dataclasses.replace(shared, gradients={**shared.gradients, "bias": update.gradients["bias"]})
    assert "'bias'" in broken_law(update, shared, again, NoiseLaw(absolute=0.1))
    named = NoiseLaw(absolute={"kernel": 0.1})
    assert "does not mention the variable 'bias'" in broken_law(update, shared, again, named)


def test_noise_that_every_draw_shares_breaks_the_law():
    update, _, _ = head(features=400)
    law = NoiseLaw(absolute=0.1)
    shared, again = (GaussianNoise(absolute=0.1)(update, rng=np.random.default_rng(seed)) for seed in range(2))
    for processed in (False, True):
        same = dataclasses.replace(law, processed=processed)
        assert "two draws of the defence are the same" in broken_law(update, shared, dataclasses.replace(shared), same)
    half = dataclasses.replace(
        again, gradients={name: (array + shared.gradients[name]) / 2 for name, array in again.gradients.items()}
    )
    assert "share noise in the variable 'kernel'" in broken_law(update, shared, half, law)


def test_bounds_are_shown_rounded_up():
    assert Proof(bound=0.2611).shown == "0.27"
    assert Proof(bound=0.2611).to_record()["bound"] == 0.2611
    assert not Proof.missing("so").within(1.0)
    assert Proof(bound=0.1).within(0.1)
