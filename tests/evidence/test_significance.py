"""Claims against luck: exact nulls by enumeration and simulation, validity over draws and batches, corrections."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from pytest_labelleak.auditing.evidence.significance import (
    ClaimedBatch,
    claims_by_luck,
    corrected,
    level_of_look,
    shares_by_luck,
)


def batch(classes, present, *claims):
    return ClaimedBatch(classes=classes, present=present, claims=claims)


def advantage(classes, present, claims):
    present = set(present)
    return np.mean(
        [len(present & set(c)) / len(present) - len(set(c) - present) / (classes - len(present)) for c in claims]
    )


def by_enumeration(*batches):
    """Advantage and p-value over every joint choice of labels."""
    mean = np.mean([advantage(b.classes, b.present, b.claims) for b in batches])
    choices = [itertools.combinations(range(b.classes), len(set(b.present))) for b in batches]
    values = np.array(
        [
            np.mean([advantage(b.classes, c, b.claims) for b, c in zip(batches, chosen, strict=True)])
            for chosen in itertools.product(*choices)
        ]
    )
    return mean, np.mean(values >= mean - 1e-9)


def test_one_claim_is_hypergeometric():
    luck = claims_by_luck([batch(1000, range(20), [0, 1, 2, 900, 901])])
    assert luck.advantage == pytest.approx(3 / 20 - 2 / 980)
    assert luck.p_value == pytest.approx(hypergeom.sf(2, 1000, 20, 5), rel=1e-9)


def test_small_probabilities_keep_their_digits():
    luck = claims_by_luck([batch(1000, range(20), range(20)), batch(1000, range(20), range(20))])
    assert luck.p_value == pytest.approx(hypergeom.pmf(20, 1000, 20, 20) ** 2, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_several_draws_are_those_of_all_joint_renamings(seed):
    rng = np.random.default_rng(seed)
    present = rng.choice(9, 3, replace=False)
    claims = [rng.choice(9, rng.integers(0, 6), replace=False).tolist() for _ in range(1 + seed)]
    claims[0] = present[:2].tolist()
    mean, p_value = by_enumeration(batch(9, present.tolist(), *claims))
    luck = claims_by_luck([batch(9, present.tolist(), *claims)])
    assert luck.advantage == pytest.approx(mean)
    assert luck.p_value == pytest.approx(p_value, abs=1e-10)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (2, 3), (1, 5)])
def test_several_batches_are_independent(sizes):
    rng = np.random.default_rng(sum(sizes))
    batches = []
    for size in sizes:
        present = rng.choice(8, size, replace=False).tolist()
        batches.append(batch(8, present, present[:2], [*present[:1], 7], []))
    mean, p_value = by_enumeration(*batches)
    luck = claims_by_luck(batches)
    assert luck.advantage == pytest.approx(mean)
    # Batches of different sizes are rounded to the safe side.
    assert p_value - 1e-10 <= luck.p_value <= p_value * 1.001 + 1e-10


def test_draws_that_repeat_a_lucky_claim_are_no_further_evidence():
    once = claims_by_luck([batch(50, range(10), [0, 1, 2, 3, 4, 30])])
    often = claims_by_luck([batch(50, range(10), *[[0, 1, 2, 3, 4, 30]] * 20)])
    assert often.p_value == pytest.approx(once.p_value, abs=1e-10)


def test_draws_that_agree_on_the_labels_alone_are():
    rng = np.random.default_rng(0)
    claims = [[*rng.choice(10, 3, replace=False), *rng.choice(np.arange(10, 200), 5, replace=False)] for _ in range(8)]
    luck = claims_by_luck([batch(200, range(10), *claims)])
    assert luck.p_value < 1e-6
    assert luck.p_value < claims_by_luck([batch(200, range(10), claims[0])]).p_value


@pytest.mark.parametrize(
    ("classes", "m", "draws", "batches"), [(7, 4, 1, 1), (20, 8, 5, 1), (300, 18, 3, 2), (300, 150, 11, 1)], ids=str
)
@pytest.mark.slow
def test_luck_is_significant_at_the_level(classes, m, draws, batches):
    rng, runs, level = np.random.default_rng(classes + draws), 200, 0.05
    called = 0
    for _ in range(runs):
        pool = []
        for _ in range(batches):
            # An attack with favourites: claims of the draws are alike, and say nothing of the labels.
            weights = rng.dirichlet(np.full(classes, 0.3)) + 1e-6
            size = rng.integers(0, classes // 2 + 1, draws)
            claims = [rng.choice(classes, k, replace=False, p=weights / weights.sum()) for k in size]
            present = rng.choice(classes, rng.integers(max(1, m - 1), m + 1), replace=False)
            pool.append(batch(classes, present.tolist(), *[c.tolist() for c in claims]))
        called += claims_by_luck(pool).p_value <= level
    assert called <= binom.ppf(0.999, runs, level)


def test_a_large_batch_of_many_draws_agrees_with_simulation():
    rng = np.random.default_rng(4)
    classes, m, draws = 400, 120, 60
    present = np.arange(m)
    claims = [np.flatnonzero(rng.random(classes) < np.where(np.arange(classes) < m, 0.32, 0.30)) for _ in range(draws)]
    luck = claims_by_luck([batch(classes, present.tolist(), *[c.tolist() for c in claims])])
    votes = np.bincount(np.concatenate(claims), minlength=classes)
    null = np.array([votes[rng.choice(classes, m, replace=False)].sum() for _ in range(4000)])
    assert luck.p_value == pytest.approx(np.mean(null >= votes[:m].sum()), abs=0.04)


def test_batches_without_absent_or_present_classes_are_left_out():
    luck = claims_by_luck([batch(3, range(3), [0]), batch(3, [], [0]), batch(3, [1]), batch(3, [1], [1])])
    assert (luck.batches, luck.left_out, luck.draws) == (1, 3, 1)
    assert luck.p_value == pytest.approx(1 / 3)
    nothing = claims_by_luck([batch(3, range(3), [0])])
    assert (nothing.p_value, nothing.advantage, nothing.batches) == (1.0, 0.0, 0)


def test_claims_of_nothing_and_of_everything_are_luck():
    for claim in ([], range(40)):
        luck = claims_by_luck([batch(40, range(5), claim, claim)])
        assert luck.p_value == pytest.approx(1.0)
        assert luck.advantage == pytest.approx(0.0)


def test_holm_corrects_for_the_number_of_attacks():
    assert corrected({}) == {}
    assert corrected({"a": 0.01}) == {"a": 0.01}
    assert corrected({"a": 0.02, "b": 0.01, "c": 0.9}) == pytest.approx({"a": 0.04, "b": 0.03, "c": 0.9})
    assert corrected({"a": 0.03, "b": 0.02}) == pytest.approx({"a": 0.04, "b": 0.04})


def test_the_levels_of_all_looks_add_up():
    assert sum(level_of_look(0.01, look) for look in range(1, 10_000)) == pytest.approx(0.01, rel=1e-3)


def test_shares_without_chance_need_one_hit():
    assert shares_by_luck(0, 5) == 1.0
    assert shares_by_luck(1, 5) == 0.0
    assert shares_by_luck(2, 5, chance=0.1) == pytest.approx(binom.sf(1, 5, 0.1))


def test_no_label_is_shown():
    assert "79191" not in repr(batch(99_000, [79191], [79191]))
    assert "79191" not in repr(claims_by_luck([batch(99_000, [79191], [79191])]))
