"""The adapter for Keras 3 models on TensorFlow, JAX and torch."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ..errors import InvalidArgumentError, UnsupportedModelError
from ..update import Head, Update
from ..verdict import Truth
from ._keras_batch import Batch, describe, unpack
from ._keras_gradient import NotScalarError, Step, penalty_gradient, step_gradient
from ._keras_graph import build, graph_of, outputs_of
from ._keras_head import KerasHead, find_head
from ._keras_loss import overrides_compute_loss
from ._keras_state import untouched
from ._keras_truth import class_weights, truth_of

__all__ = ["KerasAdapter"]

_T = TypeVar("_T")

#: A loss scale of 2**15 that overflows is halved at most this often: down to 2**-17.
_MOST_HALVINGS = 32
#: Row sums of a softmax head's gradient, relative to its size, as a multiple of the unit roundoff.
_ROW_SUM = {"float64": 1e-9, "float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
_BY_HAND = "compute the gradient yourself and pass Update.from_arrays(kernel_gradient=...) instead of the model"


class KerasAdapter:
    """Captures the gradient of a Keras model's own compiled loss.

    The model is left bit-identical: weights, optimizer, metrics, BatchNormalization statistics, seed generators and
    global random states. The one exception is a model that is not built yet: it is built, as ``fit`` would.
    """

    name = "keras"

    def capture(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ) -> Update:
        """Compute the gradient that one training step of `model` on `batch` would share.

        Parameters
        ----------
        model : keras.Model
            Compiled.
        batch : tuple or dict
            ``(x, y)``, ``(x, y, sample_weight)`` or a dict with these keys.
        head : str, optional
            Name of an output or of the layer that makes the logits.
        training : bool, default True
            Mode of the forward pass.
        class_weight : mapping of int to float, optional
            As in ``fit``.

        Returns
        -------
        Update
            With the gradient of every trainable variable, by path.

        Raises
        ------
        InvalidArgumentError
            If the batch does not fit the model.
        UnknownNameError
            If `head` names nothing.
        UnsupportedModelError
            If the model's gradient cannot be captured, or says nothing about classes.
        """
        data = _prepare(model, batch)
        with untouched(model):
            outputs = _guarded(model, data, lambda: outputs_of(model, data.x))
            found = find_head(model, outputs, head)
            weight = class_weights(data.y, data.sample_weight, class_weight, found.classes)
            truth_of(data, found, weight, outputs=len(outputs))  # for its checks: frameworks quote a wrong label
            if not data.size:
                raise InvalidArgumentError("the batch is empty. Expected at least one sample.")
            x, y, weight = _tensors(model, (data.x, data.y, weight))
            step = _differentiate(model, data, lambda: _scaled_step(model, x, y, weight, training))
            return _update(model, found, step)

    def labels(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Truth:
        """Return the labels of `batch`, positions of weight zero left out.

        Parameters
        ----------
        model : keras.Model
            Compiled.
        batch : tuple or dict
            As for `capture`.
        head : str, optional
            As for `capture`.
        class_weight : mapping of int to float, optional
            As for `capture`.

        Returns
        -------
        Truth
            Empty for an empty batch.

        Raises
        ------
        InvalidArgumentError
            If y does not hold labels.
        UnknownNameError, UnsupportedModelError
            As for `capture`.
        """
        data = _prepare(model, batch)
        with untouched(model):
            outputs = _guarded(model, data, lambda: outputs_of(model, data.x))
            found = find_head(model, outputs, head)
            weight = class_weights(data.y, data.sample_weight, class_weight, found.classes)
            mask = _mask(model, data, found) if data.size else None
            return truth_of(data, found, weight, outputs=len(outputs), mask=mask)


def _prepare(model: Any, batch: Any) -> Batch:
    import keras

    who = f"model {model.name!r}"
    if not model.compiled:
        raise UnsupportedModelError(
            f"{who} is not compiled, so it has no loss. Call model.compile(optimizer, loss) first."
        )
    if type(model).train_step is not keras.Model.train_step:
        raise UnsupportedModelError(
            f"{who} ({type(model).__name__}) overrides train_step, so its compiled loss may not be what it trains on. "
            f"Override compute_loss instead, which is honoured here, or {_BY_HAND}."
        )
    if getattr(model, "_compile_loss", None) is None and not overrides_compute_loss(model):
        raise UnsupportedModelError(f"{who} is compiled without a loss. Call model.compile(optimizer, loss=...) first.")
    data = unpack(batch)
    if not all(layer.built for layer in model._flatten_layers()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _guarded(model, data, lambda: build(model, data.x))
    _check_inputs(model, data)
    return data


def _check_inputs(model: Any, data: Batch) -> None:
    """Compare the inputs with those of a graph, before a framework does so in its own words."""
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


def _tensors(model: Any, data: Any) -> Any:
    """Convert to the backend's tensors as ``fit`` does: float64 becomes Keras' float type."""
    import keras

    def convert(array: Any) -> Any:
        if array is None:
            return None
        if array.dtype.kind in "US":
            return keras.ops.convert_to_tensor(array) if keras.backend.backend() == "tensorflow" else array
        dtype = keras.config.floatx() if array.dtype == np.float64 else None
        return keras.ops.convert_to_tensor(array, dtype=dtype)

    return keras.tree.map_structure(convert, data)


def _scaled_step(model: Any, x: Any, y: Any, weight: Any, training: bool) -> Step:
    """Differentiate with the optimizer's loss scale, lowered as dynamic loss scaling does until nothing overflows.

    A step that overflows is skipped in training, and nothing of it is shared: the first one that does not is.
    """
    import keras

    optimizer = getattr(model, "optimizer", None)
    scale = 1.0
    if optimizer is not None:
        scale = float(keras.ops.convert_to_numpy(optimizer.scale_loss(keras.ops.ones(()))))
    dynamic = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    step = step_gradient(model, x, y, weight, training=training, scale=scale)
    for _ in range(_MOST_HALVINGS):
        if step.finite or not step.loss_finite or not dynamic:
            break
        scale /= 2.0
        step = step_gradient(model, x, y, weight, training=training, scale=scale)
    return step


def _differentiate(model: Any, data: Batch, function: Callable[[], Step]) -> Step:
    import keras

    try:
        return _guarded(model, data, function)
    except NotScalarError:
        pass
    raise UnsupportedModelError(
        f"the loss of model {model.name!r} is not a scalar, which the {keras.backend.backend()} backend cannot "
        "differentiate. Compile it with a loss whose reduction is 'sum_over_batch_size' or 'sum'."
    )


def _guarded(model: Any, data: Batch, function: Callable[[], _T]) -> _T:
    """Run code that calls a framework; what it raises becomes an error that quotes nothing of the data."""
    import keras

    try:
        return function()
    except (InvalidArgumentError, UnsupportedModelError, NotScalarError):
        raise
    except Exception as error:
        kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
    # Raised outside of the handler: a chained exception would print the framework's message, labels and all.
    raise UnsupportedModelError(
        f"running model {model.name!r} on the {keras.backend.backend()} backend failed with {kind} (in {place.name}, "
        f"line {place.lineno} of {place.filename}). Given x {describe(data.x)}, y {describe(data.y)}. Its message is "
        "not repeated here because it may quote the batch: call model.train_on_batch(x, y) on the same data to read it."
    )


def _mask(model: Any, data: Batch, head: KerasHead) -> np.ndarray | None:
    """Return Keras' mask on the head's output, running the model only if some layer makes masks."""
    import keras

    def makes_masks(layer: Any) -> bool:
        return isinstance(layer, keras.layers.Masking) or bool(getattr(layer, "mask_zero", False))

    if not any(makes_masks(layer) for layer in model._flatten_layers()):
        return None

    def run() -> Any:
        (x,) = _tensors(model, (data.x,))
        with keras.StatelessScope():
            prediction = keras.tree.flatten(model(x))[head.output.index]
            mask = getattr(prediction, "_keras_mask", None)
            return None if mask is None else np.asarray(keras.ops.convert_to_numpy(mask)).astype(bool)

    mask: np.ndarray | None = _guarded(model, data, run)
    return mask


def _update(model: Any, head: KerasHead, step: Step) -> Update:
    import keras

    variables = model.trainable_variables
    keys = _keys(variables)
    places = {id(variable): index for index, variable in enumerate(variables)}
    kernel, bias = places[id(head.kernel)], None if head.bias is None else places.get(id(head.bias))
    if not step.connected[kernel]:
        raise UnsupportedModelError(
            f"the loss of model {model.name!r} does not depend on the kernel of {head.layer.name!r}: the layer does "
            "not feed the output. Name the layer that makes the logits with head='name'."
        )
    gradients = dict(zip(keys, step.gradients, strict=True))
    gradients[keys[kernel]] = head.matrix(step.gradients[kernel])
    penalties: list[np.ndarray | None] = [None, None]
    if not overrides_compute_loss(model):  # whose penalties may count differently
        penalties = [penalty_gradient(head.kernel), None if bias is None else penalty_gradient(head.bias)]
    kernel_penalty = None if penalties[0] is None else head.matrix(penalties[0])
    compute_dtype = _compute_dtype(head, step.gradients[kernel])
    if not head.softmax:
        _check_rows(model, head, gradients[keys[kernel]], kernel_penalty, compute_dtype)
    return Update(
        gradients=gradients,
        head=Head(
            layer=head.layer.name,
            kernel=keys[kernel],
            bias=None if bias is None else keys[bias],
            kernel_value=head.matrix(_host(head.kernel)),
            bias_value=None if bias is None else _host(head.bias),
            kernel_penalty=kernel_penalty,
            bias_penalty=penalties[1],
            label_smoothing=head.loss.label_smoothing,
        ),
        compute_dtype=compute_dtype,
        device=step.device,
        reduction=head.loss.reduction,
        origin=f"keras/{keras.backend.backend()}",
    )


def _compute_dtype(head: KerasHead, gradient: np.ndarray) -> str:
    """Name the coarsest arithmetic between the features and the head's gradient."""
    import keras

    name = str(head.layer.compute_dtype)
    if name != "float64":
        return name
    # Without jax_enable_x64 JAX computes in float32 whatever the policy says. On torch Keras' own matmul does. And a
    # loss of type float32 (Keras' default float type) rounds its errors before the head sees them.
    wide = gradient.dtype == np.float64 and keras.config.floatx() == "float64" and keras.backend.backend() != "torch"
    return "float64" if wide else "float32"


