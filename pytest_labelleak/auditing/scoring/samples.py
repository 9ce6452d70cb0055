"""Samples that an attack separated from the batch, against those the batch really holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Recovery
from .counts import count_accuracy

__all__ = ["isolation_figures", "matched_errors"]


def isolation_figures(
    recovery: Recovery, labels: np.ndarray, classes: int, features: np.ndarray | None
) -> dict[str, Any]:
    """Score the samples that an attack says it isolated.

    Parameters
    ----------
    recovery : Recovery
        The claim.
    labels : ndarray of int, shape (S,)
        True class of every label position; at least one.
    classes : int
        Number of classes C.
    features : ndarray of shape (S, d) or None
        The head's true input at each, where it is known.

    Returns
    -------
    dict
        Empty if the attack isolates nothing and says so, by leaving `Recovery.isolated` None. Otherwise
        "isolated", the share of label positions that were isolated with the right label: one sample too many
        is as wrong as one too few. With features also "features_exposed", the share of positions
        whose features came with it, and, where `features` is given, "feature_error", the median of their
        relative errors.

    Raises
    ------
    InvalidArgumentError
        If labels and features do not belong to as many samples as the attack says it isolated.

    Examples
    --------
    >>> claim = Recovery(attack="a", status="recovered", isolated=3, sample_labels=(1, 2, 2))
    >>> isolation_figures(claim, np.array([1, 1, 2, 3]), 5, None)
    {'isolated': 0.5}
    """
    if recovery.isolated is None and not recovery.sample_labels:
        return {}
    found = np.asarray(recovery.sample_labels, dtype=np.int64)
    # Numbers of samples are as private as the size of the batch: neither message quotes one.
    if recovery.isolated not in (None, found.size):
        raise InvalidArgumentError(
            f"attack {recovery.attack!r} labels another number of samples than it isolated. "
            "Expected one label for each of Recovery.isolated, in Recovery.sample_labels."
        )
    true = np.bincount(labels, minlength=classes)
    figures = {"isolated": count_accuracy(np.bincount(found, minlength=classes), true)}
    if recovery.features is None:
        return figures
    inputs = np.asarray(recovery.features, dtype=np.float64)
    if inputs.ndim != 2 or inputs.shape[0] != found.size:
        raise InvalidArgumentError(
            f"attack {recovery.attack!r} gives features that are no table of its isolated samples. "
            "Expected one row for each, in the order of Recovery.sample_labels."
        )
    usable = np.isfinite(inputs).all(axis=1)
    came_with = np.minimum(np.bincount(found[usable], minlength=classes), true).sum()
    figures["features_exposed"] = float(came_with / max(found.size, labels.size))
    if features is not None:
        if inputs.shape[1] != features.shape[1]:
            raise InvalidArgumentError(
                f"attack {recovery.attack!r} gives {inputs.shape[1]} features for each sample, and the truth "
                f"{features.shape[1]}. Expected both to be the input of the head."
            )
        errors = matched_errors(found[usable], inputs[usable], labels, features)
        if errors.size:
            figures["feature_error"] = float(np.median(errors))
    return figures


def matched_errors(found: np.ndarray, inputs: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the relative errors of recovered features, each matched with one true sample of its label.

    Within a label, the closest pair is matched first, then the closest of the remaining pairs. Where each sample
    was found to less than half its distance from the next, that is the best assignment; elsewhere it can only make
    errors look larger.

    Parameters
    ----------
    found : ndarray of int, shape (n,)
        Labels of the isolated samples.
    inputs : ndarray of shape (n, d)
        Their features, in the units of the head's input.
    labels : ndarray of int, shape (S,)
        The true labels.
    features : ndarray of shape (S, d)
        The true features.

    Returns
    -------
    ndarray of shape (m,)
        ``|found - true| / |true|`` for every match; a true sample without any active feature is compared with the
        largest one. Finite. Samples beyond the number that the batch has of their label have no match.

    Examples
    --------
    >>> matched_errors(np.array([7, 7]), np.array([[0.0, 2.0], [1.0, 0.0]]), np.array([7, 7, 1]), np.eye(3, 2))
    array([0., 1.])
    """
    sizes = np.linalg.norm(features, axis=1)
    sizes[sizes == 0.0] = float(sizes.max(initial=0.0)) or 1.0
    errors: list[float] = []
    for label in np.unique(found):
        mine, theirs = np.flatnonzero(found == label), np.flatnonzero(labels == label)
        # Row by row: all differences at once can be many times the size of the features.
        with np.errstate(over="ignore"):
            distances = np.array([np.linalg.norm(features[theirs] - inputs[row], axis=1) for row in mine])
        free_rows, free_columns = np.ones(mine.size, dtype=bool), np.ones(theirs.size, dtype=bool)
        for flat in np.argsort(distances, axis=None, kind="stable"):
            row, column = divmod(int(flat), theirs.size)
            if free_rows[row] and free_columns[column]:
                free_rows[row] = free_columns[column] = False
                errors.append(float(distances[row, column] / sizes[theirs[column]]))
    # Differences of extreme numbers overflow; reports hold finite numbers alone, also after a mean of two.
    return np.clip(np.array(errors, dtype=np.float64), 0.0, float(np.finfo(np.float64).max) / 4.0)
