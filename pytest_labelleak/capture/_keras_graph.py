"""Walk from a Keras model's output back to the layer that makes its logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Output", "Walk", "dense_like", "outputs_of", "symbolic", "walk_back"]

#: Layers and operations that hand logits or probabilities on, class by class. Softmax is noted on the way.
_TRANSPARENT = {
    *("activation", "softmax", "logsoftmax", "flatten", "reshape", "permute", "identity", "repeatvector", "cropping1d"),
    *("globalaveragepooling1d", "globalaveragepooling2d", "globalaveragepooling3d"),
    *("averagepooling1d", "averagepooling2d", "averagepooling3d", "averagepool", "mean"),
    *("dropout", "spatialdropout1d", "spatialdropout2d", "spatialdropout3d", "activityregularization", "rescaling"),
    *("cast", "squeeze", "expanddims", "transpose", "getitem", "stopgradient", "log"),
    *("truedivide", "divide", "multiply", "negative"),
}
_MOST_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Output:
    """One output of a model.

    Attributes
    ----------
    index : int
        Position among the flattened outputs.
    path : tuple
        Keys that lead to it in the output's structure.
    names : tuple of str
        Names a user may call it by.
    tensor : keras.KerasTensor
        Symbolic; with its history where the model has a graph.
    """

    index: int
    path: tuple[Any, ...]
    names: tuple[str, ...]
    tensor: Any


@dataclass(slots=True, kw_only=True, eq=False)
class Walk:
    """What lies between an output and its head.

    Attributes
    ----------
    layer : keras.Layer or None
        The layer that holds the head's kernel, where the walk ended at one.
    owner : keras.Layer or None
        The layer as the user knows it: a wrapper such as TimeDistributed, or `layer` itself.
    activations : list of str
        Names of the activations passed on the way, output first.
    blocked : str
        What the walk ended at otherwise, for a message.
    uses : int
        How often the head is called in the model.
    """

    layer: Any = None
    owner: Any = None
    activations: list[str] = field(default_factory=list)
    blocked: str = ""
    uses: int = 1


def symbolic(value: Any) -> Any:
    """Return KerasTensors of the shapes and dtypes of a nested structure, with any number of samples.

    Parameters
    ----------
    value : ndarray or nested structure

    Returns
    -------
    keras.KerasTensor or nested structure
        First dimension None.
    """
    import keras

    return keras.tree.map_structure(
        lambda array: (
            None
            if array is None
            else keras.KerasTensor((None, *array.shape[1:]), keras.backend.standardize_dtype(array.dtype))
        ),
        value,
    )


def graph_of(model: Any) -> Any:
    """Return the Functional model whose graph `model` executes, or None."""
    from keras.src.models.functional import Functional

    if type(model).__name__ == "Sequential" and getattr(model, "_functional", None) is not None:
        model = model._functional
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def outputs_of(model: Any, x: Any) -> list[Output]:
    """List the outputs of `model`.

    Parameters
    ----------
    model : keras.Model
        A built model.
    x : ndarray or nested structure
        A batch of inputs, of which only shapes and dtypes are used.

    Returns
    -------
    list of Output
        In the order of the flattened outputs.
    """
    import keras

    graph = graph_of(model)
    if graph is not None:
        structure = graph._outputs_struct
        names = list(graph.output_names)
    else:
        inputs = symbolic(x)
        structure = trace(model, (inputs,), {})
        if structure is None:
            structure = build(model, x)
        names = list(getattr(model, "output_names", None) or [])
    flat = keras.tree.flatten_with_path(structure)
    found = []
    for index, (path, tensor) in enumerate(flat):
        own = [names[index]] if len(names) == len(flat) else []
        own += [key for key in path if isinstance(key, str) and key not in own]
        found.append(Output(index=index, path=tuple(path), names=tuple(own or [f"output_{index}"]), tensor=tensor))
    return found


def build(model: Any, x: Any) -> Any:
    """Run `model` on symbolic inputs as ``fit`` does before its first step, which creates missing variables.

    Parameters
    ----------
    model : keras.Model
        The model.
    x : ndarray or nested structure
        A batch of inputs, of which only shapes and dtypes are used.

    Returns
    -------
    keras.KerasTensor or nested structure
        Its outputs, without a graph.
    """
    from keras.src import backend

    options = {"training": False} if model._call_has_training_arg else {}
    return backend.compute_output_spec(model, symbolic(x), **options)


def trace(layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run the Python code of a subclassed layer on symbolic tensors, which records a graph; None where it cannot."""
    try:
        return layer.call(*args, **options)
    except Exception:
        # Code that uses its framework directly cannot run symbolically. The caller has other means.
        return None


def walk_back(output: Output, model: Any, siblings: list[Any]) -> Walk:
    """Follow one output back to its head.

    Parameters
    ----------
    output : Output
        Where to begin.
    model : keras.Model
        Its model.
    siblings : list of keras.KerasTensor
        All outputs of the model.

    Returns
    -------
    Walk
        Ending at a layer, or saying what it was blocked by.
    """
    walk = Walk()
    tensor = output.tensor
    #: From a symbolic input inside a nested model to the tensor that the outer model feeds it.
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
        inner = _expand(operation, node) if getattr(operation, "_layers", None) else None
        if inner is not None:
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


def _expand(operation: Any, node: Any) -> tuple[dict[int, Any], list[Any]] | None:
    """Trace a subclassed layer inside a graph: its inner inputs by id, and its inner outputs."""
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
    # Ids are only unique among living objects: the fresh tensors live on in the graph they start.
    return outside, keras.tree.flatten(result)


def _name(activation: Any) -> str:
    if activation is None:
        return "linear"
    return str(getattr(activation, "__name__", None) or getattr(activation, "name", type(activation).__name__)).lower()


def dense_like(layer: Any) -> bool:
    """Tell whether a layer multiplies features by a kernel with one column per class.

    Parameters
    ----------
    layer : object
        A layer or operation.

    Returns
    -------
    bool
        True for Dense, EinsumDense and convolutions, and their subclasses.
    """
    import keras

    kinds = (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
    )
    return isinstance(layer, kinds)


def layers_in(model: Any) -> Iterator[Any]:
    """Yield every layer of a model, nested ones included, in the order of their creation where Keras keeps it."""
    yield from model._flatten_layers(include_self=False)
