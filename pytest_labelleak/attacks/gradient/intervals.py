"""What a coarse entry still says: the interval in which the gradient was before it was dropped or rounded.

Dropping the smallest entries leaves the others exact and says of each zero that the entry was no larger than the
smallest one that survived. Rounding to a lattice says of every entry that it is off by half a step at most.
Neither is noise: it is a box around the true gradient, and the receiver can read off its size.

A box is only recognised where something of it shows: zeros scattered over rows and columns that hold other
entries (see `_linear.coarseness`), and then either a lattice or a sharp edge above zero. Entries dropped at random
say nothing about those that are missing, and have no box.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...core.update import Update
from .head import ROWS_PER_BLOCK, coarseness

__all__ = ["Bounds", "find_bounds", "unit_of"]

# A lattice has few levels (16 bits have 65 535), and float32 puts its points off by far less than this share of a step.
_LEVELS = 70_000
_OFF_LATTICE = 1e-2
# Where the smallest entries were dropped, many survive just above the edge; where entries were dropped at random, the
# smallest survivor is smaller than nearly all others. At least this share must lie within a factor of two of the edge.
_AT_THE_EDGE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bounds:
    """An interval for every entry of the gradient, in units of the smallest entry that can be seen.

    Attributes
    ----------
    kind : {"dropped", "lattice"}
        What was seen.
    unit : float
        The smallest magnitude that survived dropping, or half a step of the lattice.
    bias_unit : float or None
        The same of the bias gradient; None where there is none, or where it says something else.
    rows : ndarray of int
        Features of which anything is left.
    columns : ndarray of int
        Classes of which anything is left.
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
            What was shared.
        classes : ndarray of int, shape (n,)
            Which columns.

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
        # What a weight regulariser adds was added before the defence, and is known: it shifts the interval.
        if penalty is not None:
            centre[: self.rows.size] -= penalty[grid] / self.unit
        if bias_penalty is not None and self.bias_unit is not None:
            centre[-1] -= bias_penalty[classes] / self.bias_unit
        return centre, width


def find_bounds(update: Update) -> Bounds | None:
    """Read off the gradient what dropping or rounding it says about every entry.

    Parameters
    ----------
    update : Update
        What was shared.

    Returns
    -------
    Bounds or None
        None where neither is visible.
    """
    if coarseness(update) is None:
        return None
    gradient = update.kernel_gradient
    found = unit_of(gradient)
    if found is None:
        return None
    kind, unit = found
    bias = None if update.bias_gradient is None else unit_of(update.bias_gradient)
    filled = gradient != 0
    return Bounds(
        kind=kind,
        unit=unit,
        bias_unit=bias[1] if bias is not None and bias[0] == kind else None,
        rows=np.flatnonzero(filled.any(axis=1)),
        columns=np.flatnonzero(filled.any(axis=0)),
    )


def unit_of(array: np.ndarray) -> tuple[str, float] | None:
    """Return what is visible of dropping or rounding, and the smallest magnitude it lets through.

    Parameters
    ----------
    array : ndarray
        As it was shared.

    Returns
    -------
    kind : {"dropped", "lattice"}
    unit : float
        Smallest magnitude that survived, or half a step. None in place of both where neither is visible.
    """
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
            if counts[-1] <= _LEVELS and np.all(np.abs(levels - counts * step) <= _OFF_LATTICE * step):
                return "lattice", step / 2.0
    for start in range(0, blocks.shape[0], ROWS_PER_BLOCK):
        block = np.abs(blocks[start : start + ROWS_PER_BLOCK])
        near += int(np.count_nonzero((block > 0) & (block <= 2.0 * smallest)))
    return ("dropped", smallest) if near >= _AT_THE_EDGE * total else None
