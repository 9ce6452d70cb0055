"""Sample after sample: what is found is taken out, and the rest is a smaller problem of the same kind.

Features and error rows of different samples are dual (see _rowspace): ``m_s . a_t = 0``. So once sample t is known,
every other sample's row has coordinates orthogonal to ``a_t`` and its features have coordinates orthogonal to
``m_t``: both spaces lose a dimension, and the row space fits the rest more tightly. That is what isolates

* samples that share a label, whose rows no direction separates from each other: with all other classes taken
  out, two of them leave a plane;
* the most confident samples, whose rows hold a few entries above the noise, too few to determine all
  features: with the others taken out they need not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ._cone import DEVIATIONS, separate
from ._rowspace import RowSpace
from ._sample import Sample, SampleProblem

__all__ = ["Deflation", "Effort"]

# Columns that have lost all but this many deviations of noise say nothing about who is left.
_VISIBLE = 30.0
# What is taken out is known to about its residual; this many times that is left in the rest.
_LEFT_BEHIND = 3.0
# A residual may be this many times what noise in the row space explains, but never larger than this.
_EXPLAINED_BY_NOISE = 30.0
_LARGEST_RESIDUAL = 0.03
# ... but for one that is about what the noise alone makes of a true sample.
_ALL_NOISE = 1.5
# A row that holds more noise than this, relative to its length, could be of noise alone.
_LARGEST_NOISE = 0.1
# What others left behind in a row is worth removing where it is this many times what rounding explains, ...
_INHERITED = 3.0
# ... with so many Jacobians, and it moves features by less than this of their length.
_POLISHING = 10
# ... if there is something to it at all.
_WORTH_POLISHING = 0.3
_NEARBY = 0.3
# With a bias every sample's last input is one; a solution that misses it by more is none.
_OFF_ONE = 0.1
# Rows of smoothed targets are below zero by e / C of their label's entry; of less confident ones' by more.
_SMOOTHED_ALLOWANCE = 3.0
_FURTHEST = 2
# Where nothing but noise is left to slide along, a corner is reached; logarithms want to stay off its facets.
_NO_WAY_ON = 1e-6
_SHORT_OF_THE_CORNER = 0.9
_ABOVE_NOISE = 3.0
# Two rows whose features are this close to dual are two samples.
_DUAL = 0.05
# A sample's own row sees one of its features, and another sample's none of them.
_COPY = 0.5


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
        # Where not one sample fits, the weights are not those of the gradient: more starts would not help.
        while self.left and stalled < (self._effort.stalls if self.samples else 1):
            found = self._round(rng, stalled)
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
        directions = self._directions(rows, noise)
        self._seen.update(dict.fromkeys(directions))
        chosen = self._columns(rows, directions)
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
                    functional = self._wander(rows, noise, column, functional, rng)
                solved = self._solve(problem, judge, place[column], column, functional)
                if solved is None:
                    continue
                lifted = self._lift(solved, column, of_rows, of_features)
                if lifted is not None:
                    candidates.append(lifted)
                    break
                self.best_rejected = min(self.best_rejected, solved.residual)
        if stalled == 1:
            for solved in self._without_label(judge):
                lifted = self._lift(solved, solved.column, of_rows, of_features)
                candidates += [] if lifted is None else [lifted]
        return self._take(candidates)

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
        again = problem.solve(found.column, problem.unknowns(found.features), iterations=_POLISHING)
        moved = float(np.linalg.norm(again.features - found.features))
        if again.residual < max(found.residual, _ALL_NOISE * again.noise) and moved < _NEARBY * np.linalg.norm(found.features):
            return again
        return found

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
            length = np.linalg.norm(one.row), np.linalg.norm(one.features)
            for other in taken:
                # For a copy both are one; their cosines are small too where features are far from dual to rows.
                if one.row @ other.features > _COPY and other.row @ one.features > _COPY:
                    break
                lengths = np.linalg.norm(other.row), np.linalg.norm(other.features)
                # Cosines: how much of one sample's row the other's features see.
                if (
                    abs(one.row @ other.features) > _DUAL * length[0] * lengths[1]
                    or abs(other.row @ one.features) > _DUAL * lengths[0] * length[1]
                ):
                    break
            else:
                taken.append(one)
        self.samples += taken
        for one in taken:
            known = _LEFT_BEHIND * one.residual * float(np.linalg.norm(one.features))
            self._remains += (known * (one.row @ self._whole.rows)) ** 2
        return len(taken)

    def _directions(self, rows: np.ndarray, noise: np.ndarray) -> dict[int, np.ndarray | None]:
        """Return a separating direction for every class that has one in what is left."""
        if self._smoothing:
            return self._smoothed_directions(rows)
        lengths = np.linalg.norm(rows, axis=0)
        visible = np.flatnonzero(lengths > _VISIBLE * noise)
        if visible.size < 2:
            return {}
        separation = separate(rows[:, visible] / lengths[visible], noise[visible] / lengths[visible])
        return {int(visible[column]): direction for column, direction in separation.directions.items()}

    def _smoothed_directions(self, rows: np.ndarray) -> dict[int, np.ndarray | None]:
        """Do the same where targets are smoothed, so that every entry of a row may be below zero by ``e / C``.

        With rows of unit length and columns as they were shared, that is an allowance of the same size everywhere.
        """
        if rows.shape[1] < 2:
            return {}
        orthogonal, triangle = scipy.linalg.qr((rows / self._whole.scale).T, mode="economic", check_finite=False)
        allowance = _SMOOTHED_ALLOWANCE * self._smoothing / self._whole.columns.size
        separation = separate(orthogonal.T, np.full(rows.shape[1], allowance / DEVIATIONS))
        # Confident samples descend by no more than the allowance: try the columns that reach furthest, too.
        furthest = np.argsort(np.linalg.norm(orthogonal, axis=1))[::-1][: _FURTHEST * rows.shape[0]]
        wanted = {int(column): -orthogonal[column] for column in furthest} | separation.directions
        return {
            int(column): scipy.linalg.solve_triangular(triangle, direction, check_finite=False)
            for column, direction in wanted.items()
        }

    def _columns(self, rows: np.ndarray, directions: dict[int, np.ndarray | None]) -> np.ndarray:
        """Choose the columns to solve on: the labels, the largest of every separating row, and a fair sample."""
        total, most = rows.shape[1], self._effort.columns
        if total <= most or self._smoothing:  # smoothed rows need the softmax over all classes
            return np.arange(total)
        chosen = set(directions) | set(self._seen)
        each = max(most // 2 // max(len(directions), 1), 16)
        for direction in directions.values():
            if direction is not None:
                row = direction @ rows
                chosen |= set(np.argpartition(row, -each)[-each:].tolist())
        rest = np.setdiff1d(np.arange(total), np.fromiter(chosen, dtype=np.int64))
        room = max(most - len(chosen), most // 4)
        spread = rest[np.linspace(0, rest.size - 1, min(room, rest.size)).astype(np.int64)]
        return np.union1d(np.fromiter(chosen, dtype=np.int64), spread)

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

    def _wander(
        self, rows: np.ndarray, noise: np.ndarray, column: int, functional: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Slide towards a corner of the cone of directions that separate a class.

        The rows of samples that share a label are near corners, their mixtures inside. A random column is
        made as large as it gets: from facet to facet, greedily, which a few hundred products do.
        """
        own = rows[:, column]
        functional = functional / -float(functional @ own)
        begin = functional
        blocked = np.empty((functional.size, 0))
        normal = own
        wish = rows[:, rng.integers(rows.shape[1])]
        for _ in range(functional.size - 1):
            normal = normal - blocked @ (blocked.T @ normal)
            blocked = np.column_stack([blocked, normal / np.linalg.norm(normal)])
            step = wish - blocked @ (blocked.T @ wish)
            step -= blocked @ (blocked.T @ step)
            if np.linalg.norm(step) < _NO_WAY_ON * np.linalg.norm(wish):
                break
            row, change = functional @ rows, step @ rows
            falling = change < -1e-12 * np.abs(change).max()
            falling &= row > _ABOVE_NOISE * noise * np.linalg.norm(functional)
            falling[column] = False
            if not np.any(falling):
                break
            far = row[falling] / -change[falling]
            functional = functional + float(far.min()) * step
            normal = rows[:, np.flatnonzero(falling)[int(np.argmin(far))]]
        return _SHORT_OF_THE_CORNER * functional + (1.0 - _SHORT_OF_THE_CORNER) * begin
