"""Sample after sample: what is found is taken out, and the rest is a smaller problem of the same kind.

Features and error rows of different samples are dual (see _rowspace): ``m_s . a_t = 0``. So once sample t is known,
every other sample's row has coordinates orthogonal to ``a_t`` and its features have coordinates orthogonal to
``m_t``: both spaces lose a dimension, and the row space fits the rest more tightly. That is what isolates

* samples that share a label, whose rows no direction separates: with all other classes taken out, two leave a plane;
* the most confident samples, whose rows hold a few entries above the noise, too few to determine all
  features: with the others taken out they need not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .all_at_once import reconstruction_error, solve_jointly
from .sample import Sample, SampleProblem
from .spaces import RowSpace
from .starts import separating_directions, smoothed_directions, telling_columns, wander

__all__ = ["Deflation", "Effort"]

# What is taken out is known to about its residual; this many times that is left in the rest.
_LEFT_BEHIND = 3.0
# A residual may be this many times what noise in the row space explains, but never larger than this.
_EXPLAINED_BY_NOISE = 30.0
_LARGEST_RESIDUAL = 0.03
# ... but for one that is about what the noise alone makes of a true sample.
_ALL_NOISE = 1.5
# A row that holds more noise than this, relative to its length, could be of noise alone.
_LARGEST_NOISE = 0.1
# Samples with a residual so many times that of others are given up where some are missing.
_DOUBTFUL = 10.0
# What others left behind in a row is removed where it is this many times what rounding explains, ...
_INHERITED = 10.0
_WORTH_POLISHING = 0.3  # ... and the residual is at most this, ...
_POLISHING = 4  # ... with at most so many Jacobians, ...
_NEARBY = 0.3  # ... and moves features by less than this of their length.
# With a bias every sample's last input is one; a solution that misses it by more is none.
_OFF_ONE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to try.

    Attributes
    ----------
    starts : int
        Starts per class once the separating directions alone lead nowhere.
    stalls : int
        Rounds without any sample before giving up.
    iterations : int
        Jacobians per start.
    columns : int
        Most columns used for solving; all of them judge the result.
    """

    starts: int = 6
    stalls: int = 4
    iterations: int = 40
    columns: int = 4096


