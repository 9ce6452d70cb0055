"""Words of a spoken sentence and their order, recovered from one shared gradient."""

from __future__ import annotations

import pytest

from pytest_labelleak import (
    GaussianNoise,
    LabelLeak,
    assert_labels_not_recoverable,
    assert_transcripts_not_recoverable,
    attack,
    audit,
    capture_update,
)
from pytest_labelleak.asr import MatchingAttack, formable, free_contexts


# These are the three lines of a gate. On an undefended recogniser the gate fails; this test expects the failure.
def test_undefended_gradient_leaks(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch)


def test_every_word_is_named_from_one_gradient(model, batch):
    (verdict,) = audit(model, batch, attacks="rlg").verdicts

    assert verdict.labels == 9  # eight words and the end, none twice
    assert verdict.exact_match == 1.0


def test_the_sentence_can_be_formed(model, batch, sentence, vocabulary):
    recovery = attack("rlg", capture_update(model, batch))

    assert formable(sentence, recovery.labels, vocabulary)
    assert recovery.positions == 9  # nine label positions, the end among them


# The order of the words, too: by linear algebra, in the twinkling of an eye ...
def test_the_sentence_is_rebuilt(model, batch):
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(model, batch)


# ... and, as was published, by a search for the sentence whose gradient this is. It is quick early in training; the
# surer a network is, the less its gradient tells a right order from a wrong one, and the more starts it takes.
def test_the_sentence_is_found_by_matching_gradients(fresh_model, batch):
    from las.sentences import END, START

    matching = MatchingAttack(decoder=free_contexts(fresh_model, start=START, end=END))
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(fresh_model, batch, attacks=matching)


def test_overwhelming_noise_holds(model, batch):
    assert_labels_not_recoverable(model, batch, defence=GaussianNoise(relative=1000.0))
