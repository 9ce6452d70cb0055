"""Local search over the order: a position is moved whole, label and context together, where the move explains more.

A wrong minimum of gradient matching mostly has the right positions in a wrong order. The head's gradient is a sum over
positions and holds no order. The gradient of the recurrent layer holds it, but weighs little where the model is sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .minimise import lbfgs
from .settings import MatchingRules
from .unknowns import Unknowns

__all__ = ["rearrange"]


def rearrange(
    problem: Unknowns,
    tokens: tuple[int, ...],
    part: np.ndarray,
    residual: float,
    *,
    rounds: int,
    enough: float,
    stop: Callable[[], bool],
    rules: MatchingRules = MatchingRules(),  # noqa: B008 - a frozen value
) -> tuple[tuple[int, ...], np.ndarray, float]:
    """Swap and move positions as long as the change explains more of the gradient.

    Parameters
    ----------
    problem : Unknowns
        Distance from the shared gradient.
    tokens : tuple of int
        Transcript to start from.
    part : ndarray of shape (n,)
        Coordinates of its contexts.
    residual : float
        Their distance.
    rounds : int
        Most rounds, each of which keeps one move or more.
    enough : float
        Distance at which to stop.
    stop : callable
        Returns whether time is up.
    rules : MatchingRules
        Orders tried in a round, and steps for each.

    Returns
    -------
    tokens, part, residual
        The nearest transcript, its coordinates and its distance.
    """
    for _ in range(rounds):
        if residual <= enough or stop():
            break
        moves = []
        for order in _orders(len(tokens) - (problem.last is not None), len(tokens)):
            moved = _apply(problem, order, tokens, part)
            moves.append((problem.at_transcript(*moved)[0], *moved))
        moves.sort(key=lambda move: move[0])
        before = residual
        for _, moved_tokens, start in moves[: rules.moves_tried]:
            if stop():
                break
            found, left = _fitted(problem, moved_tokens, start, rules.brief_steps, enough)
            if left < residual:
                tokens, part, residual = moved_tokens, found, left
        if residual == before:
            break
        part, residual = _fitted(problem, tokens, part, rules.long_steps, enough)
    return tokens, part, residual


def _fitted(
    problem: Unknowns, tokens: tuple[int, ...], part: np.ndarray, most: int, enough: float
) -> tuple[np.ndarray, float]:
    return lbfgs(
        lambda vector: problem.at_transcript(tokens, vector), part, most=most, after=lambda _, value: value <= enough
    )


def _orders(free: int, positions: int) -> Iterator[list[int]]:
    """Yield every order that differs by one swap or one move; positions from `free` on stay in their place."""
    for one in range(free):
        for other in range(free):
            order = list(range(positions))
            order.insert(other, order.pop(one))
            if one != other and (other > one or other < one - 1):  # neighbours that move past each other: once
                yield order
            if one < other - 1:
                order = list(range(positions))
                order[one], order[other] = other, one
                yield order


def _apply(
    problem: Unknowns, order: list[int], tokens: tuple[int, ...], part: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray]:
    initial, rows = problem.rows(part)
    return tuple(tokens[place] for place in order), np.concatenate([initial.ravel(), rows[order].ravel()])
