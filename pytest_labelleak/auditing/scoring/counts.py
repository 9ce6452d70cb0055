"""Agreement of claimed counts, and of claimed shares, with the true ones, corrected for chance."""

from __future__ import annotations

import numpy as np

__all__ = [
    "chance_accuracy",
    "count_accuracy",
    "counts_advantage",
    "distance",
    "shares_advantage",
    "uninformed_distance",
]


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


def distance(claimed: np.ndarray, true: np.ndarray) -> float:
    """Return the total variation distance of two histograms: the share of the label positions in the wrong class.

    Parameters
    ----------
    claimed, true : ndarray of shape (C,)
        Shares by class, each summing to one.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> distance(np.array([0.5, 0.5, 0.0]), np.array([0.75, 0.0, 0.25]))
    0.5
    """
    return float(0.5 * np.abs(claimed - true).sum())


def uninformed_distance(true: np.ndarray, expected: np.ndarray | None = None) -> float:
    """Return the distance of the best guess that does not look at the update.

    The guess is the better one of two: even shares, and the shares that are expected beforehand. No guess without a
    preference between classes beats even shares. The distance is convex in the guess, so the mean distance of any guess
    over all orders of the classes is at least that of its own mean over these orders, which is even.

    Parameters
    ----------
    true : ndarray of shape (C,)
        Shares by class.
    expected : ndarray of shape (C,), optional
        Shares by class that anyone may expect, such as those of the population.

    Returns
    -------
    float
        In [0, 1); 0 if the true shares are even, or are the expected ones.

    Examples
    --------
    >>> uninformed_distance(np.array([1.0, 0.0])), uninformed_distance(np.array([0.9, 0.1]), np.array([0.9, 0.1]))
    (0.5, 0.0)
    """
    even = distance(np.full(true.size, 1.0 / true.size), true)
    return even if expected is None else min(even, distance(expected, true))


def shares_advantage(claimed: np.ndarray, true: np.ndarray, expected: np.ndarray | None = None) -> float:
    """Return how much closer claimed shares are to the true ones than the best uninformed guess.

    ``1 - distance(claimed, true) / uninformed_distance(true, expected)``, cut off at -1: 0 for the best uninformed
    guess, 1 for the true shares. The number of label positions plays no role, so that an attack need not know it.

    Parameters
    ----------
    claimed, true : ndarray of shape (C,)
        Shares by class, each summing to one; the true ones are not those of the uninformed guess.
    expected : ndarray of shape (C,), optional
        As for `uninformed_distance`.

    Returns
    -------
    float
        In [-1, 1].

    Examples
    --------
    >>> true = np.array([0.75, 0.25])
    >>> shares_advantage(true, true), shares_advantage(np.array([0.5, 0.5]), true)
    (1.0, 0.0)
    """
    return max(-1.0, 1.0 - distance(claimed, true) / uninformed_distance(true, expected))
