"""Spellers with free attention contexts: what gradient matching differentiates twice, whatever the framework.

A speller that is trained with teacher forcing is a function of two things: the answers of its attention, and the
transcript. What the listener heard is unknown to the receiver of an update, so both are unknowns (Dang et al., NeurIPS
2021, arXiv 2111.00556, section on speech). The roles here speak numpy; the frameworks stay inside.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...core.errors import UnsupportedModelError

__all__ = ["FreeContextDecoder", "free_contexts"]


@runtime_checkable
class FreeContextDecoder(Protocol):
    """The gradient of one utterance's mean loss, as a function of contexts and soft labels.

    A decoder holds the weights, which every receiver of an update has, and nothing of any batch.
    """

    @property
    def classes(self) -> int:
        """Number of classes C."""

    @property
    def context_width(self) -> int:
        """Width d of a context."""

    @property
    def initial(self) -> int:
        """Number of contexts before the first position: 1 where a layer sees the context of the step before, else 0."""

    @property
    def context_rows(self) -> slice | None:
        """Rows of the head's kernel that take the context as it is; None if there are none."""

    @property
    def end(self) -> int | None:
        """Token that ends every transcript, where there is one; known to everybody."""

    def keys(self, *, every: bool = False) -> tuple[str, ...]:
        """Name the variables that can be matched, as `Update.gradients` does.

        Parameters
        ----------
        every : bool, default False
            Also those whose gradient free contexts do not explain, because a part of it went through the attention.

        Returns
        -------
        tuple of str
        """

    def head_inputs(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Run forward, up to what the head sees.

        Parameters
        ----------
        contexts : ndarray of shape (B, initial + U, d)
            What attention answers, for B transcripts of one length.
        tokens : ndarray of int, shape (B, U)
            Their labels; each is fed one position later.

        Returns
        -------
        ndarray of float64, shape (B, U, h)
            Inputs of the head's kernel, with the contexts in `context_rows`.
        """

    def gradients(self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...]) -> list[np.ndarray]:
        """Differentiate the loss with respect to some variables.

        Parameters
        ----------
        contexts : ndarray of shape (initial + U, d)
            What attention answers.
        labels : ndarray of shape (U, C)
            Soft labels. The mix of their embeddings is fed one position later.
        keys : tuple of str
            The variables.

        Returns
        -------
        list of ndarray of float64
            One per key, in the orientation in which an update holds it.
        """

    def pullback(
        self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...], cotangents: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Differentiate ``sum_k <cotangents[k], gradients[k]>`` with respect to contexts and labels.

        Parameters
        ----------
        contexts, labels, keys
            As for `gradients`.
        cotangents : sequence of ndarray
            One per key, shaped as its gradient.

        Returns
        -------
        contexts, labels : ndarray of float64
            Shaped as the arguments.
        """


def free_contexts(
    model: Any, *, start: int | None = None, end: int | None = None, jit: bool = False
) -> FreeContextDecoder:
    """Take the speller out of a model.

    Parameters
    ----------
    model : keras.Model or lingvo task
        With one attention layer between a listener and a speller.
    start : int, optional
        Token that is fed first. lingvo's tasks say it themselves; a Keras model does not.
    end : int, optional
        Token that ends a transcript, if any.
    jit : bool, default False
        Compile with XLA: faster, after compiling for every length of transcript.

    Returns
    -------
    FreeContextDecoder

    Raises
    ------
    UnsupportedModelError
        If the speller cannot be told from the rest, or is none that is known.
    """
    # A model cannot exist without its framework having been imported: never import one only to find out.
    keras, lingvo = sys.modules.get("keras"), sys.modules.get("lingvo.core.base_layer")
    if keras is not None and isinstance(model, keras.Model):
        from .keras import KerasFreeContexts

        return KerasFreeContexts(model, start=start, end=end, jit=jit)
    if lingvo is not None and isinstance(model, lingvo.BaseLayer):
        from .lingvo import LingvoFreeContexts

        return LingvoFreeContexts(model, start=start, end=end, jit=jit)
    raise UnsupportedModelError(
        f"there is no speller with free contexts for a {type(model).__module__}.{type(model).__qualname__}. Expected a "
        "functional Keras 3 model or a lingvo speech task; for others implement "
        "pytest_labelleak.asr.FreeContextDecoder."
    )
