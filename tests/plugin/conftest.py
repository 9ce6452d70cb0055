"""Inner projects for tests that run pytest inside pytest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

# Loaded before any run inside this process: pytester forgets what is imported during one, and numpy
# cannot be loaded twice.
import pytest_labelleak.auditing.assertions
import pytest_labelleak.auditing.measure
import pytest_labelleak.capture.arrays
import pytest_labelleak.plugin.report.html
import pytest_labelleak.plugin.report.json_report
import pytest_labelleak.plugin.report.markdown
import pytest_labelleak.plugin.report.terminal  # noqa: F401

SCENE = """
import numpy as np
from pytest_labelleak import GaussianNoise, Update

def make(seed=0, S=5, d=20, C=300):
    '''An update of a softmax head on random non-negative features, and the labels behind it.'''
    rng = np.random.default_rng(seed)
    H = rng.uniform(0.1, 1.0, (S, d))
    Z = H @ rng.normal(0.0, 0.1, (d, C))
    P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    labels = rng.choice(C, S, replace=False)
    D = (P - np.eye(C)[labels]) / S
    return Update.from_arrays(H.T @ D, bias_gradient=D.sum(axis=0)), labels

NOISE = GaussianNoise(relative=100.0)
"""

LEAKS = """
from pytest_labelleak import assert_labels_not_recoverable
from scene import make

def test_leaks():
    assert_labels_not_recoverable(*make())
"""

HOLDS = """
from pytest_labelleak import assert_labels_not_recoverable
from scene import NOISE, make

def test_holds():
    assert_labels_not_recoverable(*make(), defence=NOISE, threshold=0.5)
"""

PLAIN = """
def test_plain():
    pass
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def project(pytester):
    """A directory with `scene.py`, whose `make()` gives an update that leaks, and its labels."""
    pytester.makepyfile(scene=SCENE)
    return pytester


@pytest.fixture
def run(project):
    """Run pytest in the project: `run(*arguments)`; in this process if that is enough."""

    def run_(*arguments, workers=None, subprocess=False):
        if workers:
            return project.runpytest_subprocess("-p", "no:cacheprovider", "-n", str(workers), *arguments)
        runner = project.runpytest_subprocess if subprocess else project.runpytest_inprocess
        return runner("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)

    return run_


@pytest.fixture
def report(project):
    """Read a JSON report of the project: `report(name)`."""

    def read(name="report.json"):
        return json.loads(Path(project.path, name).read_text("utf-8"))

    return read
