"""What a failed assertion raises and says: the verdict first, then every attack's figures."""

from __future__ import annotations

from ..core.errors import InconclusiveAudit, LabelLeak
from ..core.recovery import Status
from ..core.settings import active_scope
from ..plugin.report.findings import (
    positions_line,
    samples_line,
    sensitive_line,
    transcripts_line,
    variables_line,
    words_line,
)
from .outcome import HELD, LEAKED
from .result import Audit
from .verdict import Verdict

__all__ = ["explain", "raise_for"]


def raise_for(result: Audit) -> None:
    """Raise what an assertion raises about an audit, with the explanation; nothing if it held.

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
    show_labels = active_scope().settings.show_labels
    if result.outcome == LEAKED:
        raise LabelLeak(explain(result, show_labels=show_labels), audit=result)
    if result.outcome != HELD:
        raise InconclusiveAudit(explain(result, show_labels=False), audit=result)


def explain(result: Audit, *, show_labels: bool) -> str:
    """Explain the outcome of an audit to the author of the test.

    Parameters
    ----------
    result : Audit
        The audit.
    show_labels : bool
        Quote what was recovered.

    Returns
    -------
    str
        One line, or several: the outcome, the problem, one line per attack, what to do.
    """
    lines = [result.message]
    if result.strongest is None and len({verdict.message for verdict in result.verdicts}) <= 1:
        return lines[0]  # one reason for all: a table would only repeat it
    what = "labels" if result.words is None else "words"
    verb = "name"
    if result.transcripts is not None:
        what, verb = "transcripts", "rebuild"
    where = f"head {result.head!r}, {result.classes} classes, {result.batches} batch(es)"
    lines.append(f"  {where}, defence: {result.defence or 'none'}, limit {result.limit:g} ({result.limit_source})")
    titles = {
        "samples": 7,
        "advantage": 9,
        "counts": 6,
        "words": 5,
        "bound": 5,
        "precision": 9,
        "recall": 7,
        "exact": 6,
    }
    if not result.samples:
        del titles["samples"]
    if not result.counts:
        del titles["counts"]
    if result.lexicon is None:
        del titles["words"]
    if result.confidence is None:
        del titles["bound"]
    lines.append(f"  {'attack':<15} " + " ".join(f"{title:>{width}}" for title, width in titles.items()))
    for verdict in result.verdicts:
        if verdict.status == Status.NOT_RUN:
            continue
        lines.append(f"  {verdict.attack:<15} {_figures(verdict, titles)}")
        if show_labels and verdict.recovered:
            lines.append(f"  {'':<15} recovered: {[list(labels) for labels in verdict.recovered]}")
        if show_labels and verdict.formed:
            lines.append(f"  {'':<15} words formed: {[list(words) for words in verdict.formed]}")
        if show_labels and verdict.positions_exact is not None:
            lines.append(f"  {'':<15} label positions: {list(verdict.positions)}")
    left_out = [verdict for verdict in result.verdicts if verdict.status == Status.NOT_RUN]
    if left_out:
        lines.append(f"  {', '.join(verdict.attack for verdict in left_out)}: {left_out[0].message}")
    if result.positions_exact:
        lines.append(f"  {positions_line(result.positions_exact, result.batches)}")
    if result.samples_isolated:
        lines.append(f"  {samples_line(result.samples_isolated, result.features_exposed)}{_error(result)}")
    if result.words is not None:
        lines.append(f"  {words_line(result.words)}")
    if result.sensitive is not None:
        lines.append(f"  {sensitive_line(result.sensitive)}")
    if result.transcripts is not None:
        lines.append(f"  {transcripts_line(result.to_record()['transcripts'])}")
    if result.outcome == LEAKED:
        read = variables_line((verdict.to_record() for verdict in result.verdicts), result.limit)
        lines += [f"  {read}"] if read else []
    if result.outcome == LEAKED and result.samples:
        lines.append(
            "  Whoever receives this update and has the model's weights can take the batch apart: each of these "
            "samples by itself, with its label. Share a protected update (defence=...) and assert on that, keep the "
            "head's gradient back, or record what is accepted with --labelleak-baseline."
        )
    elif result.outcome == LEAKED:
        lines.append(
            f"  Whoever receives this update can {verb} these {what}. Share a protected update (defence=...) and "
            "assert on that, aggregate more samples before sharing, or record what is accepted with "
            "--labelleak-baseline."
        )
        if result.sensitive is not None and result.sensitive["exposed"]:
            lines.append("  Neither threshold nor baseline accepts a sensitive term.")
    return "\n".join(lines)


def _error(result: Audit) -> str:
    errors = [v.feature_error for v in result.verdicts if v.feature_error is not None]
    return f" (median relative error {min(errors):.1g})" if errors else ""


def _figures(verdict: Verdict, titles: dict[str, int]) -> str:
    if verdict.status != Status.RECOVERED:
        return verdict.message
    figures = {
        "samples": verdict.samples_isolated,
        "advantage": verdict.advantage,
        "counts": verdict.counts_advantage,
        "words": verdict.words_recovered,
        "bound": verdict.upper_bound,
        "precision": verdict.precision,
        "recall": verdict.recall,
        "exact": verdict.exact_match,
    }
    return " ".join(
        f"{'-':>{width}}" if figures[title] is None else f"{figures[title]:>{width}.2f}"
        for title, width in titles.items()
    )
