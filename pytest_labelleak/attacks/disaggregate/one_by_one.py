"""Sample after sample: one that is found is taken out, and the rest is a smaller problem of the same kind.

Features and error rows of different samples are dual (see `spaces`): ``m_s . a_t = 0``. So once sample t is known,
every other sample's row has coordinates orthogonal to ``a_t`` and its features have coordinates orthogonal to
``m_t``: both spaces lose a dimension, and the row space fits the rest more tightly. Two kinds of samples come out only
so:

* samples that share a label, whose rows no direction separates: with all other classes taken out, two leave a plane;
* the most confident samples, whose rows hold a few entries above the noise, too few to determine all
  features: with the others taken out they need not.

Take two samples with the features (2, 1) and (1, 3), both of class 0 among three classes. A receiver sees the sum of
the outer products of features and error rows, and neither of them alone:

>>> features = np.array([[2.0, 1.0], [1.0, 3.0]])
>>> errors = np.array([[-0.6, 0.4, 0.2], [-0.3, 0.1, 0.2]])
>>> gradient = features.T @ errors
>>> gradient.round(1).tolist()
[[-1.5, 0.9, 0.6], [-1.5, 0.7, 0.8]]

Let the rows of the gradient be the basis T of the row space; then U is the identity, and the coordinates a of features
are the features themselves. Suppose that the features (2, 1) of the first sample were found. Its error row is
``m T``, with coordinates m = (0.6, -0.2), which are orthogonal to the other sample's features (1, 3):

>>> first = np.array([0.6, -0.2])
>>> (first @ gradient).round(1).tolist()
[-0.6, 0.4, 0.2]
>>> np.abs(features @ first).round(1).tolist()
[1.0, 0.0]

The second sample's coordinates m in turn are orthogonal to (2, 1), so they are a multiple of (1, -2). That leaves one
dimension of two, and in it the second sample's row alone, up to a factor:

>>> ((np.array([1.0, -2.0]) @ gradient) / -5.0).round(1).tolist()
[-0.3, 0.1, 0.2]

Its features likewise are a multiple of (1, 3), the direction orthogonal to (0.6, -0.2). One number is left to find: the
factor for which the softmax of the logits reproduces that row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from .all_at_once import JointRules, solve_jointly
from .reconstruction import left_over
from .row_equation import RowEquation
from .sample import LogarithmRules, Sample, solve, start_from
from .spaces import RowSpace
from .starts import StartRules, separating_directions, smoothed_directions, telling_columns, wander

__all__ = ["Disaggregation", "Effort", "IsolationRules", "take_apart"]

# Jacobians of a sample that is solved for once more among all samples: it starts next to its root.
_JACOBIANS_OF_POLISHING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Bounds on the work.

    Attributes
    ----------
    starts : int
        Starts per class once the separating directions alone lead nowhere.
    stalls : int
        Rounds without any sample before giving up.
    jacobians : int
        Largest number of Jacobians per start.
    columns : int
        Most columns used for solving; all of them judge the result.
    """

    starts: int = 6
    stalls: int = 4
    jacobians: int = 40
    columns: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationRules:
    """When a solution is a sample of the batch. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    left_behind : float
        A sample that is taken out leaves this many times its residual in the rest, as noise.
    explained_by_noise : float
        A residual may be this many times the part that noise in the row space explains ...
    largest_residual : float
        ... up to this, from which on chance solutions pass ...
    all_noise : float
        ... or this many times that part, without such a limit: a true sample's residual is about that part.
    largest_noise : float
        A row with more noise, relative to its length, could be of noise alone.
    doubtful : float
        Samples with a residual this many times the median are given up where others are missing.
    inherited : float
        Noise in a row this many times its rounding was left behind by others: the sample is solved for once more.
    worth_polishing : float
        Largest residual with which a solution is solved for once more.
    nearby : float
        A second solution further away than this share of the features is another sample.
    off_one : float
        With a bias every sample's last input is one; a solution that misses it by more is none.
    copy : float
        A sample's own row gives one on its features, and another sample's zero; from here on two solutions are one.
    dual : float
        A cosine of one's row and the other's features up to which two solutions are dual; beyond, one is a mixture.
    logarithm : LogarithmRules
        Starts from rows.
    starts : StartRules
        Directions worth a start.
    jointly : JointRules
        Start of the joint fit.
    """

    left_behind: float = field(default=3.0, metadata={"plateau": (0.75, 6)})
    explained_by_noise: float = field(default=30.0, metadata={"plateau": (1.88, 480.0)})
    largest_residual: float = field(default=0.03, metadata={"plateau": (0.02, 0.48)})
    all_noise: float = field(default=1.5, metadata={"plateau": (1.2, 24)})
    largest_noise: float = field(default=0.1, metadata={"plateau": (0.0667, 0.15)})
    doubtful: float = field(default=10.0, metadata={"plateau": (0.625, 160.0)})
    inherited: float = field(default=10.0, metadata={"plateau": (0.625, 20)})
    worth_polishing: float = field(default=0.3, metadata={"plateau": (0.075, 4.8)})
    nearby: float = field(default=0.3, metadata={"plateau": (0.075, 4.8)})
    off_one: float = field(default=0.1, metadata={"plateau": (0.025, 1.6)})
    copy: float = field(default=0.5, metadata={"plateau": (0.0312, 8.0)})
    dual: float = field(default=0.05, metadata={"plateau": (0.0333, 0.8)})
    logarithm: LogarithmRules = field(default_factory=LogarithmRules)
    starts: StartRules = field(default_factory=StartRules)
    jointly: JointRules = field(default_factory=JointRules)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Disaggregation:
    """The samples that came out of a batch.

    Attributes
    ----------
    isolated : tuple of Sample
        In the coordinates of the whole batch, with rows divided by the loss weights: ``m . a = 1``.
    jointly : int
        Number of them that the joint fit added.
    best_rejected : float
        Smallest residual of a solution that was no sample; infinite if there was none.
    visibility : float or None
        Norm of the rest in units of its noise, one where it does not stand out. None if nothing is left, or nothing
        was isolated.
    """

    isolated: tuple[Sample, ...] = field(repr=False)
    jointly: int
    best_rejected: float
    visibility: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Batch:
    """The problem: the whole batch, and the rules of the search."""

    whole: RowSpace
    equation: RowEquation  # of the whole batch
    tolerance: float
    effort: Effort
    rules: IsolationRules

    @property
    def smoothing(self) -> float:
        return self.equation.smoothing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Progress:
    """The samples found so far, and the traces of the search for them."""

    isolated: tuple[Sample, ...] = ()
    remains: np.ndarray  # squared noise (n,) that the samples leave behind in every column
    jointly: int = 0
    best_rejected: float = np.inf
    seen: tuple[int, ...] = ()  # columns that any direction ever separated


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rest:
    """The spaces that are left, of r dimensions."""

    of_rows: np.ndarray  # orthonormal (S, r): coordinates of rows
    of_features: np.ndarray  # the same of features
    rows: np.ndarray  # (r, n)
    noise: np.ndarray  # (n,)
    logits: np.ndarray  # (n, r)


