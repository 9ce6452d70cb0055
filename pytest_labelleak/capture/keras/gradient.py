"""The gradient of a model's compiled loss, on each backend of Keras, without a change to the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .head.finding import KerasHead
from .jax_step import jax_step
from .loss import require_scalar
from .probe import Observation, Seen, keras_mask, observing

__all__ = ["Step", "penalty_gradient", "shared_step", "step_gradient"]

#: A loss scale that overflows is halved at most this often: from Keras' initial 2**15 down to 2**-17.
_MOST_HALVINGS = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One backward pass.

    Attributes
    ----------
    gradients : list of ndarray
        One gradient per trainable variable; zeros where the loss does not depend on the variable.
    connected : list of bool
        For each variable, whether the loss depends on it.
    finite : bool
        Whether every entry of the gradients is finite.
    loss_finite : bool
        Whether the loss before scaling is finite.
    device : str
        "cpu", "gpu" or the backend's own name of the device.
    observed : Observation or None
        Features, logits and errors of the head in the same pass; None where they were not seen.
    scale : float
        Factor on the loss, by which the errors are too large.
    """

    gradients: list[np.ndarray] = field(repr=False)
    connected: list[bool]
    finite: bool
    loss_finite: bool
    device: str
    observed: Observation | None = field(default=None, repr=False)
    scale: float = 1.0


def shared_step(model: Any, x: Any, y: Any, weight: Any, *, training: bool, head: KerasHead) -> Step:
    """Differentiate with the optimizer's loss scale, halved as in dynamic loss scaling until no entry overflows.

    In training, a step that overflows is skipped and shares nothing. The first step without overflow is shared.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.
    x, y, weight : tensor, nested structure of tensors or None
        The batch.
    training : bool
        Mode of the forward pass.
    head : KerasHead
        The head to observe.

    Returns
    -------
    Step
        The backward pass; it is finite unless every scale overflows.
    """
    import keras

    optimizer = getattr(model, "optimizer", None)
    scale = 1.0
    if optimizer is not None:
        scale = float(keras.ops.convert_to_numpy(optimizer.scale_loss(keras.ops.ones(()))))
    dynamic = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    step = step_gradient(model, x, y, weight, training=training, scale=scale, head=head)
    for _ in range(_MOST_HALVINGS):
        if step.finite or not step.loss_finite or not dynamic:
            break
        scale /= 2.0
        step = step_gradient(model, x, y, weight, training=training, scale=scale, head=head)
    return step


def step_gradient(
    model: Any, x: Any, y: Any, sample_weight: Any, *, training: bool, scale: float, head: KerasHead
) -> Step:
    """Differentiate the compiled loss with respect to every trainable variable.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.
    x, y, sample_weight : tensor, nested structure of tensors or None
        The batch.
    training : bool
        Mode of the forward pass.
    scale : float
        Factor on the loss before the backward pass; the gradients are divided by it afterwards, the errors of the
        logits are not.
    head : KerasHead
        The head to observe.

    Returns
    -------
    Step
        The backward pass.
    """
    import keras

    run = {"tensorflow": _tensorflow, "jax": jax_step, "torch": _torch}[keras.backend.backend()]
    loss, tensors, device, observed = run(model, x, y, sample_weight, training, scale, head)
    gradients = []
    for variable, tensor in zip(model.trainable_variables, tensors, strict=True):
        if tensor is None:
            gradients.append(np.zeros(tuple(variable.shape), np.float32))
            continue
        array = np.asarray(keras.ops.convert_to_numpy(tensor))
        # Gradients of float16 and bfloat16 variables are divided in float32, where the quotient cannot overflow.
        array = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
        gradients.append(array / array.dtype.type(scale) if scale != 1.0 else array)
    return Step(
        gradients=gradients,
        connected=[tensor is not None for tensor in tensors],
        finite=all(bool(np.isfinite(array).all()) for array in gradients),
        loss_finite=bool(np.isfinite(np.asarray(keras.ops.convert_to_numpy(loss), np.float64)).all()),
        device=device,
        observed=observed,
        scale=scale,
    )


def _forward(model: Any, x: Any, y: Any, sample_weight: Any, training: bool) -> tuple[Any, Any]:
    """Call the model and its loss as Keras' own train step does on TensorFlow and torch."""
    prediction = model(x, training=training) if model._call_has_training_arg else model(x)
    loss = model._compute_loss(x=x, y=y, y_pred=prediction, sample_weight=sample_weight, training=training)
    return loss, prediction


