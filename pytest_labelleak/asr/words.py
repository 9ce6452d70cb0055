"""From a bag of tokens to words: which pieces were said, and which whole words can be formed from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .vocabulary import Vocabulary

__all__ = ["exposed_terms", "formable", "pieces", "whole_words"]


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
    bag = set(tokens)
    words = word.split()
    if not words:
        return False
    texts: set[str] | None = None
    # Single characters do not say whether a word begins with them.
    characters = not vocabulary.text(vocabulary.encode("a")[0]).startswith(" ")
    for one in words:
        cut = vocabulary.encode(one)
        if cut and bag.issuperset(cut) and not vocabulary.special.intersection(cut):
            continue
        if texts is None:
            texts = pieces(bag, vocabulary)
        if not _covered(one if characters else f" {one}", texts):
            return False
    return True


def _covered(word: str, texts: set[str]) -> bool:
    """Tell whether `word` is a chain of `texts`."""
    longest = max(map(len, texts), default=0)
    reached = [True]
    for end in range(1, len(word) + 1):
        starts = range(max(0, end - longest), end)
        reached.append(any(reached[start] and word[start:end] in texts for start in starts))
    return reached[-1]


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
    bag = set(tokens)
    alone = {text[1:] for text in pieces(bag, vocabulary) if len(text) > 1 and text[0] == " "}
    return alone | {word for word in lexicon if formable(word, bag, vocabulary)}


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
    bag = set(tokens)
    found = []
    for index, term in enumerate(terms):
        spellings = {term, term.lower(), term.title(), term.upper()}
        if any(formable(spelling, bag, vocabulary) for spelling in spellings):
            found.append(index)
    return tuple(found)
