"""Models and batches for the capture tests; they run on whichever backend KERAS_BACKEND names."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

CLASSES = 5
FEATURES = 12


def pytest_collection_modifyitems(items):
    for item in items:
        # Keras' own conversions to numpy 2 warn; a capture silences them, the tests' own reading of weights does not.
        item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def batch(rng):
    return rng.normal(size=(8, 6)).astype("float32"), np.array([3, 0, 3, 1, 1, 3, 0, 1])


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(11)
