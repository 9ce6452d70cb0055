"""Robust RLG: the same geometry on gradients that are no longer exact."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import Certificate, NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.head import CoarsenessRules
from ..gradient.intervals import IntervalRules, Intervals, find_intervals
from ..gradient.range_finder import GrowingRange, ScaledGradient
from ..gradient.rank import visible_directions
from ..gradient.reading import Reading
from ..gradient.subspace import SubspaceRules
from ..rlg.separation import Separation, SeparationRules, separate
from .explaining import ExplainingRules, explain

__all__ = ["RobustRLG", "RobustRules"]

# Ranks tried at most: bounds the work.
_HIGHEST_RANK = 256
# Directions found beyond the highest rank, which sharpen the last of those in use: time against a digit.
_SPARE = 16
# Beyond this many names at a rank everything is separable, and stays so at higher ranks: ends the work, because
# such an answer names far too many classes for its directions.
_ENDLESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustRules:
    """Deciding numbers of `RobustRLG`.

    Attributes
    ----------
    deviations : float
        Standard deviations of noise that a column may be off by.
    second_deviations : float
        The same for a second attempt, where the first finds nothing.
    separated : float
        Distance from the cone of the others below which no class is named, in units of the median tilt.
    step : float
        Growth of the rank from one rung of the ladder to the next, as a share of the rank.
    loss : float
        Share of the best score that a lower rung may lack to be preferred: further up the bulk adds false names one by
        one.
    agreement : float
        Exponent of a rung's agreement with the next one in its score: agreement counts for more than size.
    excess : float
        Names beyond one more than its directions that an answer may have, as a share of the directions. An answer has
        one direction per sample; a few directions short of that it can still name all classes.
    fluctuations : float
        Distance above the edge of independent noise from which on a direction is no fluctuation of it, in units of the
        edge's own fluctuation (see `gradient.rank.visible_directions`).
    coarseness : CoarsenessRules
        The number of coarse entries.
    subspace : SubspaceRules
        The numbers of rank and noise, which tell exact updates.
    intervals : IntervalRules
        The numbers of intervals.
    explaining : ExplainingRules
        The numbers of the explanation inside them.
    separation : SeparationRules
        The numbers of the cone.
    """

    deviations: float = field(default=4.0, metadata={"plateau": (3.64, 8)})
    second_deviations: float = field(default=2.0, metadata={"plateau": (1.82, 32.0)})
    separated: float = field(default=10.0, metadata={"plateau": (9.09, 15.0)})
    step: float = field(default=0.25, metadata={"plateau": (0.125, 4.0)})
    loss: float = field(default=0.05, metadata={"plateau": (0.00313, 0.2)})
    agreement: float = field(default=8.0, metadata={"plateau": (2.0, 128.0)})
    excess: float = field(default=0.1, metadata={"plateau": (0.00625, 1.6)})
    fluctuations: float = field(default=3.5, metadata={"plateau": (0.219, 14.0)})
    coarseness: CoarsenessRules = field(default_factory=CoarsenessRules)
    subspace: SubspaceRules = field(default_factory=SubspaceRules)
    intervals: IntervalRules = field(default_factory=IntervalRules)
    explaining: ExplainingRules = field(default_factory=ExplainingRules)
    separation: SeparationRules = field(default_factory=SeparationRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustRLG:
    """Name every class that the others cannot explain, in an update that was made coarse or noisy.

    The visible traces of the defence decide between two procedures:

    * Zeros scattered over a lattice, or below a sharp edge: every entry is known up to an interval
      (`gradient.intervals`), and the labels are the columns that explain all others inside theirs (`explaining`).
    * Any other change, such as signs or added noise, counts as noise. The noise is measured outside a leading subspace,
      and the cone is tilted by it (`rlg.separation`). The true rank is drowned, so that the test runs on a ladder of
      ranks, as far as directions stand out of independent noise. Below the true rank each further direction adds
      classes; above it the answer stays the same until the bulk of the noise makes everything separable. The answer
      taken is large and confirmed by the next rung, and does not name many more classes than it has directions.

    Rounding is strict RLG's business: an update is refused if rounding explains its noise and its rank is lower than
    the classes allow.

    Parameters
    ----------
    rules : RobustRules
        The deciding numbers.

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and
       Protecting Labels in Distributed Training", NeurIPS 2021: the exact case, and its failure under
       sign compression. https://doi.org/10.48550/arXiv.2111.00556
    """

    name: ClassVar[str] = "rlg_robust"
    reference: ClassVar[str] = "this project; exact case: Dang et al. 2021, doi:10.48550/arXiv.2111.00556"
    cost: ClassVar[str] = "search"

    rules: RobustRules = field(default_factory=RobustRules)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that stand out, each with its direction."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the classes of a reading that stand out, each with its direction."""
        update, rules = reading.update, self.rules
        if reading.rounding_only(rules.coarseness, rules.subspace):
            subspace = reading.subspace(rules.subspace)
            # A rank as large as the classes allow leaves no room for the strict geometry. The leading directions may
            # still have room, with the others for noise.
            if subspace.positions < subspace.columns.size - 1:
                raise NotApplicable(
                    f"rounding alone explains the noise beyond the gradient's rank {subspace.positions}: nothing in it "
                    "was made coarse or noisy"
                )
        coarse = reading.coarseness(rules.coarseness) is not None
        intervals = find_intervals(update, rules.intervals) if coarse else None
        if intervals is not None:
            recovery = self._inside_intervals(update, intervals)
            if recovery is not None:
                return recovery
        operator = ScaledGradient(update, equilibrate=False)
        full = min(operator.shape[0], operator.columns.size)
        most = min(full, update.classes - 2, _HIGHEST_RANK)
        if most < 1:
            raise NotApplicable(
                f"a head of {update.features} features and {operator.columns.size} classes has no room for noise"
            )
        found = GrowingRange(operator)
        found.widen(min(most + _SPARE, full))
        left, values, left_over = found.decompose()
        beyond = float(np.linalg.norm(left_over))
        most = min(most, visible_directions(values, beyond, operator, fluctuations=rules.fluctuations))
        inside = left.T @ found.compressed
        for deviations in (rules.deviations, rules.second_deviations):
            rank, separation = _climb(
                inside[:, operator.columns], left_over[operator.columns], operator, most, deviations, rules
            )
            if separation is not None and separation.directions:
                break
        else:
            raise NotApplicable(
                f"no class stands out in any of the leading directions; {most} of them are above the edge of noise",
                visible=most,
            )
        directions = found.basis @ left[:, :rank] * operator.row_scale[:, None]
        columns = operator.columns
        certificates = tuple(
            Certificate(
                label=int(columns[column]),
                present=True,
                margin=float(separation.margin[column]),
                direction=directions @ direction,
            )
            for column, direction in sorted(separation.directions.items())
        )
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            labels=tuple(sorted(int(c) for c in columns[separation.present])),
            certificates=certificates,
            details={"rank": rank, "deviations": deviations},
        )

    def _inside_intervals(self, update: Update, intervals: Intervals) -> Recovery | None:
        """Return the classes that explain the others, or None if too many columns stick out for that."""
        found = explain(update, intervals, self.rules.explaining)
        if found is None:
            return None
        if not found.labels:
            raise NotApplicable(
                f"no column of the {intervals.columns.size} that are left is needed to explain the others: the defence "
                "left no trace of a label"
            )
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            labels=tuple(sorted(found.labels)),
            certificates=tuple(
                Certificate(label=label, present=True, margin=margin, direction=found.directions[label])
                for label, margin in sorted(found.labels.items())
            ),
            details={"bounds": intervals.kind, "visible_classes": intervals.columns.size, "rank": found.explained_by},
        )


