"""Counts against chance: nobody who guesses blindly gets above 0, and only the exact multiset gets 1."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_labelleak.auditing.scoring.counts import chance_accuracy, count_accuracy, counts_advantage

TRUE = st.lists(st.integers(0, 5), min_size=2, max_size=5).filter(any).map(np.array)


def expected_accuracy(guess: np.ndarray, true: np.ndarray) -> float:
    """Average over all ways to hand the numbers in `guess` out to the classes."""
    return float(np.mean([count_accuracy(np.array(order), true) for order in itertools.permutations(guess)]))


@settings(deadline=None)
@given(true=TRUE)
def test_chance_is_what_an_even_spread_gets_on_average(true: np.ndarray) -> None:
    each, left = divmod(int(true.sum()), true.size)
    spread = np.array([each + 1] * left + [each] * (true.size - left))
    assert chance_accuracy(true) == pytest.approx(expected_accuracy(spread, true))


@settings(deadline=None)
@given(true=TRUE, data=st.data())
def test_no_blind_guess_does_better(true: np.ndarray, data: st.DataObject) -> None:
    guess = np.array(data.draw(st.lists(st.integers(0, 8), min_size=true.size, max_size=true.size)))
    assert expected_accuracy(guess, true) <= chance_accuracy(true) + 1e-12


@given(true=TRUE, data=st.data())
def test_one_is_the_exact_multiset_and_nothing_else(true: np.ndarray, data: st.DataObject) -> None:
    assume(not true.all())  # with every class present, an even batch leaves nothing to guess
    claimed = np.array(data.draw(st.lists(st.integers(0, 5), min_size=true.size, max_size=true.size)))
    assert counts_advantage(true, true) == pytest.approx(1.0)
    advantage = counts_advantage(claimed, true)
    assert -1.0 <= advantage <= 1.0 + 1e-12
    assert (advantage > 1.0 - 1e-9) == np.array_equal(claimed, true)


def test_too_many_positions_are_as_wrong_as_too_few() -> None:
    true = np.array([2, 2, 0, 0])
    assert count_accuracy(np.array([1, 1, 0, 0]), true) == 0.5
    assert count_accuracy(np.array([4, 4, 0, 0]), true) == 0.5
    assert count_accuracy(np.array([0, 0, 0, 0]), true) == 0.0


def test_few_positions_make_chance_the_share_of_classes_present() -> None:
    true = np.array([3, 1, 0, 0, 0, 0, 0, 0])
    assert chance_accuracy(true) == pytest.approx(2 / 8)
