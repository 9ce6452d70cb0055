"""One linear program finds all labels; its support is checked against the truth, its optimality against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from pytest_labelleak.attacks.gradient.subspace import find_subspace
from pytest_labelleak.attacks.rlg.label_program import extreme_columns
from pytest_labelleak.testing import LabelledUpdate, make_update


def points_of(case: LabelledUpdate) -> tuple[np.ndarray, np.ndarray]:
    subspace = find_subspace(case.update)
    return subspace.coordinates[: subspace.positions], np.isin(subspace.columns, case.labels)


def away_from(labels: np.ndarray) -> np.ndarray:
    return np.where(labels, 0.0, 1.0)


@pytest.mark.parametrize("confidence", [None, 0.5, 0.9])
def test_distinct_labels_are_the_support(confidence: float | None) -> None:
    case = make_update(positions=25, features=128, classes=300, seed=1, signed=True, confidence=confidence)
    points, labels = points_of(case)
    extreme = extreme_columns(points, away_from(labels))
    assert extreme is not None
    assert set(extreme.support) == set(np.flatnonzero(labels))
    # The reason: every other column is a combination of the labels with coefficients that are not positive.
    coefficients = np.linalg.solve(points[:, extreme.support], points[:, ~labels])
    assert coefficients.max() < 1e-6


def test_repeated_labels_are_in_the_support_whatever_the_weights() -> None:
    case = make_update(positions=30, features=128, classes=300, seed=2, signed=True, confidence=0.9, duplicates=0.5)
    points, labels = points_of(case)
    rng = np.random.default_rng(0)
    supports = []
    for _ in range(4):
        extreme = extreme_columns(points, away_from(labels) * np.exp(3 * rng.normal(size=300)))
        assert extreme is not None
        supports.append(set(extreme.support))
        assert set(np.flatnonzero(labels)) <= supports[-1]
    assert len(set.intersection(*supports)) < len(supports[0])


def test_column_generation_reaches_the_optimum_of_the_whole_program() -> None:
    case = make_update(positions=12, features=64, classes=150, seed=3, signed=True, confidence=0.5, duplicates=0.3)
    points, _ = points_of(case)
    weights = np.random.default_rng(1).random(150)
    extreme = extreme_columns(points, weights)
    assert extreme is not None
    target = -(points @ weights)
    whole = linprog(np.ones(150), A_eq=points, b_eq=target, bounds=(0, None))
    mine = np.linalg.lstsq(points[:, extreme.support], target, rcond=None)[0]
    assert mine.min() > 0
    assert mine.sum() == pytest.approx(whole.fun, rel=1e-6)


def test_columns_that_do_not_span_positively_have_no_answer() -> None:
    half_space = np.vstack([np.random.default_rng(0).normal(size=(2, 100)), np.ones(100)])
    assert extreme_columns(half_space, np.ones(100)) is None
    assert extreme_columns(np.zeros((2, 5)), np.ones(5)) is None
