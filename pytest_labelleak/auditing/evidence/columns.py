"""Statistics of the columns of a head's gradient, as ranks among the classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

__all__ = ["RankedColumns", "column_statistics", "leading_directions", "rank_columns", "scaled_blocks"]

#: Leading left singular directions that the statistics of a column may be confined to.
_CONFINED_TO = (4, 16)

#: Directions carried along beyond the last one used: with them, the last one used has converged.
_SPARE = 8

#: Passes of the subspace iteration. More passes separate directions of nearly equal length, which the statistics
#: (projections on all leading directions together) do not depend on.
_PASSES = 4

#: Entries held in float64 at once, and the largest gradient that is held whole; they bound memory and decide nothing.
_BLOCK = 1 << 22
_KEPT = 1 << 25

#: Positions whose matched filter is ranked, and ranks kept of them; bounds work and memory. Of more positions some are
#: taken, evenly from the batch.
_MOST_POSITIONS = 256
_MOST_RANKS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedColumns:
    """The column statistics of one update as ranks, with the labels that it was computed from.

    Attributes
    ----------
    classes : int
        Number of classes C.
    present : ndarray of int, shape (m,)
        Distinct labels. Private.
    ranks : mapping of str to ndarray of int32, shape (C,)
        For every statistic, twice the mean rank of every column: tied columns share theirs.
    matched : ndarray of int32, shape (n, C), or None
        The same for the product of one position's features with every column, n positions. Private.
    answers : ndarray of int, shape (n,), or None
        For each of these positions, the index of its label within `present`. Private.
    """

    classes: int
    present: np.ndarray = field(repr=False)
    ranks: dict[str, np.ndarray] = field(repr=False)
    matched: np.ndarray | None = field(default=None, repr=False)
    answers: np.ndarray | None = field(default=None, repr=False)

    @property
    def comparable(self) -> bool:
        """Whether some class is present and some class is absent."""
        return 0 < self.present.size < self.classes


def rank_columns(
    kernel_gradient: np.ndarray,
    labels: np.ndarray,
    *,
    bias_gradient: np.ndarray | None = None,
    features: np.ndarray | None = None,
) -> RankedColumns:
    """Return the ranks of all column statistics of one update.

    The gradient itself is not kept, so that the ranks of many draws of a defence can be.

    Parameters
    ----------
    kernel_gradient : ndarray of shape (d, C)
        Gradient of the head's kernel as it is shared.
    labels : ndarray of int, shape (S,)
        Class of every label position, all in [0, C).
    bias_gradient : ndarray of shape (C,), optional
        Gradient of the head's bias.
    features : ndarray of shape (S, d), optional
        The head's input at every label position. The statistics then include the matched filter of a receiver
        who knows everything but the label.

    Returns
    -------
    RankedColumns
        Ranks and labels.

    Examples
    --------
    >>> import numpy as np
    >>> ranked = rank_columns(np.array([[0.5, -1.0, 0.25, 0.25]]), np.array([1]))
    >>> ranked.ranks["sum"].tolist()
    [6, 0, 3, 3]
    """
    statistics = column_statistics(kernel_gradient, bias_gradient)
    labels = np.asarray(labels, dtype=np.int64).reshape(-1)
    present, answers = np.unique(labels, return_inverse=True)
    matched = None
    if features is not None and labels.size:
        chosen = np.arange(labels.size)
        most = max(1, min(_MOST_POSITIONS, _MOST_RANKS // kernel_gradient.shape[1]))
        if labels.size > most:
            chosen = np.linspace(0, labels.size - 1, most).astype(np.int64)
        answers = answers.reshape(-1)[chosen]
        matched = _ranks(_Blocks(kernel_gradient).products(np.asarray(features)[chosen].T))
    return RankedColumns(
        classes=int(kernel_gradient.shape[1]),
        present=present,
        ranks={name: _ranks(values[None, :])[0] for name, values in statistics.items()},
        matched=matched,
        answers=None if matched is None else answers,
    )


def column_statistics(kernel_gradient: np.ndarray, bias_gradient: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return one figure of every column for each of several statistics.

    ================== ==========================================================================
    statistic          figure of column ``g_c``
    ================== ==========================================================================
    column sum         sum of the entries: the matched filter where features are non-negative
    column minimum     smallest entry
    column maximum     largest entry
    column norm        squared Euclidean norm
    norm in 4, 16      squared norm of the projection on the leading 4, 16 left singular directions
    leading direction  product with the first, its sign chosen so that the long tail is negative
    bias               the bias gradient
    ================== ==========================================================================

    Only the order of the figures is used, so logarithms of the norms would add nothing. The sign of a singular
    direction is arbitrary; the chosen one makes the direction comparable between updates.

    Parameters
    ----------
    kernel_gradient : ndarray of shape (d, C)
        Gradient of the head's kernel.
    bias_gradient : ndarray of shape (C,), optional
        Gradient of the head's bias.

    Returns
    -------
    dict of str to ndarray, shape (C,)
        In units of the largest entry. A column with an entry that is not finite has infinity everywhere.
    """
    d, classes = kernel_gradient.shape
    sums, least, most, norms = np.zeros((4, classes))
    blocks = _Blocks(kernel_gradient)
    for columns, block in blocks:
        sums[columns], least[columns], most[columns] = block.sum(axis=0), block.min(axis=0), block.max(axis=0)
        norms[columns] = np.einsum("ij,ij->j", block, block)
    found = {"sum": sums, "minimum": least, "maximum": most, "norm": norms}
    products = blocks.products(blocks.leading(max(_CONFINED_TO)))
    for count in _CONFINED_TO:
        if count < min(d, classes):
            found[f"norm in {count}"] = np.einsum("ij,ij->j", products[:count], products[:count])
    found["leading direction"] = _long_tail_negative(products[0])
    if bias_gradient is not None:
        found["bias"] = np.array(bias_gradient, dtype=np.float64)
    broken = np.zeros(classes, dtype=bool)
    for columns, finite in _finite_columns(kernel_gradient):
        broken[columns] = ~finite
    for name, values in found.items():
        found[name] = np.where(broken | np.isnan(values), np.inf, values)
    return found