class Deflation:
    """The samples found so far, and the spaces that are left.

    Parameters
    ----------
    whole : RowSpace
        Of the whole batch.
    smoothing : float
        Label smoothing of the loss.
    tolerance : float
        Residual that the arithmetic of the forward pass explains.
    effort : Effort
        How hard to try.
    """

    def __init__(self, whole: RowSpace, *, smoothing: float, tolerance: float, effort: Effort) -> None:
        self._whole = whole
        self._smoothing = smoothing
        self._tolerance = tolerance
        self._effort = effort
        self.samples: list[Sample] = []
        self.jointly = 0
        self.best_rejected = np.inf
        self._remains = np.zeros(whole.columns.size)
        self._seen: dict[int, None] = {}
        self._everything: SampleProblem | None = None

    @property
    def left(self) -> int:
        """Number of samples not found."""
        return self._whole.samples - len(self.samples)

    def run(self, rng: np.random.Generator) -> None:
        """Find samples until none is left or nothing helps.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws further starts.
        """
        stalled = 0
        if self._smoothing:
            # What single rows of nearly constant entries lead to can be wrong; most of them at once cannot.
            self._jointly(most=True)
        # Where not one sample fits, the weights are not those of the gradient: more starts would not help.
        while self.left and stalled < (self._effort.stalls if self.samples else 1):
            found = self._round(rng, stalled)
            if not found and not stalled:
                found = self._jointly() or self._reopened(rng)
            stalled = 0 if found else stalled + 1

    def visibility(self) -> float:
        """Return how far the rest stands out of its noise: a norm ratio, one where it does not."""
        of_rows, _ = self._bases()
        left = float(np.linalg.norm(of_rows.T @ self._whole.rows, ord=2)) if self.left else 0.0
        noise = np.sqrt(self._whole.noise**2 + self._remains)
        return left / float(np.linalg.norm(noise))

    def _bases(self) -> tuple[np.ndarray, np.ndarray]:
        """Return orthonormal bases (S, r) of the coordinates left for rows and for features."""
        if not self.samples:
            identity = np.eye(self._whole.samples)
            return identity, identity
        found = len(self.samples)
        bases = []
        for vectors in ([s.features for s in self.samples], [s.row for s in self.samples]):
            block = np.stack([v / np.linalg.norm(v) for v in vectors], axis=1)
            bases.append(scipy.linalg.qr(block, check_finite=False)[0][:, found:])
        return bases[0], bases[1]

    def _round(self, rng: np.random.Generator, stalled: int) -> int:
        whole = self._whole
        of_rows, of_features = self._bases()
        rows, logits = of_rows.T @ whole.rows, whole.logits @ of_features
        noise = np.sqrt(whole.noise**2 + self._remains)
        if self._smoothing:
            directions = smoothed_directions(rows, whole.scale, self._smoothing)
        else:
            directions = separating_directions(rows, noise)
        self._seen.update(dict.fromkeys(directions))
        # Smoothed rows need the softmax over all classes.
        most = rows.shape[1] if self._smoothing else self._effort.columns
        chosen = telling_columns(rows, directions, self._seen, most=most)
        problem = SampleProblem(
            rows[:, chosen],
            noise[chosen],
            logits[chosen],
            whole.offset[chosen],
            whole.scale[chosen],
            smoothing=self._smoothing,
        )
        judge = problem
        if chosen.size < rows.shape[1]:
            judge = SampleProblem(rows, noise, logits, whole.offset, whole.scale, smoothing=self._smoothing)
        place = {int(column): k for k, column in enumerate(chosen)}
        if stalled and stalled % 2 == 0:
            directions = dict.fromkeys(self._seen)
        candidates: list[Sample] = []
        for column, direction in directions.items():
            for attempt in range((self._effort.starts if self.samples else 2) if stalled else 1):
                steep = -rows[:, column] / np.linalg.norm(rows[:, column])
                functional = steep if direction is None else direction
                if attempt:
                    functional = wander(rows, noise, column, functional, rng)
                solved = self._solve(problem, judge, place[column], column, functional)
                if solved is None:
                    continue
                lifted = self._lift(solved, column, of_rows, of_features)
                if lifted is not None:
                    candidates.append(lifted)
                    break
                self.best_rejected = min(self.best_rejected, solved.residual)
        if stalled == 1:
            sure = [self._lift(one, one.column, of_rows, of_features) for one in self._without_label(judge)]
            candidates += [sample for sample in sure if sample is not None]
        return self._take(candidates)

    def _jointly(self, *, most: bool = False) -> int:
        """Solve for all that are left at once; keep those that count by themselves, if the gradient agrees.

        With `most` keep none if that is less than half, nor any whose residual takes noise to explain.
        """
        whole = self._whole
        of_rows, of_features = self._bases()
        problem = SampleProblem(
            of_rows.T @ whole.rows,
            np.sqrt(whole.noise**2 + self._remains),
            whole.logits @ of_features,
            whole.offset,
            whole.scale,
            smoothing=self._smoothing,
        )
        inputs = whole.inputs[-1] @ of_features if whole.biased else None
        solutions = solve_jointly(problem, of_rows.T @ of_features, inputs=inputs)
        lifted = [self._lift(solved, solved.column, of_rows, of_features) for solved in solutions]
        limit = self._tolerance if most else np.inf
        candidates = [sample for sample in lifted if sample is not None and sample.residual <= limit]
        if len(candidates) < (self.left / 2 if most else 1):
            return 0
        before, remains = list(self.samples), self._remains.copy()
        found = self._take(candidates)
        less = reconstruction_error(whole, self.samples, smoothing=self._smoothing)
        if less >= reconstruction_error(whole, before, smoothing=self._smoothing):
            self.samples, self._remains = before, remains
            return 0
        self.jointly += found
        return found

    def _reopened(self, rng: np.random.Generator) -> int:
        """Give up samples that are in the way of others, and look again; return how many more there are then.

        What was found early, and fits worse than the rest, may be a mixture of two samples: neither of them is left.
        """
        before = self.samples
        typical = float(np.median([sample.residual for sample in before])) if before else 0.0
        kept = [sample for sample in before if sample.residual <= _DOUBTFUL * typical]
        if len(kept) == len(before) or 2 * len(kept) <= len(before):
            return 0
        self._restore(kept)
        while self.left and self._round(rng, 0):
            pass
        if len(self.samples) > len(before):
            return len(self.samples) - len(before)
        self._restore(before)
        return 0

    def _restore(self, samples: list[Sample]) -> None:
        """Let these be the samples found."""
        self.samples = list(samples)
        self._remains = np.zeros_like(self._remains)
        for one in samples:
            self._note_remains(one)

    def _note_remains(self, one: Sample) -> None:
        known = _LEFT_BEHIND * one.residual * float(np.linalg.norm(one.features))
        self._remains += (known * (one.row @ self._whole.rows)) ** 2

    def _lift(self, solved: Sample, column: int, of_rows: np.ndarray, of_features: np.ndarray) -> Sample | None:
        """Return a solution in the coordinates of the whole batch, with ``m . a = 1``; None if it is no sample."""
        features, row = of_features @ solved.features, of_rows @ solved.row
        found = dataclasses.replace(solved, column=column, features=features, row=row)
        if solved.residual > _WORTH_POLISHING or float(row @ features) <= 0.0:
            return None
        return self._accepted(self._polished(found))

    def _accepted(self, found: Sample) -> Sample | None:
        """Return a solution with its row divided by the loss weight, or None if it could be of noise alone."""
        explained = max(
            self._tolerance,
            min(_EXPLAINED_BY_NOISE * found.noise, _LARGEST_RESIDUAL),
            min(_ALL_NOISE * found.noise, _LARGEST_NOISE),
        )
        product = float(found.row @ found.features)  # one over the loss weight, up to a positive factor
        if found.residual > explained or found.noise > _LARGEST_NOISE or product <= 0.0:
            return None
        if self._whole.biased and abs(self._whole.inputs[-1] @ found.features - 1.0) > _OFF_ONE:
            return None
        return dataclasses.replace(found, row=found.row / product)

    def _polished(self, found: Sample) -> Sample:
        """Solve once more among all samples, for what was taken out before was not known exactly either.

        What it left behind adds up from round to round, and is far above rounding where there are nearly as many
        samples as features.
        """
        whole = self._whole
        row = found.row / np.linalg.norm(found.row @ whole.rows)
        own = float(np.linalg.norm(row) * np.linalg.norm(whole.noise))
        if not self.samples or found.noise <= _INHERITED * own:
            return found
        if self._everything is None:
            self._everything = SampleProblem(
                whole.rows, whole.noise, whole.logits, whole.offset, whole.scale, smoothing=self._smoothing
            )
        problem = self._everything
        # What is no sample yet by what the arithmetic explains has some way to go.
        most = _POLISHING if found.residual <= self._tolerance else self._effort.iterations
        again = problem.solve(found.column, problem.unknowns(found.features), iterations=most)
        moved = float(np.linalg.norm(again.features - found.features))
        better = again.residual < max(found.residual, _ALL_NOISE * again.noise)
        # Further away there may be another sample, unless this one was none yet. (Copies are left out when they are
        # taken.)
        near = moved < _NEARBY * np.linalg.norm(found.features) or again.residual <= self._tolerance < found.residual
        return again if better and near else found

    def _without_label(self, judge: SampleProblem) -> Iterator[Sample]:
        """Solve for samples so sure that ``p - 1`` was rounded to zero: no entry of their rows is below zero.

        With all others taken out, their rows are not negative anywhere, so that columns that nearly one of them has
        alone give functionals that nearly are their rows; their label is what they are sure of. With smoothed
        targets it is samples as sure as those ask, whose rows are of either sign.
        """
        _, _, pivots = scipy.linalg.qr(judge.space, mode="economic", pivoting=True, check_finite=False)
        anchors = np.linalg.pinv(judge.rows[:, pivots[: judge.rows.shape[0]]])
        if self._smoothing:
            anchors = np.concatenate([anchors, -anchors])
        for functional in anchors:
            start = judge.start(None, functional)
            if start is not None:
                yield judge.solve(judge.favourite(start), start, iterations=self._effort.iterations)

    def _take(self, candidates: list[Sample]) -> int:
        """Keep candidates, best first, that are no copies or mixtures of better ones."""
        taken: list[Sample] = []
        for one in sorted(candidates, key=lambda sample: sample.residual):
            if len(taken) == self.left:
                break
            known = any(one.copies(other) for other in self.samples)
            if not known and not any(one.overlaps(other) for other in taken):
                taken.append(one)
        self.samples += taken
        for one in taken:
            self._note_remains(one)
        return len(taken)

    def _solve(
        self, problem: SampleProblem, judge: SampleProblem, place: int, column: int, functional: np.ndarray
    ) -> Sample | None:
        start = problem.start(place, functional)
        if start is None:
            return None
        solved = problem.solve(place, start, iterations=self._effort.iterations)
        if judge is problem or solved.residual > _LARGEST_RESIDUAL:
            return solved
        return judge.solve(column, judge.unknowns(solved.features), iterations=1)
