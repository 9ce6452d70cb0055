"""Sensitive terms: names, diagnoses or canaries that no attack may recover from the words of a transcript.

No repr and no message shows a term; each is named by its index in the user's list.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from .errors import InvalidArgumentError
from .files import read_text

__all__ = ["SensitiveTerms", "private_terms", "sensitive_terms"]

_EXPECTED = (
    "Expected a list of terms, or the path of a UTF-8 file with one term per line, where empty lines and lines that "
    "begin with '#' are skipped."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitiveTerms:
    """A list of terms, of which reports show indices alone.

    Attributes
    ----------
    terms : tuple of str
        The terms, stripped of surrounding spaces. Private.
    must_occur : bool
        True for a list that belongs to one batch, such as the argument of an assertion. A batch without any of its
        terms then tests nothing, and the audit is inconclusive. False for a list that belongs to a whole project: its
        terms are tested in the batches in which they occur.
    """

    terms: tuple[str, ...] = field(repr=False)
    must_occur: bool = True

    def __len__(self) -> int:
        """Return the number of terms."""
        return len(self.terms)

    def hidden_in(self, text: str) -> str:
        """Return `text` with the index of a term in the place of each of them.

        Parameters
        ----------
        text : str
            Text on its way to a report, such as a source line in a traceback.

        Returns
        -------
        str
            The text without the terms. Letter case and spacing do not matter; a part of a longer word is no term.
        """
        pattern, places = _pattern(self.terms)
        return pattern.sub(lambda match: f"<sensitive term {places.get(_folded(match[0]), 'hidden')}>", text)


@functools.lru_cache(maxsize=8)
def _pattern(terms: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, int]]:
    places = {_folded(term): index for index, term in reversed(list(enumerate(terms)))}
    # The longest term comes first: where two terms begin alike, the end of the longer one must not stay visible.
    spelt = [r"\s+".join(map(re.escape, term.split())) for term in sorted(places, key=len, reverse=True)]
    return re.compile(rf"(?<!\w)(?:{'|'.join(spelt)})(?!\w)", re.IGNORECASE), places


def _folded(term: str) -> str:
    return " ".join(term.casefold().split())


def sensitive_terms(value: Any, *, must_occur: bool = True) -> SensitiveTerms:
    """Read a list of sensitive terms.

    Parameters
    ----------
    value : path, iterable of str or SensitiveTerms
        The terms, or the path of a file with one term per line, relative to the current folder.
    must_occur : bool, default True
        See `SensitiveTerms`.

    Returns
    -------
    SensitiveTerms

    Raises
    ------
    InvalidArgumentError
        If there is no such file, no term, or a term that is no text. The message quotes no term.

    Examples
    --------
    >>> sensitive_terms(["Ada Lovelace", "pneumonia"])
    SensitiveTerms(must_occur=True)
    """
    if isinstance(value, SensitiveTerms):
        return value
    if isinstance(value, (str, os.PathLike)):
        return SensitiveTerms(terms=_read(value), must_occur=must_occur)
    # Reports name terms by their indices, and the items of a set have none.
    if isinstance(value, (bytes, Set, Mapping)) or not isinstance(value, Iterable):
        _refuse(f"sensitive is a {type(value).__name__}.")
    terms = []
    for index, term in enumerate(value):
        if not isinstance(term, str):
            _refuse(f"sensitive holds a {type(term).__name__} at index {index}.")
        if not any(letter.isalnum() for letter in term):
            _refuse(f"sensitive has no letter or digit at index {index}.")
        terms.append(" ".join(term.split()))
    if not terms:
        _refuse("sensitive is empty, so that it would test nothing. Leave it out, or name the terms.")
    return SensitiveTerms(terms=tuple(terms), must_occur=must_occur)


def private_terms(value: Any) -> list[SensitiveTerms]:
    """Return the texts in a list of sensitive terms, also where `sensitive_terms` refuses the list.

    Parameters
    ----------
    value : object
        The list that the user gave.

    Returns
    -------
    list of SensitiveTerms
        Empty where there is no text to hide, else of length one.
    """
    if isinstance(value, (str, bytes, os.PathLike, SensitiveTerms)) or not isinstance(value, Sequence):
        return []
    texts = tuple(term for term in value if isinstance(term, str) and term.strip())
    return [SensitiveTerms(terms=texts)] if texts else []


def _read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    # A string may be a term outside of a list by mistake: only a path object is quoted.
    known = isinstance(path, os.PathLike)
    name = f"the file {os.fspath(path)!r}" if known else "the file that sensitive names"
    hint = "" if known else " One term alone goes into a list."
    try:
        lines = read_text(Path(path).expanduser(), encoding="utf-8-sig").splitlines()
    except OSError as error:
        _refuse(f"{name} cannot be read: {error.strerror or error}.{hint}")
    except (UnicodeDecodeError, ValueError):
        _refuse(f"{name} cannot be read: it is no UTF-8 text.")
    found = [line.strip() for line in lines]
    terms = [line for line in found if line and not line.startswith("#")]
    if not terms:
        _refuse(f"{name} holds no term.")
    return sensitive_terms(terms).terms


def _refuse(problem: str) -> NoReturn:
    raise InvalidArgumentError(f"{problem} {_EXPECTED}") from None
