"""From a backward pass to an Update: names, orientation, penalties, and the test that the head is a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core.errors import UnsupportedModelError
from ...core.update import Head, Update, unit_roundoff
from ..arrays import BY_HAND
from ..belonging import Finding, explain_rest
from .belonging import belonging_of, step_errors
from .gradient import Step, penalty_gradient
from .head.finding import KerasHead
from .loss import overrides_compute_loss
from .truth import Targets

__all__ = ["update_of"]

#: Tolerated row sums of a softmax head's gradient, relative to its entries, by arithmetic.
_ROW_SUM = {"float64": 1e-9, "float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


def update_of(model: Any, head: KerasHead, step: Step, targets: Targets) -> Update:
    """Put the gradients of one step into an update.

    Parameters
    ----------
    model : keras.Model
        The model.
    head : KerasHead
        Its head.
    step : Step
        The backward pass.
    targets : Targets
        Targets of the head's output, to compare with the errors of the logits.

    Returns
    -------
    Update
        The gradients by name, and the head among them.

    Raises
    ------
    UnsupportedModelError
        If the loss does not depend on the head, or depends on it otherwise than through a softmax or sigmoid.
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
    cells: dict[str, np.ndarray] = {}
    recurrent = _recurrent(model, dict(zip(keys, variables, strict=True)))
    compute_dtype = _compute_dtype(head, step.gradients[kernel])
    finding = belonging_of(head, step.observed, targets, compute_dtype=compute_dtype)
    factor: float | None = 1.0
    penalties = [penalty_gradient(head.kernel), None if bias is None else penalty_gradient(head.bias)]
    if overrides_compute_loss(model):  # an own compute_loss may weigh penalties otherwise
        penalties, factor = _measured_penalties(head, step, penalties, places, compute_dtype)
        if factor is None and finding.belongs:
            finding = Finding(
                belongs=None,
                reason="compute_loss is the model's own, and the head's gradient has a part that neither the batch "
                "nor a multiple of the regulariser or of the weights explains",
            )
    if factor is not None:
        cells = {
            key: (factor * penalty).astype(penalty.dtype)
            for key, variable in recurrent.items()
            if factor and len(variable.shape) == 2 and (penalty := penalty_gradient(variable)) is not None
        }
    kernel_penalty = None if penalties[0] is None else head.matrix(penalties[0])
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
        belongs=finding.belongs,
        belongs_reason=finding.reason,
    )


def _measured_penalties(
    head: KerasHead, step: Step, penalties: list[np.ndarray | None], places: dict[int, int], compute_dtype: str
) -> tuple[list[np.ndarray | None], float | None]:
    """Return the penalties that the gradient of an own ``compute_loss`` holds, and the factor on the regulariser.

    The part of the batch is ``H^T D`` with the features H and the errors D of the logits. The rest of the gradient
    comes from penalties: a multiple of the regulariser's gradient, or of the weights themselves.
    """
    none: list[np.ndarray | None] = [None, None]
    seen = step_errors(step.observed, head)
    if seen is None:
        return none, None
    features, errors = seen
    errors = errors / step.scale
    if not np.isfinite(errors).all() or head.tied:
        return none, None
    unit = 16.0 * unit_roundoff(compute_dtype)
    found: list[np.ndarray | None] = []
    factor: float | None = None
    for variable, penalty in zip((head.kernel, head.bias), penalties, strict=True):
        place = None if variable is None else places.get(id(variable))
        if variable is None or place is None:
            found.append(None)
            continue
        kernel = variable is head.kernel
        part = features.T @ errors if kernel else errors.sum(axis=0)
        size = np.abs(features).T @ np.abs(errors) if kernel else np.abs(errors).sum(axis=0)
        gradient = step.gradients[place].astype(np.float64)
        rest = (head.matrix(gradient) if kernel else gradient) - part
        candidates = [
            None if value is None else (head.matrix(value) if kernel else value) for value in (penalty, _host(variable))
        ]
        told = explain_rest(rest, candidates, rounding=unit * float(np.linalg.norm(size)))
        if told is None:
            return none, None
        found.append(None if told[0] is None or not kernel else head.unmatrix(told[0]))
        if not kernel:
            found[-1] = told[0]
        if kernel:
            # A rest of another origin than the regulariser says that the regulariser has no part.
            factor = told[1] if penalty is not None else 1.0
    return found, factor


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
