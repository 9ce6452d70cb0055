"""Visibility of the shares of the classes in an update, for a receiver who knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from .columns import RankedColumns

__all__ = ["SharesSeen", "shares_seen"]

#: Slack in comparing a correlation with the observed one.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesSeen:
    """How well the best column statistic orders the classes by their shares, and how well chance does.

    Attributes
    ----------
    correlation : float
        Rank correlation of the best statistic with the true shares, without its sign; mean over the batches.
    statistic : str
        Name of that statistic.
    chance : float
        Mean of the same number over random orders of the classes.
    p_value : float
        Probability of as large a number for a random order.
    level : float
        Largest probability that counts as visible.
    """

    correlation: float
    statistic: str
    chance: float
    p_value: float
    level: float

    def beyond(self, limit: float) -> bool:
        """Tell whether the shares are visible, and by more than `limit` above chance.

        Parameters
        ----------
        limit : float
            Tolerated excess.

        Returns
        -------
        bool
            False where a random order would do as well too often.
        """
        return self.p_value <= self.level and self.correlation - self.chance > limit

    @property
    def sentence(self) -> str:
        """The finding in words, without a label."""
        return (
            f"the shares of the classes are visible in this update: the column statistic {self.statistic!r} orders the "
            f"classes by their shares with a rank correlation of {self.correlation:.2f} (chance {self.chance:.2f})"
        )


def shares_seen(
    batches: Sequence[tuple[np.ndarray, Sequence[RankedColumns]]],
    *,
    rng: np.random.Generator,
    level: float = 0.01,
    permutations: int = 1999,
) -> SharesSeen | None:
    """Measure how well column statistics order the classes by their true shares.

    The ranks of a statistic are averaged over the draws of a batch, and correlated with the ranks of the true shares
    (Spearman). The null renames the classes of each batch, in the same way for all statistics and draws, and the
    largest correlation over the statistics is compared: the choice of the best one is part of the null.

    Parameters
    ----------
    batches : sequence of (ndarray of shape (C,), sequence of RankedColumns)
        For every batch the true shares, and its draws.
    rng : numpy.random.Generator
        Draws the orders.
    level : float, default 0.01
        As in `SharesSeen`.
    permutations : int, default 1999
        Number of orders.

    Returns
    -------
    SharesSeen or None
        None if no batch has shares that differ and a draw.
    """
    usable = [(true, draws) for true, draws in batches if len(draws) and np.ptp(true) > 0.0]
    if not usable:
        return None
    shared = set.intersection(*(set(look.ranks) for _, draws in usable for look in draws))
    names = sorted(shared)
    if not names:
        return None
    observed = np.zeros(len(names))
    null = np.zeros((permutations, len(names)))
    for true, draws in usable:
        ranks = np.stack([np.mean([look.ranks[name] for look in draws], axis=0) for name in names])
        seen, wanted = _standardised(ranks), _standardised(rankdata(true)[None, :])[0]
        orders = rng.random((permutations, true.size)).argsort(axis=1)
        observed += seen @ wanted / len(usable)
        null += wanted[orders] @ seen.T / len(usable)
    best = int(np.abs(observed).argmax())
    highest = np.abs(null).max(axis=1)
    correlation = float(abs(observed[best]))
    return SharesSeen(
        correlation=correlation,
        statistic=names[best],
        chance=float(highest.mean()),
        p_value=float((1 + np.count_nonzero(highest >= correlation - _SLACK)) / (permutations + 1)),
        level=level,
    )


def _standardised(rows: np.ndarray) -> np.ndarray:
    """Return rows with mean zero and length one; constant rows become zero."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    result: np.ndarray = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0.0)
    return result
