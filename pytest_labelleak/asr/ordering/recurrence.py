"""Recurrent kernels among the gradients, and which of their rows see what the head sees.

The gradient of a recurrent cell's weights is ``X^T E``: X holds one row per step, what went into the cell, and E the
errors of its gates. So its column space holds the inputs of all steps, and that of some of its rows holds the same
parts of all inputs. Cells are found by their shapes alone: a kernel for k gates of h units has k h columns and takes
the state in h rows, the last ones of a stacked kernel or those of a kernel of its own. What is no cell of the decoder,
such as the encoder's, does not hold what the head sees, and is told by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.update import Update

__all__ = ["Cell", "RowFactor", "cells_of", "factor", "flatness"]

#: Gates that share a kernel: of an LSTM, of a GRU or an LSTM with coupled gates, of a plain or a split cell.
_GATES = (4, 3, 1)
#: Directions beyond the rank in a random sketch.
_OVERSAMPLED = 16
#: Rows of a kernel widened to float64 at a time.
_ROWS_PER_BLOCK = 512
#: Rows and columns looked at beyond twice the number of steps.
_SAMPLED = 64
#: Relative size below which a row's noise is that of double arithmetic.
_FLOOR = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What may be a recurrent cell of the decoder.

    Attributes
    ----------
    kernel : str
        Name of the gradient whose rows take the inputs.
    recurrent : str or None
        Name of the one whose rows take the state; None if they are the last rows of `kernel`.
    units : int
        Size h of the state.
    columns : int
        How many columns share the errors of the gates in both.
    """

    kernel: str
    recurrent: str | None
    units: int
    columns: int


def cells_of(update: Update, *, most_units: int) -> list[Cell]:
    """List all pairs of gradients, and single ones, that have the shape of a cell.

    Parameters
    ----------
    update : Update
        What was shared.
    most_units : int
        Largest state considered: the head has to see it.

    Returns
    -------
    list of Cell
        Kernels next to each other in the update first.
    """
    head = {update.head.kernel, update.head.bias}
    names = [name for name, array in update.gradients.items() if name not in head and array.ndim == 2]
    shapes = {name: update.gradients[name].shape for name in names}
    cells = []
    for gates in _GATES:
        for place, name in enumerate(names):
            rows, columns = shapes[name]
            units, rest = divmod(columns, gates)
            if rest or not 0 < units <= most_units:
                continue
            # The candidate state of a GRU may be gated before or after its product, but never in both kernels.
            shared = columns if gates != 3 else 2 * units
            if rows > units:
                cells.append(Cell(kernel=name, recurrent=None, units=units, columns=shared))
            if rows == units:
                others = [other for other in names if other != name and shapes[other][1] == columns]
                others.sort(key=lambda other: abs(names.index(other) - place))
                cells += [Cell(kernel=other, recurrent=name, units=units, columns=shared) for other in others]
    return cells


def flatness(update: Update, cell: Cell, *, rank: int, rng: np.random.Generator) -> float:
    """Estimate how much of a cell's gradient is left beyond `rank` directions, from a sample of its entries.

    Parameters
    ----------
    update : Update
        What was shared.
    cell : Cell
        One of its cells.
    rank : int
        Number of steps of the decoder. A cell of the encoder takes more.
    rng : numpy.random.Generator
        Draws the sample.

    Returns
    -------
    float
        Ratio of a singular value beyond the rank to the largest; near zero for a cell of the decoder.
    """
    gradient, penalty = update.gradients[cell.kernel], update.penalties.get(cell.kernel)
    side = 2 * rank + _SAMPLED
    chosen = [np.sort(rng.choice(size, min(side, size), replace=False)) for size in (gradient.shape[0], cell.columns)]
    sample = gradient[np.ix_(*chosen)].astype(np.float64)
    if penalty is not None:
        sample -= penalty[np.ix_(*chosen)]
    values = scipy.linalg.svdvals(sample, check_finite=False)
    return float(values[rank] / values[0]) if values.size > rank and values[0] > 0.0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowFactor:
    """The rows of a cell's gradient in a basis of its row space, in units of the noise in each.

    Attributes
    ----------
    rows : ndarray of shape (n, r)
        The factor: inputs first, then the state. What a step put into the cell is a combination of its columns.
    noise : ndarray of shape (n,)
        What each row was divided by, the noise of its entries; zero rows have infinite noise.
    basis : ndarray of shape (r, columns)
        Orthonormal basis of the row space.
    inputs : int
        Number of input rows.
    """

    rows: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    basis: np.ndarray = field(repr=False)
    inputs: int


def factor(update: Update, cell: Cell, *, rank: int, rng: np.random.Generator) -> RowFactor:
    """Reduce a cell's gradient to `rank` columns.

    Parameters
    ----------
    update : Update
        What was shared.
    cell : Cell
        One of its cells.
    rank : int
        Number of steps.
    rng : numpy.random.Generator
        Draws the sketch.

    Returns
    -------
    RowFactor
    """
    total = update.gradients[cell.kernel].shape[0] + (cell.units if cell.recurrent is not None else 0)
    rank = min(rank, cell.columns, total)
    width = min(rank + _OVERSAMPLED, cell.columns)
    sketch = rng.standard_normal((cell.columns, width))
    wide = np.empty((total, width))
    sizes = np.empty(total)
    for place, block in _blocks(update, cell):
        wide[place] = block @ sketch
        sizes[place] = np.linalg.norm(block, axis=1)
    # Beyond the rank there is noise: how much in each row makes the rows comparable.
    noise = _noise(wide - _leading(wide, rank), sizes, width - rank)
    basis = scipy.linalg.qr(wide / noise[:, None], mode="economic", check_finite=False)[0]
    products = np.zeros((basis.shape[1], cell.columns))
    for place, block in _blocks(update, cell):
        products += (basis[place] / noise[place, None]).T @ block
    right = scipy.linalg.svd(products, full_matrices=False, check_finite=False)[2][:rank]
    rows = np.empty((total, rank))
    left = np.empty(total)
    for place, block in _blocks(update, cell):
        rows[place] = block @ right.T
        left[place] = np.linalg.norm(block - rows[place] @ right, axis=1)
    noise = _noise(left[:, None], sizes, cell.columns - rank)
    return RowFactor(rows=rows / noise[:, None], noise=noise, basis=right, inputs=total - cell.units)


def _leading(matrix: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    leading: np.ndarray = (left[:, :rank] * values[:rank]) @ right[:rank]
    return leading


def _noise(left: np.ndarray, sizes: np.ndarray, freedom: int) -> np.ndarray:
    """Return the noise of the entries of each row, from what is left of it beyond the rank."""
    found = np.linalg.norm(left, axis=1) / np.sqrt(max(freedom, 1))
    # A row of zeros is exact, and tells nothing.
    noise: np.ndarray = np.where(sizes > 0.0, np.maximum(found, _FLOOR * sizes), np.inf)
    return noise


def _blocks(update: Update, cell: Cell) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield inputs and state of a cell's gradient in float64, without the weight penalty."""
    first = 0
    for name in (cell.kernel, cell.recurrent):
        if name is None:
            continue
        gradient, penalty = update.gradients[name], update.penalties.get(name)
        for start in range(0, gradient.shape[0], _ROWS_PER_BLOCK):
            chosen = slice(start, min(start + _ROWS_PER_BLOCK, gradient.shape[0]))
            block = gradient[chosen, : cell.columns].astype(np.float64)
            if penalty is not None:
                block -= penalty[chosen, : cell.columns]
            yield slice(first + chosen.start, first + chosen.stop), block
        first += gradient.shape[0]
