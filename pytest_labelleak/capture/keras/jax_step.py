"""The gradient of a model's compiled loss on JAX, as a compiled function that is kept for further batches."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .loss import require_scalar

__all__ = ["jax_step"]

#: Compiled steps by model, each with the state for which it was compiled. A strong reference from a value to its model
#: would keep the model alive.
_compiled: weakref.WeakKeyDictionary[Any, tuple[Any, Callable[..., Any]]] = weakref.WeakKeyDictionary()


def jax_step(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float
) -> tuple[Any, Sequence[Any], str]:
    """Differentiate one scaled loss on JAX; the function is compiled once per state of the model.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.
    x, y, sample_weight : array, nested structure of arrays or None
        The batch.
    training : bool
        Mode of the forward pass.
    scale : float
        Factor on the loss.

    Returns
    -------
    loss, gradients, device : tuple
        The unscaled loss, one gradient per trainable variable, and the platform's name.
    """
    import jax

    signature = (training, _fingerprint(model))
    known = _compiled.get(model)
    if known is None or known[0] != signature:
        # Without compilation, the first pass through a large model takes a minute.
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
    """Return the scaled loss as a pure function of the variables, computed as in Keras' own train step on JAX."""

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
        require_scalar(model, loss)
        return loss * scale.astype(loss.dtype), loss

    return scaled_loss


_SIMPLE = (bool, int, float, str, bytes, tuple, type(None))
#: Attributes that Keras or a capture replaces without a change to the model's function.
_VOLATILE = ("_compile_loss", "train_function", "test_function", "predict_function", "_jax_state_synced")


def _fingerprint(model: Any) -> tuple[Any, ...]:
    """Return the state on which a trace of `model` depends: a change of the state calls for a new compilation.

    Keras has the same need and asks users to call ``compile()`` again. A test that sets ``layer.rate`` or
    ``layer.trainable`` between two captures must get the new gradient.
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
