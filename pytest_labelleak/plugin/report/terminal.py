"""The summary table at the end of a session in gate mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .rows import attack_of, by_urgency, figures_of, is_failure, one_line, status_of

__all__ = ["lines", "totals"]

_HEADER = ("outcome", "figure", "limit", "attack", "test")


def lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Render the table of a report.

    Parameters
    ----------
    report : mapping
        The report.

    Yields
    ------
    text, kind : str
        One line, and "header", "failure", "notice", "accepted" or "held".
    """
    rows = by_urgency(report)
    cells = [_HEADER, *((status_of(r), *figures_of(r), attack_of(r), one_line(r["test"])) for r in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADER))]
    for index, row in enumerate(cells):
        outcome, figure, limit, attack, test = row
        text = f"{outcome:<{widths[0]}}  {figure:>{widths[1]}}  {limit:<{widths[2]}}  {attack:<{widths[3]}}  {test}"
        if index == 0:
            yield text, "header"
            continue
        audit = rows[index - 1]
        kind = (
            "failure"
            if is_failure(audit)
            else audit["outcome"]
            if audit["outcome"] in ("held", "accepted")
            else "notice"
        )
        yield text, kind
        if audit["outcome"] == "inconclusive":
            yield f"  {one_line(audit['message'])}", kind
        for finding in audit["findings"]:
            if finding["prominent"]:
                yield f"  {one_line(finding['text'])}", kind


def totals(report: Mapping[str, Any]) -> str:
    """Return one line that counts the audits.

    Parameters
    ----------
    report : mapping
        The report.

    Returns
    -------
    str
        The line.
    """
    summary = report["summary"]
    noun = "audit" if summary["audits"] == 1 else "audits"
    accepted = f"{summary['accepted']} accepted, " if summary["accepted"] else ""
    return (
        f"{summary['audits']} {noun}: {summary['held']} held, {accepted}{summary['leaked']} leaked, "
        f"{summary['inconclusive']} inconclusive"
    )
