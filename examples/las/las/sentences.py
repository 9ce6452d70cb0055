"""The language of the recogniser: 114 words, and sentences made from them by a few rules with much freedom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["END", "PADDING", "START", "WORDS", "Words", "compose", "held_out", "training"]

#: The first ids stand for no word.
PADDING, START, END = 0, 1, 2

_GROUPS = {
    "who": "anna ben clara david emma frank grace henry julia marco the_doctor the_nurse the_teacher my_sister "
    "our_lawyer her_uncle a_stranger the_manager",
    "did": "called found lost sold bought broke moved painted hid opened forgot returned",
    "how": "old new red blue green heavy broken small yellow silver wooden expensive",
    "what": "car house letter key phone window table camera ticket bottle passport medicine computer coat bicycle "
    "contract",
    "where": "in_the_kitchen at_the_station near_the_river behind_the_church under_the_bridge in_london "
    "by_the_window at_school outside_the_hospital",
    "when": "today yesterday tomorrow_morning on_monday on_friday in_april every_week after_dinner before_noon "
    "last_winter",
    "link": "and but because while",
    "ask": "please never always",
    "act": "call find sell buy move paint hide open return bring",
}
_PHRASES = {group: tuple(text.replace("_", " ") for text in words.split()) for group, words in _GROUPS.items()}
_ARTICLES = ("the", "a", "this", "that", "another")

WORDS: tuple[str, ...] = tuple(
    sorted({word for phrases in _PHRASES.values() for phrase in phrases for word in phrase.split()} | set(_ARTICLES))
)


class Words:
    """The vocabulary: one token per word, as `pytest_labelleak.asr` takes it."""

    size = len(WORDS) + 3
    special = frozenset({PADDING, START, END})

    def text(self, token: int) -> str:
        """Return a word with a leading space; nothing for special tokens."""
        return "" if token in self.special else f" {WORDS[token - 3]}"

    def encode(self, transcript: str) -> list[int]:
        """Return the tokens of a sentence; a word that the recogniser does not know is a `ValueError`."""
        unknown = sum(1 for word in transcript.split() if word not in _NUMBERS)
        if unknown:
            raise ValueError(f"{unknown} word(s) of the sentence are not among the {len(WORDS)} known ones.")
        return [_NUMBERS[word] for word in transcript.split()]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the sentence."""
        return "".join(map(self.text, tokens)).strip()


_NUMBERS = {word: token for token, word in enumerate(WORDS, start=3)}


def compose(rng: np.random.Generator) -> str:
    """Make up a sentence of 2 to about 15 words.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of every choice.

    Returns
    -------
    str
    """

    def one(group: str) -> str:
        return str(rng.choice(_PHRASES[group]))

    def thing() -> str:
        described = f"{one('how')} " if rng.random() < 0.5 else ""
        return f"{rng.choice(_ARTICLES)} {described}{one('what')}"

    def clause() -> str:
        parts = [one("who"), one("did"), thing()]
        if rng.random() < 0.5:
            parts.append(one("where"))
        if rng.random() < 0.4:
            parts.append(one("when"))
        return " ".join(parts)

    kind = rng.random()
    if kind < 0.25:
        return " ".join([one("ask"), one("act"), thing()])
    if kind < 0.35:
        return " ".join([one("when"), clause()])
    if kind < 0.45:
        return " ".join([clause(), one("link"), one("who"), one("did"), thing()])
    if kind < 0.55:
        return " ".join(one("what") for _ in range(int(rng.integers(2, 7))))  # a list, which no grammar foretells
    return clause()


def training(count: int, *, seed: int = 0) -> list[str]:
    """Make up sentences to train on, none of them in `held_out`."""
    return _several(count, seed, avoid=set(held_out(200)))


def held_out(count: int) -> list[str]:
    """Return the first of the sentences that are never trained on."""
    return _several(count, 424242, avoid=set())


def _several(count: int, seed: int, *, avoid: set[str]) -> list[str]:
    rng, found = np.random.default_rng(seed), dict[str, None]()
    while len(found) < count:
        sentence = compose(rng)
        if sentence not in avoid:
            found[sentence] = None
    return list(found)


def padded(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Put sequences of tokens into one array of int32, filled up with `PADDING`."""
    rows = np.full((len(sequences), max(map(len, sequences))), PADDING, np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows
