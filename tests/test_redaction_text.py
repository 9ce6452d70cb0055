"""Messages without private values: the cleaner of failures, and arguments in the errors of this package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import (
    DropSmallest,
    GaussianNoise,
    InvalidArgumentError,
    Settings,
    Update,
    assert_labels_not_recoverable,
    audit,
)
from pytest_labelleak.asr import GradientMatching
from pytest_labelleak.attacks import Disaggregate, Shadow
from pytest_labelleak.core.errors import quoted
from pytest_labelleak.plugin.redaction import Cleaner, texts_in

SENTINEL = 91736
LABELS = np.array([SENTINEL, 7])


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[33m91736\x1b[39;49;00m == 7",
        "At index 0: 9\x1b[1m1736",
        "\x1b]8;;link\x1b\\91736\x1b]8;;\x1b\\",
        "class_91736",
        "label91736",
        "91736th label",
        r"'\n91736'",
        r"'\x1b[33m91736'",
        r"\t91736.5",
        "0x16658",
        "91_736",
        "9.1736e4",
        "v91736.5",
        "۹۱۷۳۶",
        "assert 5 == 91736 ± 0.091736",
        "approx(91736 ± 9.2e-02)",
        "Max absolute difference: 91731.5",
        "Mean relative difference: 0.9994549",
    ],
)
def test_a_label_is_hidden_in_any_company(text):
    cleaned = Cleaner()(text, hint=False)
    assert not {"91736", "91_736", "1736", "16658", "9.1736e4", "۹۱۷۳۶", "0.091736", "9.2e-02"} & set(cleaned.split())
    for digits in ("91736", "1736", "16658", "91731", "9994549", "9.2", "۹", "9.1"):
        assert digits not in cleaned, cleaned


@given(
    label=st.integers(10_000, 99_999),
    before=st.text(st.characters(exclude_categories=["Nd", "Cs", "Nl", "No"]), max_size=4),
    after=st.text(st.characters(exclude_categories=["Nd", "Cs", "Nl", "No"]), max_size=4),
)
def test_no_whole_number_stays_whatever_adjoins_it(label, before, after):
    assert str(label) not in Cleaner()(f"{before}{label}{after}", hint=False)


@pytest.mark.parametrize(
    "text", ["assert 0.95 < 0.1", "dtype float32, not int64", "0.0 == 1.0", "it's fine", "'bias_sign'"]
)
def test_figures_and_names_of_types_stay(text):
    assert Cleaner()(text) == text


def test_colours_part_no_figure_and_no_text():
    assert Cleaner()("\x1b[33m0.95\x1b[39;49;00m < 0.1") == "0.95 < 0.1"
    assert Cleaner(texts=("Ada",))("\x1b[33mAda\x1b[0m is here", hint=False) == "... is here"


def test_strict_hides_decimals_and_texts_but_for_figures_and_names():
    clean = Cleaner(strict=True, figures={2 / 3}, words={"bias_sign"})
    assert clean("assert 0.375 < 0.25", hint=False) == "assert # < #"
    assert clean(f"assert {2 / 3!r} < 0.666667", hint=False) == f"assert {2 / 3!r} < 0.666667"
    assert clean("'bias_sign' 'leaked' 'Ada' \"it's\"", hint=False) == "'bias_sign' 'leaked' '...' '...'"
    assert clean("  - Ada\n  + \x1b[31mBob\x1b[0m", hint=False) == "  [...]\n  [...]"


def test_source_is_public():
    clean = Cleaner(strict=True, source="assert 3 == count('a', 0.25)")
    assert clean("assert 3 == 4 'a' 'b' 0.25 0.5", hint=False) == "assert 3 == # 'a' '...' 0.25 #"


def test_texts_of_fixtures_are_hidden_without_quotes_too():
    @dataclass
    class Batch:
        names: object
        more: object = None

    values = [Batch(names=["Ada Lovelace", "Ada"], more={"key": np.array(["Charles"])}), b"George", 3, "no"]
    found = texts_in(values)
    assert found == ("Ada Lovelace", "Charles", "George", "Ada", "key")
    assert Cleaner(texts=found)("Ada Lovelace, Ada, Adam and George", hint=False) == "..., ..., Adam and ..."


def test_texts_are_searched_for_in_bounds():
    deep = circle = []
    circle.append(circle)
    for _ in range(10_000):
        deep = [deep]
    assert texts_in([deep, circle]) == ()
    nested = [[[0] * 1000] * 1000] * 1000  # a thousand million entries
    assert texts_in([nested]) == ()
    assert len(texts_in([[f"text {index}" for index in range(10_000)]])) <= 2000


def test_objects_of_numpy_without_a_dtype_hold_no_text():
    assert texts_in([np.cos, np.random.default_rng(0), np.dtype("f4"), np.array(["said"]), np.ones(3)]) == ("said",)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (0.5, "0.5"),
        ("fast", "'fast'"),
        (LABELS, "<ndarray of shape (2,)>"),
        (LABELS[0], "<int64 of shape ()>"),
        ([SENTINEL], "<list of length 1>"),
        ({SENTINEL}, "<set of length 1>"),
        ("91736 " * 20, "<str of length 120>"),
        (object(), "<object>"),
    ],
)
def test_arguments_are_quoted_by_type_and_shape(value, shown):
    assert quoted(value) == shown


UPDATE = Update.from_arrays(np.ones((2, 3)))


CALLS = {
    "threshold": lambda value: Settings(threshold=value),
    "confidence": lambda value: Settings(confidence=value),
    "seed": lambda value: Settings(seed=value),
    "show_labels": lambda value: Settings(show_labels=value),
    "attacks": lambda value: Settings(attacks=[value]),
    "relative": lambda value: GaussianNoise(relative=[value]),
    "both": lambda value: GaussianNoise(absolute=value, relative=value),
    "rate": lambda value: DropSmallest(fraction=[value]),
    "steps": lambda value: Update.from_arrays(np.ones((2, 3)), steps=[value]),
    "learning_rate": lambda value: Update.from_arrays(np.ones((2, 3)), learning_rate=[value]),
    "compute_dtype": lambda value: Update.from_arrays(np.ones((2, 3)), compute_dtype=value),
    "counts": lambda value: assert_labels_not_recoverable(UPDATE, [1], counts=value),
    "matching": lambda value: GradientMatching(soft_labels=str(value) * 20),
    "moves": lambda value: GradientMatching(moves=value),
    "tolerance": lambda value: GradientMatching(tolerance=value),
    "temperature": lambda value: Disaggregate(temperature=[value]),
    "starts": lambda value: Disaggregate(starts=value),
    "features of shadow": lambda value: Shadow(features=str(value) * 20),
    "simulations": lambda value: Shadow(simulations=value),
    "counts of audit": lambda value: audit(UPDATE, [1], counts=value),
}
GIVEN = {"array": LABELS, "scalar": LABELS[0], "list": LABELS.tolist(), "mapping": {SENTINEL: 1}}


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("call", CALLS)
def test_no_error_of_this_package_quotes_an_array(call, kind):
    with pytest.raises(InvalidArgumentError) as caught:
        CALLS[call](GIVEN[kind])
    assert str(SENTINEL) not in str(caught.value)
