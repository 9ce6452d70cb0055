"""Fixtures of the tests: the trained network, and the batch on which a participant would train."""

from __future__ import annotations

import os

import pytest

# numpy's and scipy's linear algebra each have a thread pool, and idle threads of a pool spin. Beside a framework's own
# threads, on the two to four cores of a CI runner, one thread each is several times faster.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def model():
    # The import stands here, so that "pytest --collect-only" does not wait for a framework.
    from photo_classifier.network import load_trained

    return load_trained()


@pytest.fixture(scope="session")
def batch():
    from photo_classifier.photos import load_photos

    return load_photos()
