"""The decision between held, leaked and inconclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.recovery import Status
from .confidence import observations_needed
from .verdict import FURTHER_ADVANTAGES, Verdict

__all__ = ["HELD", "LEAKED", "figure_of", "outcome_of", "strongest", "within_bound"]

HELD = "held"
LEAKED = "leaked"


def strongest(verdicts: Sequence[Verdict], *, samples: bool = False) -> Verdict | None:
    """Return the verdict with the highest figure among those with a claim, the first on ties.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Any number.
    samples : bool, default False
        Compare the shares of label positions isolated, among the attacks that isolate any.

    Returns
    -------
    Verdict or None
        None if no attack made a claim.
    """
    best = None
    for verdict in verdicts:
        if verdict.status != Status.RECOVERED or (samples and verdict.samples_isolated is None):
            continue
        if best is None or figure_of(verdict, samples=samples) > figure_of(best, samples=samples):
            best = verdict
    return best


def figure_of(verdict: Verdict, *, samples: bool) -> float:
    """Return what of a verdict is compared with the limit.

    Parameters
    ----------
    verdict : Verdict
        Of one attack.
    samples : bool
        Whether samples were asked for.

    Returns
    -------
    float
        The share of label positions isolated, or `Verdict.figure`.
    """
    return (verdict.samples_isolated or 0.0) if samples else verdict.figure


def outcome_of(
    verdicts: Sequence[Verdict],
    limit: float,
    *,
    confidence: float | None = None,
    threshold: float | None = None,
    samples: bool = False,
) -> tuple[str, str]:
    """Decide between held, leaked and inconclusive.

    That some batches leaked is a fact about them, so the mean over the batches decides about "leaked". That
    others will not is a conclusion, and with `confidence` it is drawn only if every attack's one-sided
    upper bound is at or below the threshold.

    The bounds need no correction for the number of attacks. If the true maximum is above the threshold, some
    one attack's mean is, and a false "held" needs that attack's own bound to fail, whatever the others do:
    the intersection-union test [1]_. For the same reason the largest of the bounds is a bound of the maximum.
    An attack that did not apply counts with 0 in every batch, and has a bound like the others.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack. Attacks that were not run count neither way.
    limit : float
        Highest advantage that is tolerated.
    confidence : float, optional
        Coverage of the bounds that the verdicts carry; without it, the means alone decide.
    threshold : float, optional
        What the bounds are compared with; by default `limit`. Where a baseline tolerates more than the
        threshold, that leak is accepted, and the means alone are compared with what is recorded.
    samples : bool, default False
        Compare the share of label positions isolated instead of the advantage; see `isolation_outcome`.

    Returns
    -------
    outcome, message : str
        A leak found by one attack stands whatever the others say; short of a leak, one
        inconclusive attack, or none that applies, makes the audit inconclusive.

    References
    ----------
    .. [1] R. L. Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24 (1982)
       295-300. https://doi.org/10.1080/00401706.1982.10487790
    """
    verdicts = [verdict for verdict in verdicts if verdict.status != Status.NOT_RUN]
    best = strongest(verdicts, samples=samples)
    # A tolerance far below one label in any batch: limits pass through decimal text in files and options.
    if best is not None and figure_of(best, samples=samples) > limit + 1e-9:
        return LEAKED, f"leaked: {_named_figure(best, samples=samples)} > {_floor(limit)} ({best.attack})"
    undecided = [v for v in verdicts if v.status == Status.INCONCLUSIVE]
    if undecided:
        common = len({verdict.message for verdict in verdicts}) == 1
        reason = _tail(undecided[0].message)
        if common:  # a defect of the update or of the batch, not of one attack
            return Status.INCONCLUSIVE, f"inconclusive: {reason.removeprefix('because ')}"
        return Status.INCONCLUSIVE, f"inconclusive: {undecided[0].attack} {reason}"
    if best is None:
        reasons = "; ".join(f"{v.attack} {_tail(v.message)}" for v in verdicts)
        return Status.INCONCLUSIVE, f"inconclusive: no attack applies: {reasons}"
    point = f"{_named_figure(best, samples=samples)} <= {limit:.2f} ({best.attack})"
    return within_bound(point, verdicts, limit, confidence, threshold, low=0.0 if samples else -1.0)


def within_bound(
    point: str,
    verdicts: Sequence[Verdict],
    limit: float,
    confidence: float | None,
    threshold: float | None,
    *,
    low: float,
) -> tuple[str, str]:
    """Return "held" for what holds by the means, if the bounds are within the threshold as well.

    Parameters
    ----------
    point : str
        What holds, in words.
    verdicts : sequence of Verdict
        At least one; their bounds count.
    limit, confidence, threshold
        As for `outcome_of`.
    low : float
        Least value that what is bounded can have.

    Returns
    -------
    outcome, message : str
        "held" or "inconclusive".
    """
    threshold = limit if threshold is None else threshold
    if confidence is None or limit > threshold:
        return HELD, f"held: {point}"
    bound = max(1.0 if v.upper_bound is None else v.upper_bound for v in verdicts)
    level = f"the upper {100 * confidence:g} % bound"
    if bound <= threshold + 1e-9:
        return HELD, f"held: {point}, {level} {bound:.2f} <= {threshold:.2f}"
    return Status.INCONCLUSIVE, (
        f"inconclusive: {point}, but {level} over {verdicts[0].batches} batch(es) is {_ceiling(bound)} > "
        f"{_floor(threshold)}; {_how_many(verdicts, threshold, confidence, low)}"
    )


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


def _named_figure(verdict: Verdict, *, samples: bool) -> str:
    if samples:
        return f"share of samples isolated {figure_of(verdict, samples=True):.2f}"
    names = ("advantage", *FURTHER_ADVANTAGES)
    name = next(name for name in names if getattr(verdict, name) == verdict.figure)
    return f"{name.replace('_', ' ')} {verdict.figure:.2f}"


def _floor(limit: float) -> str:
    # 0.996 > 0.994 must not print as "1.00 > 1.00"... round the limit down instead.
    return f"{math.floor(limit * 100) / 100:.2f}"


def _ceiling(bound: float) -> str:
    return f"{math.ceil(bound * 100) / 100:.2f}"


def _tail(message: str) -> str:
    for prefix in ("inconclusive, ", "not applicable, "):
        message = message.replace(prefix, "")
    return message
