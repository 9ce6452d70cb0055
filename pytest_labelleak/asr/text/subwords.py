"""Vocabularies read by the libraries that made them: sentencepiece models, and Hugging Face's ``tokenizer.json``."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import InvalidArgumentError

__all__ = ["SentencePieces", "TokenizerFile"]

_WORD_START = "\u2581"
#: Character that stands for a byte that is no character by itself.
_BROKEN = "\ufffd"


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InvalidArgumentError(
            f"this vocabulary needs the library {name!r}, which is not installed: pip install {name}, or install "
            "pytest-labelleak[asr]."
        ) from None


def _unreadable(path: str | os.PathLike[str], expected: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"cannot read the vocabulary {os.fspath(path)!r}: {reason}. Expected {expected}.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SentencePieces:
    """A sentencepiece model.

    Attributes
    ----------
    processor : sentencepiece.SentencePieceProcessor
        The library's own object.
    """

    processor: Any = field(repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SentencePieces:
        """Read a ``.model`` file.

        Parameters
        ----------
        path : path_like
            The file.

        Returns
        -------
        SentencePieces

        Raises
        ------
        InvalidArgumentError
            If the library is missing, or the file is no such model.
        """
        library = _library("sentencepiece")
        if not Path(path).is_file():
            raise _unreadable(path, "a sentencepiece .model file", "there is no such file")
        try:
            processor = library.SentencePieceProcessor(model_file=os.fspath(path))
        except (OSError, RuntimeError, ValueError):
            raise _unreadable(path, "a sentencepiece .model file", "sentencepiece does not accept it") from None
        return cls(processor=processor)

    @property
    def size(self) -> int:
        """Number of pieces."""
        return int(self.processor.get_piece_size())

    @property
    def special(self) -> frozenset[int]:
        """Control, unknown and unused pieces."""
        return frozenset(filter(self._is_special, range(self.size)))

    def _is_special(self, token: int) -> bool:
        kinds = (self.processor.is_control, self.processor.is_unknown, self.processor.is_unused)
        return any(kind(int(token)) for kind in kinds)

    def text(self, token: int) -> str:
        """Return the text of one piece."""
        if self._is_special(token):
            return ""
        piece = str(self.processor.id_to_piece(token))
        if self.processor.is_byte(token):  # "<0x41>"
            value = int(piece[3:-1], 16)
            return chr(value) if value < 128 else _BROKEN
        return piece.replace(_WORD_START, " ")

    def encode(self, transcript: str) -> list[int]:
        """Cut a transcript with the model."""
        return [int(token) for token in self.processor.encode(transcript)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Join pieces with the model."""
        return " ".join(
            str(self.processor.decode([int(token) for token in tokens if not self._is_special(token)])).split()
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenizerFile:
    """A ``tokenizer.json`` of Hugging Face's tokenizers library.

    Attributes
    ----------
    tokenizer : tokenizers.Tokenizer
        The library's own object.
    style : {"ByteLevel", "Metaspace", "WordPiece"}
        Kind of mark at the beginning of a word.
    special : frozenset of int
        Added tokens that are marked as special.
    """

    tokenizer: Any = field(repr=False)
    style: str
    special: frozenset[int] = field(repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TokenizerFile:
        """Read a ``tokenizer.json``.

        Parameters
        ----------
        path : path_like
            The file.

        Returns
        -------
        TokenizerFile

        Raises
        ------
        InvalidArgumentError
            If the library is missing, the file is of another kind, or its pieces do not mark the beginning of a word.
        """
        library = _library("tokenizers")
        expected = "a tokenizer.json of the tokenizers library"
        try:
            text = Path(path).read_text(encoding="utf-8")
            content = json.loads(text)
            decoder, added = content["decoder"], content["added_tokens"]
        except OSError as error:
            raise _unreadable(path, expected, error.strerror or "it cannot be opened") from None
        except (ValueError, KeyError, TypeError):
            raise _unreadable(path, expected, "it has other contents") from None
        try:
            tokenizer = library.Tokenizer.from_str(text)
        except Exception:  # the library raises plain Exception
            raise _unreadable(path, expected, "the library does not accept it") from None
        return cls(
            tokenizer=tokenizer,
            style=_style(path, decoder),
            special=frozenset(int(token["id"]) for token in added if token.get("special")),
        )

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    def text(self, token: int) -> str:
        """Return the text of one token."""
        piece = None if token in self.special else self.tokenizer.id_to_token(int(token))
        if piece is None:  # special, or a number that the model has room for and the vocabulary does not use
            return ""
        if self.style == "ByteLevel":
            return str(self.tokenizer.decode([int(token)], skip_special_tokens=False))
        if self.style == "WordPiece":
            return piece[2:] if piece.startswith("##") else f" {piece}"
        return str(piece).replace(_WORD_START, " ")

    def encode(self, transcript: str) -> list[int]:
        """Cut a transcript with the library."""
        # Byte-level pieces hold the space before a word; without one the first word would have tokens of its own.
        text = f" {transcript.strip()}" if self.style == "ByteLevel" else transcript.strip()
        return [int(token) for token in self.tokenizer.encode(text, add_special_tokens=False).ids]

    def decode(self, tokens: Sequence[int]) -> str:
        """Join tokens with the library."""
        return " ".join(str(self.tokenizer.decode(list(map(int, tokens)), skip_special_tokens=True)).split())


def _style(path: str | os.PathLike[str], decoder: Any) -> str:
    """Return the kind of mark at the beginning of a word."""
    steps = (decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []) or []
    for step in steps:
        if step.get("type") in ("ByteLevel", "Metaspace", "WordPiece"):
            return str(step["type"])
        if step.get("type") == "Replace" and step.get("pattern", {}).get("String") == _WORD_START:
            return "Metaspace"
    kinds = [str(step.get("type")) for step in steps]
    raise InvalidArgumentError(
        f"the vocabulary {os.fspath(path)!r} has the decoder {kinds}. Expected ByteLevel, Metaspace or WordPiece, "
        "whose pieces say where a word begins."
    )
