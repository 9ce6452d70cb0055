"""Claimed sets of classes, and claimed counts, against the true ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Recovery
from ...core.truth import Truth
from .counts import count_accuracy, counts_advantage, shares_advantage, uninformed_distance

__all__ = [
    "check_classes",
    "check_counts",
    "claimed_shares",
    "count_statistics",
    "position_statistics",
    "set_statistics",
    "share_statistics",
    "true_shares",
    "uneven",
]

#: Tolerated difference of a sum of shares from one.
_ROUNDING = 1e-6


def check_classes(claimed: np.ndarray, attack: str, truth: Truth) -> None:
    """Refuse classes that do not exist.

    Parameters
    ----------
    claimed : ndarray of int
        Classes that an attack names.
    attack : str
        Name of the attack.
    truth : Truth
        The labels.

    Raises
    ------
    InvalidArgumentError
        Names the attack, and no class.
    """
    if claimed.size and (claimed.min() < 0 or claimed.max() >= truth.classes):
        raise InvalidArgumentError(
            f"attack {attack!r} named a class that does not exist. "
            f"Expected class indices from 0 to {truth.classes - 1}."
        )


def check_counts(numbers: np.ndarray, attack: str) -> None:
    """Refuse counts below zero.

    Parameters
    ----------
    numbers : ndarray
        Claimed numbers of label positions.
    attack : str
        Name of the attack.

    Raises
    ------
    InvalidArgumentError
        Names the attack, and no class.
    """
    if np.any(numbers < 0):
        raise InvalidArgumentError(f"attack {attack!r} counted a label less than 0 times. Expected whole numbers.")


def set_statistics(claimed: np.ndarray, present: np.ndarray, classes: int) -> dict[str, Any]:
    """Score a claimed set of classes.

    Parameters
    ----------
    claimed, present : ndarray of int
        Distinct classes that an attack names, and those that are in the batch; at least one of the latter.
    classes : int
        Number of classes C that count.

    Returns
    -------
    dict
        Rates in [0, 1] and their difference, the advantage; 0 where every class is present.
    """
    hits = int(np.intersect1d(claimed, present, assume_unique=True).size)
    absent = classes - present.size
    true_positive_rate = hits / present.size
    false_positive_rate = (claimed.size - hits) / absent if absent else 0.0
    return {
        "advantage": true_positive_rate - false_positive_rate if absent else 0.0,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
        "precision": hits / claimed.size if claimed.size else 0.0,
        "recall": true_positive_rate,
        "f1": 2 * hits / (claimed.size + present.size),
        "exact_match": float(hits == claimed.size == present.size),
        "claimed": float(claimed.size),
        "recovered": (tuple(int(c) for c in claimed),),
    }


def position_statistics(recovery: Recovery, truth: Truth) -> dict[str, Any]:
    """Score the claimed number of label positions.

    Parameters
    ----------
    recovery : Recovery
        A claim.
    truth : Truth
        The labels.

    Returns
    -------
    dict
        The claim itself, private, and whether it is exact where there is one.
    """
    figures: dict[str, Any] = {"positions": (recovery.positions,)}
    if recovery.positions is not None:
        figures["positions_exact"] = float(recovery.positions == truth.labels.size)
    return figures


def count_statistics(counts: Mapping[int, int], attack: str, truth: Truth) -> dict[str, float]:
    """Score claimed multiplicities.

    Parameters
    ----------
    counts : mapping of int to int
        Claimed number of label positions by class.
    attack : str
        Name of the attack.
    truth : Truth
        The labels.

    Returns
    -------
    dict
        Accuracy, exactness, and the accuracy corrected for chance.

    Raises
    ------
    InvalidArgumentError
        If a class does not exist, or a number is below zero.
    """
    labels = np.array(list(counts), dtype=np.int64)
    numbers = np.array(list(counts.values()), dtype=np.int64)
    check_classes(labels, attack, truth)
    check_counts(numbers, attack)
    claimed = np.zeros(truth.classes, dtype=np.int64)
    claimed[labels] = numbers
    true = np.bincount(truth.labels, minlength=truth.classes)
    return {
        "count_accuracy": count_accuracy(claimed, true),
        "counts_exact": float(np.array_equal(claimed, true)),
        "counts_advantage": counts_advantage(claimed, true),
    }


def claimed_shares(recovery: Recovery, truth: Truth) -> np.ndarray | None:
    """Return the shares of the label positions that an attack claims.

    Parameters
    ----------
    recovery : Recovery
        A claim, of any status.
    truth : Truth
        The labels, of which the number of classes alone is used.

    Returns
    -------
    ndarray of shape (C,), or None
        Summing to one: the claimed shares, or else the claimed counts over their sum. None if neither is claimed.

    Raises
    ------
    InvalidArgumentError
        If a class does not exist, or a share is negative or not finite, or if they do not sum to one.
    """
    claimed = recovery.counts if recovery.shares is None else recovery.shares
    if claimed is None:
        return None
    labels = np.array(list(claimed), dtype=np.int64)
    numbers = np.array(list(claimed.values()), dtype=np.float64)
    check_classes(labels, recovery.attack, truth)
    total = math.fsum(numbers)
    if recovery.shares is None:
        check_counts(numbers, recovery.attack)
    elif numbers.size and not (np.isfinite(numbers).all() and numbers.min() >= 0.0):
        raise InvalidArgumentError(
            f"attack {recovery.attack!r} claimed a share that is negative or not finite. Expected numbers of at "
            "least 0."
        )
    if recovery.shares is not None and abs(total - 1.0) > _ROUNDING:
        raise InvalidArgumentError(
            f"attack {recovery.attack!r} claimed shares that add up to {total:.6g}. Expected 1: divide them by their "
            "sum."
        )
    if total <= 0.0:
        return None
    shares = np.zeros(truth.classes)
    shares[labels] = numbers / total
    return shares


def true_shares(truth: Truth) -> np.ndarray:
    """Return the true shares of the label positions by class.

    Parameters
    ----------
    truth : Truth
        At least one label.

    Returns
    -------
    ndarray of shape (C,)
        Summing to one.
    """
    shares: np.ndarray = np.bincount(truth.labels, minlength=truth.classes) / truth.labels.size
    return shares


def uneven(truth: Truth, expected: np.ndarray | None = None) -> bool:
    """Tell whether the true shares differ from those of the best uninformed guess.

    Parameters
    ----------
    truth : Truth
        The labels.
    expected : ndarray of shape (C,), optional
        As for `uninformed_distance`.

    Returns
    -------
    bool
        False without a label, too.
    """
    return bool(truth.labels.size) and uninformed_distance(true_shares(truth), expected) > _ROUNDING


def share_statistics(recovery: Recovery, truth: Truth, expected: np.ndarray | None = None) -> dict[str, Any]:
    """Score claimed shares.

    Parameters
    ----------
    recovery : Recovery
        A claim, of any status.
    truth : Truth
        At least one label.
    expected : ndarray of shape (C,), optional
        As for `uninformed_distance`.

    Returns
    -------
    dict
        The claim itself, private, and its advantage; empty without a claim, and where the true shares are those of the
        best uninformed guess.

    Raises
    ------
    InvalidArgumentError
        As for `claimed_shares`.
    """
    claimed = claimed_shares(recovery, truth)
    if claimed is None or not uneven(truth, expected):
        return {}
    named = np.flatnonzero(claimed)
    return {
        "shares": (tuple(zip(named.tolist(), claimed[named].tolist(), strict=True)),),
        "shares_advantage": shares_advantage(claimed, true_shares(truth), expected),
    }