def take_apart(
    whole: RowSpace,
    *,
    smoothing: float,
    tolerance: float,
    effort: Effort,
    rules: IsolationRules,
    rng: np.random.Generator,
) -> Disaggregation:
    """Isolate samples until none is left or nothing helps.

    Parameters
    ----------
    whole : RowSpace
        Of the whole batch.
    smoothing : float
        Label smoothing of the loss.
    tolerance : float
        Residual that the arithmetic of the forward pass explains.
    effort : Effort
        Bounds on the work.
    rules : IsolationRules
        When a solution is a sample.
    rng : numpy.random.Generator
        Draws further starts.

    Returns
    -------
    Disaggregation
        The samples, and the reason to stop.
    """
    batch = _batch(whole, smoothing=smoothing, tolerance=tolerance, effort=effort, rules=rules)
    progress = _nothing(batch)
    if smoothing:
        # Solutions of single rows of nearly constant entries can be chance; a joint one of most rows cannot.
        progress = _jointly(batch, progress, most=True)
    progress = _search(batch, progress, rng)
    return Disaggregation(
        isolated=progress.isolated,
        jointly=progress.jointly,
        best_rejected=progress.best_rejected,
        visibility=_visibility(batch, progress) if progress.isolated and _left(batch, progress) else None,
    )


def _batch(
    whole: RowSpace,
    *,
    smoothing: float,
    tolerance: float,
    effort: Effort,
    rules: IsolationRules,
) -> _Batch:
    equation = RowEquation.of(whole.rows, whole.noise, whole.logits, whole.offset, whole.scale, smoothing=smoothing)
    return _Batch(whole=whole, equation=equation, tolerance=tolerance, effort=effort, rules=rules)


