"""Synthetic heads are real heads: their outputs, gradients and confidence follow from their weights."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak.core.errors import InvalidArgumentError
from pytest_labelleak.testing import make_head_update


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("confidence", [None, 0.8])
def test_outputs_and_gradient_follow_from_the_weights(signed: bool, confidence: float | None) -> None:
    case = make_head_update(
        positions=9, features=12, classes=7, seed=1, signed=signed, confidence=confidence, dtype="float64"
    )
    head = case.update.head

    def loss(kernel: np.ndarray, bias: np.ndarray) -> float:
        logits = case.features @ kernel + bias
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-logits[np.arange(9), case.labels].mean())

    np.testing.assert_allclose(
        -np.log(case.probabilities[np.arange(9), case.labels]).mean(), loss(head.kernel_value, head.bias_value)
    )
    rng = np.random.default_rng(0)
    for _ in range(5):
        kernel, bias, step = rng.normal(size=(12, 7)), rng.normal(size=7), 1e-6
        ahead = loss(head.kernel_value + step * kernel, head.bias_value + step * bias)
        behind = loss(head.kernel_value - step * kernel, head.bias_value - step * bias)
        slope = np.sum(case.update.kernel_gradient * kernel) + case.update.bias_gradient @ bias
        assert (ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    assert signed == bool(np.any(case.features < 0))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.9, 0.97])
@pytest.mark.slow
def test_confidence_is_the_mean_over_batches(signed: bool, confidence: float) -> None:
    own = []
    for seed in range(20):
        case = make_head_update(
            positions=50, features=128, classes=200, seed=seed, signed=signed, confidence=confidence
        )
        own.append(case.probabilities[np.arange(50), case.labels])
    assert np.mean(own) == pytest.approx(confidence, abs=0.02)
    assert np.std([batch.mean() for batch in own]) > 1e-3  # no batch is made to have it exactly


def test_an_untrained_head_knows_no_class() -> None:
    case = make_head_update(positions=2000, features=64, classes=10, seed=3)
    assert case.probabilities[np.arange(2000), case.labels].mean() == pytest.approx(0.1, abs=0.02)
    assert not case.update.head.bias_value.any()


def test_labels_repeat_and_come_from_a_few_classes_if_asked() -> None:
    case = make_head_update(positions=40, features=8, classes=30, among=5)
    assert np.unique(case.labels).size == 5
    assert make_head_update(positions=40, features=8, classes=30, bias=False).update.bias_gradient is None


def test_a_confidence_that_the_features_do_not_allow_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"confidence=0\.9\. Expected at most about 0\.\d+"):
        make_head_update(positions=4, features=1, classes=50, confidence=0.9)
