"""The HTML report: one file without scripts and without anything to load."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from .rows import attack_of, by_urgency, figures_of, is_failure, notes_of, one_line, status_of
from .terminal import totals

__all__ = ["render"]

_STYLE = """
  :root { color-scheme: light dark; }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
  table { border-collapse: collapse; width: 100%; }
  caption { text-align: left; padding-bottom: .5rem; }
  th, td { text-align: left; vertical-align: top; padding: .35rem .7rem; border-bottom: 1px solid #8886; }
  td.number { text-align: right; font-variant-numeric: tabular-nums; }
  tr.failure td:first-child { font-weight: 600; color: #c62828; }
  tr.accepted td:first-child { font-weight: 600; color: #00738a; }
  td.test { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def render(report: Mapping[str, Any]) -> str:
    """Render a report as an HTML page, failures first.

    Parameters
    ----------
    report : mapping
        The report.

    Returns
    -------
    str
        The page.
    """
    head = "".join(
        f'<th scope="col">{title}</th>'
        for title in ("outcome", "figure", "limit", "strongest attack", "classes", "batches", "defence", "test")
    )
    rows = "\n".join(_row(row) for row in by_urgency(report))
    tool = report["tool"]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Label leakage</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Label leakage</h1>\n"
        f"<table>\n<caption>{totals(report)}.</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table>\n"
        "<p>The figure is the attacker's advantage, true-positive rate minus false-positive rate over classes or words "
        "(0 is guessing, 1 is the exact set of labels), unless it is named as a share.</p>\n"
        f"<p>{html.escape(tool['name'])} {html.escape(tool['version'])}</p>\n</body>\n</html>\n"
    )


def _row(row: Mapping[str, Any]) -> str:
    figure, limit = figures_of(row)
    cells = (
        ("", status_of(row)),
        ("number", figure),
        ("", limit),
        ("", attack_of(row)),
        ("number", str(row["classes"])),
        ("number", str(row["batches"])),
        ("", row["defence"] or "none"),
    )
    why = "".join(f"<br><small>{_escape(note)}</small>" for note in notes_of(row))
    columns = "".join(f'<td class="{kind}">{_escape(text)}</td>' for kind, text in cells)
    kind = "failure" if is_failure(row) else row["outcome"]
    return f'<tr class="{kind}">{columns}<td class="test">{_escape(row["test"])}{why}</td></tr>'


def _escape(text: str) -> str:
    return html.escape(one_line(text))
