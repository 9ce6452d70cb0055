"""Entries near the ends of the range of float64: every attack ends, warns of nothing, and reads the labels."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import Update, attack, attacks, audit
from pytest_labelleak.attacks.counting.whole_numbers import allocate, whole_positions
from pytest_labelleak.attacks.gradient.head import moderate
from pytest_labelleak.attacks.gradient.intervals import Intervals, unit_of
from pytest_labelleak.attacks.rlg.separation import separate
from pytest_labelleak.attacks.robust.explaining import explain
from pytest_labelleak.core.recovery import NotApplicable
from pytest_labelleak.testing import make_head_update, make_update

NAMES = tuple(member.name for member in attacks.resolve(["auto"]))


#: Ends of the ranges of float64 and float32, and exponents at which squares and fourth powers leave them.
EXPONENTS = [-1073, -1060, -540, -148, -120, 0, 120, 128, 500, 1020, 1024]


def scaled(update: Update, exponent: int) -> Update:
    gradients = {k: np.ldexp(v.astype(np.float64), exponent) for k, v in update.gradients.items()}
    return dataclasses.replace(update, gradients=gradients)


@pytest.mark.parametrize("exponent", [-1000, 1000])
@pytest.mark.parametrize("name", ["bias_sign", "yin", "llg", "rlg", "energy"])
def test_a_loss_scale_near_the_ends_of_the_range_hides_no_label(name: str, exponent: int) -> None:
    case = make_update(positions=6, features=32, classes=40, seed=1, dtype="float64")
    moderate_claim = attack(name, case.update)
    claim = attack(name, scaled(case.update, exponent))
    assert claim.status == "recovered"
    assert (claim.labels, claim.positions) == (moderate_claim.labels, moderate_claim.positions)


def test_sums_and_squares_neither_overflow_nor_vanish() -> None:
    update = Update.from_arrays(
        np.array([[1e308, -1e308, 1e-10], [1e300, 0.0, -1e300]]), bias_gradient=np.array([1e308, -1e308, 0.0])
    )
    near = moderate(update)
    assert np.abs(near.kernel_gradient).max() == np.ldexp(1e308, -1024)
    assert near.bias_gradient is not None
    assert near.bias_gradient.tolist() == [np.ldexp(1e308, -1024), np.ldexp(-1e308, -1024), 0.0]
    assert near.kernel_gradient[0, 2] == 0.0  # smaller by far more than any arithmetic can tell
    assert near.kernel_gradient[1].tolist() == [np.ldexp(1e300, -1024), 0.0, -np.ldexp(1e300, -1024)]
    small = moderate(Update.from_arrays(np.array([[1e-320, -1e-320], [3e-310, 0.0]])))
    assert 0.5 <= np.abs(small.kernel_gradient).max() < 1.0
    ordinary = Update.from_arrays(np.array([[1e-30, -1e30], [0.0, 1.0]]))
    assert moderate(ordinary) is ordinary
    assert moderate(Update.from_arrays(np.array([[1e-38, -1e38]], np.float32))).kernel_gradient.dtype == np.float32
    assert moderate(Update.from_arrays(np.array([[np.inf, 1e300]]))).kernel_gradient[0, 0] == np.inf


def test_a_penalty_is_scaled_with_its_gradient() -> None:
    case = make_update(positions=3, features=8, classes=9, dtype="float64")
    penalty = np.full((8, 9), 2.0**900)
    update = scaled(case.update, 900)
    update = dataclasses.replace(update, head=dataclasses.replace(update.head, kernel_penalty=penalty))
    near = moderate(update)
    assert near.head.kernel_penalty is not None
    factor = near.head.kernel_penalty[0, 0]
    assert factor < 2.0**10
    assert np.array_equal(near.head.kernel_penalty, np.full((8, 9), factor))
    assert np.array_equal(near.kernel_gradient, factor * case.update.kernel_gradient)


@st.composite
def wild(draw: st.DrawFn) -> Update:
    """Draw small gradients with zeros and entries of any size that float64 has."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(2, 6)))
    entry = st.one_of(
        st.just(0.0),
        st.builds(
            lambda sign, mantissa, exponent: float(np.ldexp(sign * mantissa, exponent)),
            st.sampled_from([-1.0, 1.0]),
            st.floats(0.5, 0.999),
            st.one_of(
                st.integers(-1073, 1024),
                st.sampled_from([-1073, -1060, -540, -148, -120, 0, 120, 128, 500, 1020, 1024]),
            ),
        ),
    )

    def array(size: int) -> np.ndarray:
        return np.array(draw(st.lists(entry, min_size=size, max_size=size)))

    biased, weighted, single = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def stored(values: np.ndarray) -> np.ndarray:
        limits = np.finfo(np.float32)
        return np.clip(values, limits.min, limits.max).astype(np.float32) if single else values

    update = Update.from_arrays(
        stored(np.vstack([array(shape[1]) for _ in range(shape[0])])),
        bias_gradient=stored(array(shape[1])) if biased else None,
        kernel=np.ones(shape) if weighted else None,
        bias=np.zeros(shape[1]) if weighted else None,
        kind="sigmoid",  # any orientation is taken
    )
    return dataclasses.replace(update, head=dataclasses.replace(update.head, kind="softmax"))


