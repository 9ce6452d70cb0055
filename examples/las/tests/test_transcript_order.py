"""Whether what was said can be rebuilt, word after word, from one shared gradient."""

from __future__ import annotations

import pytest

from pytest_labelleak import LabelLeak, assert_transcripts_not_recoverable


# On an undefended recogniser the gate fails; this test passes because it expects that.
def test_undefended_gradient_gives_away_the_sentence(model, batch):
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(model, batch)


def test_signs_alone_hide_the_order(model, batch):
    assert_transcripts_not_recoverable(model, batch, defence="sign")
