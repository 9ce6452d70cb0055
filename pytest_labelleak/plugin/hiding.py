"""Hiding sensitive terms where a failure would show them all the same: as literals in the source of the test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.sensitive import SensitiveTerms

__all__ = ["hide_terms"]


def hide_terms(longrepr: Any, lists: Iterable[SensitiveTerms]) -> Any:
    """Replace every sensitive term in a failure's source lines and messages by its index.

    Parameters
    ----------
    longrepr : terminal representation
        As on a test report; changed in place.
    lists : iterable of SensitiveTerms
        The lists that the test used.

    Returns
    -------
    terminal representation
        The same object; a new text where it was text.
    """
    lists = list(lists)

    def hidden(text: str) -> str:
        for terms in lists:
            text = terms.hidden_in(text)
        return text

    if not lists:
        return longrepr
    if isinstance(longrepr, str):
        return hidden(longrepr)
    # Of a chain of exceptions, the last member is also there by itself.
    parts = [*getattr(longrepr, "chain", ()), (getattr(longrepr, "reprtraceback", None), longrepr.reprcrash)]
    for shown, crash, *_ in parts:
        for entry in getattr(shown, "reprentries", ()):
            entry.lines = [hidden(line) for line in entry.lines]
        if crash is not None:
            crash.message = hidden(crash.message)
    return longrepr
