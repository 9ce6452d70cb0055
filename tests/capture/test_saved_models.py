"""Saved Keras models, by their path."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pytest_labelleak import UnsupportedModelError, audit, capture_update  # noqa: E402


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_the_path_of_a_saved_model_stands_for_the_model(kind, classifier, batch, tmp_path):
    model = classifier()
    model.save(tmp_path / "model.keras")
    path = kind(tmp_path / "model.keras")
    expected = capture_update(model, batch).kernel_gradient
    np.testing.assert_allclose(capture_update(path, batch).kernel_gradient, expected, atol=1e-7)
    assert audit(path, batch, attacks="bias_sign").advantage == audit(model, batch, attacks="bias_sign").advantage


def test_safe_mode_stays_on(classifier, batch, tmp_path):
    model = classifier(between=[keras.layers.Lambda(lambda x: 2.0 * x)])
    model.save(tmp_path / "model.keras")
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    for name in ("model.keras", "broken.keras"):
        with pytest.raises(UnsupportedModelError, match=r"load_model cannot read it \(ValueError\)") as caught:
            audit(tmp_path / name, batch)
        assert caught.value.__cause__ is None
