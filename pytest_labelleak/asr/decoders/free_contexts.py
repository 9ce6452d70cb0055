"""Spellers with free attention contexts: decoders that gradient matching differentiates twice, in any framework.

A speller that is trained with teacher forcing is a function of two arguments: the contexts that its attention answers,
and the transcript. The receiver of an update does not know the audio, so both arguments are unknown (Dang et al.,
NeurIPS 2021, arXiv 2111.00556, section on speech). The interface takes and returns numpy arrays.
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
        """Rows of the head's kernel that take the context unchanged; None if there are none."""

    @property
    def end(self) -> int | None:
        """Token that ends every transcript, if any; every receiver knows it."""

    def keys(self, *, every: bool = False) -> tuple[str, ...]:
        """Name the variables that can be matched, by their keys in `Update.gradients`.

        Parameters
        ----------
        every : bool, default False
            Also name variables of which a part of the gradient went through the attention. Free contexts do not explain
            that part.

        Returns
        -------
        tuple of str
        """

    def head_inputs(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Run forward, up to the input of the head.

        Parameters
        ----------
        contexts : ndarray of shape (B, initial + U, d)
            Contexts for B transcripts of U positions each.
        tokens : ndarray of int, shape (B, U)
            Labels of the transcripts; each is fed one position later.

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
            Contexts of one transcript.
        labels : ndarray of shape (U, C)
            Soft labels. Their mix of embeddings is fed one position later.
        keys : tuple of str
            Variables to differentiate for.

        Returns
        -------
        list of ndarray of float64
            One per key, in the orientation of the update.
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
            One per key, in the shape of its gradient.

        Returns
        -------
        contexts, labels : ndarray of float64
            In the shapes of the arguments.
        """


def free_contexts(
    model: Any, *, start: int | None = None, end: int | None = None, jit: bool = False
) -> FreeContextDecoder:
    """Take the speller out of a model.

    Parameters
    ----------
    model : keras.Model or lingvo task
        Recogniser with one attention layer between a listener and a speller.
    start : int, optional
        Token that is fed first. A lingvo task holds it; a Keras model does not.
    end : int, optional
        Token that ends a transcript, if any.
    jit : bool, default False
        Compile with XLA: faster, after one compilation per length of transcript.

    Returns
    -------
    FreeContextDecoder

    Raises
    ------
    UnsupportedModelError
        If the speller cannot be told from the rest, or is of no known kind.
    """
    # A model exists only after its framework was imported, so there is no need to import one.
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
