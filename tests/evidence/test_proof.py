"""The bound on every attack: attained by the Neyman-Pearson test, never undercut, exact for heads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from pytest_labelleak.auditing.evidence.proof import (
    gaussian_advantage,
    head_bound,
    laplace_advantage,
    pair_bound,
)
from pytest_labelleak.core.errors import InvalidArgumentError
from pytest_labelleak.defences import NoiseLaw


def head(positions=12, features=16, classes=30, seed=0, repeated=1):
    rng = np.random.default_rng(seed)
    inputs = np.maximum(rng.standard_normal((positions, features)), 0.0)
    labels = rng.choice(classes, positions // repeated, replace=False)[np.arange(positions) % (positions // repeated)]
    logits = inputs @ rng.standard_normal((features, classes)) / np.sqrt(features)
    outputs = np.exp(logits - logits.max(axis=1, keepdims=True))
    outputs /= outputs.sum(axis=1, keepdims=True)
    return inputs, labels, outputs


def gradients(inputs, labels, outputs):
    error = outputs.copy()
    error[np.arange(labels.size), labels] -= 1.0
    error /= labels.size
    return {"kernel": inputs.T @ error, "bias": error.sum(axis=0)}


def defended(update, law):
    """Return means and standard deviations of the shared update."""
    total = math.sqrt(sum(np.sum(a**2) for a in update.values()))
    shared = {}
    for name, array in update.items():
        length = total if law.scope == "update" else np.linalg.norm(array)
        mean = array * (1.0 if law.clip is None else min(1.0, law.clip / length))
        shared[name] = mean, (law.relative * np.sqrt(np.mean(mean**2)) if law.relative else law.deviation(name))
    return shared


def best_test(first, second, law, rng, draws=20_000):
    """Advantage of the likelihood-ratio test between two updates, by simulation."""
    scores = []
    for truth in (first, second):
        score = np.zeros(draws)
        for name, (mean, deviation) in truth.items():
            centre = np.ravel(mean)
            for start in range(0, draws, 1000):
                if law.kind == "gaussian":
                    seen = centre + deviation * rng.standard_normal((1000, centre.size))
                else:
                    seen = centre + rng.laplace(0.0, deviation / math.sqrt(2.0), (1000, centre.size))
                for sign, (other, width) in ((1.0, first[name]), (-1.0, second[name])):
                    gap = seen - np.ravel(other)
                    if law.kind == "gaussian":
                        density = -0.5 * np.sum(gap**2, axis=1) / width**2 - centre.size * math.log(width)
                    else:
                        b = width / math.sqrt(2.0)
                        density = -np.sum(np.abs(gap), axis=1) / b - centre.size * math.log(b)
                    score[start : start + 1000] += sign * density
        scores.append(score)
    return np.mean(scores[0] > 0.0) - np.mean(scores[1] > 0.0)


def swapped(labels, position, label):
    changed = labels.copy()
    changed[position] = label
    return changed


def unused(labels):
    return next(c for c in range(1000) if c not in labels)


@pytest.mark.parametrize("deviation", [0.02, 0.1, 0.4])
@pytest.mark.slow
def test_the_gaussian_bound_is_attained(deviation):
    inputs, labels, outputs = head()
    law = NoiseLaw(absolute=deviation)
    first = gradients(inputs, labels, outputs)
    second = gradients(inputs, swapped(labels, 0, unused(labels)), outputs)
    bound = pair_bound(first, second, law)
    found = best_test(defended(first, law), defended(second, law), law, np.random.default_rng(1))
    assert found == pytest.approx(bound, abs=3.5 * math.sqrt(0.5 / 20_000))


def test_a_million_draws_attain_it_to_the_third_digit():
    """The likelihood ratio of two Gaussians depends on one coordinate, along the difference of the means."""
    rng = np.random.default_rng(0)
    for distance in (0.1, 1.0, 3.0):
        seen = rng.standard_normal(4_000_000)
        found = np.mean(seen < distance / 2) - np.mean(seen + distance < distance / 2)
        assert found == pytest.approx(gaussian_advantage(distance), abs=1e-3)
        assert gaussian_advantage(distance) == pytest.approx(2 * norm.cdf(distance / 2) - 1)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
@pytest.mark.parametrize("scope", ["update", "variable"])
@pytest.mark.parametrize("scale", [{"relative": 3.0}, {"relative": 20.0}, {"absolute": 0.1}], ids=str)
@pytest.mark.parametrize("clip", [None, 0.2])
def test_no_test_exceeds_the_bound(kind, scope, scale, clip):
    inputs, labels, outputs = head(positions=6, features=4, classes=12)
    law = NoiseLaw(kind=kind, scope=scope, clip=clip, **scale)
    first = gradients(inputs, labels, outputs)
    second = gradients(inputs, swapped(labels, 2, unused(labels)), outputs)
    found = best_test(defended(first, law), defended(second, law), law, np.random.default_rng(2), draws=4000)
    bound = pair_bound(first, second, law)
    assert found <= bound + 3.5 * math.sqrt(0.5 / 4000)
    assert bound <= 1.6 * found + 0.1  # and it is of use


@pytest.mark.parametrize("clip", [None, 0.1, 10.0])
@pytest.mark.parametrize("scope", ["update", "variable"])
@pytest.mark.parametrize(
    "noise",
    [
        {"absolute": 0.05},
        {"absolute": {"kernel": 0.05, "bias": 0.2}},
        {"relative": 5.0},
        {"absolute": 0.3, "randomised": 0.4},
    ],
    ids=str,
)
@pytest.mark.slow
def test_the_closed_form_of_a_head_is_that_of_recomputed_gradients(clip, scope, noise):
    inputs, labels, outputs = head()
    law = NoiseLaw(clip=clip, scope=scope, **noise)
    own = gradients(inputs, labels, outputs)
    expected = [
        pair_bound(own, gradients(inputs, swapped(labels, i, c), outputs), law)
        for i in range(labels.size)
        for c in range(30)
        if c != labels[i]
    ]
    bound = head_bound(inputs, labels, law, classes=30, kernel_gradient=own["kernel"], bias_gradient=own["bias"])
    assert bound.positions == pytest.approx(np.mean(expected), rel=1e-6)
    assert bound.alike == (clip is None and "relative" not in noise)


@pytest.mark.parametrize("noise", [{"absolute": 0.2}, {"relative": 5.0}, {"absolute": 0.3, "kind": "laplace"}], ids=str)
def test_all_positions_of_a_class_move_together(noise):
    inputs, labels, outputs = head(positions=12, repeated=3)
    law = NoiseLaw(**noise)
    own = gradients(inputs, labels, outputs)
    expected = [
        pair_bound(own, gradients(inputs, np.where(labels == y, c, labels), outputs), law)
        for y in np.unique(labels)
        for c in np.setdiff1d(np.arange(30), labels)
    ]
    bound = head_bound(inputs, labels, law, classes=30, kernel_gradient=own["kernel"], bias_gradient=own["bias"])
    assert bound.classes == pytest.approx(np.mean(expected), rel=1e-6)
    assert bound.classes > bound.positions
    assert bound.advantage == bound.classes
    assert bound.worst >= max(bound.classes, np.max(expected) - 1e-9)


def test_m_equal_records_move_m_times_as_far():
    inputs, labels = np.ones((4, 1)), np.array([0, 0, 0, 1])
    bound = head_bound(inputs, labels, NoiseLaw(absolute=math.sqrt(2.0)), classes=9, weights=np.ones(4))
    expected = [2 * norm.cdf(m / 2) - 1 for m in (1, 3)]
    assert bound.positions == pytest.approx(expected[0])
    assert bound.classes == pytest.approx(np.mean(expected))


def test_the_laplace_bound_is_exact_for_one_coordinate():
    for shift in (0.01, 1.0, 8.0):
        exact = quad(
            lambda z, s=shift: 0.25 * abs(math.exp(-abs(z)) - math.exp(-abs(z - s))), -40, 50, points=[0, shift]
        )
        assert laplace_advantage(np.array([shift])) == pytest.approx(exact[0], rel=1e-6)


@pytest.mark.parametrize(("count", "shift"), [(2, 1.0), (20, 0.3), (2000, 0.03)])
@pytest.mark.slow
def test_the_laplace_bound_is_not_undercut_and_close(count, shift):
    rng, draws = np.random.default_rng(count), 20_000
    loss = np.concatenate(
        [
            np.abs(z - shift).sum(axis=1) - np.abs(z).sum(axis=1)
            for z in (rng.laplace(size=(200, count)) for _ in range(100))
        ]
    )
    found = np.mean(np.maximum(0.0, -np.expm1(-loss)))  # E (1 - exp(-loss))+ is the total variation distance
    bound = laplace_advantage(np.full(count, shift))
    assert found - 4 / math.sqrt(draws) <= bound <= 1.35 * found
    assert bound <= math.tanh(count * shift / 2)


def test_randomised_labels_bound_any_noise():
    inputs, labels, _ = head(positions=12, repeated=3)
    for randomised in (0.0, 0.2, 1.0):
        loud = head_bound(inputs, labels, NoiseLaw(absolute=1e-9, randomised=randomised), classes=30)
        assert loud.positions == pytest.approx(randomised)
        assert loud.classes == pytest.approx(1 - (1 - randomised) ** 3)
    own = gradients(*head(positions=12, repeated=3))
    clipped = head_bound(
        inputs, labels, NoiseLaw(relative=1.0, randomised=0.2), classes=30, kernel_gradient=own["kernel"]
    )
    assert clipped.classes == pytest.approx(1 - 0.8**3)


def test_randomised_labels_are_simulated():
    """Two positions of one class, each replaced with probability 1/2 by a uniform label, behind Gaussian noise."""
    rng, classes, deviation = np.random.default_rng(0), 3, 0.8
    kept = 0.4
    law = NoiseLaw(absolute=deviation, randomised=kept)
    chance = (1 - kept) / classes

    def density(seen, label):
        each = np.full(classes, chance)
        each[label] += kept
        total = np.zeros(len(seen))
        for a in range(classes):
            for b in range(classes):
                mean = -(np.eye(classes)[a] + np.eye(classes)[b])
                total += each[a] * each[b] * np.exp(-0.5 * np.sum((seen - mean) ** 2, axis=1) / deviation**2)
        return total

    draws = 20_000
    advantage = []
    for label in (0, 1):
        said = np.where(rng.random((draws, 2)) < kept, label, rng.integers(0, classes, (draws, 2)))
        seen = -np.eye(classes)[said].sum(axis=1) + deviation * rng.standard_normal((draws, classes))
        advantage.append(np.mean(density(seen, 0) > density(seen, 1)))
    found = advantage[0] - advantage[1]
    bound = head_bound(np.ones((2, 1)), np.array([0, 0]), law, classes=classes, weights=np.ones(2)).classes
    assert 0.2 < found <= bound + 0.02


def test_relative_noise_gives_its_scale_away():
    """Many coordinates measure a scale that depends on the label, however large the noise is against the gradient."""
    first = {"kernel": np.full(10_000, 1.0)}
    second = {"kernel": np.full(10_000, 1.1)}
    law = NoiseLaw(relative=1e6)
    assert pair_bound(first, second, law) > 0.999
    assert pair_bound(first, second, NoiseLaw(absolute=1e6)) < 1e-4


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_equal_updates_cannot_be_told_apart_and_missing_noise_hides_nothing(kind):
    zero, one = {"kernel": np.zeros((2, 3))}, {"kernel": np.ones((2, 3))}
    for scale in ({"relative": 1.0}, {"absolute": 1.0}):
        law = NoiseLaw(kind=kind, **scale)
        assert pair_bound(one, one, law) == 0.0
        assert pair_bound(zero, zero, law) == 0.0
    assert pair_bound(zero, one, NoiseLaw(kind=kind, relative=1.0)) == 1.0
    assert pair_bound(zero, one, NoiseLaw(kind=kind, absolute=1e-300)) == 1.0


def test_more_noise_proves_more():
    inputs, labels, outputs = head()
    own = gradients(inputs, labels, outputs)
    options = {"classes": 30, "kernel_gradient": own["kernel"], "bias_gradient": own["bias"]}
    for kind in ("gaussian", "laplace"):
        for scale in ("relative", "absolute"):
            bounds = [
                head_bound(inputs, labels, NoiseLaw(kind=kind, **{scale: s}), **options).classes for s in (1, 10, 99)
            ]
            assert bounds == sorted(bounds, reverse=True)
            assert bounds[0] > bounds[2]


def test_batches_without_labels_or_absent_classes_have_a_bound_of_nothing():
    law = NoiseLaw(absolute=1.0)
    empty = head_bound(np.zeros((0, 3)), np.zeros(0, dtype=int), law, classes=3)
    assert (empty.positions, empty.classes, empty.worst) == (0.0, 0.0, 0.0)
    full = head_bound(np.ones((2, 3)), np.array([0, 1]), law, classes=2)
    assert full.classes == 0.0
    assert full.positions > 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cauchy", "absolute": 1.0}, "kind='cauchy'"),
        ({"scope": "layer", "absolute": 1.0}, "scope='layer'"),
        ({}, "exactly one"),
        ({"absolute": 1.0, "relative": 1.0}, "exactly one"),
        ({"absolute": 0.0}, "absolute=0.0"),
        ({"absolute": {"kernel": math.nan}}, "absolute=nan"),
        ({"relative": -1.0}, "relative=-1.0"),
        ({"absolute": 1.0, "clip": math.inf}, "clip=inf"),
        ({"absolute": 1.0, "randomised": 1.1}, "randomised=1.1"),
    ],
)
def test_laws_are_checked(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        NoiseLaw(**options)


def test_missing_pieces_are_refused():
    one = {"kernel": np.ones((2, 3))}
    with pytest.raises(InvalidArgumentError, match="same ones"):
        pair_bound(one, {"bias": np.ones(3)}, NoiseLaw(absolute=1.0))
    with pytest.raises(InvalidArgumentError, match="no standard deviation for the variable 'kernel'"):
        pair_bound(one, one, NoiseLaw(absolute={"bias": 1.0}))
    with pytest.raises(InvalidArgumentError, match="gradients of the head are not given"):
        head_bound(np.ones((1, 2)), np.array([0]), NoiseLaw(relative=1.0), classes=3)
    with pytest.raises(InvalidArgumentError, match="gradients of the head are not given"):
        head_bound(
            np.ones((1, 2)),
            np.array([0]),
            NoiseLaw(relative=1.0),
            classes=3,
            kernel_gradient=np.ones((2, 3)),
            bias=True,
        )
