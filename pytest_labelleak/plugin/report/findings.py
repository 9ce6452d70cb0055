"""What there is to say about an audit besides its figures, in sentences without a label or word."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "findings_of",
    "notes_of",
    "positions_line",
    "samples_line",
    "sensitive_line",
    "transcripts_line",
    "variables_line",
    "words_line",
]


def positions_line(share: float, batches: int) -> str:
    """Say how often the number of label positions was read.

    Parameters
    ----------
    share : float
        Share of batches, in (0, 1].
    batches : int
        Their number.

    Returns
    -------
    str
        Without the number that was read: the size of a batch or of a transcript is private.
    """
    return (
        "the number of label positions (batch size or transcript length) was read exactly in "
        f"{round(share * batches)} of {batches} batch(es)"
    )


def samples_line(isolated: float, exposed: float | None) -> str:
    """Say which share of the samples was isolated, and of how many the features came with it.

    Parameters
    ----------
    isolated : float
        Share of the label positions, in (0, 1].
    exposed : float or None
        Share of the label positions whose features were recovered.

    Returns
    -------
    str
        Without the number of samples, their labels or anything else of them.

    Examples
    --------
    >>> samples_line(1.0, 1.0)
    '100 % of the samples were isolated, with their features'
    """
    text = f"{_percent(isolated)} of the samples were isolated"
    if not exposed:
        return text
    return f"{text}, with their features" if exposed >= isolated else f"{text}, {_percent(exposed)} with their features"


def words_line(words: Mapping[str, Any]) -> str:
    """Say how many of the words can be formed.

    Parameters
    ----------
    words : mapping
        As in the report: mean number per batch, share recovered, advantage over the lexicon's other words, its size.

    Returns
    -------
    str
        Without any word.

    Examples
    --------
    >>> words_line({"number": 8.0, "recovered": 0.75, "advantage": 0.7, "lexicon": 1000})
    '75 % of 8 words can be formed (advantage 0.70 over the other words of a lexicon of 1000)'
    """
    number, advantage = words["number"] or 0.0, words["advantage"]
    text = f"{_percent(words['recovered'] or 0.0)} of {number:g} words can be formed"
    if advantage is None:
        return text
    return f"{text} (advantage {advantage:.2f} over the other words of a lexicon of {words['lexicon']})"


def sensitive_line(sensitive: Mapping[str, Any]) -> str:
    """Say how many sensitive terms there are, and which are exposed, by their indices.

    Parameters
    ----------
    sensitive : mapping
        As in the report: number listed, number present, indices exposed.

    Returns
    -------
    str
        Without any term.

    Examples
    --------
    >>> sensitive_line({"listed": 12, "present": 2, "exposed": [4]})
    'sensitive terms: 12 listed, 2 present, 1 exposed (index 4)'
    """
    exposed = sensitive["exposed"]
    text = f"sensitive terms: {sensitive['listed']} listed, {sensitive['present']} present, {len(exposed)} exposed"
    return f"{text} (index {', '.join(map(str, exposed))})" if exposed else text


def transcripts_line(transcripts: Mapping[str, Any]) -> str:
    """Say how many of the transcripts were rebuilt.

    Parameters
    ----------
    transcripts : mapping
        As in the report: the word error rate that counts as rebuilt, and the share.

    Returns
    -------
    str
        Without any word.

    Examples
    --------
    >>> transcripts_line({"word_error_rate": 0.0, "recovered": 1.0})
    '100 % of the transcripts were rebuilt, word for word'
    """
    rate = transcripts["word_error_rate"]
    how = "word for word" if not rate else f"to a word error rate of at most {rate:g}"
    return f"{_percent(transcripts['recovered'] or 0.0)} of the transcripts were rebuilt, {how}"


def variables_line(verdicts: Iterable[Mapping[str, Any]], limit: float) -> str:
    """Say which shared variables gave away too much, and which needed no attack at all.

    Parameters
    ----------
    verdicts : iterable of mapping
        An audit's verdicts, as in the report.
    limit : float
        What the advantage may reach.

    Returns
    -------
    str
        Empty if no attack got beyond the limit or exposed a sensitive term.

    Examples
    --------
    >>> variables_line([{"attack": "rlg", "variables": ["fc/kernel"], "advantage": 1.0, "message": ""}], 0.1)
    "read from 'fc/kernel' (rlg)"
    """
    leaking: dict[tuple[str, ...], list[str]] = {}
    for verdict in verdicts:
        figures = [verdict.get(name) or 0.0 for name in ("advantage", "counts_advantage", "words_advantage")]
        if verdict["variables"] and (max(figures) > limit or verdict.get("sensitive_exposed")):
            why = f": {verdict['message']}" if verdict["message"] else ""
            leaking.setdefault(tuple(verdict["variables"]), []).append(f"{verdict['attack']}{why}")
    parts = [f"{' and '.join(map(repr, names))} ({', '.join(attacks)})" for names, attacks in leaking.items()]
    return f"read from {'; '.join(parts)}" if parts else ""


def _percent(share: float) -> str:
    # Rounded down: only all of them are 100 %. The tolerance is for what decimals do to a share.
    return f"{math.floor(1000.0 * share + 1e-6) / 10.0:g} %"


def notes_of(row: Mapping[str, Any]) -> list[str]:
    """Return what there is to say about an audit besides its figures.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    list of str
        The reason, unless it held; findings that are not part of the advantage.
    """
    notes = [] if row["outcome"] == "held" else [row["message"]]
    if row["positions_exact"]:
        notes.append(positions_line(row["positions_exact"], row["batches"]))
    if row["samples_isolated"]:
        notes.append(samples_line(row["samples_isolated"], row["features_exposed"]))
    return [*notes, *findings_of(row)]


def findings_of(row: Mapping[str, Any]) -> list[str]:
    """Return the findings about words, and what leaked them; for labels, the variables alone.

    Parameters
    ----------
    row : mapping
        One of the report's audits.

    Returns
    -------
    list of str
        Any number of lines.
    """
    lines = []
    if row["words"]:
        lines.append(words_line(row["words"]))
    if row["sensitive"]:
        lines.append(sensitive_line(row["sensitive"]))
    if row["transcripts"]:
        lines.append(transcripts_line(row["transcripts"]))
    if row["outcome"] == "leaked" and (line := variables_line(row["verdicts"], row["limit"])):
        lines.append(line)
    return lines
