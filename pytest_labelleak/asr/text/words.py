"""From a bag of tokens to words: which pieces were said, and which whole words can be formed from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .vocabulary import Vocabulary

__all__ = ["Bag", "begins_with_space", "exposed_terms", "formable", "pieces", "spellings", "whole_words"]


def pieces(tokens: Iterable[int], vocabulary: Vocabulary) -> set[str]:
    """Return the texts of tokens, special ones left out. Private.

    Parameters
    ----------
    tokens : iterable of int
        E.g. the labels of a Recovery.
    vocabulary : Vocabulary
        What they stand for.

    Returns
    -------
    set of str
        With a leading space where a word begins.
    """
    return {text for text in map(vocabulary.text, tokens) if text}


def begins_with_space(vocabulary: Vocabulary) -> bool:
    """Tell whether tokens say that a word begins with them, as pieces do and single characters do not.

    Parameters
    ----------
    vocabulary : Vocabulary
        Of any kind.

    Returns
    -------
    bool
        The answer.
    """
    return vocabulary.text(vocabulary.encode("a")[0]).startswith(" ")


class Bag:
    """A bag of tokens as an attacker has it: which occurred, and neither how often nor in which order.

    Parameters
    ----------
    tokens : iterable of int
        The tokens. Private.
    vocabulary : Vocabulary
        What they stand for.
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
        """Say what it is, and nothing of its contents."""
        return "<bag of tokens>"

    def fewest(self, term: str) -> int | None:
        """Return the least number of tokens that form a word, or several in a row.

        A token may be used again.

        Parameters
        ----------
        term : str
            What is asked for. Letter case counts.

        Returns
        -------
        int or None
            Over the vocabulary's own way to cut each word and all others; None if none does it with tokens of the bag,
            or for an empty term.
        """
        total = 0
        for word in term.split():
            number = self.fewest_for(word, self._vocabulary.encode(word))
            if number is None:
                return None
            total += number
        return total or None

    def fewest_for(self, word: str, cut: Iterable[int]) -> int | None:
        """Do the same for one word whose cut is known.

        Parameters
        ----------
        word : str
            Without spaces.
        cut : iterable of int
            Its tokens, as the vocabulary cuts it; empty if it cannot.

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

    The bag says which tokens occurred, and neither how often nor in which order, so a token may be used again.

    Parameters
    ----------
    word : str
        What is asked for.
    tokens : iterable of int
        The bag.
    vocabulary : Vocabulary
        What they stand for.

    Returns
    -------
    bool
        Whether the vocabulary's own way to cut the word, or any other, uses only tokens of the bag. Letter case counts.
    """
    return Bag(tokens, vocabulary).fewest(word) is not None


def whole_words(tokens: Iterable[int], vocabulary: Vocabulary, *, lexicon: Iterable[str] = ()) -> set[str]:
    """Return the whole words that a bag of tokens allows. Private.

    Parameters
    ----------
    tokens : iterable of int
        The bag.
    vocabulary : Vocabulary
        What they stand for.
    lexicon : iterable of str, optional
        Words to try: a dictionary, the words of a company's documents.

    Returns
    -------
    set of str
        Pieces that are a word by themselves as soon as a word begins after them, and words of `lexicon` that can be
        formed. Whether a piece was continued in the transcript, a bag does not tell.
    """
    bag = Bag(tokens, vocabulary)
    alone = {text[1:] for text in bag.texts if len(text) > 1 and text[0] == " "}
    return alone | {word for word in lexicon if bag.fewest(word) is not None}


def spellings(term: str) -> tuple[str, ...]:
    """Return the letter cases in which a transcript may hold a term.

    Parameters
    ----------
    term : str
        As given.

    Returns
    -------
    tuple of str
        As given, in lower case, with capitals, and in upper case; each once.

    Examples
    --------
    >>> spellings("de Vries")
    ('de Vries', 'de vries', 'De Vries', 'DE VRIES')
    """
    return tuple(dict.fromkeys((term, term.lower(), term.title(), term.upper())))


def exposed_terms(tokens: Iterable[int], vocabulary: Vocabulary, terms: Sequence[str]) -> tuple[int, ...]:
    """Say which of some sensitive terms can be formed, by their place in the list and never by their text.

    Parameters
    ----------
    tokens : iterable of int
        The bag that an attack recovered.
    vocabulary : Vocabulary
        What they stand for.
    terms : sequence of str
        Names, diagnoses, canaries; each tried as given, in lower case and with a capital.

    Returns
    -------
    tuple of int
        Indices into `terms`, ascending: fit for a report.
    """
    bag = Bag(tokens, vocabulary)
    return tuple(
        index for index, term in enumerate(terms) if any(bag.fewest(way) is not None for way in spellings(term))
    )
