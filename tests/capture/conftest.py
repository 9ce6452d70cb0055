"""Models and batches for the capture tests; they run on whichever backend KERAS_BACKEND names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            # Keras' conversions to numpy 2 warn; a capture silences that, the tests' own reading of weights does not.
            item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"))


def _host(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


@pytest.fixture
def host():
    """Read a tensor or a variable's value into numpy."""
    return _host


@pytest.fixture
def fitted_step():
    """Return the gradients of one SGD step of fit: (before - after) / learning rate, per trainable variable."""

    def step(model, *args, **options):
        before = [_host(variable.value) for variable in model.trainable_variables]
        model.train_on_batch(*args, **options)
        after = [_host(variable.value) for variable in model.trainable_variables]
        rate = float(_host(model.optimizer.learning_rate))
        return [(old - new) / rate for old, new in zip(before, after, strict=True)]

    return step


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def batch(rng):
    return rng.normal(size=(8, 6)).astype("float32"), np.array([3, 0, 3, 1, 1, 3, 0, 1])


@pytest.fixture
def classifier():
    """Make a small compiled classifier: 6 inputs, 12 features, 5 classes."""

    def make(
        loss="sparse_categorical_crossentropy",
        *,
        activation="softmax",
        optimizer=None,
        head_options=(),
        between=(),
        units=5,
        **options,
    ):
        inputs = keras.Input((6,))
        features = keras.layers.Dense(12, activation="relu", name="features")(inputs)
        for layer in between:
            features = layer(features)
        head = keras.layers.Dense(units, activation=activation, name="head", **dict(head_options))
        model = keras.Model(inputs, head(features), name="net")
        model.compile(optimizer or keras.optimizers.SGD(0.5), loss=loss, **options)
        return model

    return make


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(11)
