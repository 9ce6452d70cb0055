"""The version comes from the metadata of the installed package."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest_labelleak
from pytest_labelleak.core import version


def test_the_version_is_that_of_the_installed_package():
    assert pytest_labelleak.__version__ == importlib.metadata.version("pytest-labelleak")
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?([.+a-z0-9]+)?", pytest_labelleak.__version__)


def test_a_tree_that_is_not_installed_says_so(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version.importlib.metadata, "version", missing)
    assert pytest_labelleak.__version__ == version.UNKNOWN


def test_only_who_asks_for_the_version_reads_metadata():
    code = "import sys, pytest_labelleak; print('importlib.metadata' in sys.modules); pytest_labelleak.__version__"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
