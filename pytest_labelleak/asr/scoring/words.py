"""Words that a claimed bag of tokens forms: words of the transcripts, words of a lexicon, and sensitive terms."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.sensitive import SensitiveTerms
from ...core.truth import Truth
from ..text.spoken import SpokenWord, folded, spoken_words
from ..text.vocabulary import Vocabulary
from ..text.words import Bag, begins_with_space, spellings

__all__ = ["CHANCE", "WordScorer"]

#: Level of significance. A sensitive term that is formed counts as exposed only if an absent term of as few pieces is
#: formed in fewer than one in twenty cases: an attack that names half of all tokens at random forms many terms.
CHANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Said:
    """True words and sensitive terms of one batch."""

    words: dict[str, list[SpokenWord]] = field(repr=False)
    terms: dict[int, list[list[SpokenWord]]] = field(repr=False)


class WordScorer:
    """Scores bags of tokens by the words that can be formed from them.

    Parameters
    ----------
    vocabulary : Vocabulary
        Spells the model's classes.
    lexicon : iterable of str, optional
        Words an attacker would try. By default every piece of two letters and more that begins a word.
    sensitive : SensitiveTerms, optional
        Terms that no attack may form.

    Raises
    ------
    InvalidArgumentError
        If the lexicon is no list of words, or the vocabulary cannot spell a sensitive term.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, lexicon: Iterable[str] | None = None, sensitive: SensitiveTerms | None = None
    ) -> None:
        self._vocabulary = vocabulary
        self._size = vocabulary.size
        self._special = vocabulary.special
        self._space = " " if begins_with_space(vocabulary) else ""
        words = _own_words(vocabulary) if lexicon is None else _checked(lexicon)
        # Sorted by spelling, so that words with the same first piece are neighbours.
        self._lexicon = sorted(dict.fromkeys(words))
        self._cuts = [frozenset(vocabulary.encode(word)) for word in self._lexicon]
        self._folded = [folded(word) for word in self._lexicon]
        self._sensitive = sensitive
        self._terms = [] if sensitive is None else [self._term(i, term) for i, term in enumerate(sensitive.terms)]
        self._known: tuple[Truth, _Said] | None = None

    def __repr__(self) -> str:
        """Return the size of the lexicon, without any word."""
        return f"<scorer of words, lexicon of {len(self._lexicon)}>"

    @property
    def lexicon(self) -> int:
        """Number of words an attacker tries."""
        return len(self._lexicon)

    @property
    def listed(self) -> int | None:
        """Number of sensitive terms, None without a list."""
        return None if self._sensitive is None else len(self._sensitive)

    def ignored(self, classes: int) -> np.ndarray:
        """Return the classes that stand for no text, whose presence is no secret.

        Parameters
        ----------
        classes : int
            Number of classes C of the head.

        Returns
        -------
        ndarray of int
            Special tokens, and outputs beyond the vocabulary's size.

        Raises
        ------
        InvalidArgumentError
            If the vocabulary has more tokens than the head has outputs.
        """
        if self._size > classes:
            raise InvalidArgumentError(
                f"the vocabulary has {self._size} tokens, and the head {classes} outputs. Expected the vocabulary that "
                "the model was built with."
            )
        return np.array(sorted({*self._special, *range(self._size, classes)}), dtype=np.int64)

    def said(self, truth: Truth) -> dict[str, Any]:
        """Return figures of the true labels of a batch.

        Parameters
        ----------
        truth : Truth
            Labels of the batch.

        Returns
        -------
        dict
            "words", the number of different words in the transcripts; with a list of sensitive terms,
            "sensitive_present", the indices of the terms that occur.
        """
        said = self._analyse(truth)
        figures: dict[str, Any] = {"words": float(len(said.words))}
        if self._sensitive is not None:
            figures["sensitive_present"] = tuple(sorted(said.terms))
        return figures

    def found(self, claimed: np.ndarray, truth: Truth) -> dict[str, Any]:
        """Score a claimed bag of tokens.

        Parameters
        ----------
        claimed : ndarray of int
            Classes that an attack named.
        truth : Truth
            Labels of the batch.

        Returns
        -------
        dict
            "words_recovered", the share of the true words that can be formed, and "formed", these words; where the
            lexicon has other words, "words_false_positive_rate", the share of them that can be formed, and
            "words_advantage", the difference of both shares; with a list, "sensitive_exposed", the indices of terms
            that occur and can be formed.
        """
        said = self._analyse(truth)
        tokens = {int(token) for token in claimed if token < self._size} - self._special
        bag = Bag(tokens, self._vocabulary)
        figures: dict[str, Any] = {}
        if said.words:
            hits = [name for name, ways in said.words.items() if any(self._forms(bag, word) for word in ways)]
            figures["words_recovered"] = len(hits) / len(said.words)
            figures["formed"] = (tuple(sorted(hits)),)
            others = [place for place, word in enumerate(self._folded) if word not in said.words]
            if others:
                formed = self._formed(bag)
                wrong = sum(place in formed for place in others) / len(others)
                figures["words_false_positive_rate"] = wrong
                figures["words_advantage"] = figures["words_recovered"] - wrong
        if self._sensitive is not None:
            present = {int(token) for token in truth.present}
            absent = self._size - len(self._special) - len(present - self._special)
            named = len(tokens - present) / absent if absent else 1.0
            exposed = []
            for index, places in said.terms.items():
                number = self._fewest(bag, index, places)
                if number is not None and named**number < CHANCE:
                    exposed.append(index)
            figures["sensitive_exposed"] = tuple(sorted(exposed))
        return figures

    def _forms(self, bag: Bag, word: SpokenWord) -> bool:
        return word.tokens <= bag.tokens or bag.fewest_for(word.text, ()) is not None

    def _fewest(self, bag: Bag, index: int, places: list[list[SpokenWord]]) -> int | None:
        """Return the least number of tokens that form a sensitive term, in the transcript's letter case or another."""
        ways = [bag.fewest(spelling) for spelling in self._terms[index][1]]
        for place in places:
            own = frozenset().union(*(word.tokens for word in place))
            ways.append(len(own) if own <= bag.tokens else None)
        return min((number for number in ways if number is not None), default=None)

    def _formed(self, bag: Bag) -> set[int]:
        """Return the places in the lexicon of the words that can be formed."""
        formed = {place for place, cut in enumerate(self._cuts) if cut and cut <= bag.tokens}
        candidates: set[int] = set()
        for text in bag.texts:
            if text.startswith(self._space):
                start = text[len(self._space) :]
                first = bisect.bisect_left(self._lexicon, start)
                candidates.update(range(first, bisect.bisect_right(self._lexicon, f"{start}\U0010ffff")))
        return formed | {p for p in candidates - formed if bag.fewest_for(self._lexicon[p], ()) is not None}

    def _analyse(self, truth: Truth) -> _Said:
        if self._known is not None and self._known[0] is truth:
            return self._known[1]
        beyond = int(np.count_nonzero(truth.labels >= self._size))
        if beyond:
            raise InvalidArgumentError(
                f"{beyond} of {truth.labels.size} labels are beyond the vocabulary's {self._size} tokens. Expected the "
                "vocabulary that the model was built with."
            )
        words: dict[str, list[SpokenWord]] = {}
        terms: dict[int, list[list[SpokenWord]]] = {}
        for stretch in spoken_words(truth.labels, self._vocabulary, lengths=truth.lengths):
            names = [folded(word.text) for word in stretch]
            for name, word in zip(names, stretch, strict=True):
                words.setdefault(name, []).append(word)
            for index, (wanted, _) in enumerate(self._terms):
                for place in range(len(names) - len(wanted) + 1):
                    part = names[place : place + len(wanted)]
                    if part == wanted or [*part[:-1], _not_genitive(part[-1])] == wanted:
                        terms.setdefault(index, []).append(stretch[place : place + len(wanted)])
        self._known = truth, _Said(words=words, terms=terms)
        return self._known[1]

    def _term(self, index: int, term: str) -> tuple[list[str], tuple[str, ...]]:
        """Return the folded words of a sensitive term, and the spellings that the vocabulary can express."""
        writable = [way for way in spellings(term) if not self._special.intersection(self._vocabulary.encode(way))]
        if not writable:
            raise InvalidArgumentError(
                f"sensitive has a term at index {index} with characters that the vocabulary cannot express, so that no "
                "transcript can hold it. Spell it as the transcripts would, or leave it out."
            )
        return [name for name in map(folded, term.split()) if name], tuple(writable)


def _not_genitive(word: str) -> str:
    return word[:-2] if word.endswith(("'s", "\u2019s")) else word


def _own_words(vocabulary: Vocabulary) -> list[str]:
    texts = (vocabulary.text(token) for token in range(vocabulary.size))
    return [text[1:] for text in texts if len(text) > 2 and text[0] == " " and text[1:].isalpha()]


def _checked(lexicon: Iterable[str]) -> list[str]:
    if isinstance(lexicon, (str, bytes)) or not isinstance(lexicon, Iterable):
        raise InvalidArgumentError(f"lexicon is a {type(lexicon).__name__}. Expected a list of words.")
    words = list(lexicon)
    if not words or not all(isinstance(word, str) and word.split() == [word] for word in words):
        raise InvalidArgumentError(
            f"lexicon has {len(words)} entries that are not all words. Expected strings without spaces, at least one."
        )
    return words
