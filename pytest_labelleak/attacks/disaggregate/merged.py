"""Positions of the same features and different labels: one row of the gradient with several labels.

The first position of every sentence sees the same start token. Such positions have one feature vector h and one output
p, and their error rows add up to ``w (k p - onehot(y_1) - ... - onehot(y_k))``. The gradient has one rank for all of
them, and no direction separates one of their labels from the others. With all other samples taken out, one direction is
left of the row space and one of the features. The weights of the head then give p, and every entry of the row that
falls short of a multiple of p is a label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from ...core.softmax import softmax
from .one_by_one import IsolationRules
from .sample import Sample
from .spaces import RowSpace

__all__ = ["merged_samples", "repeated"]

# Rounds of the robust fit of a line. The weights of its entries settle in fewer.
_ROUNDS = 30


def merged_samples(
    whole: RowSpace, isolated: Sequence[Sample], *, tolerance: float, rules: IsolationRules
) -> tuple[Sample, ...]:
    """Read the labels of the one row that the isolated samples leave.

    Parameters
    ----------
    whole : RowSpace
        Of the whole batch.
    isolated : sequence of Sample
        All other samples; nothing is read if more than one direction is left.
    tolerance : float
        Residual that the arithmetic of the forward pass explains.
    rules : IsolationRules
        When a solution is a sample.

    Returns
    -------
    tuple of Sample
        One for each label, with the same features; empty if the row is none of a softmax.
    """
    if whole.positions - len(isolated) != 1:
        return ()
    of_row, of_features = np.ones(1), np.ones(1)
    remains = np.zeros(whole.columns.size)
    if isolated:
        of_row = _beside([sample.features for sample in isolated])
        of_features = _beside([sample.row for sample in isolated])
        for one in isolated:
            known = rules.left_behind * one.residual * float(np.linalg.norm(one.features))
            remains += (known * (one.row @ whole.rows)) ** 2
    row = of_row @ whole.rows / whole.scale
    noise = np.sqrt(whole.noise**2 * float(of_row @ of_row) + remains) / whole.scale
    if np.count_nonzero(row > 0.0) < np.count_nonzero(row < 0.0):
        of_row, row = -of_row, -row
    slopes = whole.logits @ of_features
    length = _length(whole, slopes, row, noise, of_features)
    if length is None:
        return ()
    output = softmax(length * slopes + whole.offset)
    size = float(np.linalg.norm(row))
    # Most entries are no labels, and agree on the factor.
    seen = (row > 0.0) & (output > 0.0)
    if 2 * np.count_nonzero(seen) < row.size:
        return ()
    factor = float(np.exp(np.median(np.log(row[seen]) - np.log(output[seen]))))
    short = factor * output - row
    allowed = max(
        tolerance, min(rules.explained_by_noise * float(np.linalg.norm(noise)) / size, rules.largest_residual)
    )
    # All labels together fall short by the factor itself, and an entry of rounding by far less than its part.
    labels = np.flatnonzero(short > np.maximum(rules.explained_by_noise * noise, allowed * (factor * output + factor)))
    if not labels.size or 2 * labels.size > row.size:
        return ()
    others = np.delete(short, labels)
    residual = float(np.linalg.norm(others)) / size
    agree = abs(float(short[labels].sum()) / factor - 1.0) <= rules.off_one
    if residual > allowed or not agree:
        return ()
    own = float(np.linalg.norm(noise)) / size
    features = length * of_features
    functional = of_row / float(of_row @ features)
    return tuple(
        Sample(column=int(column), features=features, row=functional, residual=residual, noise=own) for column in labels
    )


def repeated(labels: np.ndarray, features: np.ndarray, weights: np.ndarray, rules: IsolationRules) -> np.ndarray:
    """Return how many positions each sample stands for, where several samples have the same features.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Class of each sample.
    features : ndarray of shape (n, d)
        Features of each; those of one merged row are equal to the last digit.
    weights : ndarray of shape (n,)
        Loss weight of each.
    rules : IsolationRules
        Its `off_one` is the relative distance from a whole number up to which a weight is a multiple.

    Returns
    -------
    ndarray of int, shape (n,)
        One for samples with features of their own, and where weights are no multiples of the others' weight.
    """
    times = np.ones(labels.size, dtype=np.int64)
    _, group, sizes = np.unique(features, axis=0, return_inverse=True, return_counts=True)
    together = sizes[np.ravel(group)] > 1
    if not together.any() or together.all():
        return times
    multiples = weights[together] / float(np.median(weights[~together]))
    whole = np.maximum(np.rint(multiples), 1.0)
    if np.all(np.abs(multiples - whole) <= rules.off_one):
        times[together] = whole.astype(np.int64)
    return times


def _beside(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the unit vector orthogonal to all but one dimension's worth of vectors."""
    block = np.stack([vector / np.linalg.norm(vector) for vector in vectors], axis=1)
    found: np.ndarray = scipy.linalg.qr(block, check_finite=False)[0][:, -1]
    return found


def _length(
    whole: RowSpace, slopes: np.ndarray, row: np.ndarray, noise: np.ndarray, of_features: np.ndarray
) -> float | None:
    """Return the factor of the features: with a bias their last input is one, without one the logits tell it."""
    if whole.biased:
        last = float(whole.inputs[-1] @ of_features)
        return 1.0 / last if last else None
    seen = row > 3.0 * noise
    if np.count_nonzero(seen) < 3:
        return None
    wanted = np.log(row[seen]) - whole.offset[seen]
    design = np.stack([slopes[seen], np.ones(wanted.size)], axis=1)
    weights = np.ones(wanted.size)
    solved = np.zeros(2)
    for _ in range(_ROUNDS):
        # Least absolute deviations, by weighted squares: positive entries of labels are few, and far off.
        solved = scipy.linalg.lstsq(design * weights[:, None], wanted * weights, check_finite=False)[0]
        missed = np.abs(wanted - design @ solved)
        weights = 1.0 / np.sqrt(missed + 1e-9)
    return float(solved[0])
