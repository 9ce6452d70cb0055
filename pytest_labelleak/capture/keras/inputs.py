"""A Keras model and a batch made ready: compiled, built, of fitting shapes, and run without quoting the batch."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ...core.errors import InvalidArgumentError, UnsupportedModelError
from ..arrays import BY_HAND
from .batch import Batch, describe, unpack
from .head.graph import build, graph_of
from .loss import overrides_compute_loss

__all__ = ["guarded", "prepare", "tensors"]

_T = TypeVar("_T")
#: Start of Keras' message about an input of a shape that a layer does not take.
_MISFIT = re.compile(r"""Input .{1,80}? ?of layer ["']([^"']+)["'] is incompatible""")


def prepare(model: Any, batch: Any) -> Batch:
    """Check that the model can be captured, take the batch apart, and build the model if it is not built yet.

    Parameters
    ----------
    model : keras.Model
        The user's model.
    batch : object
        The user's batch.

    Returns
    -------
    Batch
        The batch; its inputs fit the model, as far as the model's graph shows.

    Raises
    ------
    InvalidArgumentError, UnsupportedModelError
        If the batch or the model has a defect; the message names it.
    """
    import keras

    who = f"model {model.name!r}"
    if not model.compiled:
        raise UnsupportedModelError(
            f"{who} is not compiled, so it has no loss. Call model.compile(optimizer, loss) first."
        )
    # Keras has one train_step for each backend. A wrapper for private training replaces that of the instance.
    if getattr(model.train_step, "__func__", None) is not keras.Model.train_step:
        whose = ": the instance replaces" if "train_step" in vars(model) else f" ({type(model).__name__}) overrides"
        raise UnsupportedModelError(
            f"{who}{whose} train_step, so it may not train on its compiled loss, and may change the gradient before "
            f"it is applied or shared. Override compute_loss instead, which is honoured here, or {BY_HAND}."
        )
    if getattr(model, "_compile_loss", None) is None and not overrides_compute_loss(model):
        raise UnsupportedModelError(f"{who} is compiled without a loss. Call model.compile(optimizer, loss=...) first.")
    data = unpack(batch)
    if not all(layer.built for layer in model._flatten_layers()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            guarded(model, data, lambda: build(model, data.x))
    _check_inputs(model, data)
    return data


def _check_inputs(model: Any, data: Batch) -> None:
    """Compare the shapes of the inputs with those of the graph; a framework's own message would quote the batch."""
    import keras

    graph = graph_of(model)
    if graph is None:
        return
    expected = keras.tree.flatten(graph._inputs_struct)
    given = keras.tree.flatten(data.x)
    text = f"Expected {', '.join(f'{t.name} {tuple(t.shape)}' for t in expected)}; given {describe(data.x)}."
    if len(expected) != len(given):
        raise InvalidArgumentError(f"x has {len(given)} array(s), model {model.name!r} takes {len(expected)}. {text}")
    if isinstance(data.x, dict) and isinstance(graph._inputs_struct, dict):
        given = [data.x.get(name) for name in graph._inputs_struct]
        expected = list(graph._inputs_struct.values())
    for tensor, array in zip(expected, given, strict=True):
        if array is None:
            continue
        shape, wanted = array.shape, tuple(tensor.shape)
        # Keras itself adds or drops a last axis of length 1.
        if len(shape) == len(wanted) + 1 and shape[-1] == 1:
            shape = shape[:-1]
        elif len(shape) == len(wanted) - 1 and wanted[-1] == 1:
            shape = (*shape, 1)
        fits = len(shape) == len(wanted) and all(
            w is None or w == s for w, s in zip(wanted[1:], shape[1:], strict=True)
        )
        if not fits:
            raise InvalidArgumentError(f"x does not fit the inputs of model {model.name!r}. {text}")


def tensors(data: Any) -> Any:
    """Convert arrays to tensors of the backend as ``fit`` does: float64 becomes Keras' float type.

    Parameters
    ----------
    data : nested structure of ndarray or None
        Arrays of one batch.

    Returns
    -------
    nested structure of tensor or None
        Tensors on the backend's default device.
    """
    import keras

    def convert(array: Any) -> Any:
        if array is None:
            return None
        if array.dtype.kind in "US":
            return keras.ops.convert_to_tensor(array) if keras.backend.backend() == "tensorflow" else array
        dtype = keras.config.floatx() if array.dtype == np.float64 else None
        return keras.ops.convert_to_tensor(array, dtype=dtype)

    return keras.tree.map_structure(convert, data)


def guarded(model: Any, data: Batch, function: Callable[[], _T]) -> _T:
    """Run code that calls a framework, and replace its exceptions by errors that quote no data.

    Parameters
    ----------
    model : keras.Model
        The model, which the message names.
    data : Batch
        The batch, of which the message gives the shapes.
    function : callable
        The code.

    Returns
    -------
    object
        Result of `function`.

    Raises
    ------
    InvalidArgumentError
        If a layer does not take the shape of its input.
    UnsupportedModelError
        If `function` raises another exception.
    """
    import keras

    try:
        return function()
    except (InvalidArgumentError, UnsupportedModelError):
        raise
    except Exception as error:
        kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
        misfit = _MISFIT.search(str(error))
    # The error is raised outside of the handler: a chained exception would print the framework's message with labels.
    shapes = f"x {describe(data.x)}, y {describe(data.y)}"
    if misfit is not None:
        layer = next((layer for layer in model._flatten_layers() if layer.name == misfit[1]), None)
        raise InvalidArgumentError(
            f"x does not fit layer {misfit[1]!r} of model {model.name!r}. "
            f"Expected {getattr(layer, 'input_spec', None)}; given {shapes}."
        )
    raise UnsupportedModelError(
        f"running model {model.name!r} on the {keras.backend.backend()} backend failed with {kind} (in {place.name}, "
        f"line {place.lineno} of {place.filename}). Given {shapes}. Its message is not repeated here because it may "
        "quote the batch: call model.train_on_batch(x, y) on the same data to read it."
    )
