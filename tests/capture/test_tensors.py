"""Updates from tensors of the frameworks that are installed."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import InvalidArgumentError, Update
from pytest_labelleak.testing import make_update

GOOD = make_update(positions=3, features=6, classes=9).update


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_tensorflow_tensors_are_taken(dtype: str) -> None:
    tf = pytest.importorskip("tensorflow")
    gradient = tf.cast(GOOD.kernel_gradient, dtype)
    update = Update.from_arrays(gradient, kernel=tf.Variable(gradient))
    assert update.kernel_gradient.dtype == (np.float64 if dtype == "float64" else np.float32)
    assert np.array_equal(update.kernel_gradient, tf.cast(gradient, tf.float64).numpy())
    assert np.array_equal(update.head.kernel_value, update.kernel_gradient)


def test_row_sparse_and_symbolic_gradients_of_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    rows = tf.IndexedSlices(values=tf.ones((2, 3)), indices=tf.constant([1, 1]), dense_shape=tf.constant([4, 3]))
    update = Update.from_arrays(GOOD.kernel_gradient, gradients={"table": rows})
    assert np.array_equal(update.gradients["table"], [[0.0] * 3, [2.0] * 3, [0.0] * 3, [0.0] * 3])
    with tf.Graph().as_default():
        symbolic = tf.zeros((2, 3))
        with pytest.raises(InvalidArgumentError, match="evaluate a symbolic tensor"):
            Update.from_arrays(symbolic)


def test_torch_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(6, 9)
    gradient = torch.tensor(GOOD.kernel_gradient, requires_grad=True)
    update = Update.from_arrays(gradient.to(torch.bfloat16), kernel=layer.weight.T, gradients={"below": layer.weight})
    assert np.array_equal(update.kernel_gradient, gradient.detach().to(torch.bfloat16).float().numpy())
    assert np.array_equal(update.head.kernel_value, layer.weight.detach().numpy().T)


def test_jax_arrays_are_taken() -> None:
    jnp = pytest.importorskip("jax.numpy")
    update = Update.from_arrays(jnp.asarray(GOOD.kernel_gradient, jnp.bfloat16))
    assert update.kernel_gradient.dtype == np.float32


def test_variables_of_keras_are_taken() -> None:
    keras = pytest.importorskip("keras")
    update = Update.from_arrays(GOOD.kernel_gradient, kernel=keras.Variable(GOOD.kernel_gradient))
    assert np.array_equal(update.head.kernel_value, GOOD.kernel_gradient)
