"""One number for each class: the energy of its column, its products with a few directions, its bias gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import scipy.stats

from ...core.update import Update, unit_roundoff
from ..gradient.head import bias_gradient, kernel_blocks
from ..gradient.range_finder import GrowingRange, ScaledGradient
from ..gradient.rank import visible_directions

__all__ = ["Columns", "Statistic", "read_columns"]

#: Columns compared with each other. Their mean cosine is as accurate as is of use with a few dozen.
_TYPICAL = 128

#: Share of zeros, in rows and columns with other entries, from which on entries were dropped, as `coarseness` has it.
_SCATTERED = 0.01

#: Entries that a typical column must keep for sums over them to be near to normal.
_ENOUGH = 32

#: Directions more than those asked for, so that the last one asked for is accurate. Accuracy alone depends on it.
_SPARE = 16


# Entries of a block, which several operations read while it is in the cache. Decides nothing.
_ENTRIES_PER_BLOCK = 2**17


def _blocks(update: Update) -> Iterator[tuple[slice, np.ndarray]]:
    return kernel_blocks(update, rows_per_block=max(1, _ENTRIES_PER_BLOCK // update.classes))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistic:
    """One number for each class, larger for a present class than for an absent one.

    Attributes
    ----------
    name : str
        For reports.
    values : ndarray of shape (C,)
        The numbers.
    spread : float
        Standard deviation that independent noise in the entries gives to `values`; 0 where it is not known.
    log_tails : ndarray of shape (C,), or None
        Logarithm of the probability that chance gives an absent class so much, where the law of chance is known;
        otherwise read from the deviations.
    detects : bool
        Whether chance is known well enough for this statistic alone to name a class.
    """

    name: str
    values: np.ndarray = field(repr=False)
    spread: float = 0.0
    log_tails: np.ndarray | None = field(default=None, repr=False)
    detects: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """The columns of the head's gradient, reduced to the numbers that the attack looks at.

    Attributes
    ----------
    update : Update
        The update they were read from.
    scale : float
        Largest magnitude of the kernel gradient. All entries are divided by it.
    energy : ndarray of shape (C,)
        Squared norm of every column.
    fourth : ndarray of shape (C,)
        Sum of the fourth powers of every column.
    filled : ndarray of int, shape (C,)
        Number of non-zero entries of every column.
    live : int
        Number of features with a non-zero entry.
    sums : ndarray of shape (C,)
        Sum of every column.
    along_weights : ndarray of shape (C,), or None
        Product of every column with the unit vector of its own class's weights, where these are known.
    leading : ndarray of shape (r, C)
        Products of the columns with the leading left singular directions that stand out of independent noise.
    """

    update: Update = field(repr=False)
    scale: float
    energy: np.ndarray = field(repr=False)
    fourth: np.ndarray = field(repr=False)
    filled: np.ndarray = field(repr=False)
    live: int
    sums: np.ndarray = field(repr=False)
    along_weights: np.ndarray | None = field(repr=False)
    leading: np.ndarray = field(repr=False)

    @property
    def deviation(self) -> float:
        """Standard deviation of one entry of a typical column: the noise, where columns hold noise."""
        return float(np.sqrt(np.median(self.energy) / max(self.update.features, 1)))

    def statistics(self) -> list[Statistic]:
        """Return the numbers that are known before any class is.

        Entries that a defence left scattered and few have sums and energies with long tails of their own, and the
        directions of such a matrix are those of single entries. There the number of entries left detects alone.
        """
        columns = int(np.count_nonzero(self.filled))
        scattered = 1.0 - float(self.filled.sum()) / max(self.live * columns, 1) > _SCATTERED
        found = [_size("energy", self.energy, self.fourth, self.live)]
        if scattered or 2 * columns <= self.filled.size:
            found.append(self._occupancy())
        if self.leading.shape[0]:
            squares = self.leading**2
            found.append(_size("leading energy", squares.sum(axis=0), (squares**2).sum(axis=0), len(squares)))
            found.append(_longer_tail("leading direction", self.leading[0]))
        noise = self.deviation
        found.append(Statistic(name="sum", values=-self.sums, spread=noise * np.sqrt(self.live)))
        if self.along_weights is not None:
            found.append(Statistic(name="weights", values=-self.along_weights, spread=noise))
        bias = bias_gradient(self.update)
        if bias is not None and np.any(bias):
            found.append(Statistic(name="bias", values=-bias / np.abs(bias).max()))
        if scattered and float(np.median(self.filled)) < _ENOUGH:
            return [dataclasses.replace(s, detects=s.log_tails is not None) for s in found]
        return found

    def uneven(self) -> float:
        """Return how many times further the logarithms of the energies spread than those of alike columns would."""
        full = self.energy > 0
        spread = _deviation(np.log(self.energy[full])) if np.count_nonzero(full) > 3 else 0.0
        return spread / float(np.sqrt(2.0 * self._alike()))

    def _alike(self) -> float:
        """Return the mean squared cosine between typical columns, those of about the median energy.

        One over it is the number of directions that the columns fill evenly: d for independent noise, fewer for
        noise of low rank. The logarithm of the energy of a normal column has twice that variance.
        """
        order = np.argsort(self.energy, kind="stable")
        order = order[np.count_nonzero(self.energy == 0) :]
        chosen = np.sort(order[max((order.size - _TYPICAL) // 2, 0) :][:_TYPICAL])
        if chosen.size < 3:
            return 1.0
        products = np.zeros((chosen.size, chosen.size))
        for _, block in _blocks(self.update):
            entries = block[:, chosen] / self.scale
            products += entries.T @ entries
        lengths = np.sqrt(np.diag(products))
        cosines = products / np.outer(lengths, lengths)
        mean = (np.sum(cosines**2) - chosen.size) / (chosen.size * (chosen.size - 1))
        return float(max(mean, 1.0 / self.update.features))

    def _occupancy(self) -> Statistic:
        """Return the numbers of non-zero entries, and how rarely chance leaves so many."""
        classes, live = self.filled.size, max(self.live, 1)
        # Where half of the columns are empty, the median says nothing, and the share of empty ones does.
        empty = float(np.count_nonzero(self.filled == 0)) / classes
        share = max(float(np.median(self.filled)) / live, 1.0 - max(empty, 0.5 / classes) ** (1.0 / live))
        share = min(share, 1.0 - 1.0 / (live * classes))
        return Statistic(
            name="occupancy",
            # The square root makes the spread of a rare event the same for every rate.
            values=np.sqrt(self.filled + 0.25),
            spread=0.5 * np.sqrt(1.0 - share),
            log_tails=scipy.stats.binom.logsf(self.filled - 1, live, share),
        )

    def against(self, named: np.ndarray) -> Statistic:
        """Return the products with the mean column of the classes `named`, each class's own part left out.

        The mean column of present classes is, but for its sign, the mean feature vector: the matched filter of
        features whose mean is not zero, whatever their signs.

        Parameters
        ----------
        named : ndarray of bool, shape (C,)
            Classes taken for present.

        Returns
        -------
        Statistic
            Larger for a column along that direction.
        """
        # Two passes: the products need the whole direction.
        direction, products = np.zeros(self.update.features), np.zeros(self.update.classes)
        member = named.astype(np.float64) / self.scale
        for rows, block in _blocks(self.update):
            direction[rows] = block @ member
        for rows, block in _blocks(self.update):
            products += (direction[rows] / self.scale) @ block
        length = np.full(products.size, float(direction @ direction))
        length[named] += self.energy[named] - 2.0 * products[named]
        products[named] -= self.energy[named]
        length = np.sqrt(np.maximum(length, 0.0))
        values = np.divide(products, length, out=np.zeros_like(products), where=length > 0)
        return Statistic(name="matched filter", values=values, spread=self.deviation)


def _size(name: str, energy: np.ndarray, fourth: np.ndarray, entries: int) -> Statistic:
    """Return energies on the scale on which their bulk is nearest to normal.

    Independent entries give ``log q`` a variance that the column itself tells: with f the sum of the fourth powers
    over the squared energy, f - 1/d if the entries are alike, 2 f / 3 if they are normal. Energies of such a bulk are
    normal after a cube root [1]_; energies that spread more widely, as a trained network's probabilities do, after a
    logarithm.

    References
    ----------
    .. [1] E. B. Wilson, M. M. Hilferty, "The distribution of chi-square", PNAS 17 (1931) 684-688.
       https://doi.org/10.1073/pnas.17.12.684
    """
    filled = energy > 0
    floor = float(energy[filled].min())
    middle = max(float(np.median(energy)), floor)
    logarithms = np.log(np.maximum(energy, floor) / middle)
    squares = energy**2
    told = squares > 0  # squares of columns that are smaller than the largest by more than 1e-80 vanish
    share = float(np.median(fourth[told] / squares[told]))
    of_noise = float(np.sqrt(max(share * 2.0 / 3.0, share - 1.0 / max(entries, 1))))
    if _deviation(logarithms) <= _LIKE_NOISE * of_noise:
        return Statistic(name=name, values=np.cbrt(energy / middle), spread=of_noise / 3.0)
    return Statistic(name=name, values=logarithms, spread=of_noise)


#: A bulk whose logarithms spread up to this many times as far as those of noise is one of noise. Where it lies between
#: the two, both scales give nearly the same answer.
_LIKE_NOISE = 1.5


def _deviation(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _longer_tail(name: str, values: np.ndarray) -> Statistic:
    """Turn `values` so that the longer tail, on which the fewer present classes are, points upwards."""
    centred = values - np.median(values)
    return Statistic(name=name, values=centred if np.sum(centred**3) >= 0 else -centred)


def read_columns(update: Update, *, directions: int, fluctuations: float) -> Columns:
    """Read the columns of the head's gradient in one pass, and the leading directions in a few more.

    Parameters
    ----------
    update : Update
        The update that was shared.
    directions : int
        Leading directions looked at, at most.
    fluctuations : float
        How far above the edge of independent noise they must be, as for `visible_directions`.

    Returns
    -------
    Columns
        Of entries divided by the largest.
    """
    scale = max(max(float(block.max()), -float(block.min())) for _, block in _blocks(update))
    classes, weights = update.classes, update.head.kernel_value
    energy, fourth, sums, product, length = (np.zeros(classes) for _ in range(5))
    filled, live = np.zeros(classes, dtype=np.int64), 0
    for rows, entries in _blocks(update):
        entries /= scale or 1.0
        sums += entries.sum(axis=0)
        full = entries != 0
        filled += np.count_nonzero(full, axis=0)
        live += int(np.count_nonzero(full.any(axis=1)))
        if weights is not None:
            own = weights[rows].astype(np.float64)
            own -= own.mean(axis=1, keepdims=True)
            product += np.einsum("ij,ij->j", own, entries)
            length += np.einsum("ij,ij->j", own, own)
        np.square(entries, out=entries)
        energy += entries.sum(axis=0)
        fourth += np.einsum("ij,ij->j", entries, entries)
    along = None
    if weights is not None and np.any(length):
        along = np.divide(product, np.sqrt(length), out=np.zeros(classes), where=length > 0)
    return Columns(
        update=update,
        scale=scale or 1.0,
        energy=energy,
        fourth=fourth,
        filled=filled,
        live=live,
        sums=sums,
        along_weights=along,
        leading=_leading(update, directions, fluctuations),
    )


def _leading(update: Update, most: int, fluctuations: float) -> np.ndarray:
    """Return the coordinates of the columns in the leading directions that stand out of independent noise."""
    operator = ScaledGradient(update, equilibrate=False)
    full = min(operator.shape[0], operator.columns.size)
    if full < 2:
        return np.empty((0, update.classes))
    found = GrowingRange(operator)
    found.widen(min(most + _SPARE, full))
    # The operator's norm is known, so that no pass over the remainder is needed: directions below the square root of
    # the rounding of float64 are left out further down.
    factor = scipy.linalg.qr(found.compressed.T, mode="r", check_finite=False)[0][: found.compressed.shape[0]]
    _, values, right = scipy.linalg.svd(factor, full_matrices=False, check_finite=False)
    beyond = float(np.sqrt(max(operator.columns.size - float(values @ values), 0.0)))
    visible = min(visible_directions(values, beyond, operator, fluctuations=fluctuations), most)
    # A matrix of low rank has rounding for its other directions.
    visible = min(visible, int(np.count_nonzero(values > unit_roundoff("float32") * values[0])))
    coordinates: np.ndarray = right[:visible] @ found.compressed
    return coordinates
