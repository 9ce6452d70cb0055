"""Robust RLG: the same geometry on gradients that are no longer exact."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...core.recovery import Certificate, NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.intervals import Bounds, find_bounds
from ..gradient.range_finder import GrowingRange, ScaledGradient
from ..gradient.rank import visible_directions
from ..gradient.reading import Reading
from ..rlg.separation import Separation, separate
from .explaining import peel

__all__ = ["RobustRLG"]

# Sign compression, dropping, quantisation and noise leave the row space visible as leading directions
# in a bulk; how many there are can no longer be read off the spectrum, so a ladder of ranks is tried.
_LADDER_RATIO = 1.25
_HIGHEST_RANK = 256
_AS_GOOD = 0.85
# An answer has one direction per sample; a few directions short of that it can still name all classes.
_CROWD = 1.1
# Standard deviations of noise that a column may be off by; the second is for what the first finds nothing in.
_DEVIATIONS = (4.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustRLG:
    """Name every class that the others cannot explain, within what the defence did to the update.

    What is visible in the update decides how:

    * Zeros scattered over a lattice, or below a sharp edge: every entry is known up to an interval (`_bounds`), and
      the labels are the columns that explain all others inside of theirs (`_peeling`).
    * Anything else, such as signs or added noise, is treated as noise, measured outside a leading subspace, and the
      cone is tilted by it (`_cone`). The true rank is drowned, so the test runs on a ladder of ranks, as far as
      directions stand out of independent noise. Below the true rank each further direction adds classes; above it
      the answer stays the same until the bulk makes everything separable. The answer taken is large and confirmed
      by the next rung, and does not name many more classes than it has directions.

    Rounding is strict RLG's business, and an update that rounding explains is left to it.

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and
       Protecting Labels in Distributed Training", NeurIPS 2021: the exact case, and its failure under
       sign compression. https://doi.org/10.48550/arXiv.2111.00556
    """

    name: ClassVar[str] = "rlg_robust"
    reference: ClassVar[str] = "this project; exact case: Dang et al. 2021, doi:10.48550/arXiv.2111.00556"
    cost: ClassVar[str] = "search"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that stand out, each with its direction."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the classes of a reading that stand out, each with its direction."""
        update = reading.update
        if reading.rounding_only():
            raise NotApplicable("rounding alone explains the noise: rlg reads this update")
        bounds = find_bounds(update)
        if bounds is not None:
            recovery = self._inside_bounds(update, bounds)
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
        found.widen(min(most + 16, full))
        left, values, left_over = found.decompose()
        most = min(most, visible_directions(values, float(np.linalg.norm(left_over)), operator))
        inside = left.T @ found.compressed
        for deviations in _DEVIATIONS:
            rank, separation = _climb(
                inside[:, operator.columns], left_over[operator.columns], operator, most, deviations
            )
            if separation is not None and separation.directions:
                break
        else:
            return Recovery(attack=self.name, status=Status.RECOVERED, details={"rank": 0})
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

    def _inside_bounds(self, update: Update, bounds: Bounds) -> Recovery | None:
        """Return the classes that explain the others, or None if too many columns stick out for that."""
        peeled = peel(update, bounds)
        if peeled is None:
            return None
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            labels=tuple(sorted(peeled.labels)),
            certificates=tuple(
                Certificate(label=label, present=True, margin=margin, direction=peeled.directions[label])
                for label, margin in sorted(peeled.labels.items())
            ),
            details={"bounds": bounds.kind, "visible_classes": bounds.columns.size, "rank": peeled.explained_by},
        )


def _climb(
    coordinates: np.ndarray, left_over: np.ndarray, operator: ScaledGradient, most: int, deviations: float
) -> tuple[int, Separation | None]:
    """Try a ladder of ranks and return the one whose answer is largest and confirmed by the next.

    Parameters
    ----------
    coordinates : ndarray of shape (k, C')
        Columns in the leading directions.
    left_over : ndarray of shape (C',)
        Norm of what every column has outside of them.
    operator : ScaledGradient
        Where they come from.
    most : int
        Highest rank to try.
    deviations : float
        Tilt, in standard deviations of the noise.
    """
    answers: list[tuple[int, Separation, frozenset[int]]] = []
    rank, crowded = 1, 0
    while rank <= most and crowded < 2:  # once everything is separable, it stays so
        outside = np.sqrt(left_over**2 + (coordinates[rank:] ** 2).sum(axis=0))
        level = max(float(np.sqrt(np.mean(outside**2))), 1e-12 * float(np.abs(coordinates).max()))
        noise = np.maximum(outside, level) / np.sqrt(max(operator.shape[0] - rank, 1))
        separation = separate(coordinates[:rank], noise, deviations=deviations)
        named = frozenset(separation.directions)
        crowded = crowded + 1 if len(named) > 2 * rank + 10 else 0
        answers.append((rank, separation, named))
        above = max(rank + 1, round(rank * _LADDER_RATIO))
        rank = most if rank < most < above else above
    scores = []
    for (rank, _, named), (_, _, following) in itertools.pairwise([*answers, *answers[-1:]]):
        possible = 0 < len(named) <= _CROWD * rank + 1
        # A plateau counts for more than height: in the bulk the answer grows with every direction.
        agreement = len(named & following) / max(len(named | following), 1)
        scores.append(agreement**4 * np.log1p(len(named)) if possible else 0.0)
    if not any(scores):
        return 0, None
    # The lowest rung about as good as the best: further up the bulk adds false names one by one.
    rank, separation, _ = answers[int(np.argmax(np.asarray(scores) >= _AS_GOOD * max(scores)))]
    return rank, separation
