"""Reports: from the plain records of a session's audits to one dictionary, and its rows as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...core.version import installed_version

__all__ = [
    "FORMAT",
    "VERSION",
    "attack_of",
    "build",
    "by_urgency",
    "figures_of",
    "is_failure",
    "notes_of",
    "one_line",
    "status_of",
]

FORMAT = "pytest-labelleak-report"
VERSION = 2

_OUTCOMES = ("held", "accepted", "leaked", "inconclusive")
_PASSING = ("held", "accepted")


def build(audits: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Build the report of one session.

    Parameters
    ----------
    audits : iterable of mapping
        Records of audits, each with its test, its index in that test and the test's outcome.

    Returns
    -------
    dict
        JSON types only, as described by ``schema-v2.json``. Holds no time, duration or machine name: the
        same audits give the same report, in whatever order and processes they ran.
    """
    rows = sorted((dict(audit) for audit in audits), key=lambda row: (row["test"], row["index"]))
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in _OUTCOMES}
    return {
        "format": FORMAT,
        "version": VERSION,
        "tool": {"name": "pytest-labelleak", "version": installed_version()},
        "summary": {"audits": len(rows), **counts},
        "audits": rows,
    }


def is_failure(row: Mapping[str, Any]) -> bool:
    """Tell whether an audit is a reason for its test to fail.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    bool
        False for one that held, or whose leak the baseline accepts, and for one whose test did not fail all the same.
    """
    return bool(row["outcome"] not in _PASSING and row["test_outcome"] == "failed")


def status_of(row: Mapping[str, Any]) -> str:
    """Return the outcome of an audit for people, and whether the test expects it.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    str
        For example "leaked, as the test expects".
    """
    outcome: str = row["outcome"]
    if outcome in _PASSING or is_failure(row):
        return outcome
    return f"{outcome}, as the test expects" if row["asserted"] else f"{outcome}, only measured"


def by_urgency(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a report's audits with the failures first.

    Parameters
    ----------
    report : mapping
        The report.

    Returns
    -------
    list of mapping
        Failures, then other leaks and undecided ones, then accepted leaks, then those that held; each by test.
    """
    passing = {"accepted": 1, "held": 2}
    return sorted(report["audits"], key=lambda row: (not is_failure(row), passing.get(row["outcome"], 0)))


def attack_of(row: Mapping[str, Any]) -> str:
    """Return the name of the strongest attack, or a dash if none made a claim.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    str
        The name.
    """
    return one_line(row["strongest_attack"] or "-")


def figures_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return figure and limit as text.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    figure, limit : str
        The figure, with its name unless it is an advantage, and with its upper bound where confidence was asked
        for. The limit says so if it comes from the baseline.
    """
    figure = "-" if row["strongest_attack"] is None else f"{row['figure']:.2f}"
    if row["figure_name"] != "advantage" and row["strongest_attack"] is not None:
        figure += f" ({row['figure_name']})"
    if row["upper_bound"] is not None:
        figure += f" (at most {row['upper_bound']:.2f} at {100 * row['confidence']:g} %)"
    return figure, f"{row['limit']:.2f}" + (" (baseline)" if row["limit_source"] == "baseline" else "")


def notes_of(row: Mapping[str, Any]) -> list[str]:
    """Return the reason and the findings of an audit: every sentence besides its figures.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    list of str
        The reason, unless it held, and all findings.
    """
    reason = [] if row["outcome"] == "held" else [row["message"]]
    return [*reason, *(finding["text"] for finding in row["findings"])]


def one_line(text: str) -> str:
    """Return `text` without line breaks and control characters, for use in a table.

    Parameters
    ----------
    text : str
        A name or message, possibly from a third party.

    Returns
    -------
    str
        Printable characters only.
    """
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
