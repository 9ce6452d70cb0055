"""What the tests share: the trained network and the batch a participant would train on."""

from __future__ import annotations

import os

import pytest

# numpy's and scipy's linear algebra each bring a thread pool whose idle threads spin. Beside a framework's own
# threads, on the two to four cores of a CI runner, one thread each is several times faster.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def model():
    # Imported here, so that "pytest --collect-only" does not wait for a framework.
    from photo_classifier.network import load_trained

    return load_trained()


@pytest.fixture(scope="session")
def batch():
    from photo_classifier.photos import load_photos

    return load_photos()
