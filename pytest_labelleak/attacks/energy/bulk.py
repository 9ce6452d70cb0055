"""The bulk of absent classes: its centre and scale, the classes that stand out of it, and how surely."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.stats

from .columns import Statistic

__all__ = ["Mixture", "Split", "discoveries", "log_tail", "split_in_two", "standardised", "two_normals"]

# Efficiency of the median absolute deviation as an estimate of a normal scale: the share of the degrees of freedom
# that are left of C classes.
_EFFICIENCY = 0.37

#: Share of the variance that the best split in two leaves, below which normal numbers stay once in 10 000 samples, by
#: their number (simulated: 200 000 samples each). Above 100 the ceiling of `EnergyRules.split` decides.
_SIZES = (4, 5, 6, 7, 8, 10, 15, 20, 30, 50, 100)
_LEFT = (0.0, 0.0007, 0.0027, 0.0076, 0.0135, 0.028, 0.069, 0.101, 0.140, 0.181, 0.239)


def standardised(statistic: Statistic, bulk: np.ndarray | None = None) -> np.ndarray:
    """Return a statistic in robust standard deviations of its bulk.

    Parameters
    ----------
    statistic : Statistic
        One number for each class.
    bulk : ndarray of bool, shape (C,), optional
        Classes taken for absent; by default all, of which the medians read the greater half.

    Returns
    -------
    ndarray of shape (C,)
        Zero everywhere where all values are the same.
    """
    values = statistic.values
    inside = values if bulk is None else values[bulk]
    centre = float(np.median(inside))
    apart = np.abs(inside - centre)
    # Rounding of equal values is no scale.
    least = 64 * np.finfo(np.float64).eps * float(np.abs(values).max(initial=0.0))
    scale = 1.4826 * float(np.median(apart))
    if scale <= least:
        # More than half are equal, as columns are that a defence emptied: the mean deviation sees the others.
        scale = float(np.sqrt(np.pi / 2.0) * np.mean(apart))
    scale = max(scale, statistic.spread, least)
    result: np.ndarray = (values - centre) / scale if scale > 0 else np.zeros_like(values)
    return result


def log_tail(deviations: np.ndarray, classes: int) -> np.ndarray:
    """Return the logarithm of the probability that an absent class deviates so far upwards.

    The scale of a bulk of few classes is itself uncertain: Student's distribution allows for it.

    Parameters
    ----------
    deviations : ndarray
        In robust standard deviations.
    classes : int
        Number of classes that the scale was read from.

    Returns
    -------
    ndarray
        Natural logarithms.
    """
    freedom = max(_EFFICIENCY * (classes - 1), 1.0)
    tails: np.ndarray = scipy.stats.t.logsf(deviations, freedom)
    return tails


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Values split in two where that leaves the least variance.

    Attributes
    ----------
    upper : ndarray of bool, shape (C,)
        The upper part.
    left : float
        Share of the variance that is left within the two parts.
    clear : bool
        Whether so little is left hardly ever of values that form one bulk.
    """

    upper: np.ndarray = field(repr=False)
    left: float
    clear: bool


def split_in_two(values: np.ndarray, most_left: float) -> Split:
    """Split values in two where that leaves the least variance within the parts.

    Parameters
    ----------
    values : ndarray of shape (C,)
        One number for each class.
    most_left : float
        Largest share of the variance that a clear split may leave.

    Returns
    -------
    Split
        The parts, and whether they are apart.
    """
    ordered = np.sort(values)
    ranked = ordered - values.mean()
    total = float(ranked @ ranked)
    if total == 0.0 or not np.isfinite(total):
        return Split(upper=np.zeros(values.size, dtype=bool), left=1.0, clear=False)
    count = np.arange(1, values.size)
    between = np.cumsum(ranked)[:-1] ** 2 * (1.0 / count + 1.0 / (values.size - count))
    cut = int(np.argmax(between))
    left = max(1.0 - float(between[cut]) / total, 0.0)
    upper = values > ordered[cut]
    # A few distinct values, such as signs, fall into parts by themselves.
    spread_out = 2 * (1 + int(np.count_nonzero(np.diff(ordered)))) > values.size
    clear = spread_out and left < min(most_left, float(np.interp(values.size, _SIZES, _LEFT)))
    return Split(upper=upper, left=left, clear=clear)


def discoveries(log_tails: np.ndarray, rate: float) -> np.ndarray:
    """Name classes so that about a share `rate` of the names is false (Benjamini and Hochberg).

    Parameters
    ----------
    log_tails : ndarray of shape (C,)
        Natural logarithms of the tail probabilities.
    rate : float
        False-discovery rate, in (0, 1).

    Returns
    -------
    ndarray of bool, shape (C,)
        The classes named.

    References
    ----------
    .. [1] Y. Benjamini, Y. Hochberg, "Controlling the False Discovery Rate", Journal of the Royal Statistical
       Society B 57 (1995) 289-300. https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
    """
    ranked = np.sort(log_tails)
    below = np.flatnonzero(ranked <= np.log(rate) + np.log(np.arange(1, ranked.size + 1) / ranked.size))
    if not below.size:
        return np.zeros(log_tails.size, dtype=bool)
    named: np.ndarray = log_tails <= ranked[below[-1]]
    return named


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """Values described as two normal bulks.

    Attributes
    ----------
    upper : ndarray of bool, shape (C,)
        Values that the upper bulk makes likelier than the lower one.
    gain : float
        Mean log-likelihood of a value above that of one normal bulk.
    """

    upper: np.ndarray = field(repr=False)
    gain: float


# Expectation-maximisation converges in far fewer steps for one number a class; the cap bounds the work alone.
_STEPS = 60


def two_normals(values: np.ndarray, upper: np.ndarray) -> Mixture:
    """Describe values as two normal bulks by expectation-maximisation.

    Parameters
    ----------
    values : ndarray of shape (C,)
        One number for each class, not all the same.
    upper : ndarray of bool, shape (C,)
        Members of the upper bulk to begin with; some, and not all.

    Returns
    -------
    Mixture
        Its parts and its gain.
    """
    size, deviation = values.size, float(values.std())
    weights = upper.astype(np.float64)
    likelihood, ratio, lower_mean = np.zeros(size), np.zeros(size), 0.0
    for _ in range(_STEPS):
        logs, means = [], []
        for share in (weights, 1.0 - weights):
            mean = float(share @ values / share.sum())
            # A bulk of one value would have an infinite likelihood.
            scale = max(float(np.sqrt(share @ (values - mean) ** 2 / share.sum())), 0.05 * deviation)
            logs.append(-0.5 * ((values - mean) / scale) ** 2 - np.log(scale / deviation))
            means.append(mean)
        above = float(np.clip(weights.mean(), 1.0 / size, 1.0 - 1.0 / size))
        likelihood = np.logaddexp(np.log(above) + logs[0], np.log(1.0 - above) + logs[1])
        weights = np.clip(np.exp(np.log(above) + logs[0] - likelihood), 1e-12, 1.0 - 1e-12)
        ratio, lower_mean = logs[0] - logs[1], means[1]
    return Mixture(upper=(ratio > 0) & (values > lower_mean), gain=float(likelihood.mean()) + 0.5)