def _nothing(batch: _Batch) -> _Progress:
    return _Progress(remains=np.zeros(batch.whole.columns.size))


def _left(batch: _Batch, progress: _Progress) -> int:
    """Return the number of samples not found."""
    return batch.whole.positions - len(progress.isolated)


def _search(batch: _Batch, progress: _Progress, rng: np.random.Generator) -> _Progress:
    """Find samples until none is left or nothing helps."""
    stalled = 0
    # Where not one sample fits, the weights are not those of the gradient: more starts would not help.
    while _left(batch, progress) and stalled < (batch.effort.stalls if progress.isolated else 1):
        before = len(progress.isolated)
        progress = _round(batch, progress, rng, stalled)
        if len(progress.isolated) == before and not stalled:
            progress = _jointly(batch, progress)
            if len(progress.isolated) == before:
                progress = _reopened(batch, progress, rng)
        stalled = 0 if len(progress.isolated) > before else stalled + 1
    return progress


def _visibility(batch: _Batch, progress: _Progress) -> float:
    rest = _rest(batch, progress)
    return float(np.linalg.norm(rest.rows, ord=2)) / float(np.linalg.norm(rest.noise))


def _rest(batch: _Batch, progress: _Progress) -> _Rest:
    """Return the spaces that the samples found so far leave."""
    whole, isolated = batch.whole, progress.isolated
    if not isolated:
        identity = np.eye(whole.positions)
        return _Rest(of_rows=identity, of_features=identity, rows=whole.rows, noise=whole.noise, logits=whole.logits)
    bases = []
    for vectors in ([s.features for s in isolated], [s.row for s in isolated]):
        block = np.stack([v / np.linalg.norm(v) for v in vectors], axis=1)
        bases.append(scipy.linalg.qr(block, check_finite=False)[0][:, len(isolated) :])
    of_rows, of_features = bases
    return _Rest(
        of_rows=of_rows,
        of_features=of_features,
        rows=of_rows.T @ whole.rows,
        noise=np.sqrt(whole.noise**2 + progress.remains),
        logits=whole.logits @ of_features,
    )


def _equation(batch: _Batch, progress: _Progress, rest: _Rest, chosen: np.ndarray | None = None) -> RowEquation:
    """Return the equation of the rest, on all columns or on some."""
    if chosen is None and not progress.isolated:
        return batch.equation
    whole, part = batch.whole, slice(None) if chosen is None else chosen
    return RowEquation.of(
        rest.rows[:, part],
        rest.noise[part],
        rest.logits[part],
        whole.offset[part],
        whole.scale[part],
        smoothing=batch.smoothing,
    )


def _round(batch: _Batch, progress: _Progress, rng: np.random.Generator, stalled: int) -> _Progress:
    """Start once from every direction, more often after rounds that stalled, and take the samples that come out."""
    whole, effort, rules = batch.whole, batch.effort, batch.rules
    rest = _rest(batch, progress)
    if batch.smoothing:
        directions = smoothed_directions(rest.rows, whole.scale, batch.smoothing, rules=rules.starts)
    else:
        directions = separating_directions(rest.rows, rest.noise, rules=rules.starts)
    seen = tuple(dict.fromkeys((*progress.seen, *directions)))
    # Smoothed rows need the softmax over all classes.
    most = whole.columns.size if batch.smoothing else effort.columns
    chosen = telling_columns(rest.rows, directions, seen, most=most)
    judge = _equation(batch, progress, rest)
    equation = judge if chosen.size == whole.columns.size else _equation(batch, progress, rest, chosen)
    place = {int(column): k for k, column in enumerate(chosen)}
    if stalled and stalled % 2 == 0:
        directions = dict.fromkeys(seen)
    attempts = (effort.starts if progress.isolated else 2) if stalled else 1
    best_rejected = progress.best_rejected
    candidates: list[Sample] = []
    for column, direction in directions.items():
        for attempt in range(attempts):
            steep = -rest.rows[:, column] / np.linalg.norm(rest.rows[:, column])
            functional = steep if direction is None else direction
            if attempt:
                functional = wander(rest.rows, rest.noise, column, functional, rng, rules=rules.starts)
            start = start_from(equation, place[column], functional, rules=rules.logarithm)
            if start is None:
                continue
            solved = solve(equation, place[column], start, most_jacobians=effort.jacobians)
            if judge is not equation and solved.residual <= rules.largest_residual:
                solved = solve(judge, column, judge.unknowns(solved.features), most_jacobians=1)
            lifted = _lifted(batch, progress, rest, dataclasses.replace(solved, column=column))
            if lifted is not None:
                candidates.append(lifted)
                break
            best_rejected = min(best_rejected, solved.residual)
    if stalled == 1:
        sure = [_lifted(batch, progress, rest, one) for one in _without_label(batch, judge)]
        candidates += [sample for sample in sure if sample is not None]
    progress = dataclasses.replace(progress, seen=seen, best_rejected=best_rejected)
    return _with(batch, progress, _worth_taking(batch, progress, candidates))


