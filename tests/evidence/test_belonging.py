"""Labels and update: every mistake is named, nothing is named where all is well, and noise is no mistake."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from pytest_labelleak.auditing.evidence.belonging import (
    Match,
    Mistake,
    belonging,
    explanation,
    sighting,
)
from pytest_labelleak.testing import make_head_update, make_update


def judged(*looks, seed=0, **options):
    return belonging([[look] for look in looks], rng=np.random.default_rng(seed), **options)


def case_of(seed=0, **options):
    return make_update(**{"positions": 20, "features": 64, "classes": 200, "seed": seed} | options)


def look(case, change=lambda g: g, labels=None, bias=False, features=False):
    bias_gradient = case.update.bias_gradient
    return sighting(
        change(case.update.kernel_gradient),
        case.labels if labels is None else labels,
        bias_gradient=change(bias_gradient) if bias else None,
        features=case.features if features else None,
    )


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("features", [True, False])
@pytest.mark.slow
def test_what_belongs_together_belongs_together(signed, bias, features):
    found = judged(look(case_of(signed=signed), bias=bias, features=features))
    assert (found.match, found.mistake) == (Match.BELONGS, None)
    assert found.sign_known == (features or bias or not signed)
    assert found.row_sums < 1e-9
    assert "belong together" in found.sentence


@pytest.mark.parametrize(
    ("signed", "bias", "features"), [(True, True, False), (True, False, True), (False, False, False)], ids=str
)
@pytest.mark.parametrize("scale", [-1.0, -0.01])
def test_a_negated_update_is_named(signed, bias, features, scale):
    found = judged(look(case_of(signed=signed), lambda a: np.float32(scale) * a, bias=bias, features=features))
    assert (found.match, found.mistake) == (Match.MISTAKEN, Mistake.NEGATED)
    assert "weights before - weights after" in found.sentence
    assert found.corrected.advantage > 0.9


def test_the_sign_of_signed_features_without_bias_cannot_be_told():
    found = judged(look(case_of(signed=True), np.negative))
    assert (found.match, found.sign_known) == (Match.BELONGS, False)


def noisy(gradient, relative=1.0):
    rng = np.random.default_rng(9)
    return gradient + relative * np.sqrt(np.mean(np.square(gradient))) * rng.standard_normal(gradient.shape)


@pytest.mark.parametrize("change", [np.asarray, np.sign, noisy], ids=["clean", "signs", "noise"])
def test_a_transposed_update_is_named(change):
    case = make_update(positions=8, features=200, classes=64, seed=1)
    found = judged(look(case, lambda g: change(g).T))
    assert (found.match, found.mistake) == (Match.MISTAKEN, Mistake.TRANSPOSED)
    assert "kernel_gradient.T" in found.sentence
    found = judged(look(case, lambda g: -change(g).T))
    assert found.mistake is Mistake.TRANSPOSED_NEGATED


@pytest.mark.parametrize("seed", range(3))
def test_one_statistic_decides_with_ten_classes(seed):
    """Of 252 sets of labels one alone is below all others in the bias: 1 in 252 is significant at 1 %."""
    case = make_update(positions=5, features=64, classes=10, seed=seed, signed=True)
    right = judged(look(case, bias=True))
    assert right.match is Match.BELONGS
    assert judged(look(case, np.negative, bias=True)).mistake is Mistake.NEGATED


@pytest.mark.parametrize("seed", range(4))
def test_labels_from_one_half_of_the_classes_are_not_reversed(seed):
    case = make_head_update(positions=80, features=64, classes=50, seed=seed, signed=True, bias=False, confidence=0.6)
    assert judged(look(case, labels=case.labels)).mistake is None
    lower = make_update(positions=80, features=64, classes=50, seed=seed, signed=True, confidence=0.6, duplicates=0.7)
    order = np.concatenate([np.unique(lower.labels), np.setdiff1d(np.arange(50), lower.labels)])
    labels = np.argsort(order)[lower.labels]
    found = judged(sighting(lower.update.kernel_gradient[:, order], labels))
    assert found.mistake is None


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("relative", [0.0, 0.01])
def test_sums_name_a_transposed_update_with_few_classes(relative, signed):
    """Ten classes, six present: no statistic of columns can be significant, but the sums over the classes are small."""
    case = make_head_update(positions=8, features=512, classes=10, among=8, seed=2, signed=signed, bias=False)
    found = judged(look(case, lambda g: noisy(g, relative).T))
    assert found.mistake in (Mistake.TRANSPOSED, Mistake.TRANSPOSED_NEGATED)
    right = judged(look(case, lambda g: noisy(g, relative)))
    assert right.mistake is None


def test_features_of_mean_zero_are_not_taken_for_classes():
    """Layer normalisation: the sums over the features vanish as well."""
    case = make_head_update(positions=8, features=64, classes=10, among=8, signed=True, bias=False)
    gradient = case.update.kernel_gradient - case.update.kernel_gradient.mean(axis=0)
    found = judged(sighting(noisy(gradient, 0.01), case.labels))
    assert found.column_sums < 1e-3
    assert found.mistake is None


def test_a_bias_says_which_axis_the_classes_are_on():
    case = make_update(positions=8, features=200, classes=64)
    assert look(case, bias=True).transposed is None
    assert look(case).transposed is None  # the row sums of zero say it, too
    assert look(case, noisy).transposed is not None
    assert look(case, noisy, bias=True).transposed is None
    assert (
        look(make_update(positions=3, features=4, classes=64, seed=3), noisy).transposed is None
    )  # labels beyond row 3


@pytest.mark.parametrize(
    ("mistake", "change"),
    [
        (Mistake.TOO_HIGH, lambda labels, classes: (labels + 1) % classes),
        (Mistake.TOO_LOW, lambda labels, classes: (labels - 1) % classes),
        (Mistake.REVERSED, lambda labels, classes: classes - 1 - labels),
    ],
)
@pytest.mark.parametrize("positions", [20, 80])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.slow
def test_renamed_classes_are_named(mistake, change, positions, signed):
    """With 80 positions of 200 classes many shifted labels are labels too, so both fit; the true ones fit better."""
    case = case_of(positions=positions, signed=signed)
    found = judged(look(case, labels=change(case.labels, 200)))
    assert (found.match, found.mistake) == (Match.MISTAKEN, mistake)
    assert found.corrected.advantage > found.given.advantage


def test_labels_of_another_batch_are_explained_by_nothing():
    case = case_of(signed=True)
    others = np.setdiff1d(np.arange(200), np.concatenate([case.labels + k for k in (-1, 0, 1)]))
    others = np.setdiff1d(others, 199 - case.labels)
    found = judged(look(case, labels=np.random.default_rng(0).choice(others, 20)))
    assert (found.match, found.mistake) == (Match.UNSEEN, None)
    assert "do not belong together" in found.sentence


@pytest.mark.slow
def test_pooled_batches_decide_with_few_classes():
    cases = [make_head_update(positions=5, features=64, classes=7, seed=seed, bias=True) for seed in range(10)]
    alone = judged(look(cases[0], bias=True))
    assert alone.match is Match.UNSEEN
    assert "is open" in alone.sentence
    assert "do not belong" not in alone.sentence
    assert judged(*[look(case, bias=True) for case in cases]).match is Match.BELONGS
    assert judged(*[look(case, np.negative, bias=True) for case in cases]).mistake is Mistake.NEGATED


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.slow
def test_noise_is_seldom_a_mistake(bias):
    rng, runs, level = np.random.default_rng(3), 100, 0.05
    named = 0
    for _ in range(runs):
        noise = rng.standard_normal((30, 60))
        seen = sighting(noise, rng.choice(60, 8), bias_gradient=rng.standard_normal(60) if bias else None)
        named += belonging([[seen]], rng=rng, level=level, permutations=199).match is not Match.UNSEEN
    assert named <= binom.ppf(0.999, runs, 3 * level)  # given, one side, and candidates together, at a level each


@pytest.mark.parametrize(
    "gradient", [np.zeros((3, 5)), np.full((3, 5), np.nan), np.array([[8e149, 0.0], [6.5e237, -3.6e16]])], ids=str
)
def test_degenerate_updates_are_unseen(gradient):
    found = judged(sighting(gradient, np.array([1])))
    assert found.match is Match.UNSEEN
    assert found.sentence
    assert judged().match is Match.UNSEEN
    everything = sighting(gradient, np.arange(gradient.shape[1]))
    assert judged(everything).match is Match.UNSEEN


def explained(case, change=lambda g: g, labels=None, **options):
    return explanation(
        case.features.astype("float32"),
        case.probabilities,
        case.labels if labels is None else labels,
        case.weights,
        change(case.update.kernel_gradient),
        **options,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("confidence", [None, 0.9])
@pytest.mark.parametrize("positions", [1, 20, 200])
def test_the_forward_pass_explains_the_gradient(dtype, confidence, positions):
    case = case_of(positions=positions, confidence=confidence, dtype=dtype)
    found = explanation(
        case.features, case.probabilities, case.labels, case.weights, case.update.kernel_gradient, compute_dtype=dtype
    )
    assert found.explained
    assert found.roundings < 4.0
    assert found.factor == pytest.approx(1.0, abs=1e-5)


def test_an_error_of_a_thousandth_is_noticed():
    case = case_of()
    found = explained(case, lambda g: noisy(g, 1e-3))
    assert not found.explained
    assert found.relative == pytest.approx(1e-3, rel=0.1)
    assert "unexplained" in found.sentence


@pytest.mark.parametrize(
    ("mistake", "labels"),
    [
        (Mistake.TOO_HIGH, lambda y: (y + 1) % 200),
        (Mistake.TOO_LOW, lambda y: (y - 1) % 200),
        (Mistake.REVERSED, lambda y: 199 - y),
    ],
)
def test_the_forward_pass_names_renamed_classes(mistake, labels):
    case = case_of()
    assert explained(case, labels=labels(case.labels)).mistake is mistake


@pytest.mark.parametrize("factor", [0.01, 1.0, 300.0])
def test_the_forward_pass_names_a_negated_update_and_a_factor(factor):
    case = case_of()
    right = explained(case, lambda g: np.float32(factor) * g)
    assert right.explained
    assert right.factor == pytest.approx(factor, rel=1e-5)
    negated = explained(case, lambda g: np.float32(-factor) * g)
    assert (negated.explained, negated.mistake) == (False, Mistake.NEGATED)
    assert negated.factor == pytest.approx(-factor, rel=1e-5)


@pytest.mark.parametrize("gradient", [np.zeros((64, 200)), np.ones((64, 200))], ids=["zero", "ones"])
def test_a_gradient_of_nothing_is_not_explained(gradient):
    found = explained(case_of(), lambda g: gradient)
    assert not found.explained
    assert found.mistake is None


def test_the_forward_pass_counts_labels_that_the_loss_does_not_use():
    case = case_of()
    wrong = case.labels.copy()
    wrong[:3] = (wrong[:3] + 57) % 200
    found = explained(case, labels=wrong)
    assert (found.other_labels, found.mistake, found.explained) == (3, None, False)
    assert "at 3 of 20 positions" in found.sentence
    assert not any(str(label) in found.sentence.replace("3 of 20", "") for label in wrong)


def test_smoothed_targets_are_explained():
    case = case_of(dtype="float64")
    smoothed = 0.9 * np.eye(200)[case.labels] + 0.1 / 200
    gradient = case.features.T @ ((case.probabilities - smoothed) * case.weights[:, None])
    arguments = (case.features, case.probabilities, case.labels, case.weights, gradient)
    assert explanation(*arguments, compute_dtype="float64", label_smoothing=0.1).explained
    assert not explanation(*arguments, compute_dtype="float64").explained


def test_no_label_is_shown():
    seen = sighting(np.zeros((1, 99_000)), np.array([79191]))
    assert "79191" not in repr(seen) + repr(judged(seen)) + judged(seen).sentence