def _host(variable: Any) -> np.ndarray:
    import keras

    array = np.array(keras.ops.convert_to_numpy(variable.value))
    return array if array.dtype.itemsize >= 4 else array.astype(np.float32)


def _keys(variables: list[Any]) -> list[str]:
    """Name every variable by its path, numbering those that share one."""
    seen: dict[str, int] = {}
    keys = []
    for variable in variables:
        seen[variable.path] = seen.get(variable.path, 0) + 1
        keys.append(variable.path if seen[variable.path] == 1 else f"{variable.path}#{seen[variable.path]}")
    return keys


def _check_rows(model: Any, head: KerasHead, gradient: np.ndarray, penalty: np.ndarray | None, dtype: str) -> None:
    """Refuse a head whose gradient is not that of a softmax.

    Adding a constant to all logits changes nothing after a softmax, so each row of the kernel's gradient sums to zero
    over the classes. Sigmoid and linear heads have no such invariance.
    """
    rows = gradient.astype(np.float64)
    if penalty is not None:
        rows = rows - penalty
    size = float(np.abs(rows).sum())
    if not math.isfinite(size) or float(np.abs(rows.sum(axis=1)).sum()) <= _ROW_SUM[dtype] * size:
        return
    raise UnsupportedModelError(
        f"the head {head.layer.name!r} of model {model.name!r} with the loss {head.loss.name!r} is no softmax "
        "classifier: the rows of its kernel's gradient do not sum to zero over the classes, as they do behind a "
        "softmax. Sigmoid and linear heads are not supported: end in a softmax, or compile a crossentropy with "
        f"from_logits=True; if the logits come from another layer, name it with head='name'; otherwise {_BY_HAND}."
    )
