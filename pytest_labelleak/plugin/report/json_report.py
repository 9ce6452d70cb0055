"""The JSON report, and the schema that describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

__all__ = ["render", "schema"]


def render(report: Mapping[str, Any]) -> str:
    """Render a report as JSON.

    Parameters
    ----------
    report : mapping
        The report.

    Returns
    -------
    str
        The same characters for the same report, on every machine.
    """
    return json.dumps(report, indent=2, sort_keys=True, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the report.

    Returns
    -------
    dict
        The schema of the version that this release writes.
    """
    text = resources.files(__package__).joinpath("schema-v2.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
