"""The spectrum of a gradient: its whole length by the Gram matrix, and refusals that come early but never wrongly."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise
from pytest_labelleak.attacks.gradient import subspace
from pytest_labelleak.attacks.gradient.range_finder import ScaledGradient
from pytest_labelleak.core.recovery import NotApplicable
from pytest_labelleak.testing import make_head_update


def _noisy(relative, *, features, classes, bias=True, positions=8):
    update = make_head_update(positions=positions, features=features, classes=classes, bias=bias, seed=3).update
    return GaussianNoise(relative=relative)(update, rng=np.random.default_rng(4))


@pytest.mark.parametrize("equilibrate", [True, False])
@pytest.mark.parametrize(("features", "classes"), [(40, 90), (90, 40), (300, 310)])
def test_the_gram_matrix_shows_the_singular_values(features, classes, equilibrate):
    operator = ScaledGradient(_noisy(1.0, features=features, classes=classes), equilibrate=equilibrate)

    whole = operator.multiply(np.eye(classes))
    expected = np.linalg.svd(whole, compute_uv=False)[: min(operator.rows.size, operator.columns.size)]
    np.testing.assert_allclose(operator.singular_values(), expected, rtol=1e-9)


@pytest.mark.parametrize("relative", [1e-3, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize(("features", "classes"), [(150, 400), (400, 150)])
@pytest.mark.slow
def test_an_early_refusal_is_the_refusal_of_the_whole_range(monkeypatch, relative, features, classes):
    update = _noisy(relative, features=features, classes=classes)

    def found():
        try:
            return subspace.find_subspace(update).positions
        except NotApplicable as refusal:
            return refusal.because

    early = found()
    monkeypatch.setattr(subspace, "_gapless", lambda *_: False)
    assert early == found()


def test_strong_noise_is_refused_before_the_range_is_widened(monkeypatch):
    widths = []

    class Counted(subspace.GrowingRange):
        def widen(self, extra):
            widths.append(extra)
            super().widen(extra)

    monkeypatch.setattr(subspace, "GrowingRange", Counted)
    with pytest.raises(NotApplicable, match="shows no gap"):
        subspace.find_subspace(_noisy(100.0, features=300, classes=400))
    assert sum(widths) <= 4 * subspace._FIRST_WIDTH
