"""Positions of the same features and different labels: one row, whose labels the weights tell."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise, Recovery, Update, assert_samples_not_isolated, attack, audit
from pytest_labelleak.attacks.disaggregate.merged import repeated
from pytest_labelleak.attacks.disaggregate.one_by_one import IsolationRules
from pytest_labelleak.auditing.outcome import Outcome
from pytest_labelleak.core.recovery import Status


def batch(
    merged: list[int], *, positions: int = 12, bias: bool = True, seed: int = 0, spread: float = 1.5, classes: int = 200
) -> tuple[Update, np.ndarray, np.ndarray]:
    """Make an update whose first positions share their features, with the labels `merged`."""
    rng = np.random.default_rng(seed)
    features = 64
    kernel = rng.normal(size=(features, classes)) * spread / np.sqrt(features)
    offset = 0.1 * rng.normal(size=classes) if bias else np.zeros(classes)
    labels = np.array([*merged, *(50 + rng.permutation(classes - 50)[: positions - len(merged)])])
    inputs = rng.normal(size=(positions, features))
    inputs[: len(merged)] = inputs[0]
    logits = inputs @ kernel + offset
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(positions), labels] -= 1.0
    error /= positions
    update = Update.from_arrays(
        (inputs.T @ error).astype("float32"),
        bias_gradient=error.sum(axis=0).astype("float32") if bias else None,
        kernel=kernel.astype("float32"),
        bias=offset.astype("float32") if bias else None,
    )
    return update, labels, inputs


def sorted_labels(found: Recovery) -> list[int]:
    return sorted(found.sample_labels)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("spread", [0.3, 1.5, 3.0])
@pytest.mark.parametrize("merged", [[1, 2], [1, 2, 3], [1, 2, 3, 4, 5, 6], [1, 1, 2], [1, 1, 1, 2, 2, 3]])
@pytest.mark.slow
def test_the_labels_of_a_merged_row_are_read(merged: list[int], spread: float, bias: bool) -> None:
    update, labels, inputs = batch(merged, bias=bias, spread=spread)
    named = set(attack("rlg", update).labels)
    assert not named & set(merged)  # no direction separates them
    found = attack("disaggregate", update)
    assert sorted_labels(found) == sorted(labels.tolist())
    assert (found.isolated, found.positions, found.details["merged"]) == (12, 12, len(merged))
    assert found.counts is not None
    assert sum(found.counts.values()) == 12
    assert found.explained is not None
    assert found.explained > 0.9999
    assert found.features is not None
    own = [row for row, label in zip(found.features, found.sample_labels, strict=True) if label in merged]
    np.testing.assert_allclose(own, np.tile(inputs[0], (len(merged), 1)), atol=1e-3)


def test_a_batch_of_one_merged_row_alone_is_read() -> None:
    update, labels, _ = batch([3, 7, 9, 11], positions=4)
    found = attack("disaggregate", update)
    assert sorted_labels(found) == sorted(labels.tolist())


def test_wrong_weights_and_noise_make_no_merged_row() -> None:
    update, labels, _ = batch([1, 2, 3])
    other, _, _ = batch([1, 2, 3], seed=5)
    gradients = dict(update.gradients)
    swapped = Update.from_arrays(
        gradients["kernel"],
        bias_gradient=gradients["bias"],
        kernel=other.head.kernel_value,
        bias=other.head.bias_value,
    )
    assert attack("disaggregate", swapped).status is Status.NOT_APPLICABLE
    for strength in (1e-4, 1e-2, 1.0):
        found = attack("disaggregate", GaussianNoise(relative=strength)(update, rng=np.random.default_rng(0)))
        assert set(found.sample_labels) <= set(labels.tolist())


def test_multiples_are_counted_where_weights_are_whole_multiples_alone() -> None:
    rules = IsolationRules()
    labels, features = np.arange(4), np.array([[1.0], [2.0], [3.0], [3.0]])
    for weights, times in (
        ([1.0, 1.0, 2.0, 3.01], [1, 1, 2, 3]),
        ([1.0, 1.0, 1.5, 3.0], [1, 1, 1, 1]),
        ([2.0, 1.0, 1.5, 4.5], [1, 1, 1, 3]),
    ):
        assert repeated(labels, features, np.array(weights), rules).tolist() == times
    assert repeated(labels, np.ones((4, 1)), np.arange(1.0, 5.0), rules).tolist() == [1, 1, 1, 1]


def test_the_question_of_samples_counts_every_label_of_a_merged_row() -> None:
    update, labels, _ = batch([1, 2, 3], seed=2)
    measured = audit(update, labels, attacks=["disaggregate"])
    assert measured.outcome is Outcome.LEAKED
    assert measured.stats["isolated"] == 1.0
    assert measured.stats["positions_exact"] == 1.0
    with pytest.raises(AssertionError, match=r"(?s)100 %|1\.00"):
        assert_samples_not_isolated(update, labels)


def test_a_language_model_with_a_shared_start_token_is_read_whole() -> None:
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(3)
    vocabulary = 150
    inputs = keras.Input((None,), dtype="int32")
    hidden = keras.layers.GRU(64, return_sequences=True)(keras.layers.Embedding(vocabulary, 32)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(vocabulary)(hidden))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    sentences = rng.permutation(np.arange(1, vocabulary))[:24].reshape(4, 6)
    fed = np.concatenate([np.zeros((4, 1), int), sentences[:, :-1]], axis=1)
    measured = audit(model, (fed.astype("int32"), sentences.astype("int32")), attacks=["rlg", "disaggregate"])
    by_name = {verdict.attack: verdict for verdict in measured.verdicts}
    assert by_name["rlg"].stats["recall"] == pytest.approx(20 / 24)
    assert by_name["disaggregate"].stats["recall"] == 1.0
    assert by_name["disaggregate"].stats["isolated"] == 1.0
