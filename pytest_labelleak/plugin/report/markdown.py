"""The Markdown report, as shown on a pull request or a workflow's summary page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from .rows import attack_of, by_urgency, figures_of, is_failure, notes_of, one_line, status_of
from .terminal import totals

__all__ = ["render"]


def render(report: Mapping[str, Any], *, max_bytes: int | None = None) -> str:
    """Render a report as Markdown, failures first.

    Parameters
    ----------
    report : mapping
        The report.
    max_bytes : int, optional
        Size in UTF-8 that the text must stay below; rows beyond it are left out, with a note.

    Returns
    -------
    str
        The text.
    """
    head = [
        "## Label leakage",
        "",
        f"{totals(report)}.",
        "",
        "| outcome | figure | limit | strongest attack | test | why |",
        "| :-- | --: | :-- | :-- | :-- | :-- |",
    ]
    rows = by_urgency(report)
    body = [_row(row) for row in rows]
    if not rows:
        head = head[:3]
    # Kept free for the note below, which is written only if something is missing.
    room = None if max_bytes is None else max_bytes - _size(head) - 200
    kept = len(body)
    if room is not None:
        kept = 0
        for line in body:
            room -= _size([line])
            if room < 0:
                break
            kept += 1
    lines = [*head, *body[:kept]]
    if kept < len(body):
        lines += ["", f"{len(body) - kept} more audits do not fit here; the JSON report has all."]
    return "\n".join(lines) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    figure, limit = figures_of(row)
    mark = "❌ " if is_failure(row) else "⚠️ " if row["outcome"] == "accepted" else ""
    why = "; ".join(notes_of(row))
    cells = (mark + status_of(row), figure, limit, attack_of(row), row["test"], why)
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    # Node ids and third parties' messages may hold anything that Markdown or HTML would interpret.
    text = html.escape(one_line(text), quote=False)
    return "".join(f"\\{c}" if c in r"\`*_[]|#~!@" else c for c in text)


def _size(lines: list[str]) -> int:
    return sum(len(line.encode("utf-8", "backslashreplace")) + 1 for line in lines)
