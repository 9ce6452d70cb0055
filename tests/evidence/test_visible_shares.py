"""Shares that a column statistic orders are visible, and those of noise are not."""

from __future__ import annotations

import numpy as np

from pytest_labelleak.auditing.evidence.columns import rank_columns
from pytest_labelleak.auditing.evidence.visible_shares import shares_seen


def looks(noise: float, *, seed: int, batches: int = 4, classes: int = 7):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(batches):
        true = rng.multinomial(60, rng.dirichlet(np.ones(classes))) / 60
        labels = np.repeat(np.arange(classes), (true * 60).round().astype(int))
        kernel = np.outer(np.ones(16), 1 / classes - true) + rng.normal(0.0, noise, (16, classes))
        found.append((true, [rank_columns(kernel, labels)]))
    return found


def test_shares_in_the_columns_are_visible() -> None:
    seen = shares_seen(looks(0.01, seed=0), rng=np.random.default_rng(0))
    assert seen is not None
    assert seen.beyond(0.1)
    assert seen.correlation > 0.9
    assert "the shares of the classes are visible in this update" in seen.sentence


def test_shares_are_seldom_visible_in_noise() -> None:
    found = [
        shares_seen(looks(1e6, seed=seed), rng=np.random.default_rng(seed), permutations=499) for seed in range(60)
    ]
    assert sum(seen is not None and seen.p_value <= 0.05 for seen in found) <= 8
    assert sum(seen is not None and seen.beyond(0.1) for seen in found) <= 2


def test_even_shares_and_no_draws_show_nothing() -> None:
    even = np.full(4, 0.25)
    columns = rank_columns(np.eye(4), np.arange(4))
    assert shares_seen([(even, [columns])], rng=np.random.default_rng(0)) is None
    assert shares_seen([(np.array([0.5, 0.5, 0.0, 0.0]), [])], rng=np.random.default_rng(0)) is None
