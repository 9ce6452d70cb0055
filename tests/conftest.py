"""Shared by all tests: the markers that choose what a run leaves out."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent

#: Folders in which every test needs a framework.
OF_FRAMEWORKS = {"capture", "examples", "lingvo"}


def pytest_configure() -> None:
    """Refuse to skip every capture test quietly where a backend was asked for by name."""
    if os.environ.get("KERAS_BACKEND") and importlib.util.find_spec("keras") is None:
        raise pytest.UsageError("KERAS_BACKEND is set, but keras is not installed. Install it, or unset the variable.")


# First, so that "-m" sees these markers.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by folder, module and fixture; skip tests of a framework where none is installed."""
    missing = importlib.util.find_spec("keras") is None and importlib.util.find_spec("lingvo") is None
    for item in items:
        if "pytester" in getattr(item, "fixturenames", ()):
            item.add_marker("inner")
        if needs_framework(item):
            item.add_marker("framework")
        if missing and item.get_closest_marker("framework"):
            item.add_marker(pytest.mark.skip(reason="no framework is installed"))


def needs_framework(item: pytest.Item) -> bool:
    """Tell whether a test needs Keras or lingvo: by its folder, by its module's imports, or by a fixture's name."""
    folders = item.path.relative_to(HERE).parts[:-1] if item.path.is_relative_to(HERE) else ()
    fixtures = getattr(item, "fixturenames", ())
    return (
        bool(OF_FRAMEWORKS & set(folders))
        or hasattr(getattr(item, "module", None), "keras")
        or any(name.startswith("keras") for name in fixtures)
    )