def leading_directions(kernel_gradient: np.ndarray, count: int) -> np.ndarray:
    """Return leading left singular directions of a kernel gradient by subspace iteration.

    The iteration starts from a fixed Gaussian matrix, so the same gradient always gives the same directions [1]_.

    Parameters
    ----------
    kernel_gradient : ndarray of shape (d, C)
        Gradient of the head's kernel; entries that are not finite count as 0.
    count : int
        Number of directions wanted.

    Returns
    -------
    ndarray of shape (d, min(count, d, C))
        Orthonormal columns, the longest direction first.

    References
    ----------
    .. [1] N. Halko, P. G. Martinsson, J. A. Tropp, "Finding Structure with Randomness", SIAM Review 53 (2011)
       217-288. https://doi.org/10.1137/090771806

    Examples
    --------
    >>> import numpy as np
    >>> np.abs(leading_directions(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]), 1)).round(6).T.tolist()
    [[1.0, 0.0]]
    """
    return _Blocks(kernel_gradient).leading(count)


def scaled_blocks(gradient: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield a gradient by blocks of columns as float64: a small one whole, a large one without a second copy of it.

    Parameters
    ----------
    gradient : ndarray of shape (d, C)
        Of any floating dtype.

    Yields
    ------
    columns : slice
        Of the block.
    block : ndarray of shape (d, width)
        In units of the largest finite entry, so that squares stay in range; entries that are not finite are 0.
    """
    yield from _Blocks(gradient)


class _Blocks:
    """A gradient in units of its largest finite entry, by blocks of columns; a small one is scaled once."""

    def __init__(self, gradient: np.ndarray) -> None:
        self.shape = gradient.shape
        self._gradient, self._scale = gradient, _scale(gradient)
        self._whole = self._scaled(slice(None)) if gradient.size <= _KEPT else None

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        width = self.shape[1] if self._whole is not None else _columns_of(self._gradient)
        for start in range(0, self.shape[1], max(1, width)):
            columns = slice(start, min(start + width, self.shape[1]))
            yield columns, self._scaled(columns) if self._whole is None else self._whole

    def products(self, vectors: np.ndarray) -> np.ndarray:
        """Return the products of (d, k) vectors with every column, shape (k, C)."""
        found = np.empty((vectors.shape[1], self.shape[1]))
        for columns, block in self:
            found[:, columns] = vectors.T @ block
        return found

    def times(self, right: np.ndarray) -> np.ndarray:
        found = np.zeros((self.shape[0], right.shape[1]))
        for columns, block in self:
            found += block @ right[columns]
        return found

    def leading(self, count: int) -> np.ndarray:
        d, classes = self.shape
        width = min(count + _SPARE, d, classes)
        right = np.random.default_rng(0).standard_normal((classes, width))
        basis = np.linalg.qr(self.times(right))[0]
        for _ in range(_PASSES):
            right = np.linalg.qr(self.products(basis).T)[0]
            basis = np.linalg.qr(self.times(right))[0]
        within = self.products(basis)
        rotation = np.linalg.eigh(within @ within.T)[1][:, ::-1]
        leading: np.ndarray = (basis @ rotation)[:, :count]
        return leading

    def _scaled(self, columns: slice) -> np.ndarray:
        block = np.asarray(self._gradient[:, columns], dtype=np.float64) / self._scale
        block[~np.isfinite(block)] = 0.0
        return block


def _scale(gradient: np.ndarray) -> float:
    """Return the largest finite size of an entry, 1 for a gradient without any."""
    largest = 0.0
    for start in range(0, gradient.shape[1], _columns_of(gradient)):
        block = np.abs(np.asarray(gradient[:, start : start + _columns_of(gradient)], dtype=np.float64))
        largest = max(largest, float(np.max(block, initial=0.0, where=np.isfinite(block))))
    return largest or 1.0


def _columns_of(gradient: np.ndarray) -> int:
    return max(1, _BLOCK // max(1, int(gradient.shape[0])))


def _finite_columns(gradient: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    width = _columns_of(gradient)
    for start in range(0, gradient.shape[1], width):
        columns = slice(start, min(start + width, gradient.shape[1]))
        finite = np.isfinite(np.asarray(gradient[:, columns], dtype=np.float64))
        yield columns, np.asarray(finite.all(axis=0))


def _long_tail_negative(values: np.ndarray) -> np.ndarray:
    centred = values - np.median(values)
    signed: np.ndarray = -values if np.sum(centred**3) > 0.0 else values
    return signed


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return twice the mean rank of every entry within its row; equal entries share theirs."""
    rows, size = values.shape
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    starts = np.ones((rows, size), dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = np.arange(size)
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    ends = np.ones((rows, size), dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, place, size - 1)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty((rows, size), dtype=np.int32)
    np.put_along_axis(ranks, order, (first + last).astype(np.int32), axis=1)
    return ranks
