"""Visibility of labels in hindsight: the statistics, the null, pooling, and everything degenerate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, ks_2samp, rankdata

from pytest_labelleak.auditing.evidence.columns import column_statistics, leading_directions, rank_columns
from pytest_labelleak.auditing.evidence.hindsight import fits_better, visibility
from pytest_labelleak.testing import make_head_update, make_update

LEVEL = 0.01


def seen(*batches, seed=0, **options):
    return visibility(batches, rng=np.random.default_rng(seed), **options)


def noisy(gradient, relative, rng):
    return gradient + relative * np.sqrt(np.mean(np.square(gradient))) * rng.standard_normal(gradient.shape)


def best_threshold(values, present):
    """Youden's J, slowly."""
    return max(
        abs(np.mean(values[present] <= cut) - np.mean(values[~present] <= cut)) for cut in [-np.inf, *np.unique(values)]
    )


def test_ranks_are_those_of_scipy_with_ties():
    rng = np.random.default_rng(0)
    gradient = rng.integers(-2, 3, size=(5, 60)).astype(float)
    ranks = rank_columns(gradient, np.array([0])).ranks
    for name in ("sum", "minimum", "maximum", "norm"):
        expected = rankdata(column_statistics(gradient)[name], method="average")
        np.testing.assert_array_equal(ranks[name], 2 * (expected - 1))


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_the_advantage_is_that_of_the_best_threshold(levels):
    rng = np.random.default_rng(levels)
    gradient = rng.integers(-levels, levels + 1, size=(7, 50)).astype(float)
    labels = rng.choice(50, 12, replace=False)
    bias = rng.integers(-levels, levels + 1, size=50).astype(float)
    present = np.isin(np.arange(50), labels)
    found = seen([rank_columns(gradient, labels, bias_gradient=bias)])
    for name, values in column_statistics(gradient, bias).items():
        assert found.figures[name] == pytest.approx(best_threshold(values, present), abs=1e-12)
        assert found.figures[name] == pytest.approx(
            ks_2samp(values[present], values[~present], method="asymp").statistic, abs=1e-12
        )
    assert found.advantage == max(found.figures.values())


def test_the_null_is_that_of_all_choices_of_labels():
    gradient = np.random.default_rng(3).standard_normal((4, 9))
    labels = np.array([2, 5, 7])
    statistics = column_statistics(gradient).values()
    null = []
    for chosen in itertools.combinations(range(9), 3):
        present = np.isin(np.arange(9), chosen)
        null.append(max(best_threshold(values, present) for values in statistics))
    null = np.array(null)
    found = seen([rank_columns(gradient, labels)], permutations=9999)
    exact = np.mean(null >= found.advantage - 1e-12)
    assert found.p_value == pytest.approx(exact, abs=5 * np.sqrt(exact / 9999))
    assert found.chance == pytest.approx(null.mean(), abs=0.01)
    assert found.critical == pytest.approx(np.sort(null)[::-1][int(0.01 * null.size)], abs=0.12)


@pytest.mark.parametrize(
    ("positions", "features", "classes"), [(20, 512, 1000), (300, 64, 2000), (80, 64, 50)], ids=str
)
@pytest.mark.parametrize("relative", [0.0, 1.0])
def test_labels_on_signed_features_without_bias_are_visible(positions, features, classes, relative):
    case = make_head_update(
        positions=positions, features=features, classes=classes, signed=True, bias=False, among=classes // 2
    )
    gradient = noisy(case.update.kernel_gradient, relative, np.random.default_rng(0))
    found = seen([rank_columns(gradient, case.labels)])
    assert found.visible
    assert found.beyond(0.3)
    assert found.advantage > 0.9


def test_labels_of_another_batch_are_not():
    case = make_update(positions=20, features=128, classes=500, signed=True)
    others = np.setdiff1d(np.arange(500), case.labels)
    rng = np.random.default_rng(1)
    ranked = [
        rank_columns(case.update.kernel_gradient, rng.choice(others, 20), bias_gradient=case.update.bias_gradient)
        for _ in range(20)
    ]
    visible = [seen([one]).visible for one in ranked]
    assert sum(visible) <= 1
    assert seen([ranked[0]]).decidable


def test_known_features_show_labels_that_no_column_statistic_shows():
    case = make_head_update(positions=300, features=64, classes=2000, signed=True, bias=False)
    gradient = noisy(case.update.kernel_gradient, 10.0, np.random.default_rng(0))
    blind = seen([rank_columns(gradient, case.labels)])
    told = seen([rank_columns(gradient, case.labels, features=case.features)])
    assert told.statistic == "matched filter"
    assert told.side == "low"
    assert told.advantage > 0.5 > blind.advantage