def _jointly(batch: _Batch, progress: _Progress, *, most: bool = False) -> _Progress:
    """Solve for all samples that are left at once; keep the ones that count by themselves, if the gradient agrees.

    With `most`, no sample is kept if fewer than half count, and none whose residual takes noise to explain.
    """
    whole = batch.whole
    rest = _rest(batch, progress)
    inputs = whole.inputs[-1] @ rest.of_features if whole.biased else None
    solutions = solve_jointly(
        _equation(batch, progress, rest), rest.of_rows.T @ rest.of_features, inputs=inputs, rules=batch.rules.jointly
    )
    lifted = [_lifted(batch, progress, rest, solved) for solved in solutions]
    limit = batch.tolerance if most else np.inf
    candidates = [sample for sample in lifted if sample is not None and sample.residual <= limit]
    if len(candidates) < (_left(batch, progress) / 2 if most else 1):
        return progress
    taken = _worth_taking(batch, progress, candidates)
    after = dataclasses.replace(_with(batch, progress, taken), jointly=progress.jointly + len(taken))
    lefts = [left_over(whole, each.isolated, smoothing=batch.smoothing) for each in (progress, after)]
    return after if lefts[1] < lefts[0] else progress


def _reopened(batch: _Batch, progress: _Progress, rng: np.random.Generator) -> _Progress:
    """Give up samples that are in the way of others, and look again; keep the new ones if they are more.

    A solution that was found early, and fits worse than the rest, may be a mixture of two samples: neither is left.
    """
    before = progress.isolated
    typical = float(np.median([sample.residual for sample in before])) if before else 0.0
    kept = [sample for sample in before if sample.residual <= batch.rules.doubtful * typical]
    if len(kept) == len(before) or 2 * len(kept) <= len(before):
        return progress
    again = _only(batch, progress, kept)
    while _left(batch, again):
        found = len(again.isolated)
        again = _round(batch, again, rng, 0)
        if len(again.isolated) == found:
            break
    if len(again.isolated) > len(before):
        return again
    return dataclasses.replace(progress, seen=again.seen, best_rejected=again.best_rejected)


def _with(batch: _Batch, progress: _Progress, more: Iterable[Sample]) -> _Progress:
    """Return progress with more samples, and with the noise that they leave behind."""
    remains, isolated = progress.remains.copy(), list(progress.isolated)
    for one in more:
        known = batch.rules.left_behind * one.residual * float(np.linalg.norm(one.features))
        remains += (known * (one.row @ batch.whole.rows)) ** 2
        isolated.append(one)
    return dataclasses.replace(progress, isolated=tuple(isolated), remains=remains)


def _only(batch: _Batch, progress: _Progress, isolated: Iterable[Sample]) -> _Progress:
    """Return progress with these samples instead."""
    return _with(batch, dataclasses.replace(progress, isolated=(), remains=np.zeros_like(progress.remains)), isolated)


def _worth_taking(batch: _Batch, progress: _Progress, candidates: list[Sample]) -> list[Sample]:
    """Return candidates, best first, that are no copies or mixtures of better ones."""
    taken: list[Sample] = []
    for one in sorted(candidates, key=lambda sample: sample.residual):
        if len(taken) == _left(batch, progress):
            break
        known = any(_copies(one, other, batch.rules) for other in progress.isolated)
        if not known and not any(_overlaps(one, other, batch.rules) for other in taken):
            taken.append(one)
    return taken


