"""Sigmoid heads: several labels for each sample, or one unit."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
layers = keras.layers

from pytest_labelleak import GaussianNoise, InvalidArgumentError, attack, audit  # noqa: E402
from pytest_labelleak.attacks import builtin_attacks  # noqa: E402
from pytest_labelleak.auditing.outcome import Outcome  # noqa: E402
from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

BCE = keras.losses.BinaryCrossentropy
NOISE = GaussianNoise(relative=300.0)
ENDINGS = {
    "name": ("sigmoid", "binary_crossentropy"),
    "logits": (None, BCE(from_logits=True)),
    "smoothed": ("sigmoid", BCE(label_smoothing=0.2)),
    "focal": ("sigmoid", keras.losses.BinaryFocalCrossentropy()),
    "function": ("sigmoid", keras.losses.binary_crossentropy),
}


def targets(units, rng):
    return (rng.random((8, units)) < 0.4).astype("float32")


@pytest.mark.parametrize("units", [1, 5])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_sigmoid_head_is_captured(ending, units, classifier, rng, batch, fitted_step):
    activation, loss = ENDINGS[ending]
    model, x, y = classifier(loss, activation=activation, units=units), batch[0], targets(units, rng)
    update = KerasAdapter().capture(model, (x, y))
    assert (update.head.kind, update.classes) == ("sigmoid", units)
    assert update.head.label_smoothing == (0.2 if ending == "smoothed" else 0.0)
    for gradient, step in zip(update.gradients.values(), fitted_step(model, x, y), strict=True):
        np.testing.assert_allclose(gradient, step, atol=2e-6)
    truth = KerasAdapter().labels(model, (x, y))
    # One unit tells classes 0 and 1 apart; several units have a class each.
    assert (truth.classes, truth.lengths) == (max(units, 2), None)
    np.testing.assert_array_equal(truth.labels, y[:, 0] if units == 1 else np.nonzero(y)[1])


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_targets_of_one_unit(shape, dtype, classifier, batch):
    y = (np.arange(8) % 3 == 0).astype(dtype).reshape(shape)
    model = classifier("binary_crossentropy", activation="sigmoid", units=1)
    assert KerasAdapter().labels(model, (batch[0], y)).labels.tolist() == [1, 0, 0, 1, 0, 0, 1, 0]
    assert KerasAdapter().capture(model, (batch[0], y)).kernel_gradient.shape == (12, 1)


def test_weights_soft_targets_and_entries_left_out(classifier, batch, rng):
    model, x, y = classifier("binary_crossentropy", activation="sigmoid"), batch[0], targets(5, rng)
    weight = np.array([1, 0, 2, 1, 0, 1, 1, 1], "float32")
    labels = KerasAdapter().labels
    np.testing.assert_array_equal(labels(model, (x, y, weight)).labels, np.nonzero(y[weight != 0])[1])
    np.testing.assert_array_equal(labels(model, (x, 0.1 + 0.8 * y)).labels, np.nonzero(y)[1])
    holes = y.copy()
    holes[:, 2] = -1.0
    np.testing.assert_array_equal(labels(model, (x, holes), ignore_class=-1).labels, np.nonzero(holes > 0)[1])
    for bad, match in (
        (holes, r"8 of 40 entries outside of \[0, 1\].*ignore_class="),
        (y[:, :3], r"\(8, 3\).*last of length 5.*sigmoid head"),
        (y.argmax(1), r"\(8,\).*sigmoid head"),
    ):
        for method in (KerasAdapter().labels, KerasAdapter().capture):
            with pytest.raises(InvalidArgumentError, match=match):
                method(model, (x, bad))


def test_several_labels_at_every_position(rng):
    inputs = keras.Input((3, 6))
    model = keras.Model(inputs, layers.Dense(5, activation="sigmoid")(inputs))
    model.compile("sgd", "binary_crossentropy")
    x, y = rng.normal(size=(4, 3, 6)), (rng.random((4, 3, 5)) < 0.3).astype("float32")
    truth = KerasAdapter().labels(model, (x, y))
    np.testing.assert_array_equal(truth.labels, np.nonzero(y)[2])
    assert KerasAdapter().capture(model, (x, y)).head.kind == "sigmoid"


def test_attacks_on_softmax_heads_refuse_a_sigmoid_head(classifier, batch, rng):
    model = classifier("binary_crossentropy", activation="sigmoid")
    update = KerasAdapter().capture(model, (batch[0], targets(5, rng)))
    refused = {name for name, member in builtin_attacks().items() if not getattr(member, "reads_sigmoid", False)}
    assert "rlg" in refused
    for name in refused:
        recovery = attack(name, update)
        assert (recovery.status, recovery.labels) == ("not applicable", ())
        assert "the head is a sigmoid" in recovery.reason


def network(units, hidden="relu"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((20,)), layers.Dense(64, activation=hidden), layers.Dense(units, activation="sigmoid")]
    )
    model.compile("sgd", "binary_crossentropy")
    return model


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
def test_several_labels_a_sample_are_read_and_noise_hides_them(hidden, rng):
    model, batches = network(14, hidden), []
    for _ in range(2):
        y = (rng.random((6, 14)) < 0.06).astype("float32")
        y[0, :2], y[1] = 1.0, 0.0  # two labels in one sample, and none in another
        batches.append((rng.normal(size=(6, 20)).astype("float32"), y))
    measured = audit(model, batches)
    assert (measured.outcome, measured.figure, measured.classes) == (Outcome.LEAKED, 1.0, 14)
    counted = next(verdict for verdict in measured.verdicts if verdict.attack == "bias_counts")
    assert counted.figure == 1.0
    noisy = audit(model, batches, attacks=["bias_sign", "bias_counts", "yin", "energy"], defence=NOISE)
    assert noisy.outcome is not Outcome.LEAKED
    assert noisy.figure < 0.1


def test_batches_of_one_sample_tell_the_class_of_a_unit(rng):
    model = network(1)
    batches = [(rng.normal(size=(1, 20)).astype("float32"), np.full((1, 1), i % 2, "float32")) for i in range(10)]
    measured = audit(model, batches)
    assert (measured.outcome, measured.figure, measured.classes) == (Outcome.LEAKED, 1.0, 2)
    hidden = audit(model, batches, attacks=["bias_sign", "idlg", "yin"], defence=NOISE)
    assert hidden.outcome is not Outcome.LEAKED


def test_a_batch_without_a_present_class_is_told_from_an_empty_one(rng):
    x, y = rng.normal(size=(4, 20)).astype("float32"), np.zeros((4, 5), "float32")
    measured = audit(network(5), (x, y))
    assert measured.outcome is Outcome.INCONCLUSIVE
    assert "no class is present in any sample" in measured.message
