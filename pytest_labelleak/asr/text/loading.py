"""A vocabulary from an object, or from the file that came with the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...core.errors import InvalidArgumentError
from .subwords import SentencePieces, TokenizerFile
from .vocabulary import Vocabulary, WordPieces

__all__ = ["load_vocabulary"]


def load_vocabulary(value: Any) -> Vocabulary:
    """Return a vocabulary, or read it from its file.

    Parameters
    ----------
    value : Vocabulary or path
        An object with the methods of a vocabulary, or the path of a file: sentencepiece reads ``.model``, tokenizers
        reads ``.json``, and any other file holds word pieces, one per line.

    Returns
    -------
    Vocabulary

    Raises
    ------
    InvalidArgumentError
        If it is neither, or the file cannot be read.
    """
    if isinstance(value, (str, os.PathLike)):
        suffix = Path(value).suffix.lower()
        if suffix == ".model":
            return SentencePieces.load(value)
        return TokenizerFile.load(value) if suffix == ".json" else WordPieces.load(value)
    if isinstance(value, Vocabulary):
        return value
    raise InvalidArgumentError(
        f"vocabulary is a {type(value).__name__}. Expected one of pytest_labelleak.asr (WordPieces, Graphemes, "
        "SentencePieces, TokenizerFile), an object with their methods, or the path of its file."
    )
