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
    """Cover all positions by paths from first to last ones.

    Parameters
    ----------
    cost : ndarray of shape (S, S)
        Of position q (column) following p (row); a link of at most 1 is plausible.
    first, last : ndarray of bool, shape (S,)
        Which positions begin and which end a path.
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
    rows, columns = np.flatnonzero(~last), np.flatnonzero(~first)
    if rows.size != columns.size or not first.any():
        return None
    plausible = cost[np.ix_(rows, columns)] <= 1.0
    successor = np.full(positions, -1)
    if rows.size:
        heights = np.log(np.maximum(cost[np.ix_(rows, columns)], _SMALLEST))
        # Any implausible link costs more than all others together.
        heights = np.where(plausible, heights, 1.0 + 2.0 * rows.size * -np.log(_SMALLEST))
        left, right = scipy.optimize.linear_sum_assignment(heights)
        if not plausible[left, right].all():
            return None
        successor[rows[left]] = columns[right]
    options = [columns[plausible[place]].tolist() for place in range(rows.size)]
    search = _Search(rows.tolist(), options, np.flatnonzero(first).tolist(), labels, deadline)
    chosen = _walk(successor, np.flatnonzero(first))
    if sum(map(len, chosen)) < positions:  # the assignment has a cycle
        found = search.run(limit=1)
        if not found:
            return None
        successor = found[0]
        chosen = _walk(successor, np.flatnonzero(first))
    readings = search.readings()
    certain = _certain(plausible, rows, columns, successor)
    return Cover(
        paths=tuple(chosen),
        certain=tuple(tuple(certain[p] for p in path[:-1]) for path in chosen),
        unique=not search.timed_out and len(readings) == 1,
        exhausted=not search.timed_out,
    )


def _walk(successor: np.ndarray, first: np.ndarray) -> list[tuple[int, ...]]:
    paths = []
    for place in first:
        path = [int(place)]
        while successor[path[-1]] >= 0:
            path.append(int(successor[path[-1]]))
        paths.append(tuple(path))
    return paths


def _certain(plausible: np.ndarray, rows: np.ndarray, columns: np.ndarray, successor: np.ndarray) -> dict[int, bool]:
    """Return for every position with a successor whether every perfect matching gives it that one."""
    place = {int(column): k for k, column in enumerate(columns)}
    matched = np.array([place[int(successor[row])] for row in rows], dtype=np.int64)
    # Row i leads to row j if i could take the successor of j: a cycle of rows is an alternating cycle.
    moves = plausible[:, matched] if rows.size else plausible
    _, component = scipy.sparse.csgraph.connected_components(
        scipy.sparse.csr_array(moves), directed=True, connection="strong"
    )
    alone = np.bincount(component, minlength=1)[component] == 1 if rows.size else np.empty(0, bool)
    return {int(row): bool(flag) for row, flag in zip(rows, alone, strict=True)}


class _Search:
    """Depth-first search for covers without cycles, the position with the fewest options first."""

    def __init__(
        self, rows: list[int], options: list[list[int]], first: list[int], labels: Sequence[int], deadline: float
    ) -> None:
        self._order = sorted(range(len(rows)), key=lambda place: len(options[place]))
        self._rows, self._options = rows, options
        self._first, self._labels, self._deadline = first, labels, deadline
        self.timed_out = False

    def readings(self) -> set[tuple[tuple[int, ...], ...]]:
        """Return the different sets of transcripts, at most two."""
        seen: set[tuple[tuple[int, ...], ...]] = set()
        for successor in self._covers():
            walked = _walk(successor, np.array(self._first))
            seen.add(tuple(sorted(tuple(int(self._labels[p]) for p in path) for path in walked)))
            if len(seen) > 1:
                break
        return seen

    def run(self, limit: int) -> list[np.ndarray]:
        """Return the first covers."""
        found = []
        for successor in self._covers():
            found.append(successor)
            if len(found) >= limit:
                break
        return found

    def _covers(self) -> Iterator[np.ndarray]:
        successor = np.full(len(self._labels), -1)
        ends = list(range(len(self._labels)))  # the other end of the path that ends, or begins, here
        taken: set[int] = set()
        looked = 0
        # Iterative, so that the depth of a long utterance is no matter.
        pending: list[list[int]] = []
        trail: list[tuple[int, int, int, int]] = []

        def choices(depth: int) -> list[int]:
            row = self._rows[self._order[depth]]
            return [q for q in self._options[self._order[depth]] if q not in taken and ends[row] != q]

        if not self._order:
            yield successor.copy()
            return
        pending.append(choices(0))
        while pending:
            looked += 1
            if looked % _STEPS_PER_LOOK == 0 and time.monotonic() > self._deadline:
                self.timed_out = True
                return
            if len(trail) == len(pending):
                row, column, head, tail = trail.pop()
                successor[row] = -1
                taken.discard(column)
                ends[head], ends[tail] = row, column
            if not pending[-1]:
                pending.pop()
                continue
            column = pending[-1].pop()
            row = self._rows[self._order[len(pending) - 1]]
            head, tail = ends[row], ends[column]
            successor[row] = column
            taken.add(column)
            ends[head], ends[tail] = tail, head
            trail.append((row, column, head, tail))
            if len(pending) == len(self._order):
                yield successor.copy()
            else:
                pending.append(choices(len(pending)))
