"""Transcripts by running the decoder forward: the isolated position that the decoder would show next.

Every isolated position comes with its label, its context, and the state that the head saw there. The decoder's next
state follows from the labels and contexts so far, and from the next context. So from the beginning of an utterance on,
each remaining position is tried as the next one: with its own context the decoder must show its own state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.optimize

from ..decoders.free_contexts import FreeContextDecoder

__all__ = ["Path", "ReplayRules", "replay"]

#: Steps of the decoder computed in one call, positions tried times the length so far. Bounds memory, decides nothing.
_MOST_STEPS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRules:
    """Numbers that decide which position comes next, and whether it is certain.

    An error is the distance of a position's state from the state that the decoder shows, relative to the former.

    Attributes
    ----------
    near : float
        Largest error of a position that may come next.
    certain : float
        Ratio of the second smallest error to the smallest, from which on a link is certain. Below it both positions are
        followed.
    rounding : float
        Errors below this size are rounding.
    beam : int
        Orders followed side by side.
    tried : int
        Positions tried for each utterance beside the best assignment.
    """

    near: float = field(default=0.3, metadata={"plateau": (0.2, 0.36)})
    certain: float = field(default=8.0, metadata={"plateau": (7.0, 12.0)})
    rounding: float = field(default=1e-6, metadata={"plateau": (6.2e-8, 1.6e-5)})
    beam: int = field(default=8, metadata={"plateau": (2, 128)})
    tried: int = field(default=3, metadata={"plateau": (2, 48)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """One utterance, as far as it was followed.

    Attributes
    ----------
    positions : tuple of int
        Label positions in order. Private.
    errors : tuple of float
        Error of each position.
    others : tuple of float
        Smallest error of a remaining position at each step, at most `ReplayRules.near`.
    certain : tuple of bool
        Whether that error is `ReplayRules.certain` times larger.
    ended : bool
        Whether the last label is the one that ends a transcript.
    """

    positions: tuple[int, ...] = field(repr=False)
    errors: tuple[float, ...]
    others: tuple[float, ...]
    certain: tuple[bool, ...]
    ended: bool = False


def replay(
    decoder: FreeContextDecoder,
    labels: np.ndarray,
    features: np.ndarray,
    rows: slice,
    *,
    stop: Callable[[], bool],
    rules: ReplayRules,
) -> tuple[list[Path], bool]:
    """Follow all utterances at once, from their beginnings on.

    Where several positions are as near as the next state can be told, each of them is followed, and the order with the
    smallest errors is kept: a wrong turn shows in the errors after it.

    Parameters
    ----------
    decoder : FreeContextDecoder
        Speller of the model.
    labels : ndarray of int, shape (S,)
        Label of each position.
    features : ndarray of shape (S, h)
        Input of the head at each.
    rows : slice
        Place of the context in that input.
    stop : callable
        Returns whether time is up.
    rules : ReplayRules
        Numbers that decide.

    Returns
    -------
    paths : list of Path
        Empty if no position looks like a first one.
    finished : bool
        False if the time ran out.
    """
    trial = _Trial(decoder, labels, features, rows, rules)
    first = _first_ones(trial.errors(()), rules)
    if not first.size:
        return [], True
    ways = [_Way(tuple((int(q),) for q in first), (True,) * first.size)]
    done: list[_Way] = []
    finished = True
    while ways:
        if stop():
            finished = False
            break
        longer = {way.paths: way for old in ways for way in old.longer(trial)}
        ranked = sorted(longer.values(), key=lambda way: -way.gain(trial))[: rules.beam]
        done += [way for way in ranked if not any(way.followed)]
        ways = [way for way in ranked if any(way.followed)]
    best = max([*done, *ways], key=lambda way: way.gain(trial))
    return best.judged(trial), finished


@dataclass(frozen=True, slots=True)
class _Way:
    """Utterances as far as they are followed, and a flag for each that still is."""

    paths: tuple[tuple[int, ...], ...]
    followed: tuple[bool, ...]

    def gain(self, trial: _Trial) -> float:
        """Return the sum over positions of the logarithm by which an error is below the largest allowed one."""
        errors = [trial.errors(path[:place])[q] for path in self.paths for place, q in enumerate(path)]
        return float(np.sum(np.log(trial.rules.near) - np.log(np.maximum(errors, trial.rules.rounding))))

    def longer(self, trial: _Trial) -> Iterator[_Way]:
        """Yield the orders that are one step longer: the best assignment of positions, and those nearly as good."""
        rules = trial.rules
        open_ones = [
            k
            for k, (path, on) in enumerate(zip(self.paths, self.followed, strict=True))
            if on and not trial.ended(path)
        ]
        unused = np.setdiff1d(np.arange(trial.positions), np.concatenate(self.paths))
        if not open_ones or not unused.size:
            yield _Way(self.paths, (False,) * len(self.paths))
            return
        errors = np.stack([trial.errors(self.paths[k])[unused] for k in open_ones])
        chosen = _assign(errors, rules)
        yield self._with(open_ones, unused, chosen)
        for number in range(len(open_ones)):
            reach = min(rules.near, rules.certain * max(float(errors[number].min()), rules.rounding))
            near = np.flatnonzero(errors[number] <= reach)
            for place in near[np.argsort(errors[number, near])][: rules.tried]:
                if chosen.get(number) != place:
                    forced = errors.copy()
                    forced[number, np.arange(unused.size) != place] = forced[
                        np.arange(len(open_ones)) != number, place
                    ] = np.inf
                    yield self._with(open_ones, unused, _assign(forced, rules))

    def _with(self, open_ones: list[int], unused: np.ndarray, chosen: dict[int, int]) -> _Way:
        paths, followed = list(self.paths), [False] * len(self.paths)
        for number, place in chosen.items():
            paths[open_ones[number]] += (int(unused[place]),)
            followed[open_ones[number]] = True
        return _Way(tuple(paths), tuple(followed))

    def judged(self, trial: _Trial) -> list[Path]:
        """Return the paths with the errors of their positions, and of the remaining positions at each step."""
        rules, found = trial.rules, []
        for path in self.paths:
            errors, others = [], []
            for place, q in enumerate(path):
                tried = trial.errors(path[:place])
                # A position that another utterance has taken by then is no alternative.
                left = np.ones(trial.positions, bool)
                left[[p for other in self.paths for p in other[: place + (place == 0)]]] = False
                left[q] = False
                errors.append(float(tried[q]))
                others.append(float(min([rules.near, *tried[left]])))
            found.append(
                Path(
                    positions=path,
                    errors=tuple(errors),
                    others=tuple(others),
                    certain=tuple(
                        other >= rules.certain * max(error, rules.rounding)
                        for error, other in zip(errors, others, strict=True)
                    ),
                    ended=trial.ended(path),
                )
            )
        return found


class _Trial:
    """Runs the decoder through positions, compares states, and keeps every result."""

    def __init__(
        self, decoder: FreeContextDecoder, labels: np.ndarray, features: np.ndarray, rows: slice, rules: ReplayRules
    ) -> None:
        self.rules = rules
        self._decoder, self._labels = decoder, labels
        self._contexts = features[:, rows]
        self._rest = np.setdiff1d(np.arange(features.shape[1]), np.arange(features.shape[1])[rows])
        self._states = features[:, self._rest]
        self._sizes = np.maximum(np.linalg.norm(self._states, axis=1), np.finfo(float).tiny)
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    @property
    def positions(self) -> int:
        """Number of label positions."""
        return len(self._labels)

    def ended(self, path: tuple[int, ...]) -> bool:
        """Tell whether the label of the last position ends a transcript."""
        return self._decoder.end is not None and int(self._labels[path[-1]]) == self._decoder.end

    def errors(self, before: tuple[int, ...]) -> np.ndarray:
        """Return the error of each position as the one after `before`; infinite for those in it."""
        if before not in self._known:
            candidates = np.setdiff1d(np.arange(self.positions), before)
            orders = np.hstack([np.tile(np.array(before, np.int64), (len(candidates), 1)), candidates[:, None]])
            at_once = max(1, _MOST_STEPS // orders.shape[1])
            found = np.full(self.positions, np.inf)
            for start in range(0, len(orders), at_once):
                some = orders[start : start + at_once]
                # The context before the first step is in no position. The first position's context stands in for it:
                # a query so early depends on little, so the two are near each other.
                contexts = self._contexts[np.hstack([np.repeat(some[:, :1], self._decoder.initial, axis=1), some])]
                shown = self._decoder.head_inputs(contexts, self._labels[some])[:, -1, self._rest]
                last = some[:, -1]
                found[last] = np.linalg.norm(shown - self._states[last], axis=1) / self._sizes[last]
            self._known[before] = found
        return self._known[before]


def _first_ones(errors: np.ndarray, rules: ReplayRules) -> np.ndarray:
    """Return the positions that begin an utterance: those before the widest gap among the near ones."""
    order = np.argsort(errors)
    sizes = np.minimum(np.maximum(np.append(errors[order], np.inf), rules.rounding), rules.near)
    jumps = sizes[1:] / sizes[:-1]
    first: np.ndarray = order[: int(np.argmax(jumps)) + 1] if jumps.max() > 1.0 else order[:0]
    return first


def _assign(errors: np.ndarray, rules: ReplayRules) -> dict[int, int]:
    """Return a position for every path that some position continues, each for one path."""
    heights = np.log(np.clip(errors, rules.rounding, 1.0 / rules.rounding))
    nothing = np.full((len(errors), len(errors)), np.log(rules.near))
    left, right = scipy.optimize.linear_sum_assignment(np.hstack([heights, nothing]))
    return {int(i): int(j) for i, j in zip(left, right, strict=True) if j < errors.shape[1]}
