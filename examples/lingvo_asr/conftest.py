"""Fixtures of the tests: a recogniser, and the utterances on which a participant would train."""

from __future__ import annotations

import pytest

SENTENCES = ("the patient denies any pain", "please call back tomorrow")


@pytest.fixture(scope="session")
def vocabulary():
    from lingvo_asr.vocabulary import WordPieces

    return WordPieces.trained(1000)


@pytest.fixture(scope="session")
def task(vocabulary):
    # The import stands here, so that "pytest --collect-only" does not wait for a framework.
    from lingvo_asr.recogniser import build

    # lingvo skips steps with a norm above 100. With fresh weights all norms are larger, so no step would be shared.
    return build("small", classes=vocabulary.size, train__grad_norm_to_clip_to_zero=0.0)


@pytest.fixture(scope="session")
def batch(vocabulary, task):
    from lingvo_asr.recogniser import batch_of, utterance

    return batch_of([utterance(text, words_per_minute=400) for text in SENTENCES], vocabulary)
