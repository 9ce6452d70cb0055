"""From a backward pass to an Update: names, orientation, penalties, and the test that the head is a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.errors import UnsupportedModelError
from ...core.update import Head, Update
from ..arrays import BY_HAND
from .gradient import Step, penalty_gradient
from .head.finding import KerasHead
from .loss import overrides_compute_loss

__all__ = ["update_of"]

#: Tolerated row sums of a softmax head's gradient, relative to its entries, by arithmetic.
_ROW_SUM = {"float64": 1e-9, "float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


def update_of(model: Any, head: KerasHead, step: Step) -> Update:
    """Put the gradients of one step into an update.

    Parameters
    ----------
    model : keras.Model
        The model.
    head : KerasHead
        Its head.
    step : Step
        The backward pass.

    Returns
    -------
    Update
        The gradients by name, and the head among them.

    Raises
    ------
    UnsupportedModelError
        If the loss does not depend on the head, or depends on it otherwise than through a softmax.
    """
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
    cells: dict[str, np.ndarray] = {}
    recurrent = _recurrent(model, dict(zip(keys, variables, strict=True)))
    if not overrides_compute_loss(model):  # an own compute_loss may weigh penalties otherwise
        penalties = [penalty_gradient(head.kernel), None if bias is None else penalty_gradient(head.bias)]
        cells = {
            key: penalty
            for key, variable in recurrent.items()
            if len(variable.shape) == 2 and (penalty := penalty_gradient(variable)) is not None
        }
    kernel_penalty = None if penalties[0] is None else head.matrix(penalties[0])
    compute_dtype = _compute_dtype(head, step.gradients[kernel])
    if not head.softmax and not head.sigmoid:
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
            tied=head.tied,
            kind="sigmoid" if head.sigmoid else "softmax",
        ),
        compute_dtype=compute_dtype,
        device=step.device,
        reduction=head.loss.reduction,
        origin=f"keras/{keras.backend.backend()}",
        penalties=cells,
        values={key: _host(variable) for key, variable in recurrent.items()},
    )


def _recurrent(model: Any, variables: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of recurrent layers, by name."""
    wanted = {
        id(variable)
        for layer in model._flatten_layers(include_self=False)
        if any("recurrent_kernel" in own.path for own in layer.trainable_variables)
        and not any(True for inner in layer._flatten_layers(include_self=False) if inner.trainable_variables)
        for variable in layer.trainable_variables
    }
    return {key: variable for key, variable in variables.items() if id(variable) in wanted}


def _compute_dtype(head: KerasHead, gradient: np.ndarray) -> str:
    """Return the name of the coarsest arithmetic between the features and the head's gradient."""
    import keras

    name = str(head.layer.compute_dtype)
    if name != "float64":
        return name
    # Three causes turn float64 into float32: JAX without jax_enable_x64, Keras' own matmul on torch, and a loss of type
    # float32 (Keras' default float type), which rounds the errors before they reach the head.
    wide = gradient.dtype == np.float64 and keras.config.floatx() == "float64" and keras.backend.backend() != "torch"
    return "float64" if wide else "float32"


def _host(variable: Any) -> np.ndarray:
    import keras

    array = np.array(keras.ops.convert_to_numpy(variable.value))
    return array if array.dtype.itemsize >= 4 else array.astype(np.float32)


def _keys(variables: list[Any]) -> list[str]:
    """Name every variable by its path; a number tells variables of one path apart."""
    seen: dict[str, int] = {}
    keys = []
    for variable in variables:
        seen[variable.path] = seen.get(variable.path, 0) + 1
        keys.append(variable.path if seen[variable.path] == 1 else f"{variable.path}#{seen[variable.path]}")
    return keys


def _check_rows(model: Any, head: KerasHead, gradient: np.ndarray, penalty: np.ndarray | None, dtype: str) -> None:
    """Refuse a head whose gradient is not that of a softmax.

    A softmax does not change when a constant is added to all logits, so each row of the kernel gradient sums to zero
    over the classes. Sigmoid and linear heads lack this invariance.
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
        "softmax. Linear heads are not supported, and a sigmoid needs a binary_crossentropy: end in a softmax, or "
        "compile a crossentropy with from_logits=True; if the logits come from another layer, name it with "
        f"head='name'; otherwise {BY_HAND}."
    )
