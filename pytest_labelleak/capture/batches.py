"""One batch, or an iterable of batches: a distinction by type, and the refusal of data without an end."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..core.errors import InvalidArgumentError

__all__ = ["MOST_BATCHES", "iter_batches"]

#: Limit for generators that never end. The number bounds work and decides no answer.
MOST_BATCHES = 10_000

_EXPECTED = (
    "Expected (x, y), (x, y, sample_weight), a dict with keys 'x', 'y' and optionally 'sample_weight', "
    "or an iterable of such batches."
)
_FINITE = "Expected a finite iterable: remove .repeat(), or take the first ones with itertools.islice."

#: Cardinality of a ``tf.data.Dataset`` without an end.
_INFINITE = -1


def iter_batches(batch: Any) -> Iterator[Any]:
    """Yield the batches that `batch` stands for.

    Tuples, dicts, arrays and sequences of numbers are single batches. Lists, generators and data sets are iterables of
    batches. An object with ``num_batches`` and indexing (a Keras ``PyDataset``) is indexed. A data set that knows to be
    endless, such as a ``tf.data.Dataset`` after ``repeat()``, is refused before its first batch.

    Parameters
    ----------
    batch : object
        The batch or batches that the user passed.

    Yields
    ------
    object
        One batch at a time.

    Raises
    ------
    InvalidArgumentError
        If `batch` is no batch and no iterable of batches, or never ends.
    """
    if batch is None:
        raise InvalidArgumentError(f"batch is None. {_EXPECTED}")
    if isinstance(batch, (tuple, dict)) or hasattr(batch, "__array__") or _is_flat(batch):
        yield batch
        return
    if isinstance(batch, (str, bytes)):
        raise InvalidArgumentError(f"batch is a {type(batch).__name__}. {_EXPECTED}")
    if _is_endless(batch):
        raise InvalidArgumentError(f"batch is a {type(batch).__name__} without an end. {_FINITE}")
    count = _number_of_batches(batch)
    items: Iterable[Any]
    if isinstance(count, int) and hasattr(batch, "__getitem__"):
        items = (batch[i] for i in range(count))
    elif isinstance(batch, Iterable):
        items = batch
    else:
        yield batch  # an object that its own adapter understands
        return
    for number, item in enumerate(items):
        if number == MOST_BATCHES:
            raise InvalidArgumentError(f"batch yields more than {MOST_BATCHES} batches. {_FINITE}")
        if isinstance(batch, list) and not isinstance(item, (tuple, dict)):
            raise InvalidArgumentError(f"batch is a list whose items are {type(item).__name__}. {_EXPECTED}")
        yield item


def _is_flat(batch: Any) -> bool:
    """Tell whether a sequence holds numbers alone: the labels of an update, and no batches."""
    if isinstance(batch, (str, bytes)) or not isinstance(batch, Sequence) or not len(batch):
        return False
    return all(isinstance(item, numbers.Number) or getattr(item, "ndim", None) == 0 for item in batch)


def _number_of_batches(batch: Any) -> Any:
    try:
        return getattr(batch, "num_batches", None)
    except NotImplementedError:  # a PyDataset that does not say
        return None


def _is_endless(batch: Any) -> bool:
    """Tell whether a data set knows that it has no end."""
    if isinstance(batch, itertools.cycle):
        return True
    try:
        # A PyDataset has the number None if it is endless, and raises if the user has not defined the number.
        if hasattr(type(batch), "num_batches") and hasattr(batch, "__getitem__") and batch.num_batches is None:
            return True
        return int(batch.cardinality()) == _INFINITE
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return False
