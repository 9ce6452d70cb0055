"""Confidence interval for the mean of bounded observations, exact at every sample size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["bounded_mean_interval"]


def bounded_mean_interval(
    values: Sequence[float], *, low: float, high: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return a two-sided confidence interval for the mean of values known to lie in [low, high].

    The hedged-capital betting interval [1]_. It holds for any distribution on the interval and any
    number of values, which a normal or bootstrap interval does not: ten batches that all leaked
    completely still leave a lower bound below 1.

    Parameters
    ----------
    values : sequence of float
        At least one observation, independent of the others, in the order they were made.
    low, high : float
        Bounds known beforehand.
    confidence : float, default 0.95
        Coverage, in (0, 1).

    Returns
    -------
    lower, upper : float
        The interval, inside [low, high].

    References
    ----------
    .. [1] I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting",
       J. R. Stat. Soc. B 86 (2024) 1-27. https://doi.org/10.1093/jrsssb/qkad009

    Examples
    --------
    >>> lower, upper = bounded_mean_interval([1.0] * 10, low=-1.0, high=1.0)
    >>> lower < 0.7 and upper == 1.0
    True
    """
    x = (np.asarray(values, dtype=np.float64) - low) / (high - low)
    n = x.size
    alpha = 1.0 - confidence
    before = np.arange(1, n + 1)  # every bet uses only what was seen before it, plus one prior value of 1/2
    deviation = (x - (0.5 + np.cumsum(x)) / (before + 1)) ** 2
    variance = (0.25 + np.concatenate([[0.0], np.cumsum(deviation)[:-1]])) / before
    bet = np.sqrt(2.0 * np.log(2.0 / alpha) / (n * np.maximum(variance, 1e-12)))

    # For a candidate mean m the capital of betting up (and down) is a martingale if m is true; half of the
    # capital goes either way, and m is out once the mixture passes 1 / alpha.
    grid = np.linspace(0.0, 1.0, 2001)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.minimum(bet, 0.75 / grid)
        down = np.minimum(bet, 0.75 / (1.0 - grid))
    log_up = np.log1p(up * (x - grid)).cumsum(axis=1)
    log_down = np.log1p(-down * (x - grid)).cumsum(axis=1)
    log_capital = np.maximum(log_up, log_down).max(axis=1) + np.log(0.5)
    kept = grid[log_capital < np.log(1.0 / alpha), 0]
    if kept.size == 0:  # possible for wildly drifting values only: no mean fits them all
        return low, high
    step = 1.0 / 2000
    lower = max(0.0, float(kept.min()) - step)
    upper = min(1.0, float(kept.max()) + step)
    return low + (high - low) * lower, low + (high - low) * upper
