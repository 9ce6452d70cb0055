"""Heads outside of Dense layers: products of features and a kernel, such as a transposed embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "Product",
    "addend_of",
    "is_scalar",
    "is_table",
    "product_of",
    "reversed_embedding",
    "shifted_by_constant",
]

_PRODUCTS = ("matmul", "dot", "einsum")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    """Logits as a product of features and a kernel.

    Attributes
    ----------
    kernel : keras.Variable
        The kernel.
    order : tuple of int
        Permutation of the kernel's axes that puts the class axis last.
    features : keras.KerasTensor
        The other factor.
    """

    kernel: Any = field(repr=False)
    order: tuple[int, ...]
    features: Any = field(repr=False)


def reversed_embedding(operation: Any, node: Any) -> Product | None:
    """Return the product in a reversed call of an embedding, from features to the logits of tokens.

    Parameters
    ----------
    operation, node : keras.Operation, Node
        A call in a graph.

    Returns
    -------
    Product or None
        None for any other call, such as the look-up of an embedding.
    """
    import keras

    if not isinstance(operation, keras.layers.Embedding) or not _in_reverse(node):
        return None
    own = getattr(operation, "reverse_embeddings", None)
    if own is not None:  # not tied: a kernel of its own, (d, C)
        return Product(kernel=own, order=(0, 1), features=node.input_tensors[0])
    return Product(kernel=operation._embeddings, order=(1, 0), features=node.input_tensors[0])


def _in_reverse(node: Any) -> bool:
    args, options = node.arguments.args, node.arguments.kwargs
    return bool(options.get("reverse", args[1] if len(args) > 1 and isinstance(args[1], bool) else False))


def product_of(operation: Any, node: Any, variables: Sequence[Any]) -> Product | None:
    """Return the product of symbolic features with a trainable variable, or with its transpose.

    A recorded graph holds a variable as a constant, and the constant is recognised by its values. Two variables of the
    same shape and values are therefore indistinguishable.

    Parameters
    ----------
    operation, node : keras.Operation, Node
        A call in a graph.
    variables : sequence of keras.Variable
        The model's trainable variables.

    Returns
    -------
    Product or None
        None for any other call, and where two variables fit.
    """
    import keras

    kind = type(operation).__name__.lower()
    operands = [value for value in (*node.arguments.args, *node.arguments.kwargs.values()) if _is_array(value)]
    if kind not in _PRODUCTS or len(operands) != 2 or isinstance(operands[1], keras.KerasTensor):
        return None
    features, operand = operands
    if not isinstance(features, keras.KerasTensor) or len(operand.shape) != 2:
        return None
    last = 1
    if kind == "einsum":
        inputs, _, result = str(operation.subscripts).replace(" ", "").partition("->")
        letters = inputs.rpartition(",")[2]
        if not result or len(letters) != 2 or letters.count(result[-1]) != 1 or letters.strip(result[-1]) in result:
            return None
        last = letters.index(result[-1])
    found = [
        (variable, turned)
        for variable in variables
        if len(variable.shape) == 2
        for turned in (False, True)
        if _equal(variable, operand, turned)
    ]
    if len(found) != 1:
        return None
    variable, turned = found[0]
    axis = 1 - last if turned else last
    return Product(kernel=variable, order=(1 - axis, axis), features=features)


def addend_of(node: Any, variables: Sequence[Any]) -> tuple[Any, Any] | None:
    """Return the operands in a sum of a symbolic tensor and a trainable vector.

    Parameters
    ----------
    node : Node
        A call of an addition.
    variables : sequence of keras.Variable
        The model's trainable variables.

    Returns
    -------
    tensor, variable : tuple or None
        None where the other operand does not equal exactly one of the variables.
    """
    import keras

    operands = [value for value in node.arguments.args if _is_array(value)]
    if len(operands) != 2:
        return None
    tensors = [value for value in operands if isinstance(value, keras.KerasTensor)]
    vectors = [value for value in operands if not isinstance(value, keras.KerasTensor)]
    if len(tensors) != 1 or len(vectors[0].shape) != 1:
        return None
    found = [variable for variable in variables if _equal(variable, vectors[0], False)]
    return (tensors[0], found[0]) if len(found) == 1 else None


def shifted_by_constant(operation: Any, node: Any) -> Any:
    """Return the symbolic tensor to which a call adds a constant, such as a log prior.

    The errors of the logits are the same before and after the addition.

    Parameters
    ----------
    operation, node : keras.Operation, Node
        A call in a graph.

    Returns
    -------
    keras.KerasTensor or None
        None for any other call, also for a constant that is wider than the tensor, and for a constant minus a tensor.
    """
    import keras

    kind, operands = type(operation).__name__, [*node.arguments.args, *node.arguments.kwargs.values()]
    if kind not in ("Add", "Subtract") or len(operands) != 2 or len(node.input_tensors) != 1:
        return None
    (tensor,) = node.input_tensors
    constants = [value for value in operands if not isinstance(value, keras.KerasTensor)]
    if len(constants) != 1 or not (_is_array(constants[0]) or isinstance(constants[0], (int, float))):
        return None
    if kind == "Subtract" and operands[0] is not tensor:
        return None
    shape = tuple(node.outputs[0].shape)
    return tensor if shape == tuple(tensor.shape) else None


def is_scalar(node: Any) -> bool:
    """Tell whether a call scales all entries of one tensor by the same number.

    Parameters
    ----------
    node : Node
        A call of a multiplication or division.

    Returns
    -------
    bool
    """
    import keras

    others = [value for value in node.arguments.args if not isinstance(value, keras.KerasTensor)]
    return all(isinstance(value, (int, float)) or np.ndim(value) == 0 for value in others)


def is_table(layer: Any, kernel: Any) -> bool:
    """Tell whether a variable is the table of an embedding.

    Parameters
    ----------
    layer : object
        A layer or a model.
    kernel : keras.Variable
        The variable.

    Returns
    -------
    bool
    """
    import keras

    return isinstance(layer, keras.layers.Embedding) and getattr(layer, "_embeddings", None) is kernel


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _equal(variable: Any, operand: Any, turned: bool) -> bool:
    """Compare a variable, or its transpose, with an operand, by identity first and then by values."""
    import keras

    if operand is variable:
        return not turned
    shape = tuple(variable.shape)
    if (shape[::-1] if turned else shape) != tuple(operand.shape):
        return False
    if turned and shape == (1, 1):
        return False
    other = np.asarray(keras.ops.convert_to_numpy(operand))
    # Under mixed precision a cast rounds the operand, so the variable is rounded too.
    value = np.asarray(keras.ops.convert_to_numpy(variable.value)).astype(other.dtype)
    return bool(np.array_equal(value.T if turned else value, other))
