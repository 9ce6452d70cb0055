"""Which words a bag of tokens allows, and which sensitive terms it exposes."""

from __future__ import annotations

import pytest

from pytest_labelleak.asr import Graphemes, WordPieces, exposed_terms, formable, pieces, whole_words
from pytest_labelleak.asr.text.words import Bag

ENTRIES = ["<unk>", "<s>", "</s>", "▁", *"abcdehimnorst", "▁the", "▁ca", "t", "▁cat", "ma", "▁ma", "▁John", "son", "▁j"]
VOCABULARY = WordPieces(entries=tuple(dict.fromkeys(ENTRIES)))


def bag(*texts):
    return {VOCABULARY.entries.index(text) for text in texts}


def test_pieces_leave_marks_out():
    assert pieces(bag("<s>", "</s>", "▁the", "t"), VOCABULARY) == {" the", "t"}


@pytest.mark.parametrize(
    ("texts", "word", "expected"),
    [
        (["▁cat"], "cat", True),
        (["▁ca", "t"], "cat", True),  # not how the vocabulary cuts it, and still enough
        (["▁ca"], "cat", False),
        (["▁the", "▁cat"], "the cat", True),
        (["▁the"], "the cat", False),
        (["▁", "ma", "t"], "mat", True),
        (["ma", "t"], "mat", False),  # inside of some other word, never at the beginning
        (["▁ma"], "mama", False),
        (["▁ma", "ma"], "mama", True),
        (["<unk>"], "é", False),  # unknown letters are no proof
        (["▁cat"], "", False),
    ],
)
def test_formable(texts, word, expected):
    assert formable(word, bag(*texts), VOCABULARY) is expected


def test_the_fewest_tokens_that_form_a_term():
    vocabulary = WordPieces(entries=("<unk>", "▁", *"abcd", "cd", "▁abc"))
    everything = range(1, vocabulary.size)
    assert Bag(everything, vocabulary).fewest("abcd") == 2
    assert Bag(set(everything) - {7}, vocabulary).fewest("abcd") == 4
    assert Bag(everything, vocabulary).fewest("abcd a") == 4
    assert Bag({1, 2}, vocabulary).fewest("abcd") is None
    assert repr(Bag({2}, vocabulary)) == "<bag of tokens>"


def test_words_from_characters():
    vocabulary = Graphemes()
    tokens = set(vocabulary.encode("stop it"))
    assert formable("spot", tokens, vocabulary)
    assert formable("pits to", tokens, vocabulary)
    assert not formable("stab", tokens, vocabulary)
    assert whole_words(tokens, vocabulary) == set()


def test_whole_words_and_a_lexicon():
    tokens = bag("</s>", "▁the", "▁ca", "t", "▁")
    assert whole_words(tokens, VOCABULARY) == {"the", "ca"}
    assert whole_words(tokens, VOCABULARY, lexicon=["cat", "car", "hat", "the"]) == {"the", "ca", "cat"}


def test_exposed_terms_are_numbers():
    terms = ["johnson", "JOHN", "mary", "the cat", "cat the"]
    assert exposed_terms(bag("▁John", "son", "▁the"), VOCABULARY, terms) == (0, 1)
    assert exposed_terms(bag("▁the", "▁cat"), VOCABULARY, terms) == (3, 4)
    assert exposed_terms((), VOCABULARY, terms) == ()
