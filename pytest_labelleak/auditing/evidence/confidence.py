"""Confidence bounds for the mean of bounded observations, exact at every sample size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["bounded_mean_interval", "lower_bound", "observations_needed", "upper_bound"]

#: Shares of the largest bet that cannot ruin the bettor, each made with an equal part of the capital. Large
#: ones win on steady values, small ones on scattered values; halves below 1/4 cost little and lose little.
_BETS = np.array([1.0, 0.75, 0.5, 0.25, 0.125, 0.0625, 0.03125])[:, None]

#: Halvings of the interval in which a bound is sought: to the last digits of a double.
_HALVINGS = 52


def upper_bound(values: Sequence[float], *, low: float, high: float, confidence: float) -> float:
    """Return a one-sided upper confidence bound for the mean of values known to lie in [low, high].

    For a candidate mean m, someone bets on every observation that it falls short of m, with stakes fixed
    beforehand. If the mean is m or more, their capital is a non-negative supermartingale, so it reaches
    ``1 / (1 - confidence)`` times its start with probability ``1 - confidence`` at most. The bound is the
    smallest m at which it did [1]_ (betting, with stakes diversified over a grid of constant ones).

    It holds for any distribution on [low, high] and any number of values, also if more are added until the
    bound is low enough. The capital grows with m, so the bound is found by bisection, and since constant stakes
    are used it does not depend on the order of the values.

    Parameters
    ----------
    values : sequence of float
        At least one observation, independent of the others.
    low, high : float
        Bounds known beforehand.
    confidence : float
        Coverage, in (0, 1).

    Returns
    -------
    float
        Between the mean of the values and `high`.

    References
    ----------
    .. [1] I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting",
       J. R. Stat. Soc. B 86 (2024) 1-27. https://doi.org/10.1093/jrsssb/qkad009

    Examples
    --------
    >>> [round(upper_bound([0.0] * n, low=-1.0, high=1.0, confidence=0.95), 2) for n in (1, 10, 100)]
    [0.98, 0.36, 0.04]
    """
    x = _unit(values, low, high)
    goal = -math.log1p(-confidence)
    below, above = float(x.mean()), 1.0  # at the mean the capital has not grown, whatever the stakes
    for _ in range(_HALVINGS):
        middle = 0.5 * (below + above)
        if not below < middle < above:
            break
        if _log_capital(_log_growth(x, middle)) >= goal:
            above = middle
        else:
            below = middle
    return low + (high - low) * above


def lower_bound(values: Sequence[float], *, low: float, high: float, confidence: float) -> float:
    """Return a one-sided lower confidence bound for the mean of values known to lie in [low, high].

    Parameters
    ----------
    values : sequence of float
        At least one observation, independent of the others.
    low, high : float
        Bounds known beforehand.
    confidence : float
        Coverage, in (0, 1).

    Returns
    -------
    float
        Between `low` and the mean of the values: the mirror image of `upper_bound`.

    Examples
    --------
    >>> lower_bound([1.0] * 10, low=-1.0, high=1.0, confidence=0.95) < 0.7
    True
    """
    mirrored = [low + high - value for value in values]
    return low + high - upper_bound(mirrored, low=low, high=high, confidence=confidence)


def bounded_mean_interval(
    values: Sequence[float], *, low: float, high: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return a two-sided confidence interval for the mean of values known to lie in [low, high].

    Ten batches that all leaked completely still leave a lower bound below 1, which a normal or bootstrap
    interval does not say.

    Parameters
    ----------
    values : sequence of float
        At least one observation, independent of the others.
    low, high : float
        Bounds known beforehand.
    confidence : float, default 0.95
        Coverage, in (0, 1).

    Returns
    -------
    lower, upper : float
        The interval, inside [low, high]; each end may be wrong with half of the rest of `confidence`.

    Examples
    --------
    >>> lower, upper = bounded_mean_interval([1.0] * 10, low=-1.0, high=1.0)
    >>> lower < 0.7 and upper == 1.0
    True
    """
    one_sided = 0.5 + 0.5 * confidence
    return (
        lower_bound(values, low=low, high=high, confidence=one_sided),
        upper_bound(values, low=low, high=high, confidence=one_sided),
    )


def observations_needed(
    values: Sequence[float], limit: float, *, low: float, high: float, confidence: float
) -> int | None:
    """Return how many observations like these would bring `upper_bound` down to `limit`.

    Parameters
    ----------
    values : sequence of float
        At least one observation.
    limit : float
        The bound that is wanted, below `high`.
    low, high : float
        Bounds known beforehand.
    confidence : float
        Coverage, in (0, 1).

    Returns
    -------
    int or None
        Number of observations in all, if further ones are distributed as the given ones are. None if
        no number is enough: the mean is not, or not noticeably, below the limit.

    Examples
    --------
    >>> needed = observations_needed([0.0] * 3, 0.1, low=-1.0, high=1.0, confidence=0.95)
    >>> [upper_bound([0.0] * n, low=-1.0, high=1.0, confidence=0.95) <= 0.1 for n in (needed - 1, needed)]
    [False, True]
    """
    x = _unit(values, low, high)
    each = _log_growth(x, (limit - low) / (high - low)) / x.size
    goal = -math.log1p(-confidence)
    fastest = float(each.max())
    if fastest <= 0.0:
        return None
    # The capital is a sum of exponentials that starts at 1: once it has passed the goal it stays above.
    below, above = 0, math.ceil((goal + math.log(len(_BETS))) / fastest)
    while above - below > 1:
        middle = (below + above) // 2
        if _log_capital(middle * each) >= goal:
            above = middle
        else:
            below = middle
    return above


def _unit(values: Sequence[float], low: float, high: float) -> np.ndarray:
    x: np.ndarray = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    return x


def _log_growth(x: np.ndarray, mean: float) -> np.ndarray:
    """Return the logarithm of each bet's capital against `mean` in (0, 1), shape (bets,)."""
    with np.errstate(divide="ignore"):  # the largest bet loses everything on a value of 1
        growth: np.ndarray = np.log1p(_BETS * ((mean - x) / (1.0 - mean))).sum(axis=1)
    return growth


def _log_capital(log_growth: np.ndarray) -> float:
    return float(np.logaddexp.reduce(log_growth)) - math.log(len(_BETS))
