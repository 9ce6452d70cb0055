"""The gradient of a model's compiled loss on JAX, as a compiled function that is kept for further batches."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .head.finding import KerasHead
from .loss import require_scalar
from .probe import Observation, keras_mask, observing

__all__ = ["jax_step"]

#: Signature, compiled step, plain step, and shapes of the logits by those of a batch.
_Compiled: TypeAlias = tuple[Any, Callable[..., Any], Callable[..., Any], dict[Any, Any]]
#: Compiled steps by model, each with the state for which it was compiled. A strong reference from a value to its model
#: would keep the model alive.
_compiled: weakref.WeakKeyDictionary[Any, _Compiled] = weakref.WeakKeyDictionary()


def jax_step(
    model: Any, x: Any, y: Any, sample_weight: Any, training: bool, scale: float, head: KerasHead
) -> tuple[Any, Sequence[Any], str, Observation | None]:
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
    head : KerasHead
        The head to observe.

    Returns
    -------
    loss, gradients, device, observed : tuple
        The unscaled loss, one gradient per trainable variable, the platform's name, and the head's tensors or None.
    """
    import jax
    import keras

    signature = (training, id(head.layer), head.output.index, _fingerprint(model))
    known = _compiled.get(model)
    # A program serves one capture where the batch has several targets: JAX 0.10 loses count of the constants of such a
    # program at its second call.
    if known is None or known[0] != signature or isinstance(y, (dict, list, tuple)):
        function = _jax_loss(weakref.ref(model), weakref.ref(head.layer), head.output.index, training)
        # Without compilation, the first pass through a large model takes a minute.
        known = (signature, jax.jit(jax.value_and_grad(function, argnums=(0, 1), has_aux=True)), function, {})
        _compiled[model] = known
    trainable = [variable.value for variable in model.trainable_variables]
    rest = (
        [variable.value for variable in model.non_trainable_variables],
        [variable.value for variable in model.metrics_variables],
        (x, y, sample_weight),
        np.float32(scale),
    )
    # JAX differentiates with respect to arguments: zeros of the logits' shapes, which a trace without values tells.
    shapes = tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in keras.tree.flatten(rest[2]) if leaf is not None)
    if shapes not in known[3]:
        _, (_, seen) = jax.eval_shape(known[2], trainable, [], *rest)
        known[3][shapes] = [(tuple(spec.shape), spec.dtype) for spec in seen[1]]
    zeros = [jax.numpy.zeros(shape, dtype) for shape, dtype in known[3][shapes]]
    (_, (loss, (features, logits, prediction, mask))), (tensors, errors) = known[1](trainable, zeros, *rest)
    device = next((next(iter(tensor.devices())).platform for tensor in tensors), "cpu")
    observed = None
    if logits:
        observed = Observation(
            features=features, logits=logits, errors=errors, prediction=prediction, mask=mask, at_output=False
        )
    return loss, tensors, {"cuda": "gpu", "rocm": "gpu"}.get(device, device), observed


def _jax_loss(reference: Callable[[], Any], layer: Callable[[], Any], index: int, training: bool) -> Callable[..., Any]:
    """Return the scaled loss as a pure function of the variables, computed as in Keras' own train step on JAX."""

    def scaled_loss(trainable: Any, zeros: Any, fixed: Any, metrics: Any, data: Any, scale: Any) -> Any:
        import keras

        model = reference()
        x, y, sample_weight = data
        options = {"training": training} if model._call_has_training_arg else {}
        with observing(layer(), zeros) as seen:
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
        output = keras.tree.flatten(prediction)[index]
        noted = (seen.features, seen.logits, output, keras_mask(output))
        return loss * scale.astype(loss.dtype), (loss, noted)

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
