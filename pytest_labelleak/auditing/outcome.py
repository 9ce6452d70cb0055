"""Outcome: held, leaked or inconclusive, and the comparison of figures with a bar."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.recovery import Status
from .evidence.confidence import observations_needed
from .verdict import Verdict

__all__ = ["TOLERANCE", "Bar", "Decision", "Outcome", "compare", "strongest", "within_bound"]

#: Far below one label in any batch: limits pass through decimal text in files and options.
TOLERANCE = 1e-9


class Outcome(str, enum.Enum):
    """The decision about one audit; only `HELD` passes."""

    HELD = "held"
    LEAKED = "leaked"
    INCONCLUSIVE = "inconclusive"

    def __str__(self) -> str:
        """Return the text that messages and records hold, the same on every Python."""
        return self.value

    __format__ = str.__format__  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The numbers that figures are compared with.

    Attributes
    ----------
    limit : float
        Highest figure that is tolerated: the threshold, or the baseline's figure for this test.
    threshold : float
        The configured threshold, also where a baseline decides.
    confidence : float or None
        Coverage of the upper bounds that a pass needs; None if the means alone decide.
    """

    limit: float
    threshold: float
    confidence: float | None = None

    @property
    def of_control(self) -> Bar:
        """The bar of a positive control: the threshold, by the means alone."""
        return Bar(limit=self.threshold, threshold=self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An outcome and the sentence that gives its reason, with figures and without labels.

    Attributes
    ----------
    outcome : Outcome
        Held, leaked or inconclusive.
    reason : str
        The rest of the sentence that begins with the outcome.
    """

    outcome: Outcome
    reason: str

    @property
    def message(self) -> str:
        """The sentence."""
        return f"{self.outcome}: {self.reason}"


def strongest(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict with the highest figure among the claims, the first on ties.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Any number.

    Returns
    -------
    Verdict or None
        None if no attack made a claim that has a figure.
    """
    best: Verdict | None = None
    highest = -math.inf
    for verdict in verdicts:
        if verdict.status == Status.RECOVERED and verdict.figure is not None and verdict.figure > highest:
            best, highest = verdict, verdict.figure
    return best


def compare(
    verdicts: Sequence[Verdict],
    bar: Bar,
    *,
    name: Callable[[Verdict], str],
    low: float,
    luck: Callable[[Verdict], str | None] = lambda verdict: None,
) -> Decision:
    """Compare the figures of one attack each with a bar.

    A leak of some batches is a fact about them, so the mean over the batches decides about "leaked". The absence of
    leaks in others is a conclusion, and with a confidence it is drawn only if every attack's one-sided
    upper bound is at or below the threshold.

    The bounds need no correction for the number of attacks. If the true maximum is above the threshold, some
    one attack's mean is, and a false "held" needs that attack's own bound to fail, whatever the others do:
    the intersection-union test [1]_. For the same reason the largest of the bounds is a bound of the maximum.
    An attack that did not apply counts with 0 in every batch, and has a bound like the others.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack. Attacks that were not run count neither way.
    bar : Bar
        The numbers to compare with. Where a baseline tolerates more than the threshold, that leak is accepted, and
        the means alone are compared with the limit.
    name : callable
        From a verdict to the name of its figure: "advantage".
    low : float
        Least value that the figure can have.
    luck : callable, optional
        From a verdict beyond the limit to the reason why it may be luck, as a clause, or None. Luck is no leak, and
        no pass either.

    Returns
    -------
    Decision
        A leak found by one attack stands whatever the others say; short of a leak, one
        inconclusive attack, or none that applies, makes the audit inconclusive.

    References
    ----------
    .. [1] R. L. Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24 (1982)
       295-300. https://doi.org/10.1080/00401706.1982.10487790
    """
    verdicts = [verdict for verdict in verdicts if verdict.status != Status.NOT_RUN]
    beyond = [verdict for verdict in verdicts if (verdict.figure or 0.0) > bar.limit + TOLERANCE]
    leak = strongest([verdict for verdict in beyond if luck(verdict) is None])
    if leak is not None:
        figure = f"{name(leak)} {leak.figure:.2f}"
        return Decision(outcome=Outcome.LEAKED, reason=f"{figure} > {_floor(bar.limit)} ({leak.attack})")
    best = strongest(verdicts)
    undecided = [verdict for verdict in verdicts if verdict.status == Status.INCONCLUSIVE]
    if undecided:
        # One reason for all attacks is a defect of the update or of the batch, not of one attack.
        common = len({verdict.message for verdict in verdicts}) == 1
        reason = undecided[0].reason
        return Decision(
            outcome=Outcome.INCONCLUSIVE, reason=reason if common else f"{undecided[0].attack} because {reason}"
        )
    if best is None:
        reasons = "; ".join(f"{verdict.attack} because {verdict.reason}" for verdict in verdicts)
        return Decision(outcome=Outcome.INCONCLUSIVE, reason=f"no attack applies: {reasons}")
    if beyond:
        why = luck(best)
        return Decision(
            outcome=Outcome.INCONCLUSIVE,
            reason=f"{name(best)} {best.figure:.2f} > {_floor(bar.limit)} ({best.attack}), but {why}",
        )
    return within_bound(f"{name(best)} {best.figure:.2f} <= {bar.limit:.2f} ({best.attack})", verdicts, bar, low=low)


def within_bound(point: str, verdicts: Sequence[Verdict], bar: Bar, *, low: float) -> Decision:
    """Return "held" for an audit that holds by the means, if the bounds are within the threshold as well.

    Parameters
    ----------
    point : str
        The comparison that holds, in words.
    verdicts : sequence of Verdict
        At least one; their bounds count.
    bar : Bar
        The numbers to compare with.
    low : float
        Least value that the figure can have.

    Returns
    -------
    Decision
        Held or inconclusive.
    """
    if bar.confidence is None or bar.limit > bar.threshold:
        return Decision(outcome=Outcome.HELD, reason=point)
    bound = max(1.0 if verdict.upper_bound is None else verdict.upper_bound for verdict in verdicts)
    level = f"the upper {100 * bar.confidence:g} % bound"
    if bound <= bar.threshold + TOLERANCE:
        return Decision(outcome=Outcome.HELD, reason=f"{point}, {level} {bound:.2f} <= {bar.threshold:.2f}")
    return Decision(
        outcome=Outcome.INCONCLUSIVE,
        reason=(
            f"{point}, but {level} over {_counted(verdicts)} batch(es) is {_ceiling(bound)} > "
            f"{_floor(bar.threshold)}; {_how_many(verdicts, bar.threshold, bar.confidence, low)}"
        ),
    )


def _counted(verdicts: Sequence[Verdict]) -> int:
    """Return the number of batches that count."""
    return max((len(values) for values in verdicts[0].series), default=verdicts[0].batches)


def _how_many(verdicts: Sequence[Verdict], threshold: float, confidence: float, low: float) -> str:
    """Say how many batches would do, if further ones are like those seen."""
    seen, needed = 0, 0
    for values in (values for verdict in verdicts for values in verdict.series):
        seen = len(values)
        enough = observations_needed(values, threshold, low=low, high=1.0, confidence=confidence)
        if enough is None:
            return "no number of batches like these decides: the mean is too close to it"
        needed = max(needed, enough)
    return f"pass about {max(needed - seen, 1)} more batches like these, or ask for less confidence"


def _floor(limit: float) -> str:
    # 0.996 > 0.994 must not print as "1.00 > 1.00": the limit is rounded down.
    return f"{math.floor(limit * 100) / 100:.2f}"


def _ceiling(bound: float) -> str:
    return f"{math.ceil(bound * 100) / 100:.2f}"
