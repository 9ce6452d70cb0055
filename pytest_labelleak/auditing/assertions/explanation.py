"""The error of a failed assertion: the verdict first, then every attack's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...core.errors import InconclusiveAudit, LabelLeak
from ...core.recovery import Status
from ...core.settings import active_scope
from ..outcome import Outcome
from ..result import Audit
from ..verdict import Verdict

__all__ = ["explain", "raise_for"]


def raise_for(result: Audit) -> None:
    """Raise the error of an assertion about an audit, with the explanation; none if the audit held.

    Parameters
    ----------
    result : Audit
        The audit.

    Raises
    ------
    LabelLeak
        If it leaked.
    InconclusiveAudit
        If it could not decide.
    """
    __tracebackhide__ = True
    if result.outcome == Outcome.HELD:
        return
    scope = active_scope()
    error: LabelLeak | InconclusiveAudit
    if result.outcome == Outcome.LEAKED:
        error = LabelLeak(explain(result, show_labels=scope.settings.show_labels), audit=result)
    else:
        error = InconclusiveAudit(explain(result, show_labels=False), audit=result)
    scope.note_raised(error)
    raise error


def explain(result: Audit, *, show_labels: bool) -> str:
    """Explain the outcome of an audit to the author of the test.

    Parameters
    ----------
    result : Audit
        The audit.
    show_labels : bool
        Quote the private statistics, such as the classes named.

    Returns
    -------
    str
        One line, or several: the outcome, the problem, one line per attack, the remedies.
    """
    lines = [result.message]
    if result.strongest is None and len({verdict.message for verdict in result.verdicts}) <= 1:
        return lines[0]  # one reason for all: a table would only repeat it
    advice = result.question.advice
    where = f"head {result.head!r}, {result.classes} classes, {result.batches} batch(es)"
    lines.append(f"  {where}, defence: {result.defence or 'none'}, limit {result.limit:g} ({result.limit_source})")
    columns = {
        title: name for title, name in advice.columns.items() if name != "upper_bound" or result.confidence is not None
    }
    lines.append(f"  {'attack':<15} " + " ".join(f"{title:>{_width(title)}}" for title in columns))
    for verdict in result.verdicts:
        if verdict.status == Status.NOT_RUN:
            continue
        lines.append(f"  {verdict.attack:<15} {_row(verdict, columns)}")
        if show_labels:
            lines += [f"  {'':<15} {name}: {value}" for name, value in _private(verdict)]
    left_out = [verdict for verdict in result.verdicts if verdict.status == Status.NOT_RUN]
    if left_out:
        lines.append(f"  {', '.join(verdict.attack for verdict in left_out)}: {left_out[0].message}")
    lines += [f"  {finding.text}{finding.detail}" for finding in result.findings]
    if result.outcome == Outcome.LEAKED:
        lines.append(f"  {advice.leak}")
    return "\n".join(lines)


def _width(title: str) -> int:
    return max(len(title), 6)


def _row(verdict: Verdict, columns: Mapping[str, str]) -> str:
    if verdict.status != Status.RECOVERED:
        return verdict.message
    values = {"upper_bound": verdict.upper_bound, **verdict.stats}
    return " ".join(
        f"{'-':>{_width(title)}}" if values[name] is None else f"{values[name]:>{_width(title)}.2f}"
        for title, name in columns.items()
    )


def _private(verdict: Verdict) -> Iterator[tuple[str, Any]]:
    """Yield the private statistics of a claim, as records hold them."""
    for name, one in verdict.declared.items():
        value = verdict.stats[name]
        if one.private and any(entry not in (None, ()) for entry in value):
            yield name, one.record(value)