def _seen(one: Sample, other: Sample) -> tuple[float, float]:
    return float(one.row @ other.features), float(other.row @ one.features)


def _copies(one: Sample, other: Sample, rules: IsolationRules) -> bool:
    """Tell whether two solutions, with rows divided by their loss weights, are the same."""
    # Both products are one then; their cosines are small too where features are far from dual to rows.
    return min(_seen(one, other)) > rules.copy


def _overlaps(one: Sample, other: Sample, rules: IsolationRules) -> bool:
    """Tell whether two solutions, with rows divided by their loss weights, are copies or mixtures of each other."""
    if _copies(one, other, rules):
        return True
    seen = _seen(one, other)
    lengths = (
        np.linalg.norm(one.row) * np.linalg.norm(other.features),
        np.linalg.norm(other.row) * np.linalg.norm(one.features),
    )
    return bool(abs(seen[0]) > rules.dual * lengths[0] or abs(seen[1]) > rules.dual * lengths[1])


def _lifted(batch: _Batch, progress: _Progress, rest: _Rest, solved: Sample) -> Sample | None:
    """Return a solution in the coordinates of the whole batch, with ``m . a = 1``; None if it is no sample."""
    features, row = rest.of_features @ solved.features, rest.of_rows @ solved.row
    if solved.residual > batch.rules.worth_polishing or float(row @ features) <= 0.0:
        return None
    found = dataclasses.replace(solved, features=features, row=row)
    return _accepted(batch, _polished(batch, progress, found))


def _accepted(batch: _Batch, found: Sample) -> Sample | None:
    """Return a solution with its row divided by the loss weight, or None if it could be of noise alone."""
    rules = batch.rules
    explained = max(
        batch.tolerance,
        min(rules.explained_by_noise * found.noise, rules.largest_residual),
        min(rules.all_noise * found.noise, rules.largest_noise),
    )
    product = float(found.row @ found.features)  # one over the loss weight, up to a positive factor
    if found.residual > explained or found.noise > rules.largest_noise or product <= 0.0:
        return None
    if batch.whole.biased and abs(batch.whole.inputs[-1] @ found.features - 1.0) > rules.off_one:
        return None
    return dataclasses.replace(found, row=found.row / product)


def _polished(batch: _Batch, progress: _Progress, found: Sample) -> Sample:
    """Solve once more among all samples, because the ones taken out before were not known exactly either.

    The noise that they leave behind adds up from round to round, and is far above rounding where there are nearly as
    many samples as features.
    """
    whole, rules, equation = batch.whole, batch.rules, batch.equation
    row = found.row / np.linalg.norm(found.row @ whole.rows)
    own = float(np.linalg.norm(row) * np.linalg.norm(whole.noise))
    if not progress.isolated or found.noise <= rules.inherited * own:
        return found
    # A solution with a residual above the tolerance is no sample yet, and has some way to go.
    most = _JACOBIANS_OF_POLISHING if found.residual <= batch.tolerance else batch.effort.jacobians
    again = solve(equation, found.column, equation.unknowns(found.features), most_jacobians=most)
    moved = float(np.linalg.norm(again.features - found.features))
    better = again.residual < max(found.residual, rules.all_noise * again.noise)
    # Further away there may be another sample, unless this one was none yet. (Copies are left out when they are
    # taken.)
    near = moved < rules.nearby * float(np.linalg.norm(found.features))
    return again if better and (near or again.residual <= batch.tolerance < found.residual) else found


def _without_label(batch: _Batch, judge: RowEquation) -> Iterator[Sample]:
    """Solve for samples so sure that ``p - 1`` was rounded to zero: no entry of their rows is below zero.

    With all others taken out, their rows are not negative anywhere, so that columns that nearly one of them has
    alone give functionals that nearly are their rows; their label is their largest output. With smoothed
    targets such samples are as sure as the targets ask, and their rows are of either sign.
    """
    _, _, pivots = scipy.linalg.qr(judge.space, mode="economic", pivoting=True, check_finite=False)
    anchors = np.linalg.pinv(judge.rows[:, pivots[: judge.rows.shape[0]]])
    if batch.smoothing:
        anchors = np.concatenate([anchors, -anchors])
    for functional in anchors:
        start = start_from(judge, None, functional, rules=batch.rules.logarithm)
        if start is not None:
            yield solve(judge, judge.favourite(start), start, most_jacobians=batch.effort.jacobians)
