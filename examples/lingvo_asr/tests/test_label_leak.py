"""Words of two utterances, recovered from one shared gradient."""

from __future__ import annotations

import pytest

from pytest_labelleak import LabelLeak, assert_words_not_recoverable, audit


# These are the three lines of a gate. On an undefended recogniser the gate fails; this test expects the failure.
def test_undefended_gradient_leaks(task, batch, vocabulary):
    with pytest.raises(LabelLeak) as caught:
        assert_words_not_recoverable(task, batch, vocabulary=vocabulary.path)
    assert caught.value.audit.words["recovered"] == 1.0


# A canary is a term that the tester plants in the batch. The attack recovers the canary and the diagnosis; the term
# that no utterance has is not tested.
def test_canaries_come_out(labelleak, task, batch, vocabulary):
    with pytest.raises(LabelLeak) as caught:
        labelleak.assert_words_not_recoverable(
            task, batch, vocabulary=vocabulary.path, sensitive=["any pain", "fever", "patient"], threshold=1.0
        )
    assert caught.value.audit.sensitive == {"listed": 3, "present": 2, "exposed": [0, 2]}


def test_every_word_piece_is_named_although_the_gradient_was_clipped(task, batch):
    result = audit(task, batch, attacks="rlg")
    assert result.verdicts[0].exact_match == 1.0
    assert "clip_norm" in result.defence
