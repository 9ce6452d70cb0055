"""Mutants are found by the syntax tree: whatever the layout and the names of locals, but never at two places."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.generic import SUITES, changed, places_of
from tests.mutants.named import MUTANTS
from tests.mutants.pattern import PlaceError, replaced

ROOT = Path(__file__).parents[1]


def same(one: str, other: str) -> bool:
    return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
@pytest.mark.slow
def test_every_rule_has_one_place_and_tests(mutant):
    source = (ROOT / "pytest_labelleak" / mutant.module).read_text("utf-8")
    assert not same(replaced(source, mutant.where, mutant.find, mutant.put), source)
    assert all((ROOT / name).is_file() for name in mutant.tests.split())


@pytest.mark.parametrize(
    ("source", "find", "put", "expected"),
    [
        ("x = -a / b", "-any_a / any_b", "any_a / any_b", "x = a / b"),
        ("x = (  -f(1) /\n g )", "-any_a / any_b", "any_a / any_b", "x = f(1) / g"),
        (
            "if a < 1 and b:\n    c\nelse:\n    d",
            "if any_a and b: ...",
            "if False: ...",
            "if False:\n    c\nelse:\n    d",
        ),
        ("while a:\n    b", "while a: ...", "pass", "pass"),
        ("f(1, 2, k=3)", "f(any_first, *any_rest, **any_more)", "g(any_first, *any_rest, **any_more)", None),
        ("f(1, m=2, k=3)", "f(1, k=any_k, **any_more)", "f(0, k=any_k, **any_more)", "f(0, k=3, m=2)"),
        ("a = a & b\nc = c & d\ne = f & g", "any_x = any_x & b", "pass", "pass\nc = c & d\ne = f & g"),
        ("x = y", "any_x = any_y", "any_x = 1; any_z = 2", None),
        ("x = y\nz = 1", "any_x = y", "any_x = y; z = 2", "x = y\nz = 2\nz = 1"),
        ("x += 1", "any_x += 1", "any_x -= 1", "x -= 1"),
    ],
)
def test_places_are_found_in_any_layout(source, find, put, expected):
    def inside(text):
        return "def f(a, b, c, d, e, g):\n" + "\n".join(f"    {line}" for line in text.splitlines())

    names = "\n\ndef other(y, z, any_z):\n    return f, g"
    if find.startswith("any_x = any_y"):
        with pytest.raises(PlaceError, match="'any_z', which the pattern does not"):
            replaced(inside(source) + names, "f", find, put)
        return
    expected = "g(1, 2, k=3)" if expected is None else expected
    assert same(replaced(inside(source) + names, "f", find, put), inside(expected) + names)


def test_a_place_is_looked_for_in_its_own_function():
    source = "N = 1\n\nclass A:\n    N = 1\n    def f(self):\n        N = 1\n\ndef f():\n    N = 1\n"
    for where, line in (("", 0), ("A", 3), ("A.f", 5), ("f", 8)):
        lines = source.splitlines()
        lines[line] = lines[line].replace("1", "2")
        assert same(replaced(source, where, "N = 1", "N = 2"), "\n".join(lines))


@pytest.mark.parametrize(
    ("where", "find", "put", "message"),
    [
        ("f", "x + 2", "x", "found 0 times in f: 'x \\+ 2'. Expected once"),
        ("f", "x", "1", "found 2 times in f"),
        ("g", "x", "1", "'g' is defined 0 times"),
        ("f", "any_x + any_x", "any_x", "found 0 times"),
        ("f", "x + 1", "y", "uses 'y', which the module does not have"),
        ("f", "x + 1", "return x", "is no expression"),
    ],
)
def test_a_place_that_is_not_there_once_is_said(where, find, put, message):
    with pytest.raises(PlaceError, match=message):
        replaced("def f(x):\n    return [x + 1, x]", where, find, put)


SOURCE = """
class SeparationRules:
    least: float = field(default=2.0, metadata={"plateau": (1.0, 9.0)})
    most: int = 40
    name: str = "a"

class Other:
    least: float = 3.0

def f(x: 1 - 2, y) -> "a":
    if not x:
        raise NotApplicable(f"x is {-y}")
    if x < y:
        raise ValueError("a" + f"{x - y}")
    return -x + 1
"""


def test_places_of_every_kind_are_found_and_changed(tmp_path):
    folder = tmp_path / "attacks" / "rlg"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(SOURCE, "utf-8")
    (tmp_path / "untested.py").write_text(SOURCE, "utf-8")
    found = {(place.kind, *changed(SOURCE, place)[1:]) for place in places_of(tmp_path)}
    assert found == {
        ("rule", "2.0", "20.0"),
        ("rule", "2.0", "0.2"),
        ("rule", "40", "400"),
        ("rule", "40", "4"),
        ("not", "not x", "x"),
        ("refusal", "raise NotApplicable(f'x is {-y}')", "pass"),
        ("comparison", "x < y", "x >= y"),
        ("sign", "-x + 1", "-x - 1"),
        ("sign", "-x", "x"),
    }
    for place in places_of(tmp_path):
        assert not same(changed(SOURCE, place)[0], SOURCE)


def test_suites_name_folders_and_tests_that_exist():
    for name, tests in SUITES.items():
        assert (ROOT / "pytest_labelleak" / name).is_dir()
        assert all((ROOT / test).is_file() for test in tests.split())
