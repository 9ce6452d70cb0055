"""Paths through plausible links: the transcripts, and the part of them that is certain.

Every position but the last of its utterance has one successor, and every position but the first one predecessor: a
perfect matching between the two sides, without cycles. A link is certain if every perfect matching has it, which is so
exactly if the link lies on no alternating cycle. So one pass over strongly connected components decides all links. The
transcripts are certain if all paths through the plausible links read the same, which also holds where only positions of
one label could change places.

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

#: Costs are compared by their logarithms above this size. Smaller ones are rounding, a million times below the largest
#: plausible cost; the choice among plausible covers never makes a link certain.
_SMALLEST = 1e-6
#: Partial paths between two looks at the clock. Bounds the delay, decides nothing.
_STEPS_PER_LOOK = 256
#: Partial paths after which the search gives up, and the order counts as ambiguous. Bounds the work: an order that is
#: unique is found with one partial path per position or little more, one that is not with two.
_MOST_LOOKED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cover:
    """Positions put in order.

    Attributes
    ----------
    paths : tuple of tuple of int
        Paths of least cost, each position once. Private.
    certain : tuple of tuple of bool
        For every link of every path, whether no other order of the positions is plausible there. Private.
    unique : bool
        Whether all plausible orders read the same.
    exhausted : bool
        Whether the search for other orders came to its end.
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
    """Cover all positions by as many paths as there are last positions.

    Parameters
    ----------
    cost : ndarray of shape (S, S)
        Cost of the link from position p (row) to q (column); a link of at most 1 is plausible.
    first : ndarray of shape (S,)
        Cost of each position as the beginning of a path.
    last : ndarray of bool, shape (S,)
        Positions that end a path.
    labels : sequence of int
        Label of each position.
    deadline : float, optional
        Reading of `time.monotonic` at which to stop looking for other covers.

    Returns
    -------
    Cover or None
        None if every cover uses an implausible link.
    """
    positions = len(labels)
    # Every position has a predecessor: another position, or a start; starts are numbered after the positions.
    rows = np.concatenate([np.flatnonzero(~last), positions + np.arange(int(last.sum()))])
    costs = np.vstack([cost[~last], np.tile(first, (int(last.sum()), 1))])
    plausible = costs <= 1.0
    heights = np.log(np.maximum(costs, _SMALLEST))
    # An implausible link costs more than all plausible ones together.
    heights = np.where(plausible, heights, 1.0 + 2.0 * positions * -np.log(_SMALLEST))
    left, right = scipy.optimize.linear_sum_assignment(heights)
    if not plausible[left, right].all():
        return None
    successor = np.full(positions + int(last.sum()), -1)
    successor[rows[left]] = right
    component = _components(plausible, rows, successor)
    # A link is in some perfect matching exactly if it is in this one or on an alternating cycle.
    place = np.argsort(successor[rows])
    possible = plausible & (component[:, None] == component[place][None, :])
    search = _OtherCovers(rows, possible, labels, deadline)
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


class _OtherCovers:
    """Depth-first search for covers without cycles, the row with the fewest options first."""

    def __init__(self, rows: np.ndarray, plausible: np.ndarray, labels: Sequence[int], deadline: float) -> None:
        # Starts have the same options, so a stable order keeps them next to each other.
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
        """Yield covers until none is left or the time has run out."""
        positions = len(self._labels)
        successor = np.full(1 + max(self._rows), -1)
        opposite = list(range(successor.size))  # the other end of the path that ends, or begins, here
        taken: set[int] = set()

        def choices(depth: int) -> list[int]:
            row = self._rows[depth]
            least = -1
            if row >= positions and depth and self._rows[depth - 1] >= positions:
                least = int(successor[self._rows[depth - 1]])  # starts are alike: one of their orders suffices
            return [q for q in self._options[depth] if q not in taken and opposite[row] != q and q > least]

        # Iterative: a long utterance exceeds the depth of recursion.
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
                opposite[head], opposite[tail] = row, column
            if not pending[-1]:
                pending.pop()
                continue
            column, row = pending[-1].pop(), self._rows[len(pending) - 1]
            head, tail = opposite[row], opposite[column]
            successor[row] = column
            taken.add(column)
            opposite[head], opposite[tail] = tail, head
            trail.append((row, column, head, tail))
            if len(pending) == len(self._rows):
                yield successor.copy()
            else:
                pending.append(choices(len(pending)))
