"""The speller of a lingvo task with free contexts; the differentiable loop itself is in ``lingvo_patches``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import UnsupportedModelError
from .tensorflow import CompiledDerivatives

__all__ = ["LingvoFreeContexts"]


class LingvoFreeContexts:
    """A `FreeContextDecoder` of a lingvo task in eager mode.

    Parameters
    ----------
    task : lingvo task or decoder
        Instantiated. Its variables are read at every call.
    start, end : int, optional
        First and last token, if other than the decoder's ``target_sos_id`` and ``target_eos_id``.
    jit : bool, default False
        Compile with XLA.

    Raises
    ------
    UnsupportedModelError
        If the decoder's steps are not those of lingvo's ``AsrDecoder``.
    """

    initial = 1

    def __init__(self, task: Any, *, start: int | None = None, end: int | None = None, jit: bool = False) -> None:
        from lingvo_patches import FreeContexts

        p = getattr(task, "decoder", task).params
        first = int(getattr(p, "target_sos_id", 1)) if start is None else start
        self.end: int | None = int(getattr(p, "target_eos_id", 2)) if end is None else end
        try:
            speller = FreeContexts(task, start=first)
        except TypeError as error:
            raise UnsupportedModelError(f"gradient matching: {error}") from None
        self.classes, self.context_width = speller.classes, speller.context_width
        # The softmax takes [rnn output, context].
        self.context_rows: slice | None = slice(-speller.context_width, None)
        self._parts = {part.key: part for part in speller.parts}

        def gradients(contexts: Any, labels: Any, keys: tuple[str, ...]) -> list[Any]:
            return speller.gradients(contexts, labels, tuple(self._parts[key] for key in keys))

        self._derivatives = CompiledDerivatives(gradients, dtype="float32", jit=jit)
        self._speller = speller

    def keys(self, *, every: bool = False) -> tuple[str, ...]:
        """As `FreeContextDecoder.keys`."""
        return tuple(key for key, part in self._parts.items() if every or part.explained)

    def head_inputs(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """As `FreeContextDecoder.head_inputs`."""
        import tensorflow as tf

        # Steps that are the same in all transcripts are computed once.
        same = (contexts[:, 1:] == contexts[:1, 1:]).all(axis=(0, 2)) & (tokens == tokens[:1]).all(axis=0)
        alike = (contexts[:, 0] == contexts[:1, 0]).all()
        shared = min(int(np.argmin(np.append(same, False))), len(same) - 1) if alike else 0
        found = self._speller.head_inputs(tf.constant(contexts, "float32"), tf.constant(tokens, "int32"), shared=shared)
        return np.asarray(found, np.float64)

    def gradients(self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...]) -> list[np.ndarray]:
        """As `FreeContextDecoder.gradients`."""
        return self._derivatives.gradients(contexts, labels, keys)

    def pullback(
        self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...], cotangents: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `FreeContextDecoder.pullback`."""
        return self._derivatives.pullback(contexts, labels, keys, cotangents)
