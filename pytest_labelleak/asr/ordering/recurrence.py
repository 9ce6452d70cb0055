"""Recurrent cells among the gradients, and the gradient of each as a small factor with its noise.

The gradient of a recurrent cell's weights is ``X^T E``: X holds the cell's input at each step, one row per step, and E
the errors of its gates. So its column space holds the inputs of all steps, and that of some of its rows holds the same
parts of all inputs. Cells are found by their shapes alone: a kernel for k gates of h units has k h columns and
takes the state in h rows, the last rows of a stacked kernel or the rows of a kernel of its own. A cell outside of the
decoder, such as one of the encoder, does not hold the inputs of the head, and the links fail to fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.update import Update

__all__ = ["Cell", "RowFactor", "cells_of", "factor", "flatness"]

#: Number of gates that share a kernel: in an LSTM; in a GRU or an LSTM with coupled gates; in a plain or a split cell.
_GATES = (4, 3, 1)
#: Directions beyond the rank in a random sketch. Halko, Martinsson and Tropp (doi:10.1137/090771806) show that 5 to 10
#: suffice; more cost time and change the basis by rounding alone.
_OVERSAMPLED = 16
#: Rows of a kernel widened to float64 at a time. Bounds memory, decides nothing.
_ROWS_PER_BLOCK = 512
#: Rows and columns sampled beyond twice the number of steps, to tell a full rank from a smaller one. A larger sample
#: costs time and shows the same rank.
_SAMPLED = 64
#: Relative noise of a row that double arithmetic adds; a few machine epsilons.
_FLOOR = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A pair of gradients, or a single one, with the shapes of a recurrent cell.

    Attributes
    ----------
    kernel : str
        Name of the gradient whose rows take the inputs.
    recurrent : str or None
        Name of the gradient whose rows take the state; None if these are the last rows of `kernel`.
    units : int
        Size h of the state.
    columns : int
        Number of columns that share the errors of the gates in both.
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
        The update that was shared.
    most_units : int
        Largest size of a state: the head has to see it.

    Returns
    -------
    list of Cell
        Pairs that are neighbours in the update come first.
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
            # A GRU gates its candidate state before or after the product, but never in both kernels.
            shared = columns if gates != 3 else 2 * units
            if rows > units:
                cells.append(Cell(kernel=name, recurrent=None, units=units, columns=shared))
            if rows == units:
                others = [other for other in names if other != name and shapes[other][1] == columns]
                others.sort(key=lambda other: abs(names.index(other) - place))
                cells += [Cell(kernel=other, recurrent=name, units=units, columns=shared) for other in others]
    return cells


def flatness(update: Update, cell: Cell, *, rank: int, rng: np.random.Generator) -> float:
    """Estimate the part of a cell's gradient beyond `rank` directions, from a sample of its entries.

    Parameters
    ----------
    update : Update
        The update that was shared.
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
        The factor: inputs first, then the state. The input of a step is a combination of its columns.
    noise : ndarray of shape (n,)
        Noise of the entries of each row, by which the row was divided; a row of zeros has infinite noise.
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
        The update that was shared.
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
    # The part beyond the rank is noise. Divided by its noise, each row counts alike.
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
    """Return the noise of the entries of each row, from its part beyond the rank."""
    found = np.linalg.norm(left, axis=1) / np.sqrt(max(freedom, 1))
    # A row of zeros is exact, and tests nothing.
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
