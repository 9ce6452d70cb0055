"""Levenberg and Marquardt's method against scipy's, and a reason for every end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.optimize

from pytest_labelleak.attacks.disaggregate.least_squares import Stop, minimise

TIMES = np.linspace(0.0, 3.0, 25)
SEEN = 2.0 * np.exp(-1.3 * TIMES) + 0.5 + 0.05 * np.sin(17.0 * TIMES)


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return np.array([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def decay(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return x[0] * np.exp(-x[1] * TIMES) + x[2] - SEEN


def powell(x: np.ndarray) -> np.ndarray:
    """Vanish at zero, where the Jacobian is singular."""
    return np.array(
        [
            x[0] + 10.0 * x[1],
            np.sqrt(5.0) * (x[2] - x[3]),
            (x[1] - 2.0 * x[2]) ** 2,
            np.sqrt(10.0) * (x[0] - x[3]) ** 2,
        ]
    )


@dataclass
class Dense:
    """A residual with a Jacobian by differences, and the number of times that it was asked for."""

    function: Callable[[np.ndarray], np.ndarray]
    evaluations: int = 0
    jacobians: int = 0

    def at(self, point: np.ndarray) -> np.ndarray:
        self.evaluations += 1
        return point

    def squares(self, state: np.ndarray) -> float:
        return float(np.sum(self.function(state) ** 2))

    def _jacobian(self, point: np.ndarray) -> np.ndarray:
        ends = [self.function(point + s) - self.function(point - s) for s in 1e-6 * np.eye(point.size)]
        return np.array(ends).T / 2e-6

    def gradient(self, state: np.ndarray) -> np.ndarray:
        return self._jacobian(state).T @ self.function(state)

    def gram(self, state: np.ndarray) -> np.ndarray:
        self.jacobians += 1
        jacobian = self._jacobian(state)
        return jacobian.T @ jacobian


PROBLEMS = pytest.mark.parametrize(
    ("function", "start", "near"),
    [
        (rosenbrock, [-1.2, 1.0], 1e-6),
        (decay, [1.0, 0.3, 0.0], 1e-5),
        (decay, [5.0, 4.0, -1.0], 1e-5),
        (powell, [3.0, -1.0, 0.0, 1.0], 1e-2),
    ],
)


@PROBLEMS
@pytest.mark.parametrize("reuse", [0.0, 0.04])
def test_the_minimum_is_that_of_scipy(
    function: Callable[[np.ndarray], np.ndarray], start: list[float], near: float, reuse: float
) -> None:
    expected = scipy.optimize.least_squares(function, start, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    residual = Dense(function)
    solution = minimise(residual, np.array(start), most_jacobians=60, reuse=reuse)
    # Towards a singular root the squares fall for ever, by the same factor each time.
    assert (solution.stop is Stop.EXHAUSTED) == (function is powell)
    assert solution.squares == pytest.approx(2.0 * expected.cost, rel=1e-6, abs=1e-9)
    assert solution.point == pytest.approx(expected.x, abs=near)
    assert solution.squares == residual.squares(solution.state)
    assert solution.jacobians == residual.jacobians <= 60


def test_a_factor_that_helps_is_used_again() -> None:
    start = np.array([1.9, 1.2, 0.45])
    counts = {}
    for reuse in (0.0, 0.9):
        residual = Dense(lambda x: x**3 - 1.0)
        solution = minimise(residual, start[:1], most_jacobians=60, reuse=reuse)
        assert solution.point == pytest.approx(1.0, abs=1e-7)
        counts[reuse] = residual.jacobians
    assert counts[0.9] < counts[0.0]


def test_a_root_is_met() -> None:
    solution = minimise(Dense(lambda x: np.array([x[0] - 1.0])), np.array([1.0 + 2**-20]), most_jacobians=60)
    assert solution.stop is Stop.ZERO
    assert solution.squares == 0.0


def test_a_minimum_that_is_no_root_leaves_no_step() -> None:
    solution = minimise(Dense(lambda x: np.array([x[0] - 1.0, x[0] + 1.0])), np.zeros(1), most_jacobians=60)
    assert (solution.stop, solution.jacobians) == (Stop.STUCK, 1)
    assert solution.squares == 2.0


def test_an_iteration_that_gains_nothing_ends() -> None:
    solution = minimise(Dense(decay), np.array([1.0, 0.3, 0.0]), most_jacobians=60)
    assert solution.stop is Stop.CONVERGED
    assert solution.jacobians < 15


def test_no_more_jacobians_than_allowed() -> None:
    residual = Dense(rosenbrock)
    solution = minimise(residual, np.array([-1.2, 1.0]), most_jacobians=2)
    assert (solution.stop, solution.jacobians, residual.jacobians) == (Stop.EXHAUSTED, 2, 2)
    assert solution.squares < residual.squares(np.array([-1.2, 1.0]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_start_that_is_not_finite_is_refused(value: float) -> None:
    solution = minimise(Dense(lambda x: x + value), np.zeros(2), most_jacobians=60)
    assert (solution.stop, solution.jacobians, solution.squares) == (Stop.NOT_FINITE, 0, np.inf)


def test_a_step_to_where_the_residual_is_not_finite_is_not_taken() -> None:
    residual = Dense(lambda x: np.array([np.sqrt(x[0]) - 2.0 if x[0] > 0.0 else np.nan]))
    solution = minimise(residual, np.array([40.0]), most_jacobians=60)
    assert solution.point == pytest.approx(4.0, rel=1e-6)
    assert residual.evaluations > residual.jacobians + 1
