"""Refuse second derivatives where lingvo would compute them wrongly.

lingvo differentiates its functional loops (the default decoder's ``ComputePredictionsFunctional``, and the recurrent
layers of the encoder) with a backward function of its own. This first derivative is right. The derivative of the
backward function is not: in eager mode the result is silently wrong, and in a graph TensorFlow finds no gradient for
``InplaceUpdate``. The decoder's loop of ``use_while_loop_based_unrolling=True`` has right derivatives of both orders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["SecondDerivativeError", "guard", "require_second_derivatives"]

_MARK = "_differentiable_once"


class SecondDerivativeError(RuntimeError):
    """A second derivative was requested of a lingvo function whose second derivative is wrong."""


SecondDerivativeError.__module__ = "lingvo_patches"

_MESSAGE = (
    "second derivative through one of lingvo's functional loops, whose result would be wrong. For the decoder set "
    "params.decoder.use_while_loop_based_unrolling = True before instantiating the task; through the encoder (to the "
    "audio) there is none: differentiate with respect to the encoder's outputs."
)


def require_second_derivatives(layer: Any) -> None:
    """Check, before any work is done, that a decoder can be differentiated twice.

    Parameters
    ----------
    layer : lingvo task or decoder
        Task or decoder, instantiated.

    Raises
    ------
    SecondDerivativeError
        If the decoder uses the functional decoder, lingvo's default for LibriSpeech.
    """
    decoder = getattr(layer, "decoder", layer)
    name = f"decoder {getattr(decoder.params, 'name', '')!r}"
    unrolled = getattr(decoder.params, "use_while_loop_based_unrolling", None)
    if unrolled is None:
        raise SecondDerivativeError(f"{name} ({type(decoder).__name__}) is not known to have right second derivatives.")
    if not unrolled:
        raise SecondDerivativeError(f"{name} has use_while_loop_based_unrolling=False: {_MESSAGE}")


def guard() -> None:
    """Make every functional loop of lingvo raise when its backward function is differentiated.

    The change applies to functions defined from now on. First derivatives are unchanged.
    """
    from lingvo.core import py_utils

    define = py_utils._DefineFunction
    if getattr(define, _MARK, False):
        return

    def define_once(fwd: Any, fwd_sig: Any, bak: Any = None, **options: Any) -> Any:
        return define(fwd=fwd, fwd_sig=fwd_sig, bak=None if bak is None else _final(bak), **options)

    setattr(define_once, _MARK, True)
    py_utils._DefineFunction = define_once


def _final(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a backward function so that its results cannot be differentiated again.

    In eager mode a tape does not connect the loop's results with its inputs, so the error stays silent. For that reason
    the barrier takes the inputs too, and returns the results alone.
    """
    import tensorflow as tf

    def is_real(tensor: Any) -> bool:
        return isinstance(tensor, tf.Tensor) and bool(tensor.dtype.is_floating)

    def wrapped(*arguments: Any) -> Any:
        from lingvo.core import py_utils

        results = backward(*arguments)
        flat = py_utils.Flatten(results)
        places = [index for index, tensor in enumerate(flat) if is_real(tensor)]
        inputs = [tensor for tensor in py_utils.Flatten(list(arguments)) if is_real(tensor)]

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def barrier(*tensors: Any) -> Any:
            def refuse(*upstream: Any) -> NoReturn:
                raise SecondDerivativeError(_MESSAGE)

            return [tf.identity(tensor) for tensor in tensors[: len(places)]], refuse

        passed = barrier(*(flat[index] for index in places), *inputs)
        for index, tensor in zip(places, passed, strict=True):
            flat[index] = tensor
        return py_utils.Pack(results, flat)

    return wrapped
