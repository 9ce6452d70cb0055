"""Bounds over draws: they hold at stopping times, and decide after a sensible number of draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from pytest_labelleak.auditing.evidence.confidence import lower_bound, upper_bound
from pytest_labelleak.auditing.evidence.sequential import Decision, standing

BETS = np.array([1.0, 0.75, 0.5, 0.25, 0.125, 0.0625, 0.03125])


def first_crossing(values, mean, confidence):
    """Return whether upper or lower bound ever crosses the true mean, for runs (n, draws) at once.

    A bound lies beyond the mean exactly if the capital of the bettor against the mean has reached its goal.
    """
    x, m = (values + 1.0) / 2.0, (mean + 1.0) / 2.0
    goal = 1.0 / (1.0 - confidence)
    crossed = []
    for y, k in ((x, m), (1.0 - x, 1.0 - m)):
        capital = np.mean([np.cumprod(1.0 + bet * (k - y) / (1.0 - k), axis=1) for bet in BETS], axis=0)
        crossed.append((capital >= goal).any(axis=1))
    return crossed


LAWS = {
    "two values": lambda rng, size: rng.choice([-1.0, 1.0], size, p=[0.45, 0.55]),
    "rare leak": lambda rng, size: (rng.random(size) < 0.1).astype(float),
    "narrow": lambda rng, size: np.clip(rng.normal(0.1, 0.05, size), -1.0, 1.0),
    "uniform": lambda rng, size: rng.uniform(-0.8, 1.0, size),
}


@pytest.mark.parametrize("name", LAWS)
def test_bounds_hold_at_every_stopping_time(name):
    """The bounds may fail in 5 % of the runs at any time up to 300 draws: the stopping time that seeks failure."""
    runs = 2000
    values = LAWS[name](np.random.default_rng(7), (runs, 300))
    for crossed in first_crossing(values, 0.1, 0.95):
        assert crossed.sum() <= binom.ppf(0.999, runs, 0.05)


def test_the_simulated_bounds_are_those_that_are_used():
    values = LAWS["uniform"](np.random.default_rng(3), (20, 60))
    for row in values:
        upper = upper_bound(row, low=-1.0, high=1.0, confidence=0.95)
        for mean, crossed in ((upper + 1e-6, True), (upper - 1e-6, False)):
            x, m = (row + 1.0) / 2.0, (mean + 1.0) / 2.0
            capital = np.mean([np.prod(1.0 + bet * (m - x) / (1.0 - m)) for bet in BETS])
            assert (capital >= 20.0) == crossed


@pytest.mark.parametrize(("mean", "wrong"), [(0.1, (Decision.ABOVE, Decision.WITHIN)), (0.16, (Decision.WITHIN,))])
@pytest.mark.slow
def test_the_stopping_rule_errs_rarely(mean, wrong):
    runs, false = 60, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        draws = {name: np.clip(rng.normal(mean, 0.2, 120), -1.0, 1.0).tolist() for name in ("a", "b")}
        decision, count = Decision.OPEN, 4
        while decision is Decision.OPEN and count <= 120:
            decision = standing({k: v[:count] for k, v in draws.items()}, 0.1).decision
            count = math.ceil(count * 1.5)
        false += decision in wrong
    assert false <= binom.ppf(0.999, runs, 0.05 * len(wrong))


@pytest.mark.parametrize(
    ("mean", "spread", "decision", "most"),
    [
        (0.0, 0.05, Decision.WITHIN, 60),
        (0.02, 0.15, Decision.WITHIN, 100),
        (1.0, 0.0, Decision.ABOVE, 10),
        (0.5, 0.2, Decision.ABOVE, 25),
        (0.25, 0.2, Decision.ABOVE, 130),
    ],
)
def test_clear_cases_are_decided_in_few_draws(mean, spread, decision, most):
    values = np.clip(np.random.default_rng(0).normal(mean, spread, 400), -1.0, 1.0).tolist()
    for draws in range(1, 400):
        now = standing({"a": values[:draws], "b": [0.0] * draws}, 0.1)
        if now.decision is not Decision.OPEN:
            break
    assert now.decision is decision
    assert draws <= most
    assert now.further == 0


def test_the_estimate_of_further_draws_is_right_for_draws_alike():
    now = standing({"a": [0.02] * 10, "b": [-0.3] * 10}, 0.1)
    total = 10 + now.further
    assert standing({"a": [0.02] * total, "b": [-0.3] * total}, 0.1).decision is Decision.WITHIN
    assert standing({"a": [0.02] * (total - 1), "b": [-0.3] * (total - 1)}, 0.1).decision is Decision.OPEN
    above = standing({"a": [0.3] * 3, "b": [0.0] * 3}, 0.1)
    total = 3 + above.further
    assert standing({"a": [0.3] * total, "b": [0.0] * total}, 0.1).decision is Decision.ABOVE
    assert standing({"a": [0.3] * (total - 1), "b": [0.0] * (total - 1)}, 0.1).decision is Decision.OPEN


def test_a_mean_at_the_limit_is_never_decided():
    now = standing({"a": [0.1] * 50}, 0.1)
    assert now.decision is Decision.OPEN
    assert now.further is None


def test_lower_bounds_are_corrected_for_the_number_of_attacks_and_upper_ones_are_not():
    values = [0.4, 0.3, 0.5, 0.2]
    now = standing({"a": values, "b": [-0.5] * 4}, 0.1)
    assert now.lower == lower_bound(values, low=-1.0, high=1.0, confidence=0.975)
    assert now.upper == upper_bound(values, low=-1.0, high=1.0, confidence=0.95)
    assert now.attack == "a"
    assert now.mean == pytest.approx(0.35)


def test_shares_have_narrower_bounds_than_advantages():
    values = [0.6, 0.4] * 5
    share, advantage = standing({"a": values}, 0.1, low=0.0), standing({"a": values}, 0.1)
    assert share.lower > advantage.lower
    assert share.upper == pytest.approx(advantage.upper)
    assert standing({"a": [0.0] * 3}, 0.1, low=0.0).lower == 0.0


@pytest.mark.parametrize("advantages", [{}, {"a": []}])
def test_nothing_seen_leaves_everything_open(advantages):
    now = standing(advantages, 0.1)
    assert (now.decision, now.lower, now.upper, now.draws) == (Decision.OPEN, -1.0, 1.0, 0)


def test_the_order_of_draws_and_repetition_change_nothing():
    values = np.random.default_rng(0).uniform(-1, 1, 30).tolist()
    one, two = standing({"a": values}, 0.1), standing({"a": values[::-1]}, 0.1)
    assert one.upper == pytest.approx(two.upper, abs=1e-12)
    assert standing({"a": values}, 0.1).upper == one.upper


def test_one_uncertain_attack_keeps_the_decision_open():
    now = standing({"steady": [0.0] * 60, "scattered": [0.9, -0.9] * 30}, 0.1)
    assert standing({"steady": [0.0] * 60}, 0.1).decision is Decision.WITHIN
    assert (now.decision, now.attack) == (Decision.OPEN, "scattered")