@pytest.mark.parametrize(("classes", "batches", "draws"), [(7, 1, 1), (7, 6, 2), (30, 2, 3), (300, 1, 1)])
@pytest.mark.slow
def test_pure_noise_is_called_visible_at_the_level(classes, batches, draws):
    rng, runs, level = np.random.default_rng(classes * batches), 150, 0.05
    called = 0
    for _ in range(runs):
        pool = []
        for _ in range(batches):
            labels = rng.integers(0, classes, max(2, classes // 4))
            pool.append([rank_columns(rng.standard_normal((6, classes)), labels) for _ in range(draws)])
        called += visibility(pool, rng=rng, level=level, permutations=199).visible
    assert called <= binom.ppf(0.999, runs, level)


@pytest.mark.slow
def test_draws_of_one_batch_may_be_copies():
    """A null that permuted every draw by itself would take ten copies of one draw for ten times the evidence."""
    rng, runs, level = np.random.default_rng(5), 200, 0.05
    called = 0
    for _ in range(runs):
        ranked = rank_columns(rng.standard_normal((6, 40)), rng.choice(40, 8, replace=False))
        called += visibility([[ranked] * 10], rng=rng, level=level, permutations=199).visible
    assert called <= binom.ppf(0.999, runs, level)


def test_few_classes_are_undecidable_alone_and_decided_by_a_pool():
    cases = [make_head_update(positions=4, features=64, classes=7, seed=seed) for seed in range(12)]
    ranked = [[rank_columns(case.update.kernel_gradient, case.labels)] for case in cases]
    alone, pooled = seen(ranked[0]), seen(*ranked)
    assert alone.advantage == 1.0
    assert not alone.decidable
    assert not alone.visible
    assert "pool more batches" in alone.sentence
    assert pooled.visible
    assert pooled.decidable
    assert pooled.batches == 12


def test_more_draws_show_a_weak_leak():
    case = make_head_update(positions=20, features=128, classes=300, signed=False, bias=False)
    rng = np.random.default_rng(2)
    draws = [rank_columns(noisy(case.update.kernel_gradient, 60.0, rng), case.labels) for _ in range(30)]
    one, many = seen(draws[:1]), seen(draws)
    assert many.critical < one.critical
    assert many.visible
    assert many.draws == 30
    assert 0.0 < many.excess < 0.5


def test_batches_of_different_sizes_are_weighted_alike():
    small, large = (
        make_head_update(positions=positions, features=64, classes=200, seed=positions, bias=False)
        for positions in (3, 90)
    )
    ranked = [[rank_columns(case.update.kernel_gradient, case.labels)] for case in (small, large)]
    found = seen(*ranked)
    values = [2 * rankdata(case.update.kernel_gradient.sum(axis=0)) - 2 for case in (small, large)]
    present = [np.isin(np.arange(200), case.labels) for case in (small, large)]
    expected = max(
        abs(np.mean([np.mean(v[p] <= cut) - np.mean(v[~p] <= cut) for v, p in zip(values, present, strict=True)]))
        for cut in np.unique(np.concatenate(values))
    )
    assert found.figures["sum"] == pytest.approx(expected, abs=1e-12)
    assert found.visible


def test_ties_are_not_split():
    """Signs of a gradient: ten columns have the same sum, and no threshold comes between the labels and these."""
    gradient = np.ones((3, 40))
    gradient[:, :10] = -1.0
    found = seen([rank_columns(gradient, np.arange(5))])
    assert found.figures["sum"] == pytest.approx(1.0 - 5 / 35)
    assert found.figures["norm"] == 0.0


def test_batches_with_every_class_or_none_are_counted_and_left_out():
    gradient = np.random.default_rng(0).standard_normal((3, 4))
    full, empty = rank_columns(gradient, np.arange(4)), rank_columns(gradient, np.array([], dtype=int))
    nothing = seen([full], [empty], [])
    assert (nothing.batches, nothing.left_out, nothing.visible, nothing.advantage) == (0, 3, False, 0.0)
    assert "nothing can be visible" in nothing.sentence
    assert seen([full], [rank_columns(gradient, np.array([1]))]).batches == 1


@pytest.mark.parametrize(
    "gradient",
    [
        np.zeros((3, 12)),
        np.full((3, 12), np.nan),
        np.full((3, 12), -np.inf),
        np.full((1, 12), 1e-320),
        np.array([[8e149, 0.0], [6.5e237, -3.6e16]]),
        np.random.default_rng(0).standard_normal((1, 2)),
        np.random.default_rng(0).standard_normal((30, 2)).astype(np.float16),
    ],
    ids=["zero", "nan", "infinite", "subnormal", "extreme", "1x2", "half"],
)
def test_degenerate_gradients_are_never_visible(gradient):
    found = seen([rank_columns(gradient, np.array([1]), features=np.ones((1, gradient.shape[0])))])
    assert not found.visible
    assert 0.0 <= found.advantage <= 1.0


def test_a_label_that_shows_by_a_broken_column_is_visible():
    gradient = np.random.default_rng(0).standard_normal((3, 200))
    gradient[1, [4, 9, 77]] = np.nan
    found = seen([rank_columns(gradient, np.array([4, 9, 77]), bias_gradient=np.zeros(200))])
    assert set(found.figures.values()) == {1.0}


def test_the_leading_directions_are_those_of_the_decomposition():
    rng = np.random.default_rng(0)
    gradient = (rng.standard_normal((80, 30)) * 0.5 ** np.arange(30)) @ rng.standard_normal((30, 200))
    expected = np.linalg.svd(gradient)[0][:, :16]
    found = leading_directions(gradient, 16)
    assert np.linalg.norm(found @ found.T - expected @ expected.T) < 1e-4
    assert abs(found[:, 0] @ expected[:, 0]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_leading_direction_has_labels_on_its_low_side(sign):
    """So that draws agree, whichever sign a decomposition returns."""
    cases = [make_update(positions=10, features=64, classes=300, seed=seed) for seed in range(6)]
    ranked = [[rank_columns(sign * case.update.kernel_gradient, case.labels)] for case in cases]
    assert seen(*ranked, statistics=["leading direction"], side="low").advantage > 0.9


def test_blocks_change_nothing(monkeypatch):
    gradient = np.random.default_rng(0).standard_normal((20, 37))
    whole = column_statistics(gradient)
    monkeypatch.setattr("pytest_labelleak.auditing.evidence.columns._BLOCK", 100)
    for name, values in column_statistics(gradient).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-9)


def test_pieces_of_the_null_change_nothing(monkeypatch):
    ranked = rank_columns(np.random.default_rng(0).standard_normal((5, 40)), np.arange(7))
    whole = seen([ranked])
    monkeypatch.setattr("pytest_labelleak.auditing.evidence.hindsight._SORTED_AT_ONCE", 500)
    assert seen([ranked]).p_value == whole.p_value


def test_no_visibility_is_impossible_by_luck():
    """The given labels count among the random ones, so that a p-value is never below one over their number."""
    case = make_update(positions=8, features=32, classes=400, seed=0)
    found = seen([rank_columns(case.update.kernel_gradient, case.labels)], permutations=99)
    assert (found.p_value, found.visible) == (0.01, True)


def test_no_label_is_shown():
    found = seen([rank_columns(np.random.default_rng(0).standard_normal((5, 99_000)), np.array([79191]))])
    assert "79191" not in found.sentence + repr(found)
    assert "79191" not in repr(rank_columns(np.zeros((1, 99_000)), np.array([79191])))


def test_one_side_and_one_statistic_may_be_asked_about():
    gradient = np.full((2, 40), 0.1)
    gradient[:, :4] = -0.9
    ranked = [rank_columns(gradient, np.arange(4), bias_gradient=-gradient[0])]
    low, high = (seen(ranked, statistics=["sum"], side=side) for side in ("low", "high"))
    assert (low.advantage, low.side, list(low.figures)) == (1.0, "low", ["sum"])
    assert (high.advantage, high.side, high.visible) == (0.0, "high", False)
    assert seen(ranked, statistics=["bias"], side="high").visible
    assert seen(ranked, statistics=["bias"]).side == "high"
    assert not seen(ranked, statistics=["no such"]).figures


def test_labels_that_overlap_the_true_ones_fit_less_well():
    case = make_update(positions=40, features=64, classes=100, signed=True)
    true = np.unique(case.labels)
    shifted = (true + 1) % 100
    assert np.intersect1d(true, shifted).size > 5
    rng = np.random.default_rng(0)
    given = [[rank_columns(case.update.kernel_gradient, shifted)]]
    assert fits_better(given, [true], rng=rng)
    assert not fits_better([[rank_columns(case.update.kernel_gradient, true)]], [shifted], rng=rng)
    assert not fits_better(given, [shifted], rng=rng)
    assert not fits_better([], [], rng=rng)


@pytest.mark.slow
def test_other_labels_of_noise_fit_better_at_the_level():
    rng, runs, level = np.random.default_rng(8), 200, 0.05
    called = 0
    for _ in range(runs):
        labels = rng.choice(60, 15, replace=False)
        ranked = [[rank_columns(rng.standard_normal((5, 60)), labels)]]
        called += fits_better(ranked, [(labels + 1) % 60], rng=rng, level=level, permutations=199)
    assert called <= binom.ppf(0.999, runs, level)


def test_the_absent_classes_are_no_better_labels():
    """Labels among the first half, reversed among the second: the same threshold seen from its other side."""
    gradient = np.random.default_rng(0).standard_normal((9, 50)) * 0.1
    labels, reverse = np.arange(24), 49 - np.arange(24)
    gradient[:, labels] += 3.0
    gradient[:, 24:26] += 3.0  # two absent classes look like labels, so the reversed ones would show perfectly
    assert not fits_better([[rank_columns(gradient, labels)]], [reverse], rng=np.random.default_rng(0))


@pytest.mark.parametrize(("classes", "count"), [(9, 3), (9, 4), (9, 9), (5000, 60), (5000, 110)])
def test_renamings_are_distinct_and_uniform(classes, count):
    from pytest_labelleak.auditing.evidence.hindsight import _distinct

    rows = 3000
    drawn = _distinct(classes, count, rows, np.random.default_rng(0))
    assert drawn.shape == (rows, count)
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    # every class equally often, at the first place and at all places
    for part in (drawn[:, :1], drawn):
        expected = part.size / classes
        assert abs(np.bincount(part.ravel(), minlength=classes) - expected).max() < 6.0 * np.sqrt(expected) + 4.0
