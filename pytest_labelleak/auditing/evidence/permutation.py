"""Claimed histograms against the same histograms with the names of the classes permuted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import next_fast_len

__all__ = ["ClaimedHistogram", "histograms_by_luck"]

#: Most classes whose orders are enumerated: 7! = 5040.
_ENUMERATED = 7

#: Steps of the common grid on which batches are added up. Each null value is rounded up, so p-values grow by rounding.
_GRID = 1 << 16

#: Precision of probabilities found by Fourier transform. Smaller p-values are reported as this one.
_PRECISION = 1e-12

#: Slack in comparing a sum with the observed one: both are the same sum up to rounding.
_SLACK = 1e-9

#: Entries that are drawn at a time.
_ENTRIES = 1 << 20

#: Entries that are drawn in all, and the limits of the number of permutations that follows.
_ALL_ENTRIES, _LEAST, _MOST = 1 << 24, 1_999, 49_999

#: Permutations as good as the claim after which sampling stops: the p-value is known to a fifth by then.
_ENOUGH = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClaimedHistogram:
    """The shares that one attack claims about one batch, one claim for every draw of a random defence.

    Attributes
    ----------
    true : ndarray of shape (C,)
        True shares by class. Private.
    claims : sequence of ndarray of shape (C,), or None
        For every draw the claimed shares; None where the attack claims none. Private.
    scale : float
        Distance of the best uninformed guess from the true shares, positive: the unit of distances.
    """

    true: np.ndarray = field(repr=False)
    claims: Sequence[np.ndarray | None] = field(repr=False)
    scale: float


def histograms_by_luck(batches: Sequence[ClaimedHistogram], *, rng: np.random.Generator) -> float:
    """Return the probability that claims independent of the labels come as close to the true shares.

    The null hypothesis: the claims about a batch, over all draws of the defence, say nothing about which class has
    which share. Given the claims and the true shares, every order of the classes is then equally probable, the same
    order for all draws of the batch and independent between batches. A batch counts with the mean over its draws of
    one minus the distance over `ClaimedHistogram.scale`, cut off at -1; a draw without a claim counts 0. The p-value is
    the share of the orders whose mean over the batches is as large as the observed one.

    Up to seven classes, all orders of each batch are enumerated, and batches are added up by convolution on a grid
    that rounds the null upwards. With more classes, orders are sampled. Sampling stops at the twentieth that is as
    good as the claim, and the p-value is then twenty over the number of orders [1]_; without that many, it is the
    share of the orders as good, the observed one among them [2]_. Both are valid p-values.

    Parameters
    ----------
    batches : sequence of ClaimedHistogram
        The claims of one attack.
    rng : numpy.random.Generator
        Draws the orders of more than seven classes.

    Returns
    -------
    float
        p-value; 1.0 without a claim.

    References
    ----------
    .. [1] J. Besag, P. Clifford, "Sequential Monte Carlo p-values", Biometrika 78 (1991) 301-304.
       https://doi.org/10.1093/biomet/78.2.301
    .. [2] B. Phipson, G. K. Smyth, "Permutation P-values Should Never Be Zero", Stat. Appl. Genet. Mol. Biol. 9
       (2010) 39. https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    Five classes with five different shares, all claimed exactly: one order in 120 does as well.

    >>> shares = np.array([0.4, 0.3, 0.2, 0.1, 0.0])
    >>> exact = ClaimedHistogram(true=shares, claims=[shares], scale=0.3)
    >>> round(1 / histograms_by_luck([exact], rng=np.random.default_rng(0)))
    120
    """
    usable = [_Costs.of(batch) for batch in batches if any(claim is not None for claim in batch.claims)]
    if not usable:
        return 1.0
    if all(costs.classes <= _ENUMERATED for costs in usable):
        return _enumerated(usable)
    return _sampled(usable, rng)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Costs:
    """Values of one batch for any order: `of_level[c, k]` is the cost of class c having the k-th of the shares."""

    of_level: np.ndarray  # (C, number of different shares), in units of the value
    levels: np.ndarray  # (C,), the level of each class
    claimed: float  # share of the draws with a claim

    @property
    def classes(self) -> int:
        return int(self.levels.size)

    @classmethod
    def of(cls, batch: ClaimedHistogram) -> _Costs:
        shares, levels = np.unique(batch.true, return_inverse=True)
        claims = [claim for claim in batch.claims if claim is not None]
        costs = np.zeros((batch.true.size, shares.size))
        for claim in claims:
            costs += np.abs(claim[:, None] - shares[None, :])
        scale = 0.5 / batch.scale / len(batch.claims)
        return cls(of_level=costs * scale, levels=levels.reshape(-1), claimed=len(claims) / len(batch.claims))

    def values(self, levels: np.ndarray) -> np.ndarray:
        """Return the value of each row of levels, shape (n, C)."""
        return self._value(self.of_level[np.arange(self.classes)[None, :], levels].sum(axis=1))

    def random_values(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Return the values of random orders."""
        commonest = int(np.bincount(self.levels).argmax())
        others = self.levels[self.levels != commonest]
        if others.size**2 > 2 * self.classes:
            order = rng.random((number, self.classes)).argsort(axis=1)
            return self.values(self.levels[order])
        # Few classes differ from the commonest share: only their new places are drawn, without repetition.
        places = rng.integers(self.classes, size=(number, others.size))
        while True:
            ordered = np.sort(places, axis=1)
            again = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
            if not again.size:
                break
            places[again] = rng.integers(self.classes, size=(again.size, others.size))
        change = self.of_level[places, others[None, :]] - self.of_level[places, commonest]
        return self._value(self.of_level[:, commonest].sum() + change.sum(axis=1))

    @property
    def work(self) -> int:
        """Entries that one random order takes."""
        others = self.classes - int(np.bincount(self.levels).max())
        return max(1, self.classes if others**2 > 2 * self.classes else others)

    @property
    def observed(self) -> float:
        return float(self.values(self.levels[None, :])[0])

    def _value(self, costs: np.ndarray) -> np.ndarray:
        return np.maximum(self.claimed - costs, -1.0)


