"""The softmax against scipy's, in every shape and type that the package uses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from pytest_labelleak.core.softmax import softmax


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 5)])
def test_agrees_with_scipy(dtype: str, shape: tuple[int, ...]) -> None:
    logits = 30.0 * np.random.default_rng(0).normal(size=shape).astype(dtype)
    before = logits.copy()
    output = softmax(logits)
    assert output.dtype == dtype
    assert output == pytest.approx(scipy.special.softmax(logits, axis=-1), rel=1e-5 if dtype == "float32" else 1e-13)
    assert np.array_equal(logits, before)


def test_logits_of_any_size_neither_overflow_nor_vanish() -> None:
    assert softmax(np.array([1e308, 0.0, -np.inf])).tolist() == [1.0, 0.0, 0.0]
    assert softmax(np.array([-1e308, -1e308])).tolist() == [0.5, 0.5]


def test_the_result_may_take_the_place_of_the_logits() -> None:
    logits = np.log(np.array([[1.0, 3.0], [2.0, 2.0]]))
    assert softmax(logits, out=logits) is logits
    assert logits == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
