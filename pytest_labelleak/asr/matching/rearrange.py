"""Local search over the order: positions are moved whole, label and context together, where that explains more.

A wrong minimum of gradient matching mostly has the right positions in a wrong order: the head's gradient is a sum over
positions and does not tell their order, and what tells it, the recurrent layer, weighs little where the model is sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .minimise import lbfgs
from .unknowns import Unknowns

__all__ = ["rearrange"]

#: Moves that are tried for good in a round: those after which the least is left before the contexts are fitted anew.
_TRIED = 6
#: Steps of L-BFGS for each, and for the one that is kept.
_BRIEF, _LONG = 40, 300


def rearrange(
    problem: Unknowns,
    tokens: tuple[int, ...],
    part: np.ndarray,
    residual: float,
    *,
    rounds: int,
    enough: float,
    stop: Callable[[], bool],
) -> tuple[tuple[int, ...], np.ndarray, float]:
    """Swap and move positions as long as that explains more of the gradient.

    Parameters
    ----------
    problem : Unknowns
        What is to be explained.
    tokens : tuple of int
        Where to start.
    part : ndarray of shape (n,)
        What makes the contexts that belong to it.
    residual : float
        What they leave.
    rounds : int
        Moves at the most.
    enough : float
        Residual at which to stop.
    stop : callable
        Whether time is up.

    Returns
    -------
    tokens, part, residual
        The best found.
    """
    for _ in range(rounds):
        if residual <= enough or stop():
            break
        moves = []
        for order in _orders(len(tokens) - (problem.last is not None), len(tokens)):
            moved = _apply(problem, order, tokens, part)
            moves.append((problem.with_words(*moved)[0], *moved))
        moves.sort(key=lambda move: move[0])
        before = residual
        for _, words, start in moves[:_TRIED]:
            if stop():
                break
            found, left = _fitted(problem, words, start, _BRIEF, enough)
            if left < residual:
                tokens, part, residual = words, found, left
        if residual == before:
            break
        part, residual = _fitted(problem, tokens, part, _LONG, enough)
    return tokens, part, residual


def _fitted(
    problem: Unknowns, tokens: tuple[int, ...], part: np.ndarray, most: int, enough: float
) -> tuple[np.ndarray, float]:
    return lbfgs(
        lambda vector: problem.with_words(tokens, vector), part, most=most, after=lambda _, value: value <= enough
    )


def _orders(free: int, positions: int) -> Iterator[list[int]]:
    """Yield all orders that a swap of two positions, or a move of one, makes; the last ones stay if they are known."""
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
