"""Fixtures of the tests: the trained recogniser, and a sentence on which a participant would train."""

from __future__ import annotations

import os

import pytest

# numpy's and scipy's linear algebra each have a thread pool, and idle threads of a pool spin. Beside a framework's own
# threads, on the two to four cores of a CI runner, one thread each is several times faster.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def model():
    # The import stands here, so that "pytest --collect-only" does not wait for a framework.
    from las.weights import load_trained

    return load_trained()


@pytest.fixture(scope="session")
def fresh_model():
    from las.network import build

    return build()


@pytest.fixture(scope="session")
def sentence():
    """Return a sentence that the recogniser has never heard. Private: tests count its words and never print one."""
    from las.sentences import held_out

    return next(text for text in held_out(50) if len(set(text.split())) == len(text.split()) == 8)


@pytest.fixture(scope="session")
def batch(sentence):
    from las.batches import batch_of

    return batch_of([sentence])


@pytest.fixture(scope="session")
def vocabulary():
    from las.sentences import Words

    return Words()
