"""Labels of twenty photos, recovered from one shared gradient, with defences and without."""

from __future__ import annotations

import pytest

from pytest_labelleak import GaussianNoise, LabelLeak, Sign, assert_labels_not_recoverable, audit

TRAINING = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])


# These are the three lines of a gate. On an undefended network the gate fails; this test expects the failure.
@TRAINING
def test_undefended_gradient_leaks(model, batch, training):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, training=training)


@TRAINING
def test_every_label_is_named_from_one_gradient(model, batch, training):
    (verdict,) = audit(model, batch, training=training, attacks="rlg").verdicts

    assert verdict.labels == 19  # twenty photos, two of one class
    assert verdict.exact_match == 1.0  # the attack named these classes and no other


# Sharing only the signs of the gradient is often taken for protection.
def test_signs_alone_leak(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, defence=Sign())


# A little noise is taken for protection too: here a tenth of the gradient's own size.
def test_little_noise_leaks(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, defence=GaussianNoise(relative=0.1))


# Noise of a thousand times the gradient's own size hides the labels; at a hundred times, column sums still tell. The
# audit draws the noise again until the bounds of all attacks are within the threshold, and checks that the same attacks
# succeed without it: a gate that no update can fail proves nothing.
def test_overwhelming_noise_holds(model, batch):
    assert_labels_not_recoverable(model, batch, defence=GaussianNoise(relative=1000.0))
