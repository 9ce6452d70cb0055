"""Features and logits of the head, read in the same forward pass that gives the gradient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .head.graph import dense_like

__all__ = ["Observation", "Seen", "keras_mask", "observing"]


@dataclass(slots=True, kw_only=True, eq=False)
class Seen:
    """Tensors of the head's layer, one entry for each of its calls.

    Attributes
    ----------
    features : list of tensor
        Inputs of the layer.
    logits : list of tensor
        Results of the layer before its activation.
    """

    features: list[Any] = field(default_factory=list, repr=False)
    logits: list[Any] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """Tensors of one forward and backward pass. Private.

    Attributes
    ----------
    features : list of tensor
        Inputs of the head's layer; none where they were not seen.
    logits, errors : list of tensor
        Logits, one entry for each call of the head's layer, and the gradient of the loss with respect to them.
    prediction : tensor
        The output of the model that the head feeds.
    mask : tensor or None
        Keras' mask on the prediction.
    at_output : bool
        Whether the logits are the model's output, which may stand behind other operations than the head.
    """

    features: list[Any] = field(repr=False)
    logits: list[Any] = field(repr=False)
    errors: list[Any] = field(repr=False)
    prediction: Any = field(repr=False)
    mask: Any = field(repr=False)
    at_output: bool


def keras_mask(tensor: Any) -> Any:
    """Return the mask that Keras keeps for a tensor.

    Parameters
    ----------
    tensor : tensor
        A result of a layer; under a trace of JAX Keras keeps the mask in a table.

    Returns
    -------
    tensor or None
    """
    from keras.src import backend

    read = getattr(backend, "get_keras_mask", None)
    return getattr(tensor, "_keras_mask", None) if read is None else read(tensor)


@contextlib.contextmanager
def observing(layer: Any, adding: Sequence[Any] | None = None) -> Iterator[Seen]:
    """Note inputs and logits of a layer while the block runs, and leave the layer as it was.

    Keras' layers keep their activation as an attribute and apply it to the logits. Attributes are replaced in the
    instance's dictionary, so that neither Keras nor torch tracks the replacement.

    Parameters
    ----------
    layer : keras.Layer
        The layer of the head.
    adding : sequence of tensor, optional
        Zeros, one tensor for each call, that are added to the logits: JAX differentiates with respect to arguments.

    Yields
    ------
    Seen
        Filled while the block runs. It stays empty for a layer that is no Dense layer or convolution.
    """
    seen = Seen()
    attributes = vars(layer)
    if not dense_like(layer) or not callable(attributes.get("activation")):
        yield seen
        return
    activation, call, replaced = attributes["activation"], layer.call, "call" in attributes

    def watched_call(*args: Any, **options: Any) -> Any:
        seen.features.append(args[0] if args else next(iter(options.values())))
        return call(*args, **options)

    def watched_activation(logits: Any) -> Any:
        if adding is not None and len(seen.logits) < len(adding):
            logits = logits + adding[len(seen.logits)]
        seen.logits.append(logits)
        return activation(logits)

    attributes["activation"], attributes["call"] = watched_activation, watched_call
    try:
        yield seen
    finally:
        attributes["activation"] = activation
        if replaced:
            attributes["call"] = call
        else:
            del attributes["call"]
