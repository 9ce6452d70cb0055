"""The classification head of a Keras model: the kernel that makes the logits, and the output that it feeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....core.errors import UnknownNameError, UnsupportedModelError, quoted
from ...arrays import BY_HAND, check_ignored
from ..loss import LossFacts, loss_facts, loss_of
from .graph import Output, dense_like
from .product import is_table
from .walk import Walk, walk_back

__all__ = ["KerasHead", "find_head", "ignoring"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KerasHead:
    """The classification head of a Keras model.

    Attributes
    ----------
    layer : keras.Layer
        The layer that holds the kernel.
    output : Output
        The output of the model that the head feeds.
    loss : LossFacts
        The loss on that output.
    kernel, bias : keras.Variable, keras.Variable or None
        Trainable variables of the head.
    order : tuple of int
        Permutation of the kernel's axes that puts the class axis last.
    classes : int
        Number of classes C.
    softmax : bool
        Whether the graph and the loss show that the logits go through a softmax.
    tied : bool
        Whether the kernel is, transposed, also the table of an embedding.
    sigmoid : bool
        Whether the graph and the loss show that each logit goes through a sigmoid by itself.
    """

    layer: Any
    output: Output
    loss: LossFacts
    kernel: Any
    bias: Any
    order: tuple[int, ...] = field(repr=False)
    classes: int
    softmax: bool
    tied: bool = False
    sigmoid: bool = False

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """Bring an array of the kernel's shape to (d, C).

        Parameters
        ----------
        array : ndarray
            The array, e.g. of shape (1, 1, d, C) for a convolution.

        Returns
        -------
        ndarray of shape (d, C)
        """
        return np.ascontiguousarray(array.transpose(self.order).reshape(-1, self.classes))

    def unmatrix(self, array: np.ndarray) -> np.ndarray:
        """Bring an array of shape (d, C) to the kernel's shape.

        Parameters
        ----------
        array : ndarray of shape (d, C)

        Returns
        -------
        ndarray
        """
        shape = tuple(int(self.kernel.shape[axis]) for axis in self.order)
        return np.ascontiguousarray(array.reshape(shape).transpose(np.argsort(self.order)))


def ignoring(head: KerasHead, ignore_class: int | None) -> KerasHead:
    """Return the head with a loss that leaves out the positions of one more label.

    Parameters
    ----------
    head : KerasHead
        The head.
    ignore_class : int or None
        The user's argument.

    Returns
    -------
    KerasHead
        The same head for None.
    """
    if ignore_class is None:
        return head
    loss = dataclasses.replace(head.loss, ignored=(*head.loss.ignored, check_ignored(ignore_class)))
    return dataclasses.replace(head, loss=loss)


def find_head(model: Any, outputs: Sequence[Output], head: str | None) -> KerasHead:
    """Find the classification head of a model.

    Parameters
    ----------
    model : keras.Model
        A built and compiled model.
    outputs : sequence of Output
        Outputs of the model.
    head : str or None
        Name of an output or a layer; None to search for the only head.

    Returns
    -------
    KerasHead

    Raises
    ------
    UnknownNameError
        If `head` names nothing.
    UnsupportedModelError
        If the model has no head or several, or a head whose gradient does not depend on the labels as a softmax's.
    """
    tensors = [output.tensor for output in outputs]
    walks = [walk_back(output, model, tensors) for output in outputs]
    losses = [loss_facts(loss_of(model, output.path, output.names, output.index)) for output in outputs]
    if head is None:
        index = _only_output(model, outputs, walks, losses)
        walk = walks[index]
        layer = walk.layer if walk.layer is not None else _by_units(model, outputs[index], walk)
    else:
        index, layer = _named(model, outputs, walks, head)
        walk = walks[index]
    known = walk.layer is layer
    if known and walk.product is not None:
        kernel, order, bias = walk.product.kernel, walk.product.order, walk.bias
    else:
        order, kernel, bias = _variables(layer)
    tied = is_table(layer, kernel)
    classes = int(kernel.shape[order[-1]])
    output, loss = outputs[index], losses[index]
    activations = (
        walk.activations if known else [str(getattr(getattr(layer, "activation", None), "__name__", "linear"))]
    )
    bare = {name for name in activations if name != "linear"}
    sigmoid = loss.targets == "binary" and (bare == {"sigmoid"} or (not bare and known and loss.sigmoid))
    _refuse(model, layer, kernel, classes, output, walk if known else None, sigmoid=sigmoid)
    inner = [name for name in activations if name not in ("linear", "softmax", "log_softmax")]
    softmax = not inner and (any("softmax" in name for name in activations) or (known and loss.softmax))
    if tied and not softmax and not sigmoid:
        raise UnsupportedModelError(
            f"the head {layer.name!r} of model {model.name!r} is tied to the embedding, and nothing shows that its "
            f"logits go through a softmax: {', '.join(inner) or 'no softmax'} lies between them and the loss "
            f"{loss.name!r}. End in a softmax, compile a crossentropy with from_logits=True, or {BY_HAND}."
        )
    return KerasHead(
        layer=layer,
        output=output,
        loss=loss,
        kernel=kernel,
        bias=bias,
        order=order,
        classes=classes,
        softmax=softmax,
        tied=tied,
        sigmoid=sigmoid,
    )


def _only_output(model: Any, outputs: Sequence[Output], walks: Sequence[Walk], losses: Sequence[LossFacts]) -> int:
    """Return the index of the only output that classifies, recognised by its activation or its loss."""
    if len(outputs) == 1:
        return 0
    likely = [
        index
        for index, (walk, loss) in enumerate(zip(walks, losses, strict=True))
        if loss.name != "none" and (loss.targets != "unknown" or any("softmax" in name for name in walk.activations))
    ]
    if len(likely) == 1:
        return likely[0]
    names = ", ".join(repr(output.names[0]) for output in outputs)
    raise UnsupportedModelError(
        f"model {model.name!r} has {len(outputs)} outputs ({names}), of which {len(likely)} look like classifiers. "
        f"Say which one to audit with head='name', e.g. head={outputs[(likely or [0])[0]].names[0]!r}."
    )


def _candidates(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers(include_self=False) if dense_like(layer) and layer.built]


def _units(layer: Any) -> int:
    order, kernel, _ = _variables(layer)
    return int(kernel.shape[order[-1]])


def _by_units(model: Any, output: Output, walk: Walk) -> Any:
    """Return the only layer with one unit per class of the output; for models whose code gives no graph."""
    if walk.blocked != "code without a graph":
        raise UnsupportedModelError(
            f"model {model.name!r}: looking for the head behind output {output.names[0]!r} ended at {walk.blocked}, "
            "not at a Dense, EinsumDense or convolution kernel whose output feeds the softmax. If such a layer makes "
            f"the logits, name it with head='layer name'; otherwise {BY_HAND}."
        )
    classes = output.tensor.shape[-1]
    found = [layer for layer in _candidates(model) if _readable(layer) and _units(layer) == classes]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnsupportedModelError(
            f"model {model.name!r} has no Dense, EinsumDense or convolution layer with {classes} units, as many as its "
            f"output has entries. Name the head with head='layer name', or {BY_HAND}."
        )
    names = ", ".join(repr(layer.name) for layer in found)
    raise UnsupportedModelError(
        f"model {model.name!r} has {len(found)} layers with {classes} units, as many as its output has entries: "
        f"{names}. Its Python code hides which one makes the logits; say head='name'."
    )


def _readable(layer: Any) -> bool:
    try:
        _variables(layer)
    except UnsupportedModelError:
        return False
    return True


def _named(model: Any, outputs: Sequence[Output], walks: Sequence[Walk], head: str) -> tuple[int, Any]:
    """Return the output and the layer that the user names: `head` is the name of an output or of a layer."""
    for index, output in enumerate(outputs):
        if head in output.names:
            walk = walks[index]
            return index, walk.layer if walk.layer is not None else _by_units(model, output, walk)
    layers = list(model._flatten_layers(include_self=False))
    found = [layer for layer in layers if head in (layer.name, layer.path)]
    found = [layer for layer in found if dense_like(getattr(layer, "layer", layer))] or found
    if len(found) > 1:
        paths = ", ".join(repr(layer.path) for layer in found)
        raise UnsupportedModelError(
            f"head={quoted(head)} names {len(found)} layers of model {model.name!r}. Use one of {paths}."
        )
    if not found:
        known = sorted({name for output in outputs for name in output.names})
        dense = [layer.name for layer in layers if dense_like(layer)]
        raise UnknownNameError(
            f"head={quoted(head)} is neither an output nor a layer of model {model.name!r}. "
            f"Expected one of the outputs {known} or of the layers {dense}."
        )
    layer = found[0]
    if type(layer).__name__ == "TimeDistributed":
        layer = layer.layer
    if not dense_like(layer) and not any(walk.layer is layer for walk in walks):
        raise UnsupportedModelError(
            f"head={quoted(head)} is a {type(layer).__name__} layer. Expected a Dense, EinsumDense or convolution "
            f"layer, whose kernel makes the logits; otherwise {BY_HAND}."
        )
    feeding = [index for index, walk in enumerate(walks) if walk.layer is layer]
    if not feeding and len(outputs) == 1:
        feeding = [0]
    if len(feeding) != 1:
        names = ", ".join(repr(output.names[0]) for output in outputs)
        raise UnsupportedModelError(
            f"head={quoted(head)} feeds {len(feeding)} of the outputs of model {model.name!r} directly. Expected "
            f"exactly one: name the output instead, one of {names}."
        )
    return feeding[0], layer


def _variables(layer: Any) -> tuple[tuple[int, ...], Any, Any]:
    """Return the order of the kernel's axes (classes last), the kernel and the bias."""
    where = f"layer {layer.name!r} ({type(layer).__name__})"
    if getattr(layer, "quantization_mode", None) is not None:
        raise UnsupportedModelError(
            f"{where} is quantised ({layer.quantization_mode}): its kernel is not trained by gradient. "
            f"Audit the model before quantisation, or {BY_HAND}."
        )
    if getattr(layer, "lora_enabled", False):
        raise UnsupportedModelError(
            f"{where} has LoRA enabled: the shared gradients are those of its two factors, and no attack here reads "
            f"them. Audit the model without LoRA on its head, or {BY_HAND}."
        )
    kernel, bias = getattr(layer, "_kernel", None), getattr(layer, "bias", None)
    if kernel is None:
        raise UnsupportedModelError(f"{where} has no kernel variable. Build the model first, or {BY_HAND}.")
    axes = tuple(range(len(kernel.shape)))
    order = axes
    if hasattr(layer, "equation"):
        inputs, _, result = layer.equation.replace(" ", "").partition("->")
        weights = inputs.rpartition(",")[2]
        last = weights.find(result[-1])
        if last < 0 or any(letter in result for letter in weights if letter != result[-1]):
            raise UnsupportedModelError(
                f"{where} with equation {layer.equation!r} is no map from features to classes. Expected one whose "
                f"kernel shares only the last output axis, such as '...d,dc->...c'; otherwise {BY_HAND}."
            )
        order = (*(axis for axis in axes if axis != last), last)
    if getattr(layer, "groups", 1) != 1:
        raise UnsupportedModelError(
            f"{where} is a convolution in {layer.groups} groups: no class sees all features. Use head='name' for "
            f"another layer, or {BY_HAND}."
        )
    if bias is not None and tuple(bias.shape) != (kernel.shape[order[-1]],):
        bias = None  # one bias per position is no bias of a class
    return order, kernel, bias


