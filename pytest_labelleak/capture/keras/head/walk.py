"""The walk from an output of a Keras model back to the layer that makes its logits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .graph import Output, dense_like, graph_of, trace
from .product import Product, addend_of, is_scalar, product_of, reversed_embedding, shifted_by_constant

__all__ = ["Walk", "walk_back"]

#: Layers and operations that pass logits or probabilities on, class by class. The walk notes each softmax.
_TRANSPARENT = {
    *("activation", "softmax", "logsoftmax", "flatten", "reshape", "permute", "identity", "repeatvector", "cropping1d"),
    *("globalaveragepooling1d", "globalaveragepooling2d", "globalaveragepooling3d"),
    *("averagepooling1d", "averagepooling2d", "averagepooling3d", "averagepool", "mean"),
    *("activityregularization", "cast", "squeeze", "expanddims", "transpose", "log"),
}
#: Layers and operations that may treat classes differently (a mask, a vector of scales, a slice). The gradient then
#: shows whether the head feeds a softmax.
_DOUBTFUL = {
    *("dropout", "spatialdropout1d", "spatialdropout2d", "spatialdropout3d", "rescaling"),
    *("truedivide", "divide", "multiply", "negative", "getitem", "clip"),
}
#: Doubtful operations that are harmless where they scale all classes by one number: the softmax stays a softmax.
_SCALING = {"truedivide", "divide", "multiply"}
#: Bound on the length of a walk, against graphs with a circle.
_MOST_STEPS = 200


@dataclass(slots=True, kw_only=True, eq=False)
class Walk:
    """The way from an output back to its head.

    Attributes
    ----------
    layer : keras.Layer or None
        The layer that holds the head's kernel; None for a walk that was blocked.
    owner : keras.Layer or None
        The layer as the user knows it: a wrapper such as TimeDistributed, or `layer` itself.
    activations : list of str
        Names of the activations on the way, output first.
    blocked : str
        For a message: the operation that the walk could not pass.
    uses : int
        Number of calls of the head in the model.
    product : Product or None
        The product that makes the logits, where it is written without a Dense layer.
    bias : keras.Variable or None
        The vector that is added to the product.
    """

    layer: Any = None
    owner: Any = None
    activations: list[str] = field(default_factory=list)
    blocked: str = ""
    uses: int = 1
    product: Product | None = None
    bias: Any = None


def walk_back(output: Output, model: Any, siblings: list[Any]) -> Walk:
    """Follow one output back to its head.

    Parameters
    ----------
    output : Output
        The output at which the walk begins.
    model : keras.Model
        The model of the output.
    siblings : list of keras.KerasTensor
        All outputs of the model.

    Returns
    -------
    Walk
        The walk, with a layer at its end or with the operation that blocked it.
    """
    walk = Walk()
    tensor = output.tensor
    #: Maps a symbolic input inside a nested model to the tensor that the outer model feeds to it.
    outside: dict[int, Any] = {}
    graph = graph_of(model)
    #: Output tensors of the graphs entered so far, innermost last.
    containers = [siblings]
    for _ in range(_MOST_STEPS):
        if id(tensor) in outside:
            tensor = outside.pop(id(tensor))
            containers.pop()
            continue
        history: Any = getattr(tensor, "_keras_history", None)
        operation = None if history is None else history.operation
        if operation is None or type(operation).__name__ == "InputLayer":
            walk.blocked = "the model's input" if graph is not None or operation is not None else "code without a graph"
            return walk
        node = operation._inbound_nodes[history.node_index]
        kind = type(operation).__name__
        layer = operation.layer if kind == "TimeDistributed" else operation
        if dense_like(layer):
            walk.layer, walk.owner = layer, operation
            walk.activations.append(_name(getattr(layer, "activation", None)))
            walk.uses = max(walk.uses, _calls(operation, containers[-1]))
            return walk
        walk.product = reversed_embedding(operation, node) or product_of(operation, node, model.trainable_variables)
        if walk.product is not None:
            walk.layer = walk.owner = _holder(model, walk.product.kernel)
            if getattr(operation, "logit_soft_cap", None) is not None:
                walk.activations.append("soft cap")
            return walk
        nested = graph_of(operation)
        if nested is not None:
            walk.uses = max(walk.uses, _calls(operation, containers[-1]))
            outside |= dict(zip(map(id, nested._inputs), node.input_tensors, strict=False))
            containers.append(list(nested.outputs))
            tensor = nested.outputs[history.tensor_index]
            continue
        if kind.lower() in _TRANSPARENT and len(node.input_tensors) == 1:
            if kind.lower() in ("softmax", "logsoftmax"):
                walk.activations.append("softmax")
            elif kind == "Activation":
                walk.activations.append(_name(operation.activation))
            tensor = node.input_tensors[0]
            continue
        if kind.lower() in _DOUBTFUL and len(node.input_tensors) == 1:
            if kind.lower() not in _SCALING or not is_scalar(node):
                walk.activations.append(kind.lower())
            tensor = node.input_tensors[0]
            continue
        addend = addend_of(node, model.trainable_variables) if kind == "Add" and walk.bias is None else None
        if addend is not None:
            tensor, walk.bias = addend
            continue
        shifted = shifted_by_constant(operation, node)
        if shifted is not None:
            tensor = shifted
            continue
        inner = _expand(operation, node) if _is_code(operation) else None
        if inner is None and kind == "Lambda" and len(node.input_tensors) == 1:
            # A function that cannot be traced: the gradient then shows whether the head feeds a softmax.
            walk.activations.append("lambda")
            tensor = node.input_tensors[0]
            continue
        if inner is not None:
            walk.uses = max(walk.uses, _calls(operation, containers[-1]))
            outside |= inner[0]
            containers.append(inner[1])
            tensor = inner[1][history.tensor_index]
            continue
        walk.blocked = f"{getattr(operation, 'name', kind)!r} ({kind})"
        return walk
    walk.blocked = "a graph that does not end"
    return walk


def _calls(operation: Any, outputs: list[Any]) -> int:
    """Count the calls of a layer in the graph that leads to `outputs`."""
    nodes: dict[int, Any] = {}
    waiting = list(outputs)
    while waiting:
        history = getattr(waiting.pop(), "_keras_history", None)
        if history is None or history.operation is None:
            continue
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in nodes:
            nodes[id(node)] = node
            waiting += node.input_tensors
    return sum(1 for node in nodes.values() if node.operation is operation)


def _holder(model: Any, variable: Any) -> Any:
    """Return the layer that holds a variable, or the model itself."""
    for layer in model._flatten_layers():
        if any(own is variable for own in layer._trainable_variables):
            return layer
    return model


def _is_code(operation: Any) -> bool:
    """Tell whether a layer consists of other layers or of the user's own code."""
    import keras

    if isinstance(operation, keras.layers.Lambda):
        return True
    own = isinstance(operation, keras.Layer) and type(operation).__module__.partition(".")[0] != "keras"
    return own or bool(getattr(operation, "_layers", None))


def _expand(operation: Any, node: Any) -> tuple[dict[int, Any], list[Any]] | None:
    """Trace a subclassed layer inside a graph; return the outer tensors by id of the inner inputs, and the outputs."""
    import keras

    outside: dict[int, Any] = {}

    def inner(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        fresh = keras.KerasTensor(value.shape, value.dtype)
        outside[id(fresh)] = value
        kept.append(fresh)
        return fresh

    kept: list[Any] = []
    args, options = node.arguments.convert(inner)
    result = trace(operation, args, options)
    if result is None:
        return None
    # Ids are unique among living objects only; the traced graph keeps the fresh tensors alive.
    return outside, keras.tree.flatten(result)


def _name(activation: Any) -> str:
    if activation is None:
        return "linear"
    return str(getattr(activation, "__name__", None) or getattr(activation, "name", type(activation).__name__)).lower()
