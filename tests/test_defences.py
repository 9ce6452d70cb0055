"""Defences: their effect on every entry, their refusals, and their notation as text."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_labelleak import (
    ClipNorm,
    Compose,
    DropSmallest,
    GaussianNoise,
    Head,
    LaplaceNoise,
    Quantise,
    RandomDrop,
    RoundTo,
    Sign,
    TopK,
    Update,
    audit,
)
from pytest_labelleak.core.errors import InvalidArgumentError, UnknownNameError
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.defences import resolve
from pytest_labelleak.testing import check_defence, make_update

EVERY = [
    Sign(),
    DropSmallest(fraction=0.9),
    TopK(count=3),
    TopK(fraction=0.25),
    RandomDrop(fraction=0.5),
    RandomDrop(fraction=0.5, rescale=True),
    GaussianNoise(relative=0.5),
    GaussianNoise(absolute=1e-3),
    LaplaceNoise(relative=0.5),
    LaplaceNoise(absolute=1e-3),
    ClipNorm(norm=0.1),
    ClipNorm(norm=0.1, scope="variable"),
    Quantise(bits=2),
    Quantise(bits=8, stochastic=True),
    RoundTo(dtype="float16"),
    RoundTo(dtype="bfloat16"),
    Compose([DropSmallest(fraction=0.5), Quantise(bits=4), GaussianNoise(relative=0.1)]),
]


def defend(defence: Any, array: Any, *, seed: int = 0, **others: np.ndarray) -> np.ndarray:
    """Return one defended variable, whose dtype and shape are checked first."""
    array = np.asarray(array)
    head = Head(kernel="head")
    update = Update(gradients={"head": np.ones((2, 3), np.float32), "it": array, **others}, head=head)
    before = array.copy()
    shared = defence(update, rng=np.random.default_rng(seed)).gradients["it"]
    assert isinstance(shared, np.ndarray)
    assert shared.dtype == array.dtype
    assert shared.shape == array.shape
    assert np.array_equal(array, before, equal_nan=True)
    return shared


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, max_side=6), elements=finite)


@pytest.mark.parametrize("defence", EVERY, ids=lambda d: d.name)
def test_conforms(defence: Any) -> None:
    check_defence(defence)


@pytest.mark.parametrize("defence", EVERY, ids=lambda d: d.name)
def test_name_is_a_setting_that_means_the_same(defence: Any) -> None:
    assert resolve(defence.name) == defence


@pytest.mark.parametrize("defence", EVERY, ids=lambda d: d.name)
@pytest.mark.parametrize("value", [0.0, 2.5, -1e-30, 1e30, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(), (1,), (1, 4)])
def test_extreme_values_raise_no_warning(defence: Any, value: float, shape: tuple[int, ...]) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        with np.errstate(over="ignore"):
            array = np.full(shape, value).astype(dtype)
        defend(defence, array)


@pytest.mark.parametrize("defence", [d for d in EVERY if not isinstance(d, (Sign, RandomDrop))], ids=lambda d: d.name)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_diverged_loss_stays_visible(defence: Any, poison: float) -> None:
    """A defence that turned NaN into a number would turn an inconclusive audit into a pass."""
    array = np.linspace(-1, 1, 40, dtype=np.float32)
    array[7] = poison
    assert not np.isfinite(defend(defence, array)[7])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_arrays_keep_their_type(dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.linspace(-1, 1, 12).astype(getattr(ml_dtypes, dtype, np.float16))
    for defence in EVERY:
        defend(defence, array)


# Sparsification


@given(array=arrays, fraction=st.floats(0.001, 0.999))
@example(array=np.arange(100, dtype=np.float32), fraction=0.29)
@settings(deadline=None)
def test_drop_smallest_zeroes_exactly_the_fraction(array: np.ndarray, fraction: float) -> None:
    shared = defend(DropSmallest(fraction=fraction), array)
    dropped = math.floor(Fraction(str(fraction)) * array.size)
    order = np.argsort(np.abs(array), axis=None, kind="stable")
    assert np.count_nonzero(shared) == np.count_nonzero(np.sort(np.abs(array), axis=None)[dropped:])
    kept = shared != 0
    assert np.array_equal(shared[kept], array[kept])
    smallest_kept = np.abs(array).ravel()[order[dropped]]
    assert np.all(np.abs(array[~kept]) <= smallest_kept)


def test_drop_smallest_counts_in_the_decimals_that_were_written() -> None:
    """As floats 0.29 * 100 is 28.999999999999996."""
    assert np.count_nonzero(defend(DropSmallest(fraction=0.29), np.arange(1.0, 101.0))) == 71
    assert np.count_nonzero(defend(TopK(fraction=0.07), np.arange(1.0, 101.0))) == 7


def test_of_equal_magnitudes_the_first_are_kept() -> None:
    ties = np.array([1.0, -1.0, 1.0, 2.0, -1.0, 0.5])
    assert defend(DropSmallest(fraction=0.5), ties).tolist() == [1.0, -1.0, 0.0, 2.0, 0.0, 0.0]
    assert defend(TopK(count=2), ties).tolist() == [1.0, 0.0, 0.0, 2.0, 0.0, 0.0]


def test_a_variable_never_loses_its_last_entry() -> None:
    assert defend(DropSmallest(fraction=0.99), [3.0]).tolist() == [3.0]
    assert defend(TopK(fraction=0.01), [3.0, 4.0]).tolist() == [0.0, 4.0]


@given(array=arrays, count=st.integers(1, 300))
@settings(deadline=None)
def test_top_k_keeps_the_count(array: np.ndarray, count: int) -> None:
    shared = defend(TopK(count=count), array)
    assert np.count_nonzero(shared) == min(count, np.count_nonzero(array))
    count = min(count, array.size)
    largest = np.sort(np.abs(array), axis=None)[array.size - count :]
    assert np.array_equal(np.sort(np.abs(shared), axis=None)[array.size - count :], largest)


def test_random_drop_drops_each_entry_with_its_probability() -> None:
    array = np.ones(20_000)
    shared = defend(RandomDrop(fraction=0.3), array)
    assert set(shared.tolist()) == {0.0, 1.0}
    assert abs(np.mean(shared == 0) - 0.3) < 5 * math.sqrt(0.3 * 0.7 / array.size)
    scaled = defend(RandomDrop(fraction=0.3, rescale=True), array)
    assert abs(scaled.mean() - 1.0) < 0.02
    assert set(scaled.tolist()) == {0.0, 1.0 / (1.0 - 0.3)}


# Coarser grids


def test_sign() -> None:
    assert defend(Sign(), [-3.0, 0.0, 1e-30, np.nan]).tolist()[:3] == [-1.0, 0.0, 1.0]


@given(array=arrays, bits=st.integers(2, 16), stochastic=st.booleans())
@settings(deadline=None)
def test_quantise_uses_the_levels_and_the_nearest_of_them(array: np.ndarray, bits: int, stochastic: bool) -> None:
    shared = defend(Quantise(bits=bits, stochastic=stochastic), array).astype(np.float64)
    top = float(np.abs(array).max(initial=0.0))
    if top < 1e-30:  # beyond this float32 itself has no room for the levels
        return
    steps = 2 ** (bits - 1) - 1
    levels = shared / top * steps
    assert np.allclose(levels, np.rint(levels), atol=1e-2)
    assert np.abs(levels).max(initial=0.0) <= steps
    off = np.abs(levels - array.astype(np.float64) / top * steps)
    assert off.max(initial=0.0) <= (1.0 if stochastic else 0.5) + 1e-2


def test_quantise_levels_are_symmetric_and_reach_the_largest_magnitude() -> None:
    array = np.linspace(-2.0, 2.0, 4001)
    assert np.unique(defend(Quantise(bits=2), array)).tolist() == [-2.0, 0.0, 2.0]
    assert np.unique(defend(Quantise(bits=3), array)).size == 7
    assert np.unique(defend(Quantise(bits=3, stochastic=True), array)).size == 7


def test_quantise_scales_each_variable_on_its_own() -> None:
    assert defend(Quantise(bits=2), [1e-6, 0.0], other=np.array([1e6])).tolist() == [1e-6, 0.0]


def test_stochastic_quantisation_is_unbiased() -> None:
    array = np.array([0.1, -0.37, 0.9, 0.0, 1.0])
    defence = Quantise(bits=3, stochastic=True)
    runs = np.array([defend(defence, array, seed=seed) for seed in range(3000)])
    # One draw is off by at most one level, 1/3, in standard deviation at most half of that.
    assert np.all(np.abs(runs.mean(axis=0) - array) < 5 * (1 / 6) / math.sqrt(len(runs)))
    assert np.unique(runs[:, 3]).tolist() == [0.0]  # an entry on a level stays there
    assert np.unique(runs[:, 4]).tolist() == [1.0]
    assert np.mean(defend(Quantise(bits=3), array) == array) < 1.0


@given(array=arrays)
@settings(deadline=None)
def test_round_to_float16_is_what_numpy_makes_of_it(array: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16).astype(np.float32)
    assert np.array_equal(defend(RoundTo(dtype="float16"), array), expected)


@given(array=arrays)
@example(array=np.array([1.00390625, 1.01171875, 1e-40, 9.2e-41, 3.4e38], np.float32))
@settings(deadline=None)
def test_round_to_bfloat16_is_what_ml_dtypes_makes_of_it(array: np.ndarray) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    with np.errstate(over="ignore"):
        expected = array.astype(bfloat16).astype(np.float32)
    assert np.array_equal(defend(RoundTo(dtype="bfloat16"), array), expected)


def test_round_to_rounds_once() -> None:
    """By way of float32 this would first become a tie, and then go down."""
    value = 1.0 + 2.0**-8 + 2.0**-30
    assert defend(RoundTo(dtype="bfloat16"), [value]).tolist() == [1.0 + 2.0**-7]


@pytest.mark.parametrize(
    ("computed", "sent", "known"),
    [
        ("float32", "float16", "float16"),
        ("float32", "bfloat16", "bfloat16"),
        ("bfloat16", "float16", "bfloat16"),
        ("float64", "float16", "float16"),
    ],
)
def test_the_receiver_knows_the_wire_format(computed: str, sent: str, known: str) -> None:
    update = Update.from_arrays(np.ones((2, 3)), compute_dtype=computed)
    shared = RoundTo(dtype=sent)(update, rng=np.random.default_rng(0))
    assert shared.compute_dtype == known
    assert update.compute_dtype == computed


# Noise


@pytest.mark.parametrize("noise", [GaussianNoise, LaplaceNoise])
def test_noise_has_the_standard_deviation_asked_for(noise: Any) -> None:
    array = np.random.default_rng(0).normal(size=200_000) * 1e-8
    size = math.sqrt(np.mean(array**2))
    for defence, expected in ((noise(relative=0.5), 0.5 * size), (noise(absolute=3.0), 3.0)):
        added = defend(defence, array) - array
        assert abs(added.std() / expected - 1.0) < 0.02
        assert abs(added.mean()) < 0.02 * expected


def test_the_two_noises_have_their_shapes() -> None:
    """The fourth moment tells a Gaussian (3) from a Laplace distribution (6)."""
    zeros = np.zeros(200_000)
    for noise, expected in ((GaussianNoise(absolute=1.0), 3.0), (LaplaceNoise(absolute=1.0), 6.0)):
        assert abs(np.mean(defend(noise, zeros) ** 4) / expected - 1.0) < 0.1


def test_relative_noise_leaves_a_zero_variable_zero_and_survives_tiny_ones() -> None:
    assert not defend(GaussianNoise(relative=1.0), np.zeros(5)).any()
    tiny = defend(GaussianNoise(relative=1.0), np.full(5, 1e-200))
    assert np.all(tiny != 1e-200)
    assert np.abs(tiny).max() < 1e-198


# Clipping


@given(array=arrays, bound=st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_clipping_bounds_the_norm_of_a_variable(array: np.ndarray, bound: float) -> None:
    shared = defend(ClipNorm(norm=bound, scope="variable"), array)
    wide = array.astype(np.float64)
    length = float(np.linalg.norm(wide))
    assert np.linalg.norm(shared.astype(np.float64)) <= bound * (1 + 1e-6)
    if length <= bound:
        assert np.array_equal(shared, array)
    else:
        assert np.allclose(shared, wide * (bound / length), rtol=1e-6, atol=1e-42)


def test_clipping_the_whole_update_keeps_its_direction() -> None:
    update = make_update(positions=3, features=6, classes=5).update
    shared = ClipNorm(norm=1e-3)(update, rng=np.random.default_rng(0))
    total = math.sqrt(sum(float((a.astype(float) ** 2).sum()) for a in shared.gradients.values()))
    assert total == pytest.approx(1e-3, rel=1e-6)
    ratios = [shared.gradients[k] / update.gradients[k] for k in update.gradients]
    assert np.allclose(np.concatenate([r.ravel() for r in ratios]), ratios[0].flat[0], rtol=1e-6)


def test_clipping_counts_all_variables_or_each() -> None:
    others = {"head": np.zeros((2, 3)), "other": np.array([4.0])}
    assert defend(ClipNorm(norm=3.5), [3.0], **others).tolist() == [pytest.approx(3.0 * 3.5 / 5.0)]
    assert defend(ClipNorm(norm=3.5, scope="variable"), [3.0], **others).tolist() == [3.0]


# Composition


def test_composition_applies_and_records_its_parts_in_order() -> None:
    update = make_update(positions=3, features=6, classes=5).update
    both = Compose([DropSmallest(fraction=0.5), Compose([Sign()])])
    shared = both(update, rng=np.random.default_rng(0))
    assert shared.defences == ("drop_smallest(fraction=0.5)", "sign")
    assert both.name == "drop_smallest(fraction=0.5) + sign"
    assert both.parts == (DropSmallest(fraction=0.5), Sign())
    assert set(np.unique(shared.kernel_gradient)) == {-1.0, 0.0, 1.0}
    assert np.mean(shared.kernel_gradient == 0) == 0.5


def test_parts_draw_different_noise() -> None:
    one = GaussianNoise(absolute=1.0)
    twice = defend(Compose([one, one]), np.zeros(100_000))
    assert twice.std() == pytest.approx(math.sqrt(2.0), rel=0.02)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no parts"),
        ("sign", "parts of type str"),
        (Sign(), "parts of type Sign"),
        ([Sign(), "sign"], "part of type str"),
        ([Sign], "part of type type"),
        ([len], "part of type builtin_function_or_method"),
    ],
)
def test_composition_refuses_what_is_no_defence(parts: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Compose(parts)


@pytest.mark.parametrize("recorded", ["other", "na", "name + "])
def test_a_defence_records_its_own_name_and_no_other(recorded: str) -> None:
    class Misnamed:
        name = "name"

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
            return update.map(np.copy, defence=recorded)

    with pytest.raises(AssertionError, match="did not record its name"):
        check_defence(Misnamed())


# Parameters


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DropSmallest(fraction=0.0), r"DropSmallest got fraction=0.0. Expected a number above 0 and below 1."),
        (lambda: DropSmallest(fraction=1.0), r"fraction=1.0"),
        (lambda: DropSmallest(fraction=math.nan), r"fraction=nan"),
        (lambda: DropSmallest(fraction=True), r"fraction=True"),
        (lambda: DropSmallest(fraction="0.5"), r"fraction='0.5'"),
        (lambda: RandomDrop(fraction=-0.1), r"RandomDrop got fraction=-0.1"),
        (lambda: RandomDrop(fraction=0.1, rescale=1), r"rescale=1. Expected True or False."),
        (lambda: TopK(), r"TopK got count=None and fraction=None. Expected exactly one of the two"),
        (lambda: TopK(count=3, fraction=0.5), r"count=3 and fraction=0.5. Expected exactly one"),
        (lambda: TopK(count=0), r"count=0. Expected a whole number of at least 1."),
        (lambda: TopK(count=2.0), r"count=2.0"),
        (lambda: TopK(fraction=1.5), r"fraction=1.5"),
        (lambda: GaussianNoise(), r"GaussianNoise got relative=None and absolute=None"),
        (lambda: GaussianNoise(relative=1.0, absolute=1.0), r"exactly one"),
        (lambda: GaussianNoise(relative=0.0), r"relative=0.0. Expected a standard deviation above 0."),
        (lambda: GaussianNoise(absolute=10**400), r"absolute="),
        (lambda: LaplaceNoise(absolute=math.inf), r"LaplaceNoise got absolute=inf"),
        (lambda: ClipNorm(norm=0), r"ClipNorm got norm=0. Expected a number above 0."),
        (lambda: ClipNorm(norm=1.0, scope="layer"), r"scope='layer'. Expected one of 'update', 'variable'."),
        (lambda: Quantise(bits=1), r"bits=1. Expected a whole number from 2 to 16; for a single bit use Sign\(\)"),
        (lambda: Quantise(bits=17), r"bits=17"),
        (lambda: Quantise(bits=8, stochastic="yes"), r"stochastic='yes'"),
        (lambda: RoundTo(dtype="float8"), r"RoundTo got dtype='float8'. Expected one of 'float16', 'bfloat16'."),
        (lambda: RoundTo(dtype=np.float16), r"RoundTo got dtype="),
    ],
)
def test_parameters_are_checked(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def test_parameters_may_be_numpy_numbers_and_names_are_plain() -> None:
    assert DropSmallest(fraction=np.float64(0.5)).name == "drop_smallest(fraction=0.5)"
    assert Quantise(bits=np.int64(4)).name == "quantise(bits=4)"
    assert ClipNorm(norm=np.float32(2)).name == "clip_norm(norm=2.0)"


@pytest.mark.parametrize("defence", EVERY, ids=lambda d: d.name)
def test_defences_are_values(defence: Any) -> None:
    assert hash(defence) == hash(dataclasses.replace(defence))
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
        defence.fraction = 0.1


# Text


def test_text_composes() -> None:
    assert resolve(" sign+  gaussian_noise( absolute=1e+2 ) ") == Compose([Sign(), GaussianNoise(absolute=100.0)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drop_smallest", r"'drop_smallest' has no parameters. .*among fraction, e.g. 'drop_smallest\(fraction=0.9\)'"),
        ("drop_smallest()", "has no parameters"),
        ("drop_smallest(0.9)", "a parameter without a name"),
        ("drop_smallest(**{'fraction': 1})", "a parameter without a name"),
        ("drop_smallest(part=0.9)", "unknown or repeated parameter 'part'. Expected keyword arguments among fraction"),
        ("quantise(stochastic=True)", "lacks a parameter. Expected keyword arguments among bits, stochastic"),
        ("quantise(bits=__import__('os'))", "'bits' that is no literal"),
        ("quantise(bits=n)", "'bits' that is no literal"),
        ("gaussian_noise(relative=-1)", "GaussianNoise got relative=-1"),
    ],
)
def test_bad_parameters_in_text(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        resolve(text)


@pytest.mark.parametrize(
    "text",
    ["sing", "", "sign +", "sign - sign", "(", "a.b(c=1)", "sign(x=1)", "1", "\0", "sign; sign", "+".join("a" * 5)],
)
def test_unknown_text_lists_what_there_is(text: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown defence .*sign, a call such as drop_smallest\(fraction=0.9\)"):
        resolve(text)


def test_hooks_add_names_of_any_form_and_not_those_taken() -> None:
    class Extra:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
            return update.map(np.negative, defence=self.name)

    shift, mine = Extra("bit-shift 2"), Extra("mine")
    with activate(Scope(defences={"bit-shift 2": shift, "mine": mine})):
        assert resolve("bit-shift 2") is shift
        assert resolve("mine") is mine
        assert resolve("sign + mine") == Compose([Sign(), mine])
    for taken in ("sign", "quantise"):
        with (
            activate(Scope(defences={taken: Extra(taken)})),
            pytest.raises(InvalidArgumentError, match=f"a hook registers a defence named '{taken}'"),
        ):
            resolve("sign")


def test_an_audit_takes_text() -> None:
    case = make_update(positions=4, features=32, classes=40)
    text = "drop_smallest(fraction=0.5) + gaussian_noise(relative=100.0)"
    result = audit(case.update, case.labels, defence=text, attacks="yin")
    assert result.defence == text
    assert result.verdicts[0].true_positive_rate < result.control[0].true_positive_rate == 1.0
