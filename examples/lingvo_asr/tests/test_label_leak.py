"""What one shared gradient gives away about the words of two utterances."""

from __future__ import annotations

import pytest

from pytest_labelleak import LabelLeak, assert_words_not_recoverable, audit


# The three lines of a gate. On an undefended recogniser it fails; this test passes because it expects that.
def test_undefended_gradient_leaks(task, batch, vocabulary):
    with pytest.raises(LabelLeak) as caught:
        assert_words_not_recoverable(task, batch, vocabulary=vocabulary.path)
    assert caught.value.audit.words["recovered"] == 1.0


# A canary is a term that was planted in the batch to see whether it comes out. It does, and so does the diagnosis;
# what was not said is not tested.
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