@pytest.mark.parametrize("name", NAMES)
@given(update=wild())
@hypothesis.settings(max_examples=25, deadline=None)
@pytest.mark.slow
def test_every_attack_ends_on_entries_of_any_size(name: str, update: Update) -> None:
    begun = time.process_time()
    attack(name, update)
    assert time.process_time() - begun < 20.0


#: Gradients on which an attack never ended.
WITHOUT_END: dict[str, dict[str, Any]] = {
    "large and dropped": {"kernel_gradient": np.array([[3e150, 0.0], [-2e236, 5e17]])},
    "no class left": {
        "kernel_gradient": np.array([[2.2, 0.5], [0.7, 0.5]]),
        "bias_gradient": np.array([-0.1, 1.3]),
        "kernel": np.array([[-0.1, 0.7], [-0.15, -0.4]]),
        "bias": np.zeros(2),
    },
}


@pytest.mark.parametrize("kind", WITHOUT_END)
def test_audits_end(kind: str) -> None:
    begun = time.process_time()
    audit(Update.from_arrays(**WITHOUT_END[kind]), [0], time_budget=60.0)
    assert time.process_time() - begun < 20.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_a_noisy_head_of_few_classes_ends(seed: int) -> None:
    case = make_head_update(positions=1, features=8, classes=3, seed=seed)
    noise = np.random.default_rng(seed)
    noisy = {k: v + 3.0 * np.abs(v).mean() * noise.normal(size=v.shape) for k, v in case.update.gradients.items()}
    audit(dataclasses.replace(case.update, gradients=noisy), case.labels, time_budget=60.0)


def test_counts_without_a_class_to_take_them_are_refused() -> None:
    nothing = np.zeros(0)
    with pytest.raises(NotApplicable, match="left over"):
        allocate(nothing, 1, np.zeros(0, np.int64))
    with pytest.raises(NotApplicable, match="left over"):
        allocate(np.array([1.0]), 0, np.ones(1, np.int64))
    assert whole_positions(lambda positions: np.zeros(4)) is None


def test_a_typical_input_of_zero_counts_nothing() -> None:
    update = Update.from_arrays(
        np.array([[1.0, 1.0, -2.0]]),
        bias_gradient=np.array([1.0, -1.0, 0.0]),
        kernel=np.ones((1, 3)),
        bias=np.zeros(3),
    )
    refused = attack("llg_star", update)
    assert refused.status == "not applicable", refused.message


def test_float32_ends_of_the_range_are_compared_in_double_precision() -> None:
    dropped = np.array([[0.0, 0.0, -2e38], [3.017e38, 3.31e38, 0.0], [0.0, -2.13e38, 3.2e38]], np.float32)
    found = unit_of(dropped)
    assert found is not None
    assert found[0] == "dropped"
    apart = Update.from_arrays(np.array([[-1.3e36, -1.4e-45]], np.float32))
    assert attack("energy", apart).status == "not applicable"


def test_columns_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NotApplicable, match="differ in size"):
        separate(np.array([[1.0, np.nan, 0.5]]), np.ones(3), deviations=4.0)
    with pytest.raises(NotApplicable, match="differ in size"):
        separate(np.array([[1.0, -0.5, 0.5]]), np.array([1.0, np.inf, 1.0]), deviations=4.0)
    update = Update.from_arrays(np.array([[1e200, 0.0, -1e200], [0.0, -1.0, 1.0]]))
    intervals = Intervals(kind="dropped", unit=1.0, bias_unit=None, rows=np.arange(2), columns=np.arange(3))
    with np.errstate(over="ignore"), pytest.raises(NotApplicable, match="differ in size"):
        explain(update, intervals)
