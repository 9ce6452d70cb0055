"""Transcripts by running the decoder forward: which isolated position is what the decoder would show next.

Every position of a batch that was taken apart comes with its label, its context and the state that the head saw there.
The decoder's next state follows from the words and contexts so far, and from the context that is next. So from the
beginning of an utterance on, each of the positions left is tried as the next one: with its own context the decoder
must show its own state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.optimize

from ..decoders.free_contexts import FreeContextDecoder

__all__ = ["Path", "replay"]

#: A state this far from what the decoder shows, in relative size, is another position's.
_NEAR = 0.2
#: A link is certain if everything else is so many times further away; what is not is tried as well.
_CERTAIN = 5.0
#: Relative errors below this are rounding.
_ROUNDING = 1e-6
#: Steps computed in one call at most: positions tried times the length so far.
_MOST_STEPS = 4096
#: Ways to go on that are followed side by side, and positions that are tried for each utterance.
_BEAM, _TRIED = 8, 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """One utterance, as far as it was followed.

    Attributes
    ----------
    positions : tuple of int
        In order. Private.
    errors : tuple of float
        Of each: distance of its state from what the decoder shows, relative to its size.
    others : tuple of float
        Of each: the same of the nearest position that was left, at most the one beyond which nothing is.
    ended : bool
        Whether the last label is the one that ends a transcript.
    """

    positions: tuple[int, ...] = field(repr=False)
    errors: tuple[float, ...]
    others: tuple[float, ...]
    ended: bool = False

    @property
    def certain(self) -> tuple[bool, ...]:
        """For every position, whether nothing else is nearly as near."""
        return tuple(
            other >= _CERTAIN * max(error, _ROUNDING) for error, other in zip(self.errors, self.others, strict=True)
        )


def replay(
    decoder: FreeContextDecoder,
    labels: np.ndarray,
    features: np.ndarray,
    rows: slice,
    *,
    stop: Callable[[], bool],
) -> tuple[list[Path], bool]:
    """Follow all utterances at once, from their beginnings on.

    Where more than one position is as near as the next state can be told, all are followed, and the way that puts most
    positions nearest is kept: a wrong turn shows in what comes after it.

    Parameters
    ----------
    decoder : FreeContextDecoder
        Of the model.
    labels : ndarray of int, shape (S,)
        Of the positions.
    features : ndarray of shape (S, h)
        What the head saw at each.
    rows : slice
        Where in it the context is.
    stop : callable
        Whether time is up.

    Returns
    -------
    paths : list of Path
        Empty if no position looks like a first one.
    finished : bool
        False if the time ran out.
    """
    trial = _Trial(decoder, labels, features, rows)
    first = _first_ones(trial.errors(()))
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
        ranked = sorted(longer.values(), key=lambda way: -way.gain(trial))[:_BEAM]
        done += [way for way in ranked if not any(way.followed)]
        ways = [way for way in ranked if any(way.followed)]
    best = max([*done, *ways], key=lambda way: way.gain(trial))
    return best.judged(trial), finished


@dataclass(frozen=True, slots=True)
class _Way:
    """Utterances as far as they are followed, and which of them still are."""

    paths: tuple[tuple[int, ...], ...]
    followed: tuple[bool, ...]

    def gain(self, trial: _Trial) -> float:
        """Return how much nearer all positions are together than those that are too far to be taken."""
        errors = [trial.errors(path[:place])[q] for path in self.paths for place, q in enumerate(path)]
        return float(np.sum(np.log(_NEAR) - np.log(np.maximum(errors, _ROUNDING))))

    def longer(self, trial: _Trial) -> Iterator[_Way]:
        """Yield what one more step makes of it: the best assignment of positions, and those nearly as good."""
        open_ones = [
            k for k, (path, on) in enumerate(zip(self.paths, self.followed, strict=True)) if on and not trial.ends(path)
        ]
        unused = np.setdiff1d(np.arange(trial.positions), np.concatenate(self.paths))
        if not open_ones or not unused.size:
            yield _Way(self.paths, (False,) * len(self.paths))
            return
        errors = np.stack([trial.errors(self.paths[k])[unused] for k in open_ones])
        chosen = _assign(errors)
        yield self._with(open_ones, unused, chosen)
        for number in range(len(open_ones)):
            near = np.flatnonzero(errors[number] <= min(_NEAR, _CERTAIN * max(float(errors[number].min()), _ROUNDING)))
            for place in near[np.argsort(errors[number, near])][:_TRIED]:
                if chosen.get(number) != place:
                    forced = errors.copy()
                    forced[number, np.arange(unused.size) != place] = forced[
                        np.arange(len(open_ones)) != number, place
                    ] = np.inf
                    yield self._with(open_ones, unused, _assign(forced))

    def _with(self, open_ones: list[int], unused: np.ndarray, chosen: dict[int, int]) -> _Way:
        paths, followed = list(self.paths), [False] * len(self.paths)
        for number, place in chosen.items():
            paths[open_ones[number]] += (int(unused[place]),)
            followed[open_ones[number]] = True
        return _Way(tuple(paths), tuple(followed))

    def judged(self, trial: _Trial) -> list[Path]:
        """Return the paths with their errors, and those of what was left at each step."""
        found = []
        for path in self.paths:
            errors, others = [], []
            for place, q in enumerate(path):
                tried = trial.errors(path[:place])
                # What other utterances have taken by then is no alternative.
                left = np.ones(trial.positions, bool)
                left[[p for other in self.paths for p in other[: place + (place == 0)]]] = False
                left[q] = False
                errors.append(float(tried[q]))
                others.append(float(min([_NEAR, *tried[left]])))
            found.append(Path(positions=path, errors=tuple(errors), others=tuple(others), ended=trial.ends(path)))
        return found


class _Trial:
    """Runs the decoder through positions, and compares; what was computed is kept."""

    def __init__(self, decoder: FreeContextDecoder, labels: np.ndarray, features: np.ndarray, rows: slice) -> None:
        self._decoder, self._labels = decoder, labels
        self._contexts = features[:, rows]
        self._rest = np.setdiff1d(np.arange(features.shape[1]), np.arange(features.shape[1])[rows])
        self._states = features[:, self._rest]
        self._sizes = np.maximum(np.linalg.norm(self._states, axis=1), np.finfo(float).tiny)
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    @property
    def positions(self) -> int:
        """Their number."""
        return len(self._labels)

    def ends(self, path: tuple[int, ...]) -> bool:
        """Tell whether the label of the last position ends a transcript."""
        return self._decoder.end is not None and int(self._labels[path[-1]]) == self._decoder.end

    def errors(self, before: tuple[int, ...]) -> np.ndarray:
        """Return how far the state of each position is from what the decoder shows if it comes next."""
        if before not in self._known:
            candidates = np.setdiff1d(np.arange(self.positions), before)
            orders = np.hstack([np.tile(np.array(before, np.int64), (len(candidates), 1)), candidates[:, None]])
            at_once = max(1, _MOST_STEPS // orders.shape[1])
            found = np.full(self.positions, np.inf)
            for start in range(0, len(orders), at_once):
                some = orders[start : start + at_once]
                # The answer before the first step is not in the batch; the first one's is near to it, since a question
                # so early tells little.
                contexts = self._contexts[np.hstack([np.repeat(some[:, :1], self._decoder.initial, axis=1), some])]
                shown = self._decoder.head_inputs(contexts, self._labels[some])[:, -1, self._rest]
                last = some[:, -1]
                found[last] = np.linalg.norm(shown - self._states[last], axis=1) / self._sizes[last]
            self._known[before] = found
        return self._known[before]


def _first_ones(errors: np.ndarray) -> np.ndarray:
    """Return which positions begin an utterance: those before the widest gap among the near ones."""
    order = np.argsort(errors)
    sizes = np.minimum(np.maximum(np.append(errors[order], np.inf), _ROUNDING), _NEAR)
    jumps = sizes[1:] / sizes[:-1]
    first: np.ndarray = order[: int(np.argmax(jumps)) + 1] if jumps.max() > 1.0 else order[:0]
    return first


def _assign(errors: np.ndarray) -> dict[int, int]:
    """Return a position for every path that some position continues, each for one path."""
    heights = np.log(np.clip(errors, _ROUNDING, 1.0 / _ROUNDING))
    nothing = np.full((len(errors), len(errors)), np.log(_NEAR))
    left, right = scipy.optimize.linear_sum_assignment(np.hstack([heights, nothing]))
    return {int(i): int(j) for i, j in zip(left, right, strict=True) if j < errors.shape[1]}