def _logits(seen: Seen, prediction: Any, head: KerasHead, usable: Callable[[Any], bool]) -> tuple[list[Any], bool]:
    """Return the tensors to differentiate for: the head's logits, or the output of the model where it is logits."""
    if seen.logits and all(map(usable, seen.logits)):
        return list(seen.logits), False
    if (head.loss.softmax or head.loss.sigmoid) and usable(prediction):
        return [prediction], True
    return [], False


def _observation(
    seen: Seen, prediction: Any, points: list[Any], errors: Sequence[Any], at_output: bool
) -> Observation | None:
    if not points or any(error is None for error in errors):
        return None
    return Observation(
        features=[] if at_output else list(seen.features),
        logits=points,
        errors=list(errors),
        prediction=prediction,
        mask=keras_mask(prediction),
        at_output=at_output,
    )


def _tensorflow(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float, head: KerasHead
) -> tuple[Any, Sequence[Any], str, Observation | None]:
    import keras
    import tensorflow as tf

    variables = model.trainable_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        values = [tf.convert_to_tensor(variable.value) for variable in variables]
        tape.watch(values)
        with (
            keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)), collect_losses=True),
            observing(head.layer) as seen,
        ):
            loss, outputs = _forward(model, x, y, sample_weight, training)
        scaled = loss * tf.cast(scale, loss.dtype)
    prediction = keras.tree.flatten(outputs)[head.output.index]
    # Code inside of a tf.function shows its symbolic tensors alone.
    points, at_output = _logits(seen, prediction, head, lambda tensor: not tf.is_symbolic_tensor(tensor))
    found = tape.gradient(scaled, values + points)
    # Sparse gradients (of embeddings) become dense arrays.
    tensors = [None if g is None else tf.convert_to_tensor(g) for g in found[: len(values)]]
    place = next((g.device for g in tensors if g is not None), "")
    observed = _observation(seen, prediction, points, found[len(values) :], at_output)
    return loss, tensors, "gpu" if "GPU" in place.upper() else "cpu", observed


def _torch(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float, head: KerasHead
) -> tuple[Any, Sequence[Any], str, Observation | None]:
    import keras
    import torch

    variables = model.trainable_variables
    values = [variable.value for variable in variables]
    with (
        torch.enable_grad(),
        keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)), collect_losses=True),
        observing(head.layer) as seen,
    ):
        loss, outputs = _forward(model, x, y, sample_weight, training)
        require_scalar(model, loss)
    prediction = keras.tree.flatten(outputs)[head.output.index]
    points, at_output = _logits(seen, prediction, head, lambda tensor: bool(tensor.requires_grad))
    wanted = [index for index, value in enumerate(values) if value.requires_grad]
    # Unlike backward(), this leaves every .grad field alone.
    found = torch.autograd.grad(loss * scale, [*(values[i] for i in wanted), *points], allow_unused=True)
    tensors: list[Any] = [None] * len(values)
    for index, tensor in zip(wanted, found[: len(wanted)], strict=True):
        tensors[index] = tensor
    place = next((g.device.type for g in tensors if g is not None), "cpu")
    observed = _observation(seen, prediction, points, found[len(wanted) :], at_output)
    return loss.detach(), tensors, {"cuda": "gpu"}.get(place, place), observed


def penalty_gradient(variable: Any) -> np.ndarray | None:
    """Differentiate a variable's own regulariser at its current value.

    Parameters
    ----------
    variable : keras.Variable
        A trainable variable.

    Returns
    -------
    ndarray or None
        Gradient of the variable's shape; None where the variable has no regulariser.
    """
    import keras

    regularizer = variable.regularizer
    if regularizer is None:
        return None
    backend = keras.backend.backend()
    gradient: Any
    if backend == "tensorflow":
        import tensorflow as tf

        value = tf.convert_to_tensor(variable.value)
        with tf.GradientTape() as tape:
            tape.watch(value)
            penalty = regularizer(value)
        gradient = tape.gradient(penalty, value)
    elif backend == "jax":
        import jax

        gradient = jax.grad(lambda value: regularizer(value).sum())(variable.value)
    else:
        import torch

        value = variable.value.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(regularizer(value).sum(), [value])
    return np.asarray(keras.ops.convert_to_numpy(gradient))
