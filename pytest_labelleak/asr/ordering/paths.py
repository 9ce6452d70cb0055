"""Paths through plausible links: the transcripts, and what about them is certain.

Every position that is not the last of its utterance has one successor, every one that is not the first one predecessor:
a perfect matching between the two sides, without cycles. A link is certain if every perfect matching has it. That is
so exactly if it does not lie on an alternating cycle, so one pass over strongly connected components decides it for all
links. The transcripts are certain if all paths through the plausible links say the same, which also holds where only
positions of one label could change places.

References
----------
.. [1] C. Berge, "Two theorems in graph theory", Proc. Natl. Acad. Sci. 43 (1957) 842-844, for alternating cycles.
   https://doi.org/10.1073/pnas.43.9.842
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.sparse.csgraph

__all__ = ["Cover", "cover"]

#: Costs are compared by their logarithms above this size: all members measure about the same.
_SMALLEST = 1e-6
#: Partial paths looked at between two looks at the clock.
_STEPS_PER_LOOK = 256
#: Partial paths looked at before an order counts as ambiguous.
_MOST_LOOKED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cover:
    """Positions put in order.

    Attributes
    ----------
    paths : tuple of tuple of int
        The best paths, each position once. Private.
    certain : tuple of tuple of bool
        For every link of every path, whether no other order of the positions is plausible there. Private.
    unique : bool
        Whether all plausible orders read the same.
    exhausted : bool
        Whether the question was settled in time.
    """

    paths: tuple[tuple[int, ...], ...] = field(repr=False)
    certain: tuple[tuple[bool, ...], ...] = field(repr=False)
    unique: bool
    exhausted: bool


def cover(
    cost: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    labels: Sequence[int],
    *,
    deadline: float = np.inf,
) -> Cover | None:
    """Cover all positions by as many paths as there are last ones.

    Parameters
    ----------
    cost : ndarray of shape (S, S)
        Of position q (column) following p (row); a link of at most 1 is plausible.
    first : ndarray of shape (S,)
        Of each position beginning a path, likewise.
    last : ndarray of bool, shape (S,)
        Which positions end one.
    labels : sequence of int
        Label of each position.
    deadline : float, optional
        Reading of `time.monotonic` at which to stop looking for other covers.

    Returns
    -------
    Cover or None
        None if no cover uses plausible links alone.
    """
    positions = len(labels)
    # Every position has a predecessor: another one, or one of the starts, which are numbered after the positions.
    rows = np.concatenate([np.flatnonzero(~last), positions + np.arange(int(last.sum()))])
    costs = np.vstack([cost[~last], np.tile(first, (int(last.sum()), 1))])
    plausible = costs <= 1.0
    heights = np.log(np.maximum(costs, _SMALLEST))
    # Any implausible link costs more than all others together.
    heights = np.where(plausible, heights, 1.0 + 2.0 * positions * -np.log(_SMALLEST))
    left, right = scipy.optimize.linear_sum_assignment(heights)
    if not plausible[left, right].all():
        return None
    successor = np.full(positions + int(last.sum()), -1)
    successor[rows[left]] = right
    component = _components(plausible, rows, successor)
    # A link is in some perfect matching if it is in this one, or on an alternating cycle.
    place = np.argsort(successor[rows])
    possible = plausible & (component[:, None] == component[place][None, :])
    search = _Search(rows, possible, labels, deadline)
    if sum(map(len, _walk(successor, positions))) < positions:  # the assignment has a cycle
        found = next(search.covers(), None)
        if found is None:
            return None
        successor = found
    chosen = _walk(successor, positions)
    readings = search.readings()
    alone = np.bincount(component)[component] == 1
    certain = dict(zip(rows.tolist(), alone.tolist(), strict=True))
    return Cover(
        paths=tuple(chosen),
        certain=tuple(tuple(certain[p] for p in path[:-1]) for path in chosen),
        unique=not search.gave_up and len(readings) == 1,
        exhausted=not search.gave_up,
    )


def _walk(successor: np.ndarray, positions: int) -> list[tuple[int, ...]]:
    paths = []
    for start in successor[positions:]:
        path = [int(start)]
        while successor[path[-1]] >= 0:
            path.append(int(successor[path[-1]]))
        paths.append(tuple(path))
    return paths


def _components(plausible: np.ndarray, rows: np.ndarray, successor: np.ndarray) -> np.ndarray:
    """Return a number for every row, one for all rows on a common alternating cycle."""
    # Row i leads to row j if i could take the successor of j.
    moves = scipy.sparse.csr_array(plausible[:, successor[rows]])
    component: np.ndarray = scipy.sparse.csgraph.connected_components(moves, directed=True, connection="strong")[1]
    return component


class _Search:
    """Depth-first search for covers without cycles, the row with the fewest options first."""

    def __init__(self, rows: np.ndarray, plausible: np.ndarray, labels: Sequence[int], deadline: float) -> None:
        # Starts have the same options and are next to each other in any stable order.
        order = np.argsort(plausible.sum(axis=1), kind="stable")
        self._rows = rows[order].tolist()
        self._options = [np.flatnonzero(plausible[place]).tolist() for place in order]
        self._labels, self._deadline = labels, deadline
        self.gave_up = False

    def readings(self) -> set[tuple[tuple[int, ...], ...]]:
        """Return the different sets of transcripts, at most two."""
        seen: set[tuple[tuple[int, ...], ...]] = set()
        for successor in self.covers():
            walked = _walk(successor, len(self._labels))
            seen.add(tuple(sorted(tuple(int(self._labels[p]) for p in path) for path in walked)))
            if len(seen) > 1:
                break
        return seen

    def covers(self) -> Iterator[np.ndarray]:
        """Yield covers, until there are no more or the time has run out."""
        positions = len(self._labels)
        successor = np.full(1 + max(self._rows), -1)
        ends = list(range(successor.size))  # the other end of the path that ends, or begins, here
        taken: set[int] = set()

        def choices(depth: int) -> list[int]:
            row = self._rows[depth]
            least = -1
            if row >= positions and depth and self._rows[depth - 1] >= positions:
                least = int(successor[self._rows[depth - 1]])  # in one order of the starts alone
            return [q for q in self._options[depth] if q not in taken and ends[row] != q and q > least]

        # Iterative, so that the depth of a long utterance is no matter.
        pending, looked = [choices(0)], 0
        trail: list[tuple[int, int, int, int]] = []
        while pending:
            looked += 1
            if looked > _MOST_LOOKED or (looked % _STEPS_PER_LOOK == 0 and time.monotonic() > self._deadline):
                self.gave_up = True
                return
            if len(trail) == len(pending):
                row, column, head, tail = trail.pop()
                successor[row] = -1
                taken.discard(column)
                ends[head], ends[tail] = row, column
            if not pending[-1]:
                pending.pop()
                continue
            column, row = pending[-1].pop(), self._rows[len(pending) - 1]
            head, tail = ends[row], ends[column]
            successor[row] = column
            taken.add(column)
            ends[head], ends[tail] = tail, head
            trail.append((row, column, head, tail))
            if len(pending) == len(self._rows):
                yield successor.copy()
            else:
                pending.append(choices(len(pending)))
