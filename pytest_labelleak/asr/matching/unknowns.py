"""The unknowns of gradient matching as one vector: contexts, and what makes the soft labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...core.softmax import softmax
from ..decoders.free_contexts import FreeContextDecoder
from .objectives import Distance

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
    basis : ndarray of shape (r, d) or None
        Directions that the contexts of the positions lie in; None for all.
    last : int or None
        Token at the last position, where it is known. Private.
    complete : bool
        Whether each of `words` is known to occur.
    """

    decoder: FreeContextDecoder
    distance: Distance = field(repr=False)
    keys: tuple[str, ...]
    positions: int
    words: np.ndarray = field(repr=False)
    labels: str
    basis: np.ndarray | None = field(default=None, repr=False)
    last: int | None = field(default=None, repr=False)
    complete: bool = False

    @property
    def _shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Shapes of the initial contexts, of what makes the others, and of what makes the labels."""
        width = self.decoder.context_width
        free = self.positions - (self.last is not None)
        inner = width if self.basis is None else len(self.basis)
        return (self.decoder.initial, width), (self.positions, inner), (free, len(self.words))

    def start(self, rng: np.random.Generator, *, context_scale: float) -> np.ndarray:
        """Draw a vector to start from."""
        initial, inner, labels = self._shapes
        entries = _LABEL_SCALE * rng.standard_normal(labels)
        if self.labels == "free":
            entries += 1.0 / len(self.words)
        # Contexts of the same length, however many directions they lie in.
        spread = context_scale * math.sqrt(self.decoder.context_width / inner[1])
        parts = context_scale * rng.standard_normal(initial), spread * rng.standard_normal(inner), entries
        return np.concatenate([part.ravel() for part in parts])

    def split(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what makes the contexts, flat, and what makes the labels."""
        entries = self._shapes[2]
        size = len(vector) - math.prod(entries)
        return vector[:size], vector[size:].reshape(entries)

    def contexts(self, part: np.ndarray) -> np.ndarray:
        """Return contexts, shape (initial + U, d), from what makes them."""
        initial, inner = self.rows(part)
        return np.concatenate([initial, inner if self.basis is None else inner @ self.basis])

    def rows(self, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what makes the initial contexts, and what makes the others, one row per position."""
        before, after, _ = self._shapes
        size = math.prod(before)
        return part[:size].reshape(before), part[size:].reshape(after)

    @property
    def _last_place(self) -> int:
        """Place of the last token among the words, or -1."""
        places = np.flatnonzero(self.words == self.last)
        return int(places[0]) if places.size else -1

    def soft(self, entries: np.ndarray) -> np.ndarray:
        """Return soft labels over all classes, shape (U, C)."""
        labels = np.zeros((self.positions, self.decoder.classes))
        labels[: len(entries), self.words] = softmax(entries) if self.labels == "softmax" else entries
        if self.last is not None:
            labels[-1, self.last] = 1.0
        return labels

    def guess(self, vector: np.ndarray) -> tuple[int, ...]:
        """Return the likeliest transcript in which every word occurs that must. Private."""
        entries = self.split(vector)[1]
        best = entries.argmax(axis=1)
        needed = np.flatnonzero(self.words != self.last)
        # Where each word is the likeliest somewhere, there is nothing to be weighed.
        if (
            self.complete
            and len(needed) <= len(entries)
            and len(np.unique(best[best != self._last_place])) < len(needed)
        ):
            scores = np.log(np.maximum(softmax(entries), np.finfo(float).tiny))
            anything = np.repeat(scores.max(axis=1)[:, None], len(entries) - len(needed), axis=1)
            rows, columns = linear_sum_assignment(np.hstack([scores[:, needed], anything]), maximize=True)
            taken = columns < len(needed)
            best[rows[taken]] = needed[columns[taken]]
        tokens = [int(token) for token in self.words[best]]
        return tuple(tokens if self.last is None else [*tokens, self.last])

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the distance and its gradient."""
        part, entries = self.split(vector)
        labels = self.soft(entries)
        value, for_part, for_labels = self._pulled_back(part, labels)
        for_entries = for_labels[: len(entries), self.words]
        if self.labels == "softmax":
            soft = labels[: len(entries), self.words]
            for_entries = soft * (for_entries - np.sum(soft * for_entries, axis=1, keepdims=True))
        return value, np.concatenate([for_part, for_entries.ravel()])

    def with_words(self, tokens: Sequence[int], part: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the distance and its gradient with respect to what makes the contexts, the transcript given.

        Parameters
        ----------
        tokens : sequence of int
            U of them.
        part : ndarray
            What makes the contexts.
        """
        value, for_part, _ = self._pulled_back(part, np.eye(self.decoder.classes)[list(tokens)])
        return value, for_part

    def _pulled_back(self, part: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        contexts = self.contexts(part)
        value, cotangents = self.distance(self.decoder.gradients(contexts, labels, self.keys))
        for_contexts, for_labels = self.decoder.pullback(contexts, labels, self.keys, cotangents)
        initial, inner = np.split(for_contexts, [self.decoder.initial])
        if self.basis is not None:
            inner = inner @ self.basis.T
        return value, np.concatenate([initial.ravel(), inner.ravel()]), for_labels
