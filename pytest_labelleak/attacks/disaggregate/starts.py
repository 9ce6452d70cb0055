"""Where to look for the samples that are left: directions that separate a class, and corners of their cones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import scipy.linalg

from ..rlg.separation import separate

__all__ = ["separating_directions", "smoothed_directions", "telling_columns", "wander"]

# Columns that have lost all but this many deviations of noise say nothing about who is left.
_VISIBLE = 30.0
# Rows of smoothed targets are below zero by e / C of their label's entry; of less confident ones' by more.
_SMOOTHED_ALLOWANCE = 3.0
_FURTHEST = 2
# Where nothing but noise is left to slide along, a corner is reached; logarithms want to stay off its facets.
_NO_WAY_ON = 1e-6
_SHORT_OF_THE_CORNER = 0.9
_ABOVE_NOISE = 3.0
# Columns tested one by one: labels come first, and that some other of fifty thousand is none need not be proved here.
_TESTS, _TESTS_EACH = 64, 8
# Standard deviations of noise that a column may be off by.
_DEVIATIONS = 10.0


def separating_directions(rows: np.ndarray, noise: np.ndarray) -> dict[int, np.ndarray | None]:
    """Return a separating direction for every class that has one.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of what is left.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in each column.

    Returns
    -------
    dict of int to ndarray of shape (r,)
        By column.
    """
    lengths = np.linalg.norm(rows, axis=0)
    visible = np.flatnonzero(lengths > _VISIBLE * noise)
    if visible.size < 2:
        return {}
    separation = separate(
        rows[:, visible] / lengths[visible],
        noise[visible] / lengths[visible],
        deviations=_DEVIATIONS,
        most_tests=_TESTS + _TESTS_EACH * rows.shape[0],
    )
    return {int(visible[column]): direction for column, direction in separation.directions.items()}


def smoothed_directions(rows: np.ndarray, scale: np.ndarray, smoothing: float) -> dict[int, np.ndarray | None]:
    """Do the same where targets are smoothed, so that every entry of a row may be below zero by ``e / C``.

    With rows of unit length and columns as they were shared, that is an allowance of the same size everywhere.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of what is left.
    scale : ndarray of shape (n,)
        What columns were multiplied by.
    smoothing : float
        Label smoothing e.

    Returns
    -------
    dict of int to ndarray of shape (r,)
        By column.
    """
    count, total = rows.shape
    if total < 2:
        return {}
    orthogonal, triangle = scipy.linalg.qr((rows / scale).T, mode="economic", check_finite=False)
    allowance = _SMOOTHED_ALLOWANCE * smoothing / total
    separation = separate(orthogonal.T, np.full(total, allowance), deviations=1.0)
    # Confident samples descend by no more than the allowance: try the columns that reach furthest, too.
    furthest = np.argsort(np.linalg.norm(orthogonal, axis=1))[::-1][: _FURTHEST * count]
    wanted = {int(column): -orthogonal[column] for column in furthest} | separation.directions
    return {
        int(column): scipy.linalg.solve_triangular(triangle, direction, check_finite=False)
        for column, direction in wanted.items()
    }


def telling_columns(
    rows: np.ndarray, directions: Mapping[int, np.ndarray | None], seen: Iterable[int], *, most: int
) -> np.ndarray:
    """Choose the columns to solve on: the labels, the largest of every separating row, and a fair sample.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of what is left.
    directions : mapping of int to ndarray of shape (r,) or None
        Separating directions, by column.
    seen : iterable of int
        Further columns to take.
    most : int
        About how many to choose.

    Returns
    -------
    ndarray of int
        Sorted; all columns if there are no more than that.
    """
    total = rows.shape[1]
    if total <= most:
        return np.arange(total)
    chosen = set(directions) | set(seen)
    each = max(most // 2 // max(len(directions), 1), 16)
    for direction in directions.values():
        if direction is not None:
            row = direction @ rows
            chosen |= set(np.argpartition(row, -each)[-each:].tolist())
    rest = np.setdiff1d(np.arange(total), np.fromiter(chosen, dtype=np.int64))
    room = max(most - len(chosen), most // 4)
    spread = rest[np.linspace(0, rest.size - 1, min(room, rest.size)).astype(np.int64)]
    return np.union1d(np.fromiter(chosen, dtype=np.int64), spread)


def wander(
    rows: np.ndarray, noise: np.ndarray, column: int, functional: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Slide towards a corner of the cone of directions that separate a class.

    The rows of samples that share a label are near corners, their mixtures inside. A random column is
    made as large as it gets: from facet to facet, greedily, which a few hundred products do.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of what is left.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in each column.
    column : int
        The class's.
    functional : ndarray of shape (r,)
        A direction to begin from.
    rng : numpy.random.Generator
        Draws the other column.

    Returns
    -------
    ndarray of shape (r,)
        A direction near a corner.
    """
    own = rows[:, column]
    functional = functional / -float(functional @ own)
    begin = functional
    blocked = np.empty((functional.size, 0))
    normal = own
    wish = rows[:, rng.integers(rows.shape[1])]
    for _ in range(functional.size - 1):
        normal = normal - blocked @ (blocked.T @ normal)
        blocked = np.column_stack([blocked, normal / np.linalg.norm(normal)])
        step = wish - blocked @ (blocked.T @ wish)
        step -= blocked @ (blocked.T @ step)
        if np.linalg.norm(step) < _NO_WAY_ON * np.linalg.norm(wish):
            break
        row, change = functional @ rows, step @ rows
        falling = change < -1e-12 * np.abs(change).max()
        falling &= row > _ABOVE_NOISE * noise * np.linalg.norm(functional)
        falling[column] = False
        if not np.any(falling):
            break
        far = row[falling] / -change[falling]
        functional = functional + float(far.min()) * step
        normal = rows[:, np.flatnonzero(falling)[int(np.argmin(far))]]
    return _SHORT_OF_THE_CORNER * functional + (1.0 - _SHORT_OF_THE_CORNER) * begin
