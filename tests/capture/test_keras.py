from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pytest_labelleak.capture.keras import KerasAdapter  # noqa: E402


def host(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


def functional(activation="softmax"):
    inputs = keras.Input((6,))
    features = keras.layers.Dense(12, activation="relu", name="features")(inputs)
    return keras.Model(inputs, keras.layers.Dense(5, activation=activation, name="head")(features))


def sequential(activation="softmax"):
    layers = [keras.layers.Dense(12, activation="relu", name="features")]
    return keras.Sequential([*layers, keras.layers.Dense(5, activation=activation, name="head")])


class Subclassed(keras.Model):
    def __init__(self, activation="softmax"):
        super().__init__()
        self.features = keras.layers.Dense(12, activation="relu", name="features")
        self.head = keras.layers.Dense(5, activation=activation, name="head")

    def call(self, inputs):
        return self.head(self.features(inputs))


KINDS = [functional, sequential, Subclassed]


def softmax(logits):
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def independent(model, x, targets, weight=None, divisor=None):
    """H^T diag(w) (P - Y) in float64, from the weights alone."""
    layer = model.get_layer("features")
    features = np.maximum(x.astype(np.float64) @ host(layer.kernel.value) + host(layer.bias.value), 0.0)
    head = model.get_layer("head")
    error = softmax(features @ host(head.kernel.value) + host(head.bias.value)) - targets
    weight = np.ones(len(x)) if weight is None else weight
    return features.T @ (weight[:, None] * error) / (divisor or len(x))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_gradient_is_that_of_the_formula_and_of_fit(make, training, batch):
    x, y = batch
    model = make()
    model.compile(keras.optimizers.SGD(0.5), loss="sparse_categorical_crossentropy")
    update = KerasAdapter().capture(model, batch, training=training)
    np.testing.assert_allclose(update.kernel_gradient, independent(model, x, np.eye(5)[y]), atol=1e-6)
    before = [host(v.value) for v in model.trainable_variables]
    model.train_on_batch(x, y)
    after = [host(v.value) for v in model.trainable_variables]
    assert len(update.gradients) == len(before)
    for old, new, gradient in zip(before, after, update.gradients.values(), strict=True):
        np.testing.assert_allclose((old - new) / 0.5, gradient, atol=1e-6)
    assert update.head.layer == "head"
    assert update.compute_dtype == "float32"
    assert update.reduction == "mean"
    assert update.origin == f"keras/{keras.backend.backend()}"
    np.testing.assert_array_equal(KerasAdapter().labels(model, batch).labels, y)
