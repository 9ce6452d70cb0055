"""Balanced logistic regression on the classes of simulated updates, and the threshold that it is used with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

__all__ = ["best_threshold", "fit", "scores"]

#: Absent classes of one update that are learned from, evenly spaced; more tell nothing new. Bounds the work.
_ABSENT = 2000


def fit(examples: Sequence[np.ndarray], present: Sequence[np.ndarray], ridge: float) -> np.ndarray:
    """Fit a logistic regression in which present and absent classes weigh the same.

    Parameters
    ----------
    examples : sequence of ndarray of shape (C, k)
        Statistics of every class, an array for each update.
    present : sequence of ndarray of bool, shape (C,)
        Classes that are present.
    ridge : float
        Penalty on the squared coefficients.

    Returns
    -------
    ndarray of shape (k + 1,)
        Coefficients, the intercept last.
    """
    rows, truths, weights = [], [], []
    for table, truth in zip(examples, present, strict=True):
        absent = np.flatnonzero(~truth)
        kept = absent[:: max(1, absent.size // _ABSENT)]
        chosen = np.concatenate([np.flatnonzero(truth), kept])
        rows.append(table[chosen])
        truths.append(truth[chosen].astype(np.float64))
        # Every update weighs the same: its present classes half, its absent ones half.
        shares = np.where(truth[chosen], 1.0 / max(int(truth.sum()), 1), 1.0 / max(kept.size, 1))
        weights.append(shares / shares.sum())
    table = np.concatenate(rows)
    table = np.hstack([table, np.ones((len(table), 1))])
    truth, weight = np.concatenate(truths), np.concatenate(weights) / len(examples)

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        logits = table @ coefficients
        value = float(weight @ (np.logaddexp(0.0, logits) - truth * logits))
        slope = table.T @ (weight * (expit(logits) - truth))
        slope[:-1] += 2.0 * ridge * coefficients[:-1]
        return value + ridge * float(coefficients[:-1] @ coefficients[:-1]), slope

    start = np.zeros(table.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x)


def scores(coefficients: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the log odds of every class.

    Parameters
    ----------
    coefficients : ndarray of shape (k + 1,)
        From `fit`.
    table : ndarray of shape (C, k)
        Statistics of every class.

    Returns
    -------
    ndarray of shape (C,)
        Positive for classes more likely present than absent.
    """
    return np.asarray(table @ coefficients[:-1] + coefficients[-1])


def best_threshold(found: Sequence[np.ndarray], present: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the threshold of the largest mean advantage, and the advantage that it has on every update.

    Parameters
    ----------
    found : sequence of ndarray of shape (C,)
        Scores of updates that were not learned from.
    present : sequence of ndarray of bool, shape (C,)
        Classes that are present.

    Returns
    -------
    threshold : float
        Classes above it are named.
    advantages : ndarray of shape (n,)
        True-positive rate less false-positive rate, an entry for each update.
    """
    levels = np.unique(np.quantile(np.concatenate(found), np.linspace(0.0, 1.0, 401)))
    table = np.empty((len(found), levels.size))
    for row, (values, truth) in enumerate(zip(found, present, strict=True)):
        yes, no = np.sort(values[truth]), np.sort(values[~truth])
        above_yes = 1.0 - np.searchsorted(yes, levels, side="right") / max(yes.size, 1)
        above_no = 1.0 - np.searchsorted(no, levels, side="right") / max(no.size, 1)
        table[row] = above_yes - above_no
    best = int(np.argmax(table.mean(axis=0)))
    return float(levels[best]), table[:, best]
