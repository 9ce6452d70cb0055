"""Links foretold by running the cell, for decoders whose gradient shows no context.

If the head sees no context, or the cell takes the context of the step before, the column space of the cell's gradient
shows only one thing of a step: the state of the step before. These states suffice to separate the steps. With P the
known states, the gradient ``P^T E`` of the rows that take them gives the errors E of the gates, step by step, and each
step is named by the position before it. The first step takes no state; its errors are the rest of the bias gradient,
which is the sum over all steps. With E the other rows give the remaining inputs of every step, and the cell's weights
give the state after it, which is that of the following position.

One utterance per update: of several utterances, only the sum of the first steps' errors is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import scipy.special

from ...core.update import Update
from .links import LinkRules, Links, find_ends
from .recurrence import Cell, RowFactor

__all__ = ["ForetellingRules", "foretold_links"]

#: Order of an LSTM's gates in Keras and in lingvo: i input, f forget, g new value, o output.
_ORDERS = ("ifgo", "gifo")

#: Maps the gates' share from the input (4h,), and state and memory before a step, to state and memory after it.
Step = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForetellingRules:
    """Numbers that decide which position a foretold state belongs to.

    Attributes
    ----------
    near : float
        Largest distance of a foretold state from a position's state, relative to the latter.
    nearer : float
        Ratio of the second smallest distance to the smallest, below which no position is named.
    outside : float
        Largest part of the bias gradient outside of the row space of the kernel's gradient, relative to its norm.
    """

    near: float = field(default=0.3, metadata={"plateau": (0.1, 5.0)})
    nearer: float = field(default=4.0, metadata={"plateau": (0.25, 12.0)})
    outside: float = field(default=0.05, metadata={"plateau": (0.025, 0.8)})


def foretold_links(
    update: Update,
    cell: Cell,
    factor: RowFactor,
    features: np.ndarray,
    *,
    rules: ForetellingRules,
    link_rules: LinkRules,
) -> Iterator[Links]:
    """Yield the links between positions, for each way to run the cell that foretells every state.

    Parameters
    ----------
    update : Update
        The update that was shared, with the values of the cell's weights.
    cell : Cell
        The cell.
    factor : RowFactor
        Factor of its gradient.
    features : ndarray of shape (S, d)
        Inputs of the head, which begin or end with the state.
    rules : ForetellingRules
        Numbers that decide.
    link_rules : LinkRules
        Numbers that decide which states no step takes.

    Yields
    ------
    Links
        One set for each way to run the cell.
    """
    values = [update.values.get(name) for name in (cell.kernel, cell.recurrent) if name is not None]
    if any(value is None for value in values) or factor.rows.shape[1] != len(features):
        return
    weights = np.vstack([value for value in values if value is not None]).astype(np.float64)
    rows = np.where(np.isfinite(factor.noise[:, None]), factor.rows * np.minimum(factor.noise, 1e300)[:, None], 0.0)
    width = features.shape[1] - cell.units
    for state in [features[:, : cell.units], *([features[:, width:]] if width else [])]:
        ends, clear = find_ends(factor, state, link_rules)
        if not clear or ends.sum() != 1:
            continue
        before = state[~ends]
        errors = scipy.linalg.lstsq(before.T, rows[factor.inputs :], check_finite=False)[0]
        for name, gradient in update.gradients.items():
            value = update.values.get(name)
            if value is None or gradient.ndim > 2 or gradient.shape[-1] != weights.shape[1] or value is values[0]:
                continue
            bias = np.atleast_2d(value.astype(np.float64))
            if bias.shape[0] > 2:
                continue
            total = np.atleast_2d(gradient.astype(np.float64))[0, : cell.columns]
            inside = total @ factor.basis.T
            if np.linalg.norm(total - inside @ factor.basis) > rules.outside * np.linalg.norm(total):
                continue
            whole = np.vstack([errors, inside - errors.sum(axis=0)])
            taken = scipy.linalg.lstsq(whole.T, rows[: factor.inputs].T, check_finite=False)[0]
            driven = taken @ weights[: factor.inputs] + bias[0]
            recurrent = weights[factor.inputs :], bias[1] if len(bias) > 1 else np.zeros(bias.shape[1])
            for step in _steps(weights.shape[1] // cell.units, *recurrent):
                links = _follow(state, ends, driven, step, rules)
                if links is not None:
                    yield links


def _steps(gates: int, kernel: np.ndarray, bias: np.ndarray) -> Iterator[Step]:
    """Yield the step functions of all known cells with this number of gates."""

    def split(array: np.ndarray) -> list[np.ndarray]:
        return np.split(array, gates)

    def plain(driven: np.ndarray, state: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.tanh(driven + state @ kernel + bias), memory

    def gated(driven: np.ndarray, state: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own, back = split(driven), split(state @ kernel + bias)
        keep, reset = scipy.special.expit(own[0] + back[0]), scipy.special.expit(own[1] + back[1])
        return keep * state + (1.0 - keep) * np.tanh(own[2] + reset * back[2]), memory

    def long(order: str) -> Step:
        def step(driven: np.ndarray, state: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            gate = dict(zip(order, split(driven + state @ kernel + bias), strict=True))
            new = scipy.special.expit(gate["i"]) * np.tanh(gate["g"])
            memory = scipy.special.expit(gate["f"]) * memory + new
            return scipy.special.expit(gate["o"]) * np.tanh(memory), memory

        return step

    if gates == 1:
        yield plain
    elif gates == 3:
        yield gated
    elif gates == 4:
        yield from map(long, _ORDERS)


def _follow(
    state: np.ndarray, ends: np.ndarray, driven: np.ndarray, step: Step, rules: ForetellingRules
) -> Links | None:
    """Run the cell from its first step on; each foretold state names the position of the next step."""
    positions = len(state)
    cost, first = np.full((positions, positions), np.inf), np.full(positions, np.inf)
    place = {int(position): row for row, position in enumerate(np.flatnonzero(~ends))}
    at: int | None = None
    now, memory = np.zeros((2, state.shape[1]))
    for _ in range(positions):
        after, memory = step(driven[-1 if at is None else place[at]], now, memory)
        distances = np.linalg.norm(state - after, axis=1)
        nearest = int(np.argmin(distances))
        others = np.delete(distances, nearest)
        reach = rules.near * float(np.linalg.norm(state[nearest]))
        if others.size:
            reach = min(reach, float(others.min()) / rules.nearer)
        if distances[nearest] > reach:
            return None
        if at is None:
            first = distances / reach
        else:
            cost[at] = distances / reach
        at, now = nearest, state[nearest]
        if ends[at]:
            break
    np.fill_diagonal(cost, np.inf)
    return Links(cost=cost, first=first, ends=ends, clear=True)
