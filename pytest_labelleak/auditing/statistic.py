"""Statistics that a question declares: the name of each, how it is pooled over batches, how a record holds it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.figures import rounded

__all__ = [
    "CLAIMED_ERROR",
    "CLAIMED_SHARE",
    "FOUND_SHARE",
    "INDICES",
    "MEAN",
    "OF_BATCHES",
    "PRIVATE_SETS",
    "PRIVATE_SHARES",
    "PRIVATE_VALUES",
    "Pooling",
    "Statistic",
    "Statistics",
    "mean_of_claims",
]


class Pooling(enum.Enum):
    """How one attack's values over several batches become one.

    Attributes
    ----------
    MEAN
        Mean; a batch without a claim counts with the statistic's `missing` value. A batch with None, where nothing
        could be told, does not count.
    MEAN_OF_CLAIMS
        The same with 0 for a batch without a claim; None if there was never one.
    MEDIAN_OF_CLAIMS
        Median over the batches with a claim; None if there was never one.
    UNION
        Sorted union of sets of indices; None if there was never one.
    CONCATENATED
        One entry for each batch, in their order.
    """

    MEAN = enum.auto()
    MEAN_OF_CLAIMS = enum.auto()
    MEDIAN_OF_CLAIMS = enum.auto()
    UNION = enum.auto()
    CONCATENATED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistic:
    """One declared statistic of a verdict.

    Attributes
    ----------
    pooling : Pooling
        How its values over batches become one.
    missing : object
        Its value where an attack made no claim; one entry of it where the pooling is `Pooling.CONCATENATED`.
    record : callable
        From its value to JSON types.
    everywhere : bool
        Whether batches that tell nothing about the question count, too: so for findings beside the figure.
    private : bool
        Whether its values can hold labels, words or numbers of positions: then a record holds it on request alone.
    """

    pooling: Pooling
    missing: Any = None
    record: Callable[[Any], Any] = rounded
    everywhere: bool = False
    private: bool = False

    def numbers(self, values: Sequence[Any]) -> list[float]:
        """Return the numbers of which a mean consists.

        Parameters
        ----------
        values : sequence
            One for each batch.

        Returns
        -------
        list of float
            Where the pooling is `Pooling.MEAN`, without the batches in which nothing could be told.
        """
        if self.pooling is Pooling.MEAN:
            return [value for value in values if value is not None]
        return [value or 0.0 for value in values]

    def pooled(self, values: Sequence[Any]) -> Any:
        """Return the pooled value.

        Parameters
        ----------
        values : sequence
            One for each batch, at least one.

        Returns
        -------
        object
            The value over all batches.
        """
        return _POOLED[self.pooling](self, values)

    @property
    def absent(self) -> Any:
        """The value in the verdict of one batch without a claim."""
        return () if self.pooling is Pooling.CONCATENATED else self.missing


#: Declared statistics by name, in the order in which a record lists them.
Statistics = Mapping[str, Statistic]


def mean_of_claims(values: Sequence[float | None]) -> float | None:
    """Return the mean of values in which None, no claim, counts 0.

    Parameters
    ----------
    values : sequence of float or None
        One for each batch.

    Returns
    -------
    float or None
        None if there was never a claim.
    """
    if all(value is None for value in values):
        return None
    return float(np.mean([value or 0.0 for value in values]))


def _mean(statistic: Statistic, values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return float(np.mean(told)) if told else None


def _median(statistic: Statistic, values: Sequence[float | None]) -> float | None:
    claimed = [value for value in values if value is not None]
    return float(np.median(claimed)) if claimed else None


def _union(statistic: Statistic, sets: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    if all(indices is None for indices in sets):
        return None
    return tuple(sorted({index for indices in sets for index in indices or ()}))


def _concatenated(statistic: Statistic, values: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    if not any(values):
        return ()
    return tuple(entry for entries in values for entry in (entries or (statistic.missing,)))


_POOLED: Mapping[Pooling, Callable[[Statistic, Sequence[Any]], Any]] = {
    Pooling.MEAN: _mean,
    Pooling.MEAN_OF_CLAIMS: lambda statistic, values: mean_of_claims(values),
    Pooling.MEDIAN_OF_CLAIMS: _median,
    Pooling.UNION: _union,
    Pooling.CONCATENATED: _concatenated,
}


def _two_digits(error: float | None) -> float | None:
    # Errors go down to rounding: significant digits, not decimals.
    return None if error is None else float(f"{error:.2g}")


def _listed(indices: tuple[int, ...] | None) -> list[int] | None:
    return None if indices is None else list(indices)


def _nested(entries: tuple[tuple[Any, ...], ...]) -> list[list[Any]]:
    return [list(entry) for entry in entries]


def _listed_shares(entries: tuple[tuple[tuple[int, float], ...], ...]) -> list[list[list[float]]]:
    return [[[label, round(share, 6)] for label, share in entry] for entry in entries]


#: A rate or number that each verdict has.
MEAN = Statistic(pooling=Pooling.MEAN, missing=0.0)
#: A share that is None where an attack makes no such claim.
CLAIMED_SHARE = Statistic(pooling=Pooling.MEAN_OF_CLAIMS)
#: The same for a finding beside the figure, over all batches.
FOUND_SHARE = Statistic(pooling=Pooling.MEAN_OF_CLAIMS, everywhere=True)
#: A share of the batches, whatever the attacks claim.
OF_BATCHES = Statistic(pooling=Pooling.MEAN, missing=0.0, everywhere=True)
#: An error that is None where an attack makes no such claim.
CLAIMED_ERROR = Statistic(pooling=Pooling.MEDIAN_OF_CLAIMS, record=_two_digits, everywhere=True)
#: Indices that occurred in any batch.
INDICES = Statistic(pooling=Pooling.UNION, record=_listed, everywhere=True)
#: Named classes or words of each batch.
PRIVATE_SETS = Statistic(pooling=Pooling.CONCATENATED, missing=(), record=_nested, everywhere=True, private=True)
#: Claimed shares of each batch: pairs of class and share.
PRIVATE_SHARES = Statistic(
    pooling=Pooling.CONCATENATED, missing=(), record=_listed_shares, everywhere=True, private=True
)
#: One private number for each batch.
PRIVATE_VALUES = Statistic(pooling=Pooling.CONCATENATED, record=list, everywhere=True, private=True)
