"""The words of a batch: its true label positions, cut back into utterances and words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .vocabulary import Vocabulary

__all__ = ["SpokenWord", "folded", "spoken_words"]

#: Character that stands for a byte-level token that is no character by itself.
_BROKEN = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenWord:
    """One word of a transcript, with its tokens.

    Attributes
    ----------
    text : str
        The word in its letter case, without punctuation around it. Private.
    tokens : frozenset of int
        Tokens that hold a part of it. Private.
    """

    text: str = field(repr=False)
    tokens: frozenset[int] = field(repr=False)


def spoken_words(
    labels: np.ndarray, vocabulary: Vocabulary, *, lengths: Sequence[int] | None = None
) -> list[list[SpokenWord]]:
    """Cut the labels of a batch into stretches of speech, and these into words.

    Parameters
    ----------
    labels : ndarray of int, shape (S,)
        Tokens in the order of the transcripts, one utterance after the other.
    vocabulary : Vocabulary
        Spells the tokens.
    lengths : sequence of int, optional
        Number of positions of each utterance, in order. Without them, utterances end at special tokens alone.

    Returns
    -------
    list of list of SpokenWord
        One list for each stretch without a special token. Characters between spaces are a word, unless all of them are
        punctuation. Private.
    """
    ends = set(np.cumsum(lengths).tolist()) if lengths is not None else set()
    stretches: list[list[int]] = [[]]
    special = vocabulary.special
    for place, token in enumerate(labels.tolist()):
        if place in ends:
            stretches.append([])
        if token in special:
            stretches.append([])
        else:
            stretches[-1].append(token)
    return [list(_words(stretch, vocabulary)) for stretch in stretches if stretch]


def folded(word: str) -> str:
    """Return a word without letter case and punctuation around it, to compare with others.

    Parameters
    ----------
    word : str
        A word.

    Returns
    -------
    str
        Empty for a word of punctuation alone.

    Examples
    --------
    >>> folded('"Word!"')
    'word'
    """
    return _bare(word).casefold()


def _words(tokens: Sequence[int], vocabulary: Vocabulary) -> Iterator[SpokenWord]:
    letters = [(letter, token) for token in tokens for letter in vocabulary.text(token)]
    word: list[tuple[str, int]] = []
    for letter, token in [*letters, (" ", -1)]:
        if not letter.isspace():
            word.append((letter, token))
            continue
        while word and _is_mark(word[0][0]):
            del word[0]
        while word and _is_mark(word[-1][0]):
            del word[-1]
        if word:
            text = "".join(letter for letter, _ in word)
            if _BROKEN in text:  # characters whose bytes are tokens of their own
                text = _bare(vocabulary.decode([token for i, (_, token) in enumerate(word) if _is_new(word, i)]))
            if text:
                yield SpokenWord(text=text, tokens=frozenset(token for _, token in word))
        word = []


def _is_new(word: list[tuple[str, int]], place: int) -> bool:
    # A token of several letters stands there several times. The same token twice in a row is rare, and then a repeat.
    return place == 0 or word[place][1] != word[place - 1][1]


def _bare(word: str) -> str:
    while word and _is_mark(word[0]):
        word = word[1:]
    while word and _is_mark(word[-1]):
        word = word[:-1]
    return word


def _is_mark(letter: str) -> bool:
    # Punctuation and symbols. A test for letters would cut the vowel signs off many scripts' words. A broken character
    # stays, since its bytes may be a letter.
    return letter != _BROKEN and unicodedata.category(letter)[0] in "PS"
