"""Kinds of inputs on which earlier versions went wrong, and the test of each.

=========================================================  ============================================================
kind                                                       test
=========================================================  ============================================================
head behind a layer normalisation passes                   `test_features_of_any_sign_leak_without_a_bias`
undefended head without bias passes                        `test_features_of_any_sign_leak_without_a_bias`
noise on a head without bias passes                        `test_noise_as_large_as_the_gradient_leaks_without_a_bias`
clean, more positions than classes: less read than noisy   attacks/test_rlg_robust.py, "a_clean_crowded_update"
defence with a trivial inverse passes                      evidence/test_undoing.py; attacks/test_energy.py, "emptied"
compute_loss that only calls super: penalty stays          capture/test_keras_belonging.py, "own_compute_loss"
noise of two participants from one seed passes             evidence/test_undoing.py; test_auditing.py, "nothing_holds"
sign of a weight difference                                evidence/test_belonging.py, "negated"
orientation of PyTorch                                     test_update.py, "transposed"
loss on other labels                                       capture/test_keras_belonging.py, "other_labels_in_the_loss"
pure noise fails                                           test_auditing.py, "pure_noise"
train_step of the instance                                 capture/test_keras_head.py, "train_otherwise"
no class left to count; extreme entries                    attacks/test_range.py
small-d language model never ends                          `test_a_small_language_model_ends_within_its_budget`
data set without an end                                    test_batches.py, "without_an_end"; capture/test_data_sets.py
colours hide digits; results without the fixture           plugin/test_private_outputs.py
tensors of PyTorch                                         capture/test_tensors.py; test_update.py, "detached"
labels as a list                                           test_batches.py, "any_sequence"
weight-normalising wrapper                                 capture/test_keras_head.py, "keeps_the_kernel"
every class is present, counts                             auditing/test_label_counts.py; auditing/test_full_batches.py
ignored label of a loss of one's own                       capture/test_keras_sequences.py, "own_loss_ignores"
Lambda or constant between head and softmax                capture/test_keras_head.py, "constants", "traced"
baseline beside expected leaks                             plugin/test_baseline_run.py, "expects", "recorded_once"
=========================================================  ============================================================
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from pytest_labelleak import LabelLeak, Update, assert_labels_not_recoverable, audit, capture_update
from pytest_labelleak.core.softmax import softmax
from pytest_labelleak.testing import make_head_update


def normalised(positions: int, features: int, classes: int, seed: int) -> tuple[Update, np.ndarray]:
    """Return an update whose features have mean zero and variance one, and labels as frequent as words."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(positions, features))
    inputs -= inputs.mean(axis=1, keepdims=True)
    inputs /= inputs.std(axis=1, keepdims=True)
    frequent = 1.0 / np.arange(1, classes + 1)
    labels = rng.choice(classes, positions, p=frequent / frequent.sum())
    errors = softmax(inputs @ rng.normal(size=(features, classes)) / np.sqrt(features))
    errors[np.arange(positions), labels] -= 1.0
    return Update.from_arrays((inputs.T @ errors / positions).astype(np.float32)), labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_features_of_any_sign_leak_without_a_bias(seed: int) -> None:
    """More positions than features: the geometry has no room, and the columns stand out all the same."""
    for update, labels in (normalised(100, 32, 600, seed), signed(32, 16, 100, seed)):
        with pytest.raises(LabelLeak) as leak:
            assert_labels_not_recoverable(update, labels)
        assert leak.value.audit.advantage > 0.9


def signed(positions: int, features: int, classes: int, seed: int) -> tuple[Update, np.ndarray]:
    """Return the update of a head without bias on features of both signs."""
    case = make_head_update(positions=positions, features=features, classes=classes, seed=seed, signed=True, bias=False)
    return case.update, case.labels


@pytest.mark.parametrize("strength", [1, 2])
@pytest.mark.slow
def test_noise_as_large_as_the_gradient_leaks_without_a_bias(strength: int) -> None:
    update, labels = signed(16, 64, 100, 5)
    with pytest.raises(LabelLeak) as leak:
        assert_labels_not_recoverable(update, labels, defence=f"gaussian_noise(relative={strength})")
    assert leak.value.audit.advantage > 0.8


@pytest.mark.slow
def test_a_small_language_model_ends_within_its_budget() -> None:
    """Recurrent features of small models are nearly alike, so that most classes take a search of their own."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    rng, words = np.random.default_rng(0), 4000
    frequent = 1.0 / np.arange(1, words + 1)
    sentences = rng.choice(words, (7, 8), p=frequent / frequent.sum())
    sentences[:, 0] = 0
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(words, 128),
            keras.layers.GRU(128, return_sequences=True),
            keras.layers.Dense(words),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batch = sentences[:, :-1], sentences[:, 1:]
    model.train_on_batch(*batch)
    begun = time.monotonic()
    result = audit(capture_update(model, batch), batch[1].ravel(), attacks=["rlg"], time_budget=0.2)
    assert time.monotonic() - begun < 4.0
    assert result.outcome == "inconclusive"
    assert "time budget" in result.message
