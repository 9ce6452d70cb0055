"""Version of the installed package, from its metadata."""

from __future__ import annotations

import importlib.metadata

__all__ = ["UNKNOWN", "installed_version"]

#: The version of a tree that nobody installed.
UNKNOWN = "0+unknown"


def installed_version() -> str:
    """Return the version of the installed distribution.

    Returns
    -------
    str
        A version by PEP 440; ``"0+unknown"`` where the package is imported from a tree that was not installed.
    """
    try:
        return importlib.metadata.version("pytest-labelleak")
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN
