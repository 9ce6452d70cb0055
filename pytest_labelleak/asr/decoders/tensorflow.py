"""First and second derivatives of a speller, compiled by TensorFlow and called with arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["CompiledDerivatives"]


class CompiledDerivatives:
    """Gradients of a speller, and their pullback, as two functions that are traced once per length and set of keys.

    Parameters
    ----------
    gradients : callable
        Maps contexts and labels, as tensors, and keys to one differentiable tensor per key.
    dtype : str
        Type of the computation: "float32" or "float64".
    jit : bool
        Compile with XLA.
    """

    def __init__(self, gradients: Callable[[Any, Any, tuple[str, ...]], list[Any]], *, dtype: str, jit: bool) -> None:
        self._gradients, self._dtype, self._jit = gradients, dtype, jit
        self._functions: dict[tuple[str, ...], tuple[Any, Any]] = {}

    def gradients(self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...]) -> list[np.ndarray]:
        """As `FreeContextDecoder.gradients`."""
        forward, _ = self._traced(keys)
        return [np.asarray(tensor, np.float64) for tensor in forward(self._tensor(contexts), self._tensor(labels))]

    def pullback(
        self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...], cotangents: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `FreeContextDecoder.pullback`."""
        _, backward = self._traced(keys)
        back = backward(self._tensor(contexts), self._tensor(labels), [self._tensor(one) for one in cotangents])
        first, second = (np.asarray(tensor, np.float64) for tensor in back)
        return first, second

    def _tensor(self, array: np.ndarray) -> Any:
        import tensorflow as tf

        return tf.constant(array, self._dtype)

    def _traced(self, keys: tuple[str, ...]) -> tuple[Any, Any]:
        import tensorflow as tf

        if keys not in self._functions:

            def forward(contexts: Any, labels: Any) -> Any:
                return self._gradients(contexts, labels, keys)

            def backward(contexts: Any, labels: Any, cotangents: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch([contexts, labels])
                    found = self._gradients(contexts, labels, keys)
                    total = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(found, cotangents, strict=True)])
                return tape.gradient(total, [contexts, labels], unconnected_gradients=tf.UnconnectedGradients.ZERO)

            options = {"autograph": False, "jit_compile": self._jit}
            self._functions[keys] = tf.function(forward, **options), tf.function(backward, **options)
        return self._functions[keys]
