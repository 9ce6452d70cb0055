"""One Keras batch, split into x, y and sample weights as numpy arrays, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.tensors import to_numpy

__all__ = ["Batch", "describe", "leaves", "to_array", "unpack"]

_EXPECTED = "Expected (x, y), (x, y, sample_weight) or a dict with the keys 'x', 'y' and optionally 'sample_weight'."
_KEYS = ("x", "y", "sample_weight")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Inputs, targets and weights of one batch as (nested) numpy arrays. All private.

    Attributes
    ----------
    x, y : ndarray or nested list, tuple, dict of ndarray
        Inputs and targets; the first axis is that of the samples.
    sample_weight : ndarray, nested structure or None
        The user's weights, before class weights are applied.
    size : int
        Number of samples.
    """

    x: Any = field(repr=False)
    y: Any = field(repr=False)
    sample_weight: Any = field(repr=False)
    size: int


def unpack(batch: Any) -> Batch:
    """Split one batch into x, y and sample weights.

    Parameters
    ----------
    batch : tuple, list or dict
        The batch that the user passed.

    Returns
    -------
    Batch
        The parts; the first axes of all arrays have one length.

    Raises
    ------
    InvalidArgumentError
        If the batch has another type, lacks its labels, or the lengths of its arrays differ.
    """
    if isinstance(batch, dict):
        unknown = sorted(str(key) for key in batch if key not in _KEYS)
        if unknown:
            raise InvalidArgumentError(f"batch has the unknown key(s) {', '.join(map(repr, unknown))}. {_EXPECTED}")
        if "x" not in batch:
            raise InvalidArgumentError(f"batch has no key 'x'. {_EXPECTED}")
        x, y, weight = (batch.get(key) for key in _KEYS)
    elif isinstance(batch, (tuple, list)):
        if len(batch) not in (2, 3):
            raise InvalidArgumentError(f"batch is a {type(batch).__name__} of {len(batch)} item(s). {_EXPECTED}")
        x, y, weight = (*batch, None)[:3]
    else:
        raise InvalidArgumentError(f"batch is a {type(batch).__name__}. {_EXPECTED}")
    if y is None:
        raise InvalidArgumentError(f"batch has no labels: y is missing or None. {_EXPECTED}")
    if x is None:
        raise InvalidArgumentError(f"batch has no inputs: x is None. {_EXPECTED}")
    x, y = _arrays(x, "x"), _arrays(y, "y")
    weight = None if weight is None else _arrays(weight, "sample_weight")
    lengths: dict[str, int] = {}
    for name, value in (("x", x), ("y", y), ("sample_weight", weight)):
        for path, array in leaves(value):
            where = name + "".join(f"[{key!r}]" for key in path)
            if array.ndim == 0:
                raise InvalidArgumentError(f"{where} is a scalar. Expected an array whose first axis is the samples.")
            lengths[where] = int(array.shape[0])
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidArgumentError(
            f"the arrays of the batch differ in length: {listed}. Expected one entry per sample."
        )
    if not lengths:
        raise InvalidArgumentError(f"batch holds no arrays. {_EXPECTED}")
    return Batch(x=x, y=y, sample_weight=weight, size=next(iter(lengths.values())))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every array of a nested structure with the keys that lead to it.

    Parameters
    ----------
    value : ndarray, list, tuple, dict or None
        The structure.
    path : tuple, optional
        Keys that lead to the structure.

    Yields
    ------
    path, array : tuple
        Keys and array; None is left out.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from leaves(item, (*path, key))
    elif value is not None:
        yield path, value


def describe(value: Any) -> str:
    """Return the shapes in a nested structure as text, without a value of it.

    Parameters
    ----------
    value : ndarray or nested structure
        Private data.

    Returns
    -------
    str
        E.g. "(8, 4)" or "['a'] (8, 4), ['b'] (8, 2)".
    """
    return ", ".join(
        "".join(f"[{key!r}]" for key in path) + (" " if path else "") + str(tuple(array.shape))
        for path, array in leaves(value)
    )


def _arrays(value: Any, name: str) -> Any:
    """Convert a nested structure to numpy arrays; a list of plain numbers is one array."""
    if isinstance(value, Mapping):
        return {key: _arrays(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not _is_numbers(value):
        return [_arrays(item, f"{name}[{index}]") for index, item in enumerate(value)]
    return None if value is None else to_array(value, name)


def _is_numbers(value: Any) -> bool:
    """Tell a list of (lists of) scalars, one array, from a list of arrays, a structure."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_numbers, value))
    return value is not None and not isinstance(value, Mapping) and np.ndim(value) == 0


def to_array(value: Any, name: str) -> np.ndarray:
    """Convert a tensor of any framework, or a list of numbers, to numpy.

    Parameters
    ----------
    value : array_like
        TensorFlow, JAX, torch (on any device) or numpy.
    name : str
        Name of the value in an error.

    Returns
    -------
    ndarray
        An array of any dtype but object.

    Raises
    ------
    InvalidArgumentError
        If the value does not convert to a rectangular array.
    """
    array = to_numpy(value)
    if array is None or array.dtype == object:
        raise InvalidArgumentError(f"{name} is a {type(value).__name__}. Expected a rectangular array or tensor.")
    return array
