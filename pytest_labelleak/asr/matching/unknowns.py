"""The unknowns of gradient matching as one vector: coordinates of the contexts, and entries behind the soft labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from ...core.softmax import softmax
from ..decoders.free_contexts import FreeContextDecoder
from .objectives import Distance

__all__ = ["SOFT_LABELS", "Unknowns"]

#: A softmax over the recovered tokens; entries without constraint, as published.
SOFT_LABELS = ("softmax", "free")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unknowns:
    """Layout of the vector, and the distance as a function of it.

    Attributes
    ----------
    decoder : FreeContextDecoder
        Speller of the model.
    distance : Distance
        Distance from the shared gradient.
    keys : tuple of str
        Variables that are matched.
    positions : int
        Number S of label positions.
    bag : ndarray of int, shape (k,)
        Tokens that a label may be. Private.
    soft_labels : {"softmax", "free"}
        Kind of soft labels.
    basis : ndarray of shape (r, d) or None
        Basis of the contexts' span, where it is known.
    last : int or None
        Token at the last position, where it is known. Private.
    complete : bool
        Whether each token of `bag` is known to occur.
    label_scale : float
        Deviation of the entries behind the soft labels at the start.
    """

    decoder: FreeContextDecoder
    distance: Distance = field(repr=False)
    keys: tuple[str, ...]
    positions: int
    bag: np.ndarray = field(repr=False)
    soft_labels: str
    basis: np.ndarray | None = field(default=None, repr=False)
    last: int | None = field(default=None, repr=False)
    complete: bool = False
    label_scale: float = 0.1

    @property
    def _shapes(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Shapes of the initial contexts, of the other contexts' coordinates, and of the entries behind the labels."""
        width = self.decoder.context_width
        free = self.positions - (self.last is not None)
        inner = width if self.basis is None else len(self.basis)
        return (self.decoder.initial, width), (self.positions, inner), (free, len(self.bag))

    def start(self, rng: np.random.Generator, *, context_scale: float) -> np.ndarray:
        """Draw a vector to start from."""
        initial, inner, labels = self._shapes
        entries = self.label_scale * rng.standard_normal(labels)
        if self.soft_labels == "free":
            entries += 1.0 / len(self.bag)
        # The length of a context does not depend on the number of directions.
        spread = context_scale * math.sqrt(self.decoder.context_width / inner[1])
        parts = context_scale * rng.standard_normal(initial), spread * rng.standard_normal(inner), entries
        return np.concatenate([part.ravel() for part in parts])

    def split(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates of the contexts, flat, and the entries behind the labels."""
        entries = self._shapes[2]
        size = len(vector) - math.prod(entries)
        return vector[:size], vector[size:].reshape(entries)

    def contexts(self, part: np.ndarray) -> np.ndarray:
        """Return contexts, shape (initial + S, d), from their coordinates."""
        initial, inner = self.rows(part)
        return np.concatenate([initial, inner if self.basis is None else inner @ self.basis])

    def rows(self, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the initial contexts, and the coordinates of the others, one row per position."""
        before, after, _ = self._shapes
        size = math.prod(before)
        return part[:size].reshape(before), part[size:].reshape(after)

    @property
    def _last_place(self) -> int:
        """Place of the last token in the bag, or -1."""
        places = np.flatnonzero(self.bag == self.last)
        return int(places[0]) if places.size else -1

    def soft(self, entries: np.ndarray) -> np.ndarray:
        """Return soft labels over all classes, shape (S, C)."""
        labels = np.zeros((self.positions, self.decoder.classes))
        labels[: len(entries), self.bag] = softmax(entries) if self.soft_labels == "softmax" else entries
        if self.last is not None:
            labels[-1, self.last] = 1.0
        return labels

    def guess(self, vector: np.ndarray) -> tuple[int, ...]:
        """Return the likeliest transcript in which every token occurs that must. Private."""
        entries = self.split(vector)[1]
        best = entries.argmax(axis=1)
        needed = np.flatnonzero(self.bag != self.last)
        # An assignment is needed only where a token is the likeliest one nowhere.
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
        tokens = [int(token) for token in self.bag[best]]
        return tuple(tokens if self.last is None else [*tokens, self.last])

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the distance and its gradient."""
        part, entries = self.split(vector)
        labels = self.soft(entries)
        value, for_part, for_labels = self._pulled_back(part, labels)
        for_entries = for_labels[: len(entries), self.bag]
        if self.soft_labels == "softmax":
            soft = labels[: len(entries), self.bag]
            for_entries = soft * (for_entries - np.sum(soft * for_entries, axis=1, keepdims=True))
        return value, np.concatenate([for_part, for_entries.ravel()])

    def at_transcript(self, tokens: Sequence[int], part: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the distance and its gradient with respect to the contexts' coordinates, at a given transcript.

        Parameters
        ----------
        tokens : sequence of int
            The transcript, S labels.
        part : ndarray
            Coordinates of the contexts.
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
