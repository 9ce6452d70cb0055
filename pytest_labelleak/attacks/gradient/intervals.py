"""The intervals that a coarsened gradient leaves for its entries before they were dropped or rounded.

Dropping the smallest entries leaves the others exact; each zero was an entry no larger than the smallest survivor.
Rounding to a lattice moves every entry by half a step at most. Neither is noise: each entry is known up to an
interval, and the receiver can read the length of the interval off the gradient.

Intervals are recognised only where something of them shows: zeros scattered over rows and columns that hold other
entries (`head.coarseness`), and then either a lattice or a sharp edge above zero. Entries dropped at random
tell nothing about the missing ones, and have no interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...core.update import Update
from .head import ROWS_PER_BLOCK

__all__ = ["IntervalRules", "Intervals", "find_intervals", "unit_of"]

# Magnitudes that a lattice may have: 16 bits have 32 767 beside zero, and 17 bits are no compression of use.
_LEVELS = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRules:
    """Deciding numbers of the intervals.

    Attributes
    ----------
    off_lattice : float
        Distance from the nearest point of a lattice that an entry may have, as a share of a step. float32 puts the
        points of a lattice of 16 bits off by up to 2e-3 of a step.
    at_the_edge : float
        Share of the entries that must lie within a factor of two of the smallest survivor. Where the smallest
        entries were dropped, many survive just above the edge; where entries were dropped at random, the smallest
        survivor is smaller than nearly all others.
    """

    off_lattice: float = field(default=1e-2, metadata={"plateau": (0.000625, 0.16)})
    at_the_edge: float = field(default=0.01, metadata={"plateau": (0.000625, 0.16)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intervals:
    """An interval for every entry of the gradient, in units of the smallest entry that can be seen.

    Attributes
    ----------
    kind : {"dropped", "lattice"}
        The coarsening.
    unit : float
        The smallest magnitude that survived dropping, or half a step of the lattice.
    bias_unit : float or None
        The same of the bias gradient; None where there is none, or where it was coarsened in another way.
    rows : ndarray of int
        Features with an entry other than zero.
    columns : ndarray of int
        Classes with an entry other than zero.
    """

    kind: str
    unit: float
    bias_unit: float | None
    rows: np.ndarray = field(repr=False)
    columns: np.ndarray = field(repr=False)

    def of(self, update: Update, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the centres and the half-widths of the intervals of some columns.

        Parameters
        ----------
        update : Update
            The update that was shared.
        classes : ndarray of int, shape (n,)
            The columns.

        Returns
        -------
        centre : ndarray of shape (rows, n)
            In float64; the bias gradient as the last row where it has a unit.
        width : ndarray of shape (rows, n)
            Half of each interval's length.
        """
        grid = np.ix_(self.rows, classes)
        parts = [update.kernel_gradient[grid].astype(np.float64) / self.unit]
        penalty, bias_penalty = update.head.kernel_penalty, update.head.bias_penalty
        if self.bias_unit is not None and update.bias_gradient is not None:
            parts.append(update.bias_gradient[None, classes].astype(np.float64) / self.bias_unit)
        centre = np.vstack(parts)
        width = (centre == 0).astype(np.float64) if self.kind == "dropped" else np.ones_like(centre)
        # A weight regulariser's part was added before the defence, and is known: it shifts the interval.
        if penalty is not None:
            centre[: self.rows.size] -= penalty[grid] / self.unit
        if bias_penalty is not None and self.bias_unit is not None:
            centre[-1] -= bias_penalty[classes] / self.bias_unit
        return centre, width


def find_intervals(update: Update, rules: IntervalRules | None = None) -> Intervals | None:
    """Read off a coarsened gradient the interval of every entry.

    Parameters
    ----------
    update : Update
        The update that was shared, with coarse entries (see `head.coarseness`).
    rules : IntervalRules, optional
        The deciding numbers.

    Returns
    -------
    Intervals or None
        None where neither dropping nor rounding is visible.
    """
    gradient = update.kernel_gradient
    found = unit_of(gradient, rules)
    if found is None:
        return None
    kind, unit = found
    bias = None if update.bias_gradient is None else unit_of(update.bias_gradient, rules)
    filled = gradient != 0
    return Intervals(
        kind=kind,
        unit=unit,
        bias_unit=bias[1] if bias is not None and bias[0] == kind else None,
        rows=np.flatnonzero(filled.any(axis=1)),
        columns=np.flatnonzero(filled.any(axis=0)),
    )


def unit_of(array: np.ndarray, rules: IntervalRules | None = None) -> tuple[str, float] | None:
    """Return the visible coarsening of an array, and the smallest magnitude that it lets through.

    Parameters
    ----------
    array : ndarray
        As it was shared.
    rules : IntervalRules, optional
        The deciding numbers.

    Returns
    -------
    kind : {"dropped", "lattice"}
        The coarsening.
    unit : float
        Smallest magnitude that survived, or half a step. None in place of both where neither is visible.

    Examples
    --------
    >>> unit_of(np.array([[0.0, 0.5], [-1.0, 1.5]]))
    ('lattice', 0.25)
    """
    rules = rules or IntervalRules()
    if not np.any(array == 0) or not np.any(array):
        return None
    levels: np.ndarray | None = np.zeros(0)
    smallest, near, total = np.inf, 0, 0
    blocks = array.reshape(-1, array.shape[-1])
    for start in range(0, blocks.shape[0], ROWS_PER_BLOCK):
        block = np.abs(blocks[start : start + ROWS_PER_BLOCK]).astype(np.float64)
        block = block[block > 0]
        total += block.size
        smallest = min(smallest, float(block.min(initial=np.inf)))
        if levels is not None:
            levels = np.union1d(levels, block)
            if levels.size > _LEVELS:
                levels = None
    if levels is not None:
        step = float(np.diff(levels, prepend=0.0).min())
        if step > 0:
            counts = np.rint(levels / step)
            step = float(levels @ counts / (counts @ counts))
            if counts[-1] <= _LEVELS and np.all(np.abs(levels - counts * step) <= rules.off_lattice * step):
                return "lattice", step / 2.0
    for start in range(0, blocks.shape[0], ROWS_PER_BLOCK):
        block = np.abs(blocks[start : start + ROWS_PER_BLOCK]).astype(np.float64)
        near += int(np.count_nonzero((block > 0) & (block <= 2.0 * smallest)))
    return ("dropped", smallest) if near >= rules.at_the_edge * total else None
