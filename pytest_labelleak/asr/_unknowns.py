"""The unknowns of gradient matching as one vector: contexts, and what makes the soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ._objectives import Distance
from .free_contexts import FreeContextDecoder

__all__ = ["LABELS", "Unknowns"]

#: Soft labels that are a softmax over the bag; entries without constraint, as published.
LABELS = ("softmax", "free")
#: Deviation of the entries at the start; small, so that no word is preferred.
_LABEL_SCALE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unknowns:
    """Where the vector's parts are, and what they mean.

    Attributes
    ----------
    decoder : FreeContextDecoder
        The speller.
    distance : Distance
        From the shared gradient.
    keys : tuple of str
        The variables that are matched.
    positions : int
        Number U of label positions.
    words : ndarray of int, shape (k,)
        Tokens that labels may be. Private.
    labels : {"softmax", "free"}
        How soft labels are made.
    last : int or None
        Token at the last position, where it is known. Private.
    """

    decoder: FreeContextDecoder
    distance: Distance = field(repr=False)
    keys: tuple[str, ...]
    positions: int
    words: np.ndarray = field(repr=False)
    labels: str
    last: int | None = field(default=None, repr=False)

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of the contexts, and of what makes the labels."""
        free = self.positions - (self.last is not None)
        return (self.decoder.initial + self.positions, self.decoder.context_width), (free, len(self.words))

    def start(self, rng: np.random.Generator, *, context_scale: float) -> np.ndarray:
        """Draw a vector to start from."""
        contexts, labels = self.shapes
        entries = _LABEL_SCALE * rng.standard_normal(labels)
        if self.labels == "free":
            entries += 1.0 / len(self.words)
        return np.concatenate([context_scale * rng.standard_normal(contexts).ravel(), entries.ravel()])

    def split(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return contexts, and what makes the labels."""
        contexts, labels = self.shapes
        size = contexts[0] * contexts[1]
        return vector[:size].reshape(contexts), vector[size:].reshape(labels)

    def soft(self, entries: np.ndarray) -> np.ndarray:
        """Return soft labels over all classes, shape (U, C)."""
        labels = np.zeros((self.positions, self.decoder.classes))
        labels[: len(entries), self.words] = _softmax(entries) if self.labels == "softmax" else entries
        if self.last is not None:
            labels[-1, self.last] = 1.0
        return labels

    def guess(self, vector: np.ndarray) -> tuple[int, ...]:
        """Return the likeliest token of every position. Private."""
        tokens = [int(token) for token in self.words[self.split(vector)[1].argmax(axis=1)]]
        return tuple(tokens if self.last is None else [*tokens, self.last])

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the distance and its gradient."""
        contexts, entries = self.split(vector)
        labels = self.soft(entries)
        value, cotangents = self.distance(self.decoder.gradients(contexts, labels, self.keys))
        for_contexts, for_labels = self.decoder.pullback(contexts, labels, self.keys, cotangents)
        for_entries = for_labels[: len(entries), self.words]
        if self.labels == "softmax":
            soft = labels[: len(entries), self.words]
            for_entries = soft * (for_entries - np.sum(soft * for_entries, axis=1, keepdims=True))
        return value, np.concatenate([for_contexts.ravel(), for_entries.ravel()])

    def with_words(self, tokens: Sequence[int], vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the distance and its gradient with respect to the contexts alone, the transcript given.

        Parameters
        ----------
        tokens : sequence of int
            U of them.
        vector : ndarray
            The contexts, flattened.
        """
        labels = np.eye(self.decoder.classes)[list(tokens)]
        contexts = vector.reshape(self.shapes[0])
        value, cotangents = self.distance(self.decoder.gradients(contexts, labels, self.keys))
        return value, self.decoder.pullback(contexts, labels, self.keys, cotangents)[0].ravel()


def _softmax(entries: np.ndarray) -> np.ndarray:
    powers = np.exp(entries - entries.max(axis=1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return result