def _refuse(
    model: Any, layer: Any, kernel: Any, classes: int, output: Output, walk: Walk | None, *, sigmoid: bool
) -> None:
    """Raise for a head whose gradient is missing, or does not come from one activation over the classes."""
    where = f"the head {layer.name!r} ({type(layer).__name__}) of model {model.name!r}"
    if classes < 2 and not sigmoid:
        raise UnsupportedModelError(
            f"{where} has {classes} unit. Expected a softmax head with at least 2 classes, or a sigmoid unit with a "
            f"binary_crossentropy. Use head='name' for another output, or {BY_HAND}."
        )
    if not any(variable is kernel for variable in model.trainable_variables):
        raise UnsupportedModelError(
            f"{where} is frozen (trainable=False): its gradient is never shared. Audit the layer that is trained, with "
            "head='name', or set trainable=True and compile again."
        )
    holders = [other for other in model._flatten_layers() if any(v is kernel for v in other._trainable_variables)]
    owners = [other.name for other in holders]
    wrapper = next((other for other in holders if other is not layer and getattr(other, "layer", None) is layer), None)
    if wrapper is not None and len(holders) == 2:
        raise UnsupportedModelError(
            f"{where} is inside the wrapper {wrapper.name!r} ({type(wrapper).__name__}), which keeps the kernel of its "
            "layer and may replace it by a function of it, as weight normalisation and spectral normalisation do: the "
            "gradient of a step is then that of the replaced kernel. Audit the model without the wrapper, or "
            f"{BY_HAND}."
        )
    if not is_table(layer, kernel) and (len(owners) > 1 or (walk is not None and walk.uses > 1)):
        uses = f"shared by the layers {owners}" if len(owners) > 1 else "called several times"
        raise UnsupportedModelError(
            f"{where} is {uses}: its gradient is a sum over all of its uses, of which the labels explain one. "
            f"Untie the weights for the audit, or {BY_HAND}."
        )
    width = output.tensor.shape[-1]
    if walk is not None and width is not None and int(width) != classes:
        raise UnsupportedModelError(
            f"{where} has {classes} units, but output {output.names[0]!r} has {width} entries: they are not one "
            f"softmax over the classes. Name the layer that makes the logits with head='name', or {BY_HAND}."
        )
