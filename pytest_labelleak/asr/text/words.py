"""From a bag of tokens to words: the pieces in the bag, and the whole words that they form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .vocabulary import Vocabulary

__all__ = ["Bag", "begins_with_space", "exposed_terms", "formable", "pieces", "spellings", "whole_words"]


def pieces(tokens: Iterable[int], vocabulary: Vocabulary) -> set[str]:
    """Return the texts of tokens, special ones left out. Private.

    Parameters
    ----------
    tokens : iterable of int
        Such as the labels of a Recovery.
    vocabulary : Vocabulary
        Spells the tokens.

    Returns
    -------
    set of str
        Texts with a leading space where a word begins.
    """
    return {text for text in map(vocabulary.text, tokens) if text}


def begins_with_space(vocabulary: Vocabulary) -> bool:
    """Tell whether a token marks the beginning of a word, as a word piece does and a character does not.

    Parameters
    ----------
    vocabulary : Vocabulary
        A vocabulary of any kind.

    Returns
    -------
    bool
    """
    return vocabulary.text(vocabulary.encode("a")[0]).startswith(" ")


class Bag:
    """The set of tokens that occurred, as an attacker knows it, without counts and order.

    Parameters
    ----------
    tokens : iterable of int
        The tokens. Private.
    vocabulary : Vocabulary
        Spells the tokens.
    """

    def __init__(self, tokens: Iterable[int], vocabulary: Vocabulary) -> None:
        self.tokens = frozenset(tokens)
        #: Texts of the tokens, special ones left out. Private.
        self.texts = frozenset(pieces(self.tokens, vocabulary))
        self._vocabulary = vocabulary
        self._special = vocabulary.special
        self._space = " " if begins_with_space(vocabulary) else ""
        self._longest = max(map(len, self.texts), default=0)

    def __repr__(self) -> str:
        """Return a text without any token."""
        return "<bag of tokens>"

    def fewest(self, term: str) -> int | None:
        """Return the least number of tokens that form a word, or several in a row.

        A token may be used again.

        Parameters
        ----------
        term : str
            The word or words. Letter case counts.

        Returns
        -------
        int or None
            Minimum over the vocabulary's own cut of each word and all other cuts; None if every cut needs a token
            outside of the bag, or for an empty term.
        """
        total = 0
        for word in term.split():
            number = self.fewest_for(word, self._vocabulary.encode(word))
            if number is None:
                return None
            total += number
        return total or None

    def fewest_for(self, word: str, cut: Iterable[int]) -> int | None:
        """Return the least number of tokens that form one word, whose own cut is known.

        Parameters
        ----------
        word : str
            A word without spaces.
        cut : iterable of int
            Tokens into which the vocabulary cuts the word; empty for no cut.

        Returns
        -------
        int or None
            As for `fewest`.
        """
        own = frozenset(cut)
        ways = [self._chain(f"{self._space}{word}")]
        if own and own <= self.tokens and not own & self._special:
            ways.append(len(own))
        return min((way for way in ways if way is not None), default=None)

    def _chain(self, word: str) -> int | None:
        """Return the length of the shortest chain of texts that spells `word`."""
        reached: list[int | None] = [0]
        for end in range(1, len(word) + 1):
            best = None
            for start in range(max(0, end - self._longest), end):
                before = reached[start]
                if before is not None and word[start:end] in self.texts and (best is None or before < best):
                    best = before
            reached.append(None if best is None else best + 1)
            if end >= self._longest and not any(number is not None for number in reached[-self._longest :]):
                return None
        return reached[-1]


def formable(word: str, tokens: Iterable[int], vocabulary: Vocabulary) -> bool:
    """Tell whether a word, or several in a row, can be formed from a bag of tokens.

    The bag holds neither counts nor order, so a token may be used again.

    Parameters
    ----------
    word : str
        The word or words. Letter case counts.
    tokens : iterable of int
        The bag.
    vocabulary : Vocabulary
        Spells the tokens.

    Returns
    -------
    bool
        Whether the vocabulary's own cut of the word, or any other cut, uses only tokens of the bag.
    """
    return Bag(tokens, vocabulary).fewest(word) is not None


def whole_words(tokens: Iterable[int], vocabulary: Vocabulary, *, lexicon: Iterable[str] = ()) -> set[str]:
    """Return the whole words that a bag of tokens allows. Private.

    Parameters
    ----------
    tokens : iterable of int
        The bag.
    vocabulary : Vocabulary
        Spells the tokens.
    lexicon : iterable of str, optional
        Words to try, such as a dictionary or the words of a company's documents.

    Returns
    -------
    set of str
        Every piece that begins a word, as a word by itself, and the words of `lexicon` that can be formed. A bag does
        not tell whether the transcript continued a piece.
    """
    bag = Bag(tokens, vocabulary)
    alone = {text[1:] for text in bag.texts if len(text) > 1 and text[0] == " "}
    return alone | {word for word in lexicon if bag.fewest(word) is not None}


def spellings(term: str) -> tuple[str, ...]:
    """Return the letter cases in which a transcript may hold a term.

    Parameters
    ----------
    term : str
        The term as the user gives it.

    Returns
    -------
    tuple of str
        The term as it is, in lower case, with capitals, and in upper case; each once.

    Examples
    --------
    >>> spellings("de Vries")
    ('de Vries', 'de vries', 'De Vries', 'DE VRIES')
    """
    return tuple(dict.fromkeys((term, term.lower(), term.title(), term.upper())))


def exposed_terms(tokens: Iterable[int], vocabulary: Vocabulary, terms: Sequence[str]) -> tuple[int, ...]:
    """Return the sensitive terms that can be formed, by their place in the list and never by their text.

    Parameters
    ----------
    tokens : iterable of int
        The bag that an attack recovered.
    vocabulary : Vocabulary
        Spells the tokens.
    terms : sequence of str
        Names, diagnoses, canaries; each is tried in all of its `spellings`.

    Returns
    -------
    tuple of int
        Indices into `terms`, ascending: fit for a report.
    """
    bag = Bag(tokens, vocabulary)
    return tuple(
        index for index, term in enumerate(terms) if any(bag.fewest(way) is not None for way in spellings(term))
    )
