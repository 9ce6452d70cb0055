"""Whisper's own tokenizer, read from the file that comes with the model."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer

from .assets import fetch_model

__all__ = ["END", "PROMPT", "decode", "encode", "suppressed"]

#: Every text begins with these two: start of transcript, no timestamps.
PROMPT = (50257, 50362)
#: Every text ends with this one.
END = 50256

_loaded: list[Tokenizer] = []


def encode(transcript: str) -> list[int]:
    """Return the tokens of a transcript, prompt and end included.

    Parameters
    ----------
    transcript : str
        Words of the transcript.

    Returns
    -------
    list of int
        The tokens, three or more.
    """
    # Training texts begin with a space, so that the first word has the token it has elsewhere.
    return [*PROMPT, *_tokenizer().encode(f" {transcript.strip()}", add_special_tokens=False).ids, END]


def decode(tokens: Sequence[int]) -> str:
    """Return the text of tokens, special ones left out.

    Parameters
    ----------
    tokens : sequence of int
        Tokens in order.

    Returns
    -------
    str
        The text without surrounding spaces.
    """
    return str(_tokenizer().decode(list(tokens), skip_special_tokens=True)).strip()


def suppressed() -> tuple[list[int], list[int]]:
    """Return the tokens the model is not allowed to say: at any position, and in addition at the first.

    Returns
    -------
    always, first : list of int
        Tokens from the model's configuration.
    """
    config = json.loads((fetch_model() / "config.json").read_text(encoding="utf-8"))
    return config["suppress_ids"], config["suppress_ids_begin"]


def _tokenizer() -> Tokenizer:
    if not _loaded:
        _loaded.append(Tokenizer.from_file(str(fetch_model() / "tokenizer.json")))
    return _loaded[0]
