"""Agreement of claimed multiplicities of labels with the true ones, corrected for chance."""

from __future__ import annotations

import numpy as np

__all__ = ["chance_accuracy", "count_accuracy", "counts_advantage"]


def count_accuracy(claimed: np.ndarray, true: np.ndarray) -> float:
    """Return the share of label positions whose class is right, with its multiplicity.

    ``sum_c min(n_c, m_c) / max(sum_c n_c, sum_c m_c)`` for true counts n and claimed counts m: too many
    positions are as wrong as too few.

    Parameters
    ----------
    claimed, true : ndarray of int, shape (C,)
        Counts by class; at least one true label.

    Returns
    -------
    float
        In [0, 1]; 1 for the exact multiset alone.

    Examples
    --------
    >>> count_accuracy(np.array([2, 1, 0]), np.array([1, 1, 1]))
    0.6666666666666666
    """
    return float(np.minimum(claimed, true).sum() / max(claimed.sum(), true.sum()))


def chance_accuracy(true: np.ndarray) -> float:
    """Return the count accuracy of the best guesser who knows the number of positions and of classes, and no more.

    That guesser spreads the S positions over the C classes as evenly as whole numbers allow, and picks the
    classes that get one more at random. The expectation is exact. Since ``min(n_c, m)`` is concave in m,
    no other guess without a preference between classes does better, whatever the labels are. For
    S <= C this is the share of classes that are present.

    Parameters
    ----------
    true : ndarray of int, shape (C,)
        Counts by class; at least one label.

    Returns
    -------
    float
        In (0, 1]; 1 only if every class is present.

    Examples
    --------
    >>> chance_accuracy(np.array([2, 1, 0, 0, 0, 0])), chance_accuracy(np.array([5, 5, 0]))
    (0.3333333333333333, 0.6666666666666666)
    """
    positions, classes = int(true.sum()), true.size
    each, left = divmod(positions, classes)
    more = left / classes
    kept = (1.0 - more) * np.minimum(true, each) + more * np.minimum(true, each + 1)
    return float(kept.sum() / positions)


def counts_advantage(claimed: np.ndarray, true: np.ndarray) -> float:
    """Return the count accuracy corrected for chance: 0 for the best guess, 1 for the exact multiset.

    ``(accuracy - chance) / (1 - chance)``, as in Cohen's kappa, cut off at -1 so that it is bounded like the
    advantage over classes. Cutting can raise a mean and never lower it.

    Parameters
    ----------
    claimed, true : ndarray of int, shape (C,)
        Counts by class; at least one true label, and a class without any.

    Returns
    -------
    float
        In [-1, 1].

    Examples
    --------
    >>> counts_advantage(np.array([2, 1, 0, 0]), np.array([2, 1, 0, 0]))
    1.0
    >>> counts_advantage(np.array([3, 0, 0, 0]), np.array([2, 2, 0, 0]))  # (1/2 - 1/2) / (1 - 1/2)
    0.0
    """
    chance = chance_accuracy(true)
    return max(-1.0, (count_accuracy(claimed, true) - chance) / (1.0 - chance))
