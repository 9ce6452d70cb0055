"""A capture leaves the model, and every random state around it, bit-identical."""

from __future__ import annotations

import random

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras.src.backend.common import global_state  # noqa: E402

from pytest_labelleak import UnsupportedModelError  # noqa: E402
from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402


class Trap(keras.layers.Layer):
    """Fails after everything before it has run."""

    armed = False

    def call(self, inputs):
        if self.armed:
            raise RuntimeError("midway 424242")
        return inputs


def stateful(classifier, **options):
    layers = [
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.4, seed=3, name="seeded"),
        keras.layers.Dropout(0.4, name="unseeded"),
        keras.layers.GaussianNoise(0.1),
        Trap(name="trap"),
    ]
    return classifier(optimizer="adam", between=layers, metrics=["accuracy"], weighted_metrics=["accuracy"], **options)


def picture(model, host):
    """Everything that a capture must leave alone, as bytes."""
    found = {}
    for variable in [*model.variables, *model.metrics_variables, *model.optimizer.variables]:
        found[f"{len(found)} {variable.path}"] = host(variable.value).tobytes()
    found["python"] = random.getstate()
    found["numpy"] = str(np.random.get_state())  # noqa: NPY002
    seed = global_state.get_global_attribute("global_seed_generator")
    found["global seed"] = None if seed is None else host(seed.state.value).tobytes()
    found["names"] = dict(global_state.get_global_attribute("object_name_uids"))
    found["losses"] = [(len(layer._losses), len(layer._loss_ids)) for layer in model._flatten_layers()]
    found["nodes"] = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model._flatten_layers()]
    found["built"] = (model._compile_loss.built, model.optimizer.built, id(model._compile_loss))
    if keras.backend.backend() == "torch":
        import torch

        found["torch"] = bytes(torch.get_rng_state().numpy())
        found["grads"] = [None if v.value.grad is None else host(v.value.grad).tobytes() for v in model.variables]
        found["mode"] = [module.training for module in model.modules()]
    return found


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_changes(trained, training, classifier, batch, host):
    model = stateful(classifier)
    if trained:
        model.fit(*batch, epochs=2, verbose=0)
    before = picture(model, host)
    first = KerasAdapter().capture(model, batch, training=training)
    KerasAdapter().labels(model, batch)
    assert picture(model, host) == before
    second = KerasAdapter().capture(model, batch, training=training)
    assert picture(model, host) == before
    for name, gradient in first.gradients.items():
        np.testing.assert_array_equal(gradient, second.gradients[name])


def test_nothing_changes_when_it_fails_midway(classifier, batch, host):
    model = stateful(classifier)
    model.train_on_batch(*batch)
    before = picture(model, host)
    model.get_layer("trap").armed = True
    with pytest.raises(UnsupportedModelError, match="RuntimeError") as caught:
        KerasAdapter().capture(model, batch)
    assert "424242" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert picture(model, host) == before
    model.get_layer("trap").armed = False
    KerasAdapter().capture(model, batch)
    assert picture(model, host) == before


def test_nothing_changes_for_several_outputs_and_code(batch, host):
    class Two(keras.Model):
        def __init__(self):
            super().__init__(name="two")
            self.norm = keras.layers.BatchNormalization()
            self.drop = keras.layers.Dropout(0.5)
            self.left = keras.layers.Dense(5, activation="softmax", name="left")
            self.right = keras.layers.Dense(3, activation="softmax", name="right")

        def call(self, inputs, training=False):
            features = self.drop(self.norm(inputs, training=training), training=training)
            return {"l": self.left(features), "r": self.right(features)}

    model = Two()
    model.compile("adam", loss={"l": "sparse_categorical_crossentropy", "r": "sparse_categorical_crossentropy"})
    x, y = batch
    data = (x, {"l": y, "r": y % 3})
    KerasAdapter().labels(model, data, head="l")
    before = picture(model, host)
    for head in ("l", "right", "r"):
        update = KerasAdapter().capture(model, data, head=head)
        assert update.head.layer == {"l": "left"}.get(head, "right")
    assert picture(model, host) == before
    model.fit(*data, verbose=0)


def test_looking_for_the_head_runs_no_code_for_real(batch, host):
    class Counting(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(5, activation="softmax")
            self.seeds = keras.random.SeedGenerator(3)
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return self.head(inputs + keras.random.normal((6,), seed=self.seeds))

    model = Counting()
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    KerasAdapter().labels(model, batch)
    before = picture(model, host)
    first, second = (KerasAdapter().capture(model, batch).kernel_gradient for _ in range(2))
    np.testing.assert_array_equal(first, second)
    KerasAdapter().labels(model, batch)
    assert picture(model, host) == before


def test_training_after_a_capture_is_as_without(classifier, batch, host):
    trained = []
    for captured in (False, True):
        keras.utils.set_random_seed(5)
        model = stateful(classifier)
        if captured:
            KerasAdapter().capture(model, batch)
        model.fit(*batch, epochs=2, batch_size=4, verbose=0)
        trained.append([host(variable.value) for variable in model.variables])
    for left, right in zip(*trained, strict=True):
        np.testing.assert_array_equal(left, right)


class Unseeded(keras.layers.Layer):
    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs))


def test_an_absent_global_seed_generator_stays_absent(classifier, batch):
    if keras.backend.backend() == "jax":
        pytest.skip("Keras refuses unseeded noise on JAX")
    model = classifier(between=[Unseeded()])
    global_state.set_global_attribute("global_seed_generator", None)
    state = random.getstate()
    first, second = (KerasAdapter().capture(model, batch).kernel_gradient for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert global_state.get_global_attribute("global_seed_generator") is None
    assert random.getstate() == state


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="plain torch modules exist on torch only")
def test_torch_modules_keep_buffers_modes_and_gradients(batch, host):
    import torch

    norm = torch.nn.BatchNorm1d(6)
    model = keras.Sequential([keras.Input((6,)), keras.layers.TorchModuleWrapper(norm), keras.layers.Dense(5)])
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    norm.eval()
    norm.weight.grad = torch.full((6,), 7.0)
    KerasAdapter().labels(model, batch)
    before = picture(model, host)
    statistics = norm.running_mean.clone()
    update = KerasAdapter().capture(model, batch, training=True)
    assert len(update.gradients) == 4
    assert all(np.abs(gradient).max() > 0 for gradient in update.gradients.values())
    assert torch.equal(norm.running_mean, statistics)
    assert torch.equal(norm.weight.grad, torch.full((6,), 7.0))
    assert picture(model, host) == before
