"""The baseline file: what is written can be read, and what cannot be trusted is refused."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import BaselineError
from pytest_labelleak.core.figures import round_up
from pytest_labelleak.plugin.baseline import Baseline

FIGURES = st.floats(0.0, 1.0).map(round_up)
ENTRIES = st.dictionaries(
    st.text(min_size=1),
    st.lists(st.none() | FIGURES, min_size=1).filter(lambda figures: figures[-1] is not None).map(tuple),
    max_size=4,
)


@given(advantage=st.floats(-1.0, 1.0))
def test_rounding_never_goes_below(advantage):
    rounded = round_up(advantage)
    assert rounded + 1e-9 >= advantage
    assert 0.0 <= rounded <= 1.0
    assert rounded - max(advantage, 0.0) <= 1.1e-6
    assert round_up(rounded) == rounded


@given(entries=ENTRIES)
@pytest.mark.slow
def test_round_trip(entries, tmp_path_factory):
    path = tmp_path_factory.mktemp("baseline") / "base.json"
    Baseline(entries=entries).save(path)
    assert Baseline.load(path).entries == entries
    first = path.read_bytes()
    Baseline(entries=dict(reversed(entries.items()))).save(path)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["base.json"]


def test_limit():
    baseline = Baseline(entries={"a": (0.5, None, 0.25)})
    assert [baseline.limit("a", index) for index in range(4)] == [0.5, None, 0.25, None]
    assert baseline.limit("b", 0) is None


def test_updated():
    before = Baseline(entries={"kept": (0.5,), "cut": (0.1, 0.2, 0.3), "partly": (0.1, 0.2), "undecided": (0.4, 0.5)})
    measured = {"cut": [1 / 3], "partly": [0.9], "undecided": [None, 0.6], "nothing": [None], "new": [-0.2]}
    after = before.updated(measured, complete={"cut", "undecided", "nothing", "new"})
    assert after.entries == {
        "kept": (0.5,),
        "cut": (0.333334,),
        "partly": (0.9, 0.2),
        "undecided": (0.4, 0.6),
        "new": (0.0,),
    }
    assert before.entries["cut"] == (0.1, 0.2, 0.3)
    assert before.changes(after) == (0, 4)
    assert after.changes(before) == (3, 2)
    assert before.changes(before) == (0, 0)


def document(**changes):
    content = {"format": "pytest-labelleak-baseline", "version": 1, "entries": {"test_a": [0.5]}, **changes}
    return json.dumps({name: value for name, value in content.items() if value != "left out"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON (line 1, column 1)"),
        ("{", "is not valid JSON"),
        ("<<<<<<< HEAD\n", "is not valid JSON (line 1, column 1)"),
        (b"\xff\xfe", "is not UTF-8 text"),
        ("[]", "it does not say 'format'"),
        ("[" * 100_000, "is damaged"),
        (document(format="left out"), "it does not say 'format'"),
        (document(format="pytest-labelleak-report"), "it does not say 'format'"),
        (document(version="left out"), "its 'version' is not a positive integer"),
        (document(version=0), "its 'version' is not a positive integer"),
        (document(version=True), "its 'version' is not a positive integer"),
        (document(version="1"), "its 'version' is not a positive integer"),
        (document(version=2), "is in format version 2; this release reads version 1. Upgrade pytest-labelleak."),
        (document(extra=1), "it has an unknown key 'extra'"),
        (document(entries="left out"), "its 'entries' are not an object of lists by test"),
        (document(entries=[]), "its 'entries' are not an object of lists by test"),
        (document(entries={"a": 0.5}), "the entry of 'a' is not a list with one figure per assertion"),
        (document(entries={"a": []}), "the entry of 'a' is not a list with one figure per assertion"),
        (document(entries={"a": [1.5]}), "the entry of 'a' holds 1.5; every figure must be a number in [0, 1]"),
        (document(entries={"a": [-0.1]}), "the entry of 'a' holds -0.1"),
        (document(entries={"a": ["0.5"]}), "the entry of 'a' holds '0.5'"),
        (document(entries={"a": [True]}), "the entry of 'a' holds True"),
        (document(entries={"a": [float("nan")]}), "it holds NaN"),
        (document(entries={"a": [float("inf")]}), "it holds Infinity"),
        (document().replace("0.5", "1e999"), "the entry of 'test_a' holds inf"),
        (document().replace('"test_a"', '"b": [0.1], "b"'), "it has 'b' twice"),
    ],
    ids=itertools.count(),
)
def test_what_cannot_be_trusted_is_refused(tmp_path, text, message):
    path = tmp_path / "base.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BaselineError) as caught:
        Baseline.load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"baseline {str(path)!r} ")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BaselineError, match=r"does not exist\. Create it with --labelleak-update-baseline"):
        Baseline.load(tmp_path / "base.json")
    with pytest.raises(BaselineError, match="cannot be read: Is a directory"):
        Baseline.load(tmp_path)


def test_a_failure_to_write_leaves_everything_as_it_was(tmp_path, monkeypatch):
    import os

    path = tmp_path / "base.json"
    Baseline(entries={"a": (0.5,)}).save(path)
    before = path.read_bytes()

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        Baseline().save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["base.json"]


def test_links_are_followed_and_the_umask_is_respected(tmp_path):
    import os

    target = tmp_path / "real.json"
    target.write_text("", "utf-8")
    link = tmp_path / "base.json"
    link.symlink_to(target)
    mask = os.umask(0o022)
    try:
        Baseline().save(link)
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert Baseline.load(target).entries == {}
    assert target.stat().st_mode & 0o777 == 0o644
