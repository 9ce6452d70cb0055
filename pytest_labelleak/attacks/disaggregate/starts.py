"""Starts for the samples that are left: directions that separate a class, and corners of their cones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ..rlg.separation import separate

__all__ = ["StartRules", "separating_directions", "smoothed_directions", "telling_columns", "wander"]

# A step this short beside its wish is rounding: the corner is reached.
_NO_WAY_ON = 1e-6
# A change this small beside the largest is rounding: the column does not fall.
_NO_CHANGE = 1e-12
# Columns tested one by one, and more of them for every position that is left. Labels are tested first, and a proof that
# some other of fifty thousand classes is none of them is not needed here.
_TESTS, _TESTS_EACH = 64, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRules:
    """Directions worth a start. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    visible : float
        A column takes part if it stands this many standard deviations above its noise.
    deviations : float
        A column may be off by this many standard deviations of its noise.
    smoothed_allowance : float
        Entries of a row under smoothed targets may be below zero by this many times ``e / C``, in units of the row.
    furthest : float
        Number of columns that are tried besides, for every position that is left. They reach furthest.
    short_of_the_corner : float
        Share of the way to a corner that a start goes, because a logarithm wants to stay off the facets.
    facet : float
        An entry is positive, and can block the way, if it stands this many standard deviations above its noise.
    """

    visible: float = field(default=30.0, metadata={"plateau": (1.88, 60)})
    deviations: float = field(default=10.0, metadata={"plateau": (0.625, 40)})
    smoothed_allowance: float = field(default=3.0, metadata={"plateau": (0.188, 48.0)})
    furthest: float = field(default=2.0, metadata={"plateau": (0.125, 32.0)})
    short_of_the_corner: float = field(default=0.9, metadata={"plateau": (0.0563, 14.4)})
    facet: float = field(default=3.0, metadata={"plateau": (0.188, 48.0)})


def separating_directions(rows: np.ndarray, noise: np.ndarray, *, rules: StartRules) -> dict[int, np.ndarray | None]:
    """Return a separating direction for every class that has one.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of the rows that are left.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in each column.
    rules : StartRules
        Columns that take part.

    Returns
    -------
    dict of int to ndarray of shape (r,)
        By column.
    """
    lengths = np.linalg.norm(rows, axis=0)
    visible = np.flatnonzero(lengths > rules.visible * noise)
    if visible.size < 2:
        return {}
    separation = separate(
        rows[:, visible] / lengths[visible],
        noise[visible] / lengths[visible],
        deviations=rules.deviations,
        most_tests=_TESTS + _TESTS_EACH * rows.shape[0],
    )
    return {int(visible[column]): direction for column, direction in separation.directions.items()}


def smoothed_directions(
    rows: np.ndarray, scale: np.ndarray, smoothing: float, *, rules: StartRules
) -> dict[int, np.ndarray | None]:
    """Return separating directions under smoothed targets, where every entry may be below zero by ``e / C``.

    With rows of unit length and columns as they were shared, the allowance is the same everywhere.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of the rows that are left.
    scale : ndarray of shape (n,)
        Factors by which the columns were multiplied.
    smoothing : float
        Label smoothing e.
    rules : StartRules
        The allowance, and how many columns are tried besides.

    Returns
    -------
    dict of int to ndarray of shape (r,)
        By column.
    """
    count, total = rows.shape
    if total < 2:
        return {}
    orthogonal, triangle = scipy.linalg.qr((rows / scale).T, mode="economic", check_finite=False)
    allowance = rules.smoothed_allowance * smoothing / total
    separation = separate(orthogonal.T, np.full(total, allowance), deviations=1.0)
    # Confident samples descend by no more than the allowance: the columns that reach furthest are tried, too.
    furthest = np.argsort(np.linalg.norm(orthogonal, axis=1))[::-1][: int(rules.furthest * count)]
    wanted = {int(column): -orthogonal[column] for column in furthest} | separation.directions
    return {
        int(column): scipy.linalg.solve_triangular(triangle, direction, check_finite=False)
        for column, direction in wanted.items()
    }


def telling_columns(
    rows: np.ndarray, directions: Mapping[int, np.ndarray | None], seen: Iterable[int], *, most: int
) -> np.ndarray:
    """Choose the columns to solve on: the labels, the largest of every separating row, and an even spread.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of the rows that are left.
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
    rows: np.ndarray,
    noise: np.ndarray,
    column: int,
    functional: np.ndarray,
    rng: np.random.Generator,
    *,
    rules: StartRules,
) -> np.ndarray:
    """Slide towards a corner of the cone of directions that separate a class.

    The rows of samples that share a label are near corners, their mixtures inside. The direction slides from facet to
    facet, greedily, so that the entry of a random column becomes as large as it gets. A few hundred products do.

    Parameters
    ----------
    rows : ndarray of shape (r, n)
        Basis of the rows that are left.
    noise : ndarray of shape (n,)
        Standard deviation of the noise in each column.
    column : int
        The class's.
    functional : ndarray of shape (r,)
        A direction to begin from.
    rng : numpy.random.Generator
        Draws the other column.
    rules : StartRules
        Facets, and how near the corner to stop.

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
        falling = change < -_NO_CHANGE * np.abs(change).max()
        falling &= row > rules.facet * noise * np.linalg.norm(functional)
        falling[column] = False
        if not np.any(falling):
            break
        far = row[falling] / -change[falling]
        functional = functional + float(far.min()) * step
        normal = rows[:, np.flatnonzero(falling)[int(np.argmin(far))]]
    short = rules.short_of_the_corner
    return short * functional + (1.0 - short) * begin
