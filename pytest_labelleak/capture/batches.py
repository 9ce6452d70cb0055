"""Telling one batch from an iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..core.errors import InvalidArgumentError

__all__ = ["MOST_BATCHES", "iter_batches"]

#: Limit for generators that never end. The number bounds work and decides no answer.
MOST_BATCHES = 10_000

_EXPECTED = (
    "Expected (x, y), (x, y, sample_weight), a dict with keys 'x', 'y' and optionally 'sample_weight', "
    "or an iterable of such batches."
)


def iter_batches(batch: Any) -> Iterator[Any]:
    """Yield the batches that `batch` stands for.

    Tuples, dicts and arrays are single batches. Lists, generators and data sets are iterables of batches. An object
    with ``num_batches`` and indexing (a Keras ``PyDataset``) is indexed.

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
    if isinstance(batch, (tuple, dict)) or hasattr(batch, "__array__"):
        yield batch
        return
    if isinstance(batch, (str, bytes)):
        raise InvalidArgumentError(f"batch is a {type(batch).__name__}. {_EXPECTED}")
    count = getattr(batch, "num_batches", None)
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
            raise InvalidArgumentError(
                f"batch yields more than {MOST_BATCHES} batches. Expected a finite iterable: remove .repeat(), or take "
                "the first ones with itertools.islice."
            )
        if isinstance(batch, list) and not isinstance(item, (tuple, dict)):
            raise InvalidArgumentError(f"batch is a list whose items are {type(item).__name__}. {_EXPECTED}")
        yield item
