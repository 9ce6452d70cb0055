"""The gradient of a model's compiled loss, on each of Keras' backends, without touching the model."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["NotScalarError", "Step", "penalty_gradient", "step_gradient"]


class NotScalarError(Exception):
    """The loss is an array where the backend can only differentiate a scalar."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One backward pass.

    Attributes
    ----------
    gradients : list of ndarray
        One per trainable variable, zeros where the loss does not depend on it.
    connected : list of bool
        Whether the loss depends on the variable at all.
    finite : bool
        Whether every entry is finite.
    loss_finite : bool
        Whether the loss itself, before scaling, is.
    device : str
        "cpu", "gpu" or what the backend calls it.
    """

    gradients: list[np.ndarray] = field(repr=False)
    connected: list[bool]
    finite: bool
    loss_finite: bool
    device: str


def step_gradient(model: Any, x: Any, y: Any, sample_weight: Any, *, training: bool, scale: float) -> Step:
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
        The loss is multiplied by it before the backward pass, and the gradients are divided by it after.

    Returns
    -------
    Step
        The gradients and what is known about them.
    """
    import keras

    run = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    loss, tensors, device = run(model, x, y, sample_weight, training, scale)
    gradients = []
    for variable, tensor in zip(model.trainable_variables, tensors, strict=True):
        if tensor is None:
            gradients.append(np.zeros(tuple(variable.shape), np.float32))
            continue
        array = np.asarray(keras.ops.convert_to_numpy(tensor))
        # float16 and bfloat16 variables: the scale is undone in float32, where it cannot overflow.
        array = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
        gradients.append(array / array.dtype.type(scale) if scale != 1.0 else array)
    return Step(
        gradients=gradients,
        connected=[tensor is not None for tensor in tensors],
        finite=all(bool(np.isfinite(array).all()) for array in gradients),
        loss_finite=bool(np.isfinite(np.asarray(keras.ops.convert_to_numpy(loss), np.float64)).all()),
        device=device,
    )


def _forward(model: Any, x: Any, y: Any, sample_weight: Any, training: bool) -> Any:
    """Call the model and its loss as Keras' own train step does on TensorFlow and torch."""
    prediction = model(x, training=training) if model._call_has_training_arg else model(x)
    return model._compute_loss(x=x, y=y, y_pred=prediction, sample_weight=sample_weight, training=training)


def _tensorflow(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float
) -> tuple[Any, Sequence[Any], str]:
    import keras
    import tensorflow as tf

    variables = model.trainable_variables
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        values = [tf.convert_to_tensor(variable.value) for variable in variables]
        tape.watch(values)
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)), collect_losses=True):
            loss = _forward(model, x, y, sample_weight, training)
        scaled = loss * tf.cast(scale, loss.dtype)
    # Sparse gradients (of embeddings) become dense arrays.
    tensors = [None if g is None else tf.convert_to_tensor(g) for g in tape.gradient(scaled, values)]
    place = next((g.device for g in tensors if g is not None), "")
    return loss, tensors, "gpu" if "GPU" in place.upper() else "cpu"


def _torch(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float
) -> tuple[Any, Sequence[Any], str]:
    import keras
    import torch

    variables = model.trainable_variables
    values = [variable.value for variable in variables]
    with (
        torch.enable_grad(),
        keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)), collect_losses=True),
    ):
        loss = _forward(model, x, y, sample_weight, training)
        if loss.ndim:
            raise NotScalarError
    wanted = [index for index, value in enumerate(values) if value.requires_grad]
    # Unlike backward(), this leaves every .grad field alone.
    found = torch.autograd.grad(loss * scale, [values[i] for i in wanted], allow_unused=True)
    tensors: list[Any] = [None] * len(values)
    for index, tensor in zip(wanted, found, strict=True):
        tensors[index] = tensor
    place = next((g.device.type for g in tensors if g is not None), "cpu")
    return loss.detach(), tensors, {"cuda": "gpu"}.get(place, place)


#: Compiled steps by model, each with the state it was compiled for. Values must not refer to their model strongly.
_compiled: weakref.WeakKeyDictionary[Any, tuple[Any, Callable[..., Any]]] = weakref.WeakKeyDictionary()


def _jax(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float
) -> tuple[Any, Sequence[Any], str]:
    import jax

    signature = (training, _fingerprint(model))
    known = _compiled.get(model)
    if known is None or known[0] != signature:
        # Unjitted, the first pass through a large model takes a minute.
        known = (signature, jax.jit(jax.value_and_grad(_jax_loss(weakref.ref(model), training), has_aux=True)))
        _compiled[model] = known
    (_, loss), tensors = known[1](
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
        [variable.value for variable in model.metrics_variables],
        (x, y, sample_weight),
        np.float32(scale),
    )
    device = next((next(iter(tensor.devices())).platform for tensor in tensors), "cpu")
    return loss, tensors, {"cuda": "gpu", "rocm": "gpu"}.get(device, device)


def _jax_loss(reference: Callable[[], Any], training: bool) -> Callable[..., Any]:
    """Return the scaled loss as a pure function of the variables, as Keras' own train step computes it on JAX."""

    def scaled_loss(trainable: Any, fixed: Any, metrics: Any, data: Any, scale: Any) -> Any:
        model = reference()
        x, y, sample_weight = data
        options = {"training": training} if model._call_has_training_arg else {}
        prediction, fixed, losses = model.stateless_call(trainable, fixed, x, return_losses=True, **options)
        try:
            if losses:
                model._losses_override = losses
            loss, _ = model.stateless_compute_loss(
                trainable, fixed, metrics, x=x, y=y, y_pred=prediction, sample_weight=sample_weight, training=training
            )
        finally:
            model._losses_override = []
        if loss.ndim:
            raise NotScalarError
        return loss * scale.astype(loss.dtype), loss

    return scaled_loss


_SIMPLE = (bool, int, float, str, bytes, tuple, type(None))
#: Attributes that Keras or a capture replaces without changing what the model computes.
_VOLATILE = ("_compile_loss", "train_function", "test_function", "predict_function", "_jax_state_synced")


def _fingerprint(model: Any) -> tuple[Any, ...]:
    """Describe what a trace of `model` depends on: a compiled step is not used again after a change.

    Keras has the same need and asks users to call ``compile()`` again; a test that sets ``layer.rate`` or
    ``layer.trainable`` between two captures must not get the old gradient.
    """
    compiled = model._compile_loss
    losses = () if compiled is None else (compiled._user_loss, compiled._user_loss_weights)
    parts: list[Any] = [_attributes(loss) for loss in _flat(losses)]
    for layer in model._flatten_layers():
        parts.append((id(layer), layer.trainable, _attributes(layer)))
    parts.append(tuple((id(v), v.trainable, id(v.regularizer)) for v in model.variables))
    return tuple(parts)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [(key, leaf) for key, item in value.items() for leaf in _flat(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


def _attributes(thing: Any) -> tuple[Any, ...]:
    if isinstance(thing, _SIMPLE):
        return (repr(thing),)
    found = [
        (name, repr(value) if isinstance(value, _SIMPLE) else id(value))
        for name, value in getattr(thing, "__dict__", {}).items()
        if (isinstance(value, _SIMPLE) or callable(value)) and name not in _VOLATILE
    ]
    return (id(thing), tuple(sorted(found, key=lambda pair: pair[0])))


def penalty_gradient(variable: Any) -> np.ndarray | None:
    """Differentiate a variable's own regulariser at its current value.

    Parameters
    ----------
    variable : keras.Variable
        A trainable variable.

    Returns
    -------
    ndarray or None
        Of the variable's shape, or None where it has no regulariser.
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
