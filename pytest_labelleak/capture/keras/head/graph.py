"""The outputs of a Keras model: symbolic tensors, and the graph that leads to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Output", "build", "dense_like", "graph_of", "outputs_of", "symbolic", "trace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Output:
    """One output of a model.

    Attributes
    ----------
    index : int
        Position among the flattened outputs.
    path : tuple
        Keys that lead to the output in the nested structure of outputs.
    names : tuple of str
        Names by which a user may call the output.
    tensor : keras.KerasTensor
        Symbolic tensor; it has a history where the model has a graph.
    """

    index: int
    path: tuple[Any, ...]
    names: tuple[str, ...]
    tensor: Any


def symbolic(value: Any) -> Any:
    """Return KerasTensors with the shapes and dtypes of a nested structure, for any number of samples.

    Parameters
    ----------
    value : ndarray or nested structure

    Returns
    -------
    keras.KerasTensor or nested structure
        Symbolic tensors; their first dimension is None.
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
    """Return the Functional model whose graph `model` executes.

    Parameters
    ----------
    model : object
        A model, a layer or an operation.

    Returns
    -------
    keras.Model or None
        None where Python code decides which operations are executed.
    """
    from keras.src.models.functional import Functional

    if type(model).__name__ == "Sequential" and getattr(model, "_functional", None) is not None:
        model = model._functional
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def outputs_of(model: Any, x: Any) -> list[Output]:
    """Return the outputs of `model`.

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
        Outputs of the model, without a graph.
    """
    from keras.src import backend

    options = {"training": False} if model._call_has_training_arg else {}
    return backend.compute_output_spec(model, symbolic(x), **options)


def trace(layer: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run the Python code of a subclassed layer on symbolic tensors, which records a graph.

    Parameters
    ----------
    layer : keras.Layer
        A built layer.
    args, options : tuple, dict
        Arguments of the layer's ``call``.

    Returns
    -------
    keras.KerasTensor, nested structure or None
        Outputs of the layer; None where its code cannot run on symbolic tensors.
    """
    import keras

    try:
        # The layer's code may count its calls or draw seeds: the scope records the assignments without applying them.
        with keras.StatelessScope():
            return layer.call(*args, **options)
    except Exception:
        # Code that calls a framework directly cannot run on symbolic tensors. The caller then uses `build`.
        return None


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
