"""Bounds, classifiers and workflows say the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WORKFLOWS = [*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/*/.github/workflows/*.yml")]


def bounds(requirements, sign):
    """Return release numbers by name, padded to three."""
    found = {}
    for requirement in requirements:
        if isinstance(requirement, str) and (match := re.fullmatch(rf"([\w-]+){sign}([\d.]+)", requirement)):
            found[match[1]] = tuple(int(n) for n in f"{match[2]}.0.0".split("."))[:3]
    return found


def test_the_lowest_versions_that_are_tested_are_the_lower_bounds():
    project = PROJECT["project"]
    optional = project["optional-dependencies"]
    lower = bounds([*project["dependencies"], *optional["testing"], *optional["asr"]], ">=")
    assert len(lower) == 8
    assert bounds(PROJECT["dependency-groups"]["lowest"], "==") == lower


def test_every_python_from_the_lowest_on_is_declared():
    python = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    lowest = int(PROJECT["project"]["requires-python"].removeprefix(">=3."))
    assert python == [f"3.{minor}" for minor in range(lowest, lowest + len(python))]


@pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="a source distribution has no workflows")
def test_continuous_integration_runs_every_declared_python():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    declared = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert f"python: [{', '.join(repr(version) for version in declared)}]".replace("'", '"') in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    used = re.findall(r"uses: (.*)", path.read_text("utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