def _enumerated(batches: Sequence[_Costs]) -> float:
    orders = {
        classes: np.array(list(itertools.permutations(range(classes))))
        for classes in {costs.classes for costs in batches}
    }
    values = [costs.values(costs.levels[orders[costs.classes]]) for costs in batches]
    if len(batches) == 1:
        return float(np.mean(values[0] >= batches[0].observed - _SLACK))
    step = sum(float(one.max()) + 1.0 for one in values) / _GRID or 1.0
    laws = []
    for one in values:
        counts = np.bincount(np.ceil((one + 1.0) / step - _SLACK).astype(np.int64))
        laws.append(counts / one.size)
    length = sum(law.size - 1 for law in laws) + 1
    padded = next_fast_len(length)
    product = np.prod([np.fft.rfft(law, n=padded) for law in laws], axis=0)
    together = np.maximum(np.fft.irfft(product, n=padded), 0.0)
    observed = math.fsum(costs.observed + 1.0 for costs in batches) / step
    tail = float(together[max(0, math.floor(observed - len(batches) * _SLACK / step)) :].sum())
    return min(1.0, max(tail, _PRECISION))


def _sampled(batches: Sequence[_Costs], rng: np.random.Generator) -> float:
    observed = math.fsum(costs.observed for costs in batches)
    work = sum(costs.work for costs in batches)
    most = min(max(_ALL_ENTRIES // work, _LEAST), _MOST)
    widest = max(costs.work for costs in batches)
    seen = good = 0
    number = 256
    while seen < most:
        number = max(1, min(number, most - seen, _ENTRIES // widest))
        sums = np.sum([costs.random_values(number, rng) for costs in batches], axis=0)
        as_good = np.cumsum(sums >= observed - _SLACK)
        if good + int(as_good[-1]) >= _ENOUGH:
            return _ENOUGH / (seen + int(np.searchsorted(as_good, _ENOUGH - good)) + 1)
        good += int(as_good[-1])
        seen += number
        number *= 2
    return (good + 1) / (seen + 1)
