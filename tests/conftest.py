"""Shared by all tests."""

from __future__ import annotations

import importlib.util
import os

import pytest

pytest_plugins = ["pytester"]


def pytest_configure() -> None:
    """Refuse to skip every capture test quietly where a backend was asked for by name."""
    if os.environ.get("KERAS_BACKEND") and importlib.util.find_spec("keras") is None:
        raise pytest.UsageError("KERAS_BACKEND is set, but keras is not installed. Install it, or unset the variable.")
