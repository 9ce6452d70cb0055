"""Fixtures of the tests: the trained recogniser, and the batch on which a participant would train."""

from __future__ import annotations

import os

import pytest

# numpy's and scipy's linear algebra each have a thread pool, and idle threads of a pool spin. Beside a framework's own
# threads, on the two to four cores of a CI runner, one thread each is several times faster.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def model():
    # The import stands here, so that "pytest --collect-only" does not wait for a framework.
    from whisper_keras.network import load_trained

    return load_trained().model


@pytest.fixture(scope="session")
def tied_model():
    from whisper_keras.network import load_trained

    return load_trained(tied=True).model


@pytest.fixture(scope="session")
def batch():
    from whisper_keras.clips import load_clips
    from whisper_keras.speech import training_batch

    return training_batch(load_clips()[1:2])  # the shortest sentence


@pytest.fixture(scope="session")
def update(model, batch):
    from pytest_labelleak import capture_update

    return capture_update(model, batch)


@pytest.fixture(scope="session")
def vocabulary():
    from whisper_keras.assets import fetch_model

    from pytest_labelleak.asr import TokenizerFile

    return TokenizerFile.load(fetch_model() / "tokenizer.json")


@pytest.fixture(scope="session")
def words(batch, vocabulary):
    """Words of the transcript. Private: the tests count the words and never print one."""
    _, targets, weights = batch
    return vocabulary.decode(targets[weights > 0]).split()