def _climb(
    coordinates: np.ndarray,
    left_over: np.ndarray,
    operator: ScaledGradient,
    most: int,
    deviations: float,
    rules: RobustRules,
) -> tuple[int, Separation | None]:
    """Try a ladder of ranks and return the one whose answer is largest and confirmed by the next.

    Parameters
    ----------
    coordinates : ndarray of shape (k, C')
        Columns in the leading directions.
    left_over : ndarray of shape (C',)
        Norm of every column outside of them.
    operator : ScaledGradient
        The matrix.
    most : int
        Highest rank to try.
    deviations : float
        Tilt, in standard deviations of the noise.
    rules : RobustRules
        The deciding numbers.

    Returns
    -------
    rank : int
        Zero without an answer.
    separation : Separation or None
        The answer at that rank.
    """
    answers: list[tuple[int, Separation, frozenset[int]]] = []
    rank, crowded = 1, 0
    while rank <= most and crowded < 2:
        outside = np.sqrt(left_over**2 + (coordinates[rank:] ** 2).sum(axis=0))
        level = max(float(np.sqrt(np.mean(outside**2))), 1e-12 * float(np.abs(coordinates).max()))
        noise = np.maximum(outside, level) / np.sqrt(max(operator.shape[0] - rank, 1))
        separation = separate(
            coordinates[:rank], noise, deviations=deviations, least=rules.separated, rules=rules.separation
        )
        named = frozenset(separation.directions)
        crowded = crowded + 1 if len(named) > 2 * rank + _ENDLESS else 0
        answers.append((rank, separation, named))
        above = max(rank + 1, round(rank * (1.0 + rules.step)))
        rank = most if rank < most < above else above
    scores = []
    for (rank, _, named), (_, _, following) in itertools.pairwise([*answers, *answers[-1:]]):
        possible = 0 < len(named) <= (1.0 + rules.excess) * rank + 1
        # A plateau counts for more than height: in the bulk the answer grows with every direction.
        agreement = len(named & following) / max(len(named | following), 1)
        scores.append(agreement**rules.agreement * np.log1p(len(named)) if possible else 0.0)
    if not any(scores):
        return 0, None
    # The lowest rung about as good as the best: further up the bulk adds false names one by one.
    rank, separation, _ = answers[int(np.argmax(np.asarray(scores) >= (1.0 - rules.loss) * max(scores)))]
    return rank, separation
