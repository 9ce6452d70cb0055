"""Luck of claimed shares: exact for few classes, sampled for many, and no alarm for claims that are independent."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_labelleak.auditing.evidence.permutation import ClaimedHistogram, histograms_by_luck
from pytest_labelleak.auditing.scoring.counts import distance, uninformed_distance


def histogram(true: np.ndarray, *claims: np.ndarray | None) -> ClaimedHistogram:
    return ClaimedHistogram(true=true, claims=claims, scale=uninformed_distance(true))


def by_hand(batches: list[ClaimedHistogram]) -> float:
    """Enumerate the orders of all batches together."""

    def values(batch: ClaimedHistogram) -> list[float]:
        found = []
        for order in itertools.permutations(range(batch.true.size)):
            one = [
                0.0 if claim is None else 1.0 - distance(claim, batch.true[list(order)]) / batch.scale
                for claim in batch.claims
            ]
            found.append(max(-1.0, float(np.mean(one))))
        return found

    laws = [values(batch) for batch in batches]
    observed = sum(law[0] for law in laws)
    sums = [sum(parts) for parts in itertools.product(*laws)]
    return float(np.mean([total >= observed - 1e-9 for total in sums]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sizes", [(4,), (3, 4), (2, 3, 3)])
def test_few_classes_are_enumerated(sizes: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches = []
    for classes in sizes:
        true = rng.multinomial(12, rng.dirichlet(np.ones(classes))) / 12
        true = np.array([1.0, *np.zeros(classes - 1)]) if not uninformed_distance(true) else true
        near = 0.7 * true + 0.3 * rng.dirichlet(np.ones(classes))
        batches.append(histogram(true, near, None, rng.dirichlet(np.ones(classes))))
    found = histograms_by_luck(batches, rng=rng)
    wanted = by_hand(batches)
    assert found >= wanted - 1e-9
    assert found == pytest.approx(wanted, abs=0.02 if len(sizes) > 1 else 1e-12)


@pytest.mark.parametrize("classes", [5, 30])
@pytest.mark.slow
def test_independent_claims_are_seldom_significant(classes: int) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(400):
        batches = []
        for _ in range(2):
            true = rng.multinomial(40, rng.dirichlet(np.ones(classes))) / 40
            batches.append(histogram(true, rng.dirichlet(np.ones(classes)), rng.dirichlet(np.ones(classes))))
        found.append(histograms_by_luck(batches, rng=rng))
    assert np.mean(np.array(found) <= 0.01) <= 0.02
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09
    assert 0.4 <= np.mean(np.array(found) <= 0.5) <= 0.6


def test_true_shares_of_many_classes_are_no_luck_and_cost_the_same_seed_the_same() -> None:
    true = np.arange(40) / np.arange(40).sum()
    first, again = (histograms_by_luck([histogram(true, true)], rng=np.random.default_rng(0)) for _ in range(2))
    assert first == again < 1e-4
    # Few classes that differ from the commonest share, here from none at all, have places drawn for them alone.
    few = np.zeros(2000)
    few[[3, 900, 1500]] = 0.5, 0.25, 0.25
    assert histograms_by_luck([histogram(few, few)], rng=np.random.default_rng(0)) < 1e-4
    one = np.zeros(200)
    one[7] = 1.0
    assert histograms_by_luck([histogram(one, one)], rng=np.random.default_rng(0)) == pytest.approx(1 / 200, rel=0.7)


def test_without_a_claim_everything_is_luck() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0.75, 0.25])
    assert histograms_by_luck([], rng=rng) == 1.0
    assert histograms_by_luck([histogram(true, None)], rng=rng) == 1.0
    # An even claim is as good in any order.
    assert histograms_by_luck([histogram(true, np.array([0.5, 0.5]))], rng=rng) == 1.0
