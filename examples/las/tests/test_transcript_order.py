"""Whole transcripts, rebuilt word after word from one shared gradient."""

from __future__ import annotations

import pytest

from pytest_labelleak import LabelLeak, assert_transcripts_not_recoverable
from pytest_labelleak.asr import MatchingAttack, Replay, free_contexts


# On an undefended recogniser the gate fails; this test expects the failure.
def test_undefended_gradient_gives_away_the_sentence(model, batch):
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(model, batch)


# One update holds four sentences. The attack runs the decoder over the label positions to find each one's successor.
def test_four_sentences_come_out_of_one_gradient(model):
    from las.batches import batch_of
    from las.sentences import END, START, held_out

    replay = Replay(decoder=free_contexts(model, start=START, end=END))
    with pytest.raises(LabelLeak) as leak:
        assert_transcripts_not_recoverable(model, batch_of(held_out(4)), attacks=replay)
    assert leak.value.audit.rebuilt == 1.0


# Signs alone hide the order from linear algebra ...
def test_signs_stop_what_needs_isolated_positions(model, batch):
    assert_transcripts_not_recoverable(model, batch, defence="sign")


# ... and not from a search for the sentence whose gradient has these signs.
def test_signs_do_not_hide_the_sentence(fresh_model, batch):
    from las.sentences import END, START

    matching = MatchingAttack(decoder=free_contexts(fresh_model, start=START, end=END))
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(fresh_model, batch, attacks=matching, defence="sign")
