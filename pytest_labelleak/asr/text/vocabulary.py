"""Vocabularies: the text of each token of a speech recogniser, and the cut of a transcript into tokens."""

from __future__ import annotations

import itertools
import os
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from ...core.errors import InvalidArgumentError

__all__ = ["Graphemes", "Vocabulary", "WordPieces"]

#: Mark of word-piece files before a piece that begins a word.
_WORD_START = "\u2581"
_UNKNOWN = "<unk>"
_MARKS = (_UNKNOWN, "<s>", "</s>")


@runtime_checkable
class Vocabulary(Protocol):
    """Texts of a model's tokens."""

    @property
    def size(self) -> int:
        """Number of tokens; tokens are 0 to `size` - 1."""

    @property
    def special(self) -> frozenset[int]:
        """Tokens that stand for no text: start, end, unknown, padding, language marks."""

    def text(self, token: int) -> str:
        """Return the text that one token adds to a transcript.

        Parameters
        ----------
        token : int
            The token.

        Returns
        -------
        str
            Text with a leading space if it begins a word; empty for special tokens.
        """

    def encode(self, transcript: str) -> list[int]:
        """Cut a transcript into tokens, without start and end.

        Parameters
        ----------
        transcript : str
            Words separated by spaces.

        Returns
        -------
        list of int
            The tokens; the first word is cut like a word in the middle of a sentence.
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """Join tokens to a transcript.

        Parameters
        ----------
        tokens : sequence of int
            The tokens in order.

        Returns
        -------
        str
            Text without the special tokens.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordPieces:
    """Word pieces in lingvo's format: one per line, up to a tab; the number of the line is the token.

    Attributes
    ----------
    entries : tuple of str
        The pieces by token.
    """

    entries: tuple[str, ...] = field(repr=False)
    _numbers: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the pieces can encode any text, and number them."""
        numbers = {piece: token for token, piece in enumerate(self.entries)}
        if len(numbers) != len(self.entries):
            raise InvalidArgumentError(
                f"the vocabulary has {len(self.entries)} pieces, of which {len(self.entries) - len(numbers)} repeat "
                "another. Expected every piece once."
            )
        if _UNKNOWN not in numbers:
            raise InvalidArgumentError(
                f"the vocabulary has {len(self.entries)} pieces and no {_UNKNOWN!r}. Expected a word-piece file with "
                "one piece a line."
            )
        object.__setattr__(self, "_numbers", numbers)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WordPieces:
        """Read a word-piece file.

        Parameters
        ----------
        path : path_like
            File of UTF-8 text.

        Returns
        -------
        WordPieces

        Raises
        ------
        InvalidArgumentError
            If the file cannot be read, or holds no word pieces.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise InvalidArgumentError(
                f"cannot read the vocabulary {os.fspath(path)!r}: {reason}. Expected a word-piece file."
            ) from None
        while lines and not lines[-1]:
            lines.pop()
        return cls(entries=tuple(line.split("\t")[0].strip() for line in lines))

    @property
    def size(self) -> int:
        """Number of pieces."""
        return len(self.entries)

    @property
    def special(self) -> frozenset[int]:
        """Start, end and unknown."""
        return frozenset(self._numbers[mark] for mark in _MARKS if mark in self._numbers)

    def text(self, token: int) -> str:
        """Return the text of one piece."""
        return "" if token in self.special else self.entries[token].replace(_WORD_START, " ")

    def encode(self, transcript: str) -> list[int]:
        """Cut every word into pieces: of all neighbours that form a piece together, join the pair of lowest number.

        References
        ----------
        .. [1] M. Schuster, K. Nakajima, "Japanese and Korean voice search", ICASSP 2012.
           https://doi.org/10.1109/ICASSP.2012.6289079
        """
        return [token for word in transcript.split() for token in self._cut(_WORD_START + word)]

    def _cut(self, word: str) -> list[int]:
        if word in self._numbers:
            return [self._numbers[word]]
        parts = list(word)
        while True:
            joined = [self._numbers.get(left + right) for left, right in itertools.pairwise(parts)]
            known = [(number, place) for place, number in enumerate(joined) if number is not None]
            if not known:
                return [self._numbers.get(part, self._numbers[_UNKNOWN]) for part in parts]
            _, place = min(known)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]

    def decode(self, tokens: Sequence[int]) -> str:
        """Join pieces."""
        return " ".join("".join(map(self.text, tokens)).split())


#: lingvo's 76 graphemes in order; ids 0 to 4 and 73 to 75 are marks, except for 3, the space.
_GRAPHEMES = (
    *(*_MARKS, " ", "<noise>"),
    *string.ascii_lowercase,
    *".'-:!~`;",
    *string.digits,
    *'"#$%&()*+,/<=>?@[\\]^_{|}',
    *("<epsilon>", "<text_only>", "<sorw>"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graphemes:
    """Single characters, by default lingvo's 76.

    Attributes
    ----------
    symbols : tuple of str
        Symbol of each token; a symbol longer than a character is a mark.
    """

    symbols: tuple[str, ...] = field(default=_GRAPHEMES, repr=False)

    def __post_init__(self) -> None:
        """Check that the symbols are distinct and can encode any text."""
        if len(set(self.symbols)) != len(self.symbols) or _UNKNOWN not in self.symbols or " " not in self.symbols:
            raise InvalidArgumentError(
                f"the vocabulary has {len(self.symbols)} symbols. Expected distinct ones, a space and {_UNKNOWN!r} "
                "among them."
            )

    @property
    def size(self) -> int:
        """Number of symbols."""
        return len(self.symbols)

    @property
    def special(self) -> frozenset[int]:
        """The marks."""
        return frozenset(token for token, symbol in enumerate(self.symbols) if len(symbol) > 1)

    def text(self, token: int) -> str:
        """Return the character."""
        symbol = self.symbols[token]
        return symbol if len(symbol) == 1 else ""

    def encode(self, transcript: str) -> list[int]:
        """Return a token for every character, in lower case."""
        numbers = {symbol: token for token, symbol in enumerate(self.symbols) if len(symbol) == 1}
        unknown = self.symbols.index(_UNKNOWN)
        return [numbers.get(letter, unknown) for letter in " ".join(transcript.lower().split())]

    def decode(self, tokens: Sequence[int]) -> str:
        """Join characters."""
        return " ".join("".join(map(self.text, tokens)).split())
