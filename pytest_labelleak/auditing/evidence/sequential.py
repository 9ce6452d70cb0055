"""Bounds of mean advantages over the draws of a random defence, valid whenever the draws stop."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .confidence import lower_bound, observations_needed, upper_bound

__all__ = ["Decision", "Standing", "standing"]


class Decision(str, enum.Enum):
    """Position of the mean advantages, after the draws so far, against the limit.

    Attributes
    ----------
    ABOVE
        Some attack's mean advantage is above the limit.
    WITHIN
        Every attack's mean advantage is within the limit.
    OPEN
        Neither is certain: draw again, or stop undecided where nothing is left to spend.
    """

    ABOVE = "above"
    WITHIN = "within"
    OPEN = "open"

    def __str__(self) -> str:
        """Return the text, the same on every Python."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """Bounds of the largest mean advantage after some draws, and the decision they allow.

    Attributes
    ----------
    decision : Decision
        Against the limit.
    attack : str
        The attack with the largest lower bound if the decision is "above", else with the largest upper bound.
    mean : float
        Its mean advantage over the draws.
    lower : float
        Lower bound of the largest mean advantage of an attack, corrected for the number of attacks.
    upper : float
        Upper bound of it.
    draws : int
        Number of draws.
    further : int or None
        Estimated number of further draws until a decision, if they are like those seen. 0 once decided; None if no
        number would do, because a mean is not, or not noticeably, off the limit.
    """

    decision: Decision
    attack: str
    mean: float
    lower: float
    upper: float
    draws: int
    further: int | None


def standing(
    advantages: Mapping[str, Sequence[float]],
    limit: float,
    *,
    confidence: float = 0.95,
    low: float = -1.0,
    high: float = 1.0,
) -> Standing:
    """Compare the mean advantages of several attacks over the draws of a defence with a limit.

    Each bound is that of a bettor whose capital is a non-negative martingale at the true mean [1]_, so it holds at
    every number of draws at once: a test may draw, look, and draw again until `Standing.decision` is not open. A
    false decision in either direction has a probability of ``1 - confidence`` at most, over all looks together.

    "Within" needs every attack's upper bound, and no correction: if the largest mean is above the limit, one
    attack's own bound must have failed [2]_. "Above" needs one attack's lower bound, so each lower bound is given
    its part of ``1 - confidence``.

    The mean is that over the defence's randomness, for these batches and labels. A mean above the limit can still be
    luck of the labels, where an attack favours some classes: see `significance.claims_by_luck`.

    Parameters
    ----------
    advantages : mapping of str to sequence of float
        For every attack, one figure per draw: the mean over the batches in this draw. All sequences have the same
        length.
    limit : float
        Tolerated advantage, in (low, high).
    confidence : float, default 0.95
        Coverage in either direction, in (0, 1).
    low, high : float, default -1, 1
        Bounds of a figure: -1 and 1 for advantages, 0 and 1 for shares.

    Returns
    -------
    Standing
        Decision and bounds. Without attack or draw the decision is open and the bounds are `low` and `high`.

    References
    ----------
    .. [1] I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting",
       J. R. Stat. Soc. B 86 (2024) 1-27. https://doi.org/10.1093/jrsssb/qkad009
    .. [2] R. L. Berger, "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics 24 (1982)
       295-300. https://doi.org/10.1080/00401706.1982.10487790

    Examples
    --------
    >>> str(standing({"llg": [0.5] * 20, "yin": [0.0] * 20}, 0.1).decision)
    'above'
    >>> now = standing({"llg": [0.0] * 12, "yin": [0.01] * 12}, 0.1)
    >>> str(now.decision), now.attack, now.further
    ('open', 'yin', 36)
    >>> str(standing({"llg": [0.0] * 48, "yin": [0.01] * 48}, 0.1).decision)
    'within'
    """
    draws = min(map(len, advantages.values()), default=0)
    if not draws:
        return Standing(decision=Decision.OPEN, attack="", mean=0.0, lower=low, upper=high, draws=0, further=None)
    shared = 1.0 - (1.0 - confidence) / len(advantages)
    bounds = {"low": low, "high": high}
    uppers = {name: upper_bound(values, confidence=confidence, **bounds) for name, values in advantages.items()}
    lowers = {name: lower_bound(values, confidence=shared, **bounds) for name, values in advantages.items()}
    highest, surest = max(uppers, key=lambda name: uppers[name]), max(lowers, key=lambda name: lowers[name])
    if lowers[surest] > limit:
        decision, attack = Decision.ABOVE, surest
    elif uppers[highest] <= limit:
        decision, attack = Decision.WITHIN, highest
    else:
        decision, attack = Decision.OPEN, highest
    further: int | None = 0
    if decision is Decision.OPEN:
        needed = _draws_needed(advantages, limit, confidence, shared, bounds)
        further = None if needed is None else max(1, needed - draws)
    return Standing(
        decision=decision,
        attack=attack,
        mean=math.fsum(advantages[attack]) / draws,
        lower=lowers[surest],
        upper=uppers[highest],
        draws=draws,
        further=further,
    )


def _draws_needed(
    advantages: Mapping[str, Sequence[float]], limit: float, confidence: float, shared: float, bounds: dict[str, float]
) -> int | None:
    """Return how many draws like these decide: all attacks within the limit, or the first one above it."""
    within = [observations_needed(v, limit, confidence=confidence, **bounds) for v in advantages.values()]
    known = [count for count in within if count is not None]
    if len(known) == len(within):
        return max(known)
    total = bounds["low"] + bounds["high"]
    above = [
        observations_needed([total - value for value in values], total - limit, confidence=shared, **bounds)
        for values in advantages.values()
    ]
    return min((count for count in above if count is not None), default=None)
