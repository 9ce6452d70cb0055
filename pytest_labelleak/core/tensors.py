"""Tensors of any framework as numpy arrays, without an import of the framework."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["to_numpy"]


def to_numpy(value: Any) -> np.ndarray | None:
    """Convert a tensor, a variable or nested numbers to a numpy array.

    A tensor is recognised by its methods: a tensor of PyTorch has ``detach`` and ``cpu``, one of TensorFlow ``numpy``.
    PyTorch tensors may require gradients, lie on any device, be sparse or hold bfloat16. The row-sparse gradients of
    TensorFlow's embeddings (``IndexedSlices``) become dense.

    Parameters
    ----------
    value : array_like
        Tensor or variable of PyTorch, TensorFlow, JAX or Keras, an array, or nested lists of numbers.

    Returns
    -------
    ndarray or None
        The array; a bfloat16 array where numpy knows the type through ``ml_dtypes``. None where the value cannot be
        converted, as in the case of a symbolic tensor.

    Examples
    --------
    >>> to_numpy([[1.0, 2.0]])
    array([[1., 2.]])
    """
    try:
        return np.asarray(_on_host(value))
    except Exception:
        # Frameworks raise exceptions of many types here. The caller raises its own error outside of this handler: a
        # chained traceback would quote the data.
        return None


def _on_host(value: Any) -> Any:
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None)):
        value = value.detach().cpu()
        if getattr(value, "is_sparse", False):
            value = value.to_dense()
        # PyTorch converts no bfloat16 to numpy.
        return value.float().numpy() if str(value.dtype).endswith("bfloat16") else value.numpy()
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(value, getattr(tensorflow, "IndexedSlices", ())):
        value = tensorflow.convert_to_tensor(value)
    return value.numpy() if callable(getattr(value, "numpy", None)) else value
