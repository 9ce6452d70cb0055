"""Claimed sets of classes, and claimed counts, against the true ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Recovery
from ...core.truth import Truth
from .counts import count_accuracy, counts_advantage

__all__ = ["check_classes", "count_statistics", "position_statistics", "set_statistics"]


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
    if np.any(numbers < 0):
        raise InvalidArgumentError(f"attack {attack!r} counted a label less than 0 times. Expected whole numbers.")
    claimed = np.zeros(truth.classes, dtype=np.int64)
    claimed[labels] = numbers
    true = np.bincount(truth.labels, minlength=truth.classes)
    return {
        "count_accuracy": count_accuracy(claimed, true),
        "counts_exact": float(np.array_equal(claimed, true)),
        "counts_advantage": counts_advantage(claimed, true),
    }
