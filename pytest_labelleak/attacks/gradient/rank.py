"""Reading a spectrum: how many directions of a matrix stand out of the noise in it."""

from __future__ import annotations

import numpy as np

from .range_finder import ScaledGradient

__all__ = [
    "NOISE_EDGE_FACTOR",
    "ROUNDING_ONLY",
    "TAIL",
    "VISIBLE_GAP",
    "choose_rank",
    "gap_after",
    "unevenness",
    "visible_directions",
]

# A residual is noise if its largest singular value is at most this many times that of a matrix of
# independent entries with the same Frobenius norm. Equilibrated rounding noise measures 1.0 to 1.6,
# also from bfloat16; a single missed signal direction measures tens to millions.
NOISE_EDGE_FACTOR = 2.5
# Rounding of large gradients can have a few directions of its own, ten times above the rest of it.
_STRUCTURED_FACTOR = 25.0

# Values this far above the noise edge are kept even if the largest gap lies before them: one direction
# too many costs nothing in the tilted cone (see _cone), one too few costs its label.
_KEEP_FACTOR = 1.5

# Rounding of every entry once to the compute dtype counts as 1; sums of many rounded terms stay under ten. A
# defence that is any use adds thousands.
ROUNDING_ONLY = 30.0

# Noise that rounding does not explain is taken for noise only if the signal stands out by this factor.
VISIBLE_GAP = 3.0

# How far above the edge of independent noise a direction must be to be more than a fluctuation of it.
_VISIBLE = 1.03

# That many of the last values found serve as evidence only.
TAIL = 12


def _noise_edge(frobenius: float, rows: int, columns: int) -> float:
    """Return the expected largest singular value of independent noise of a given Frobenius norm."""
    return float(frobenius / np.sqrt(rows * columns) * (np.sqrt(rows) + np.sqrt(columns)))


def choose_rank(
    values: np.ndarray, frobenius: float, shape: tuple[int, int], smallest: float, rounding: float
) -> tuple[int, int, bool] | None:
    """Return the rank with the largest gap among those that leave nothing but noise, or None.

    Ranks that leave no more than rounding explains go first: many weak directions among few features
    look much like noise, but like far too much of it.

    Parameters
    ----------
    values : ndarray
        Leading singular values, descending; the last `TAIL` serve as evidence only.
    frobenius : float
        Frobenius norm of what is left beyond all of `values`.
    shape : tuple of int
        Of the matrix.
    smallest : float
        Floor of double arithmetic: an exact gradient has no other noise.
    rounding : float
        Root mean square per entry of the most that rounding explains.

    Returns
    -------
    positions : int
        Number of directions above the widest gap.
    rank : int
        The same and those after it that stand out from the noise.
    exact : bool
        Whether rounding explains the rest.
    """
    usable = values.size - TAIL if values.size < min(shape) else values.size - 1
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])  # what is left from index i on
    gaps: dict[bool, dict[int, float]] = {True: {}, False: {}}
    edges = np.empty(usable + 1)
    for rank in range(1, usable + 1):
        rows, columns = shape[0] - rank, shape[1] - rank
        edges[rank] = edge = max(_noise_edge(float(beyond[rank]), rows, columns), smallest)
        first_noise = max(float(values[rank]), smallest)
        exact = float(beyond[rank]) <= rounding * np.sqrt(rows * columns)
        highest = (_STRUCTURED_FACTOR if exact else NOISE_EDGE_FACTOR) * edge
        if values.size - rank < TAIL and values[rank - 1] < VISIBLE_GAP * first_noise:
            continue  # a few directions at the end of noise are always smaller than those before them
        if first_noise <= highest and values[rank - 1] > _KEEP_FACTOR * edge:
            gaps[exact][rank] = float(values[rank - 1]) / first_noise
    exact = bool(gaps[True])
    if not gaps[exact]:
        return None
    # The last gap that is at least half as wide as the widest, in orders of magnitude: a dominant direction
    # may stand out further from the other samples than these do from coarse rounding. What is itself no larger
    # than rounding is not counted, though: rounding noise of small matrices can end in a gap of its own.
    widest = max(gaps[exact], key=lambda rank: gaps[exact][rank])
    coarse = _noise_edge(rounding / ROUNDING_ONLY * np.sqrt(shape[0] * shape[1]), *shape)
    positions = max(
        rank
        for rank, gap in gaps[exact].items()
        if rank == widest or (gap >= np.sqrt(gaps[exact][widest]) and values[rank - 1] > coarse)
    )
    rank = positions
    while rank < usable and values[rank] > _KEEP_FACTOR * edges[positions]:
        rank += 1
    return positions, rank, exact


def visible_directions(values: np.ndarray, frobenius: float, operator: ScaledGradient) -> int:
    """Count the leading directions that stand out of independent noise of the size of what follows them.

    Parameters
    ----------
    values : ndarray
        Leading singular values, descending.
    frobenius : float
        Frobenius norm of what is left beyond all of them.
    operator : ScaledGradient
        Where they come from.

    Returns
    -------
    int
        Possibly none, possibly all.
    """
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])
    rows, columns = operator.shape  # empty columns too: what was dropped was noise as well
    for rank, value in enumerate(values):
        if value < _VISIBLE * _noise_edge(float(beyond[rank]), rows - rank, columns - rank):
            return rank
    return int(values.size)


def gap_after(values: np.ndarray, positions: int, smallest: float) -> float:
    """Return the ratio of the last signal singular value to the first noise singular value.

    Parameters
    ----------
    values : ndarray
        Singular values, descending.
    positions : int
        How many are signal.
    smallest : float
        As for `choose_rank`.

    Returns
    -------
    float
    """
    if positions == 0:
        return 0.0
    return float(values[positions - 1] / max([*values[positions : positions + 1], smallest]))


def unevenness(noise: np.ndarray) -> float:
    """Return the median deviation of the logarithm of the noise of columns from its median.

    By medians, because the few columns that the signal's directions follow lose a part of their noise to it.

    Parameters
    ----------
    noise : ndarray of shape (C,)
        Positive.

    Returns
    -------
    float
        Of independent noise of one size over n rows about 0.5 / sqrt(n).
    """
    logarithms = np.log(noise)
    return float(np.median(np.abs(logarithms - np.median(logarithms))))
