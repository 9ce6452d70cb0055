"""What one shared gradient gives away about the words of two utterances."""

from __future__ import annotations

import pytest

from pytest_labelleak import LabelLeak, assert_labels_not_recoverable, audit


# The three lines of a gate. On an undefended recogniser it fails; this test passes because it expects that.
def test_undefended_gradient_leaks(task, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(task, batch)


def test_every_word_piece_is_named_although_the_gradient_was_clipped(task, batch):
    result = audit(task, batch, attacks="rlg")
    assert result.verdicts[0].exact_match == 1.0
    assert "clip_norm" in result.defence
