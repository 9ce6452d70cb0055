"""What one shared gradient gives away about twenty photos, and which defences change that."""

from __future__ import annotations

import pytest

from pytest_labelleak import GaussianNoise, LabelLeak, Sign, assert_labels_not_recoverable, audit

TRAINING = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])


# The three lines of a gate. On an undefended network it fails; this test passes because it expects that.
@TRAINING
def test_undefended_gradient_leaks(model, batch, training):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, training=training)


@TRAINING
def test_every_label_is_named_from_one_gradient(model, batch, training):
    (verdict,) = audit(model, batch, training=training, attacks="rlg").verdicts

    assert verdict.labels == 19  # twenty photos, two of one class
    assert verdict.exact_match == 1.0  # all of them named, and no other class


# Sharing only the signs of the gradient is often taken for protection.
def test_signs_alone_leak(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, defence=Sign())


# So is a little noise: here a tenth of the gradient's own size.
def test_little_noise_leaks(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, defence=GaussianNoise(relative=0.1))


# What holds is noise a thousand times the gradient's own size; at a hundred times, column sums still tell. One draw
# of it can name labels by luck, so the verdict is taken over four, each with its own noise. The audit checks by
# itself that the same attacks succeed without the noise: a gate that nothing can get through proves nothing.
def test_overwhelming_noise_holds(model, batch):
    assert_labels_not_recoverable(model, [batch] * 4, defence=GaussianNoise(relative=1000.0))
