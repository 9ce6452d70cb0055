"""Reading a spectrum: how many directions of a matrix stand out of the noise in it.

The spectrum is the list of singular values, largest first. The **edge** of independent noise is the largest singular
value that a matrix of noise alone would have: ``sigma (sqrt(rows) + sqrt(columns))`` for entries of standard deviation
sigma. A **gap** is the ratio of two neighbouring singular values; the number of label positions is where the widest
gap is, among all places that leave nothing but noise behind them.

References
----------
.. [1] I. M. Johnstone, "On the distribution of the largest eigenvalue in principal components analysis", Annals of
   Statistics 29 (2001) 295-327. https://doi.org/10.1214/aos/1009210544
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .range_finder import ScaledGradient

__all__ = ["RankRules", "choose_rank", "gap_after", "unevenness", "visible_directions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRules:
    """Deciding numbers of the rank. Factors are relative to the edge of independent noise unless said otherwise.

    Attributes
    ----------
    noise_edge : float
        Largest singular value that a remainder of noise may have. Equilibrated rounding measures 1.0 to 1.6, from
        bfloat16 too; one missed direction of the signal measures tens to millions.
    structured : float
        The same for a remainder that rounding explains: rounding of large gradients has a few directions of its own.
    above : float
        Excess over the edge from which on a direction is signal, as a share of the edge. Directions after the gap
        that have it are kept beside the label positions: one direction too many costs nothing in the tilted cone
        (`rlg.separation`), one too few costs its label.
    rounding_only : float
        Noise up to this many times one rounding of every entry counts as rounding. Sums of many rounded terms stay
        under ten; a defence that is any use adds thousands.
    visible_gap : float
        Gap from which on noise that rounding does not explain is taken for noise.
    comparable : float
        A gap counts beside the widest if it is at least this share of it in orders of magnitude.
    tail : int
        Last singular values that serve as evidence only: the end of a cut spectrum always looks like a gap.
    """

    noise_edge: float = field(default=2.5, metadata={"plateau": (1.67, 40.0)})
    structured: float = field(default=25.0, metadata={"plateau": (1.56, 400.0)})
    above: float = field(default=0.5, metadata={"plateau": (0.25, 2.0)})
    rounding_only: float = field(default=30.0, metadata={"plateau": (1.88, 120.0)})
    visible_gap: float = field(default=3.0, metadata={"plateau": (2.0, 4.5)})
    comparable: float = field(default=0.5, metadata={"plateau": (0.25, 8)})
    tail: int = field(default=12, metadata={"plateau": (1, 192)})


def _noise_edge(frobenius: float, rows: int, columns: int) -> float:
    """Return the expected largest singular value of independent noise of a given Frobenius norm."""
    return float(frobenius / np.sqrt(rows * columns) * (np.sqrt(rows) + np.sqrt(columns)))


def choose_rank(
    values: np.ndarray,
    frobenius: float,
    shape: tuple[int, int],
    *,
    smallest: float,
    rounding: float,
    rules: RankRules,
) -> tuple[int, int, bool] | None:
    """Return the rank with the largest gap among those that leave nothing but noise, or None.

    Ranks that leave no more than rounding explains go first: many weak directions among few features
    look much like noise, but like far too much of it.

    Parameters
    ----------
    values : ndarray
        Leading singular values, descending.
    frobenius : float
        Frobenius norm of the remainder beyond all of `values`.
    shape : tuple of int
        Rows and columns of the matrix.
    smallest : float
        Floor of double arithmetic: an exact gradient has no other noise.
    rounding : float
        Root mean square per entry of one rounding.
    rules : RankRules
        The deciding numbers.

    Returns
    -------
    positions : int
        Number of directions above the widest gap.
    rank : int
        `positions`, and the directions after the gap that stand out from the noise.
    exact : bool
        Whether rounding explains the rest.
    """
    usable = values.size - rules.tail if values.size < min(shape) else values.size - 1
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])  # remainder from index i on
    gaps: dict[bool, dict[int, float]] = {True: {}, False: {}}
    edges = np.empty(max(usable, 0) + 1)
    for rank in range(1, usable + 1):
        rows, columns = shape[0] - rank, shape[1] - rank
        edges[rank] = edge = max(_noise_edge(float(beyond[rank]), rows, columns), smallest)
        first_noise = max(float(values[rank]), smallest)
        exact = float(beyond[rank]) <= rules.rounding_only * rounding * np.sqrt(rows * columns)
        highest = (rules.structured if exact else rules.noise_edge) * edge
        if values.size - rank < rules.tail and values[rank - 1] < rules.visible_gap * first_noise:
            continue  # a few directions at the end of noise are always smaller than those before them
        if first_noise <= highest and values[rank - 1] > (1.0 + rules.above) * edge:
            gaps[exact][rank] = float(values[rank - 1]) / first_noise
    exact = bool(gaps[True])
    if not gaps[exact]:
        return None
    # The last of the comparable gaps: a dominant direction may stand out further from the other samples than these do
    # from coarse rounding. A direction no larger than rounding is not counted: the rounding noise of small matrices
    # can end in a gap of its own.
    widest = max(gaps[exact], key=lambda rank: gaps[exact][rank])
    coarse = _noise_edge(rounding * np.sqrt(shape[0] * shape[1]), *shape)
    positions = max(
        rank
        for rank, gap in gaps[exact].items()
        if rank == widest or (gap >= gaps[exact][widest] ** rules.comparable and values[rank - 1] > coarse)
    )
    rank = positions
    while rank < usable and values[rank] > (1.0 + rules.above) * edges[positions]:
        rank += 1
    return positions, rank, exact


def visible_directions(values: np.ndarray, frobenius: float, operator: ScaledGradient, *, fluctuations: float) -> int:
    """Count the leading directions that stand out of independent noise of the size of the remainder.

    Parameters
    ----------
    values : ndarray
        Leading singular values, descending.
    frobenius : float
        Frobenius norm of the remainder beyond all of them.
    operator : ScaledGradient
        The matrix they come from.
    fluctuations : float
        Distance above the edge that a direction must have, in units of the edge's own fluctuation. The unit is
        Johnstone's, for a singular value in place of an eigenvalue [1]_; the Tracy-Widom law puts one draw of noise
        in a thousand above 3.3.

    Returns
    -------
    int
        Possibly none, possibly all.
    """
    beyond = np.sqrt(frobenius**2 + np.cumsum(values[::-1] ** 2)[::-1])
    rows, columns = operator.shape  # empty columns count: noise was dropped from them as well
    for rank, value in enumerate(values):
        n, m = np.sqrt(max(rows - rank, 1)), np.sqrt(max(columns - rank, 1))
        # The edge is proportional to n + m, its fluctuation to half of (1 / n + 1 / m) ** (1 / 3).
        margin = fluctuations * 0.5 * np.cbrt(1.0 / n + 1.0 / m) / (n + m)
        if value < (1.0 + margin) * _noise_edge(float(beyond[rank]), max(rows - rank, 1), max(columns - rank, 1)):
            return rank
    return int(values.size)


def gap_after(values: np.ndarray, positions: int, smallest: float) -> float:
    """Return the ratio of the last signal singular value to the first noise singular value.

    Parameters
    ----------
    values : ndarray
        Singular values, descending.
    positions : int
        Number of signal singular values.
    smallest : float
        Floor of double arithmetic, as for `choose_rank`.

    Returns
    -------
    float
        Zero without a signal.

    Examples
    --------
    >>> gap_after(np.array([8.0, 4.0, 0.5, 0.25]), 2, 1e-12)
    8.0
    """
    if positions == 0:
        return 0.0
    return float(values[positions - 1] / max([*values[positions : positions + 1], smallest]))


def unevenness(noise: np.ndarray) -> float:
    """Return the median deviation of the logarithm of the noise of columns from its median.

    Medians, because the few columns that the signal's directions follow lose a part of their noise to it.

    Parameters
    ----------
    noise : ndarray of shape (C,)
        Positive.

    Returns
    -------
    float
        About 0.5 / sqrt(n) for independent noise of one size over n rows.
    """
    logarithms = np.log(noise)
    return float(np.median(np.abs(logarithms - np.median(logarithms))))
