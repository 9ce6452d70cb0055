"""Audit: all verdicts on one model and its batches, and the decision between held, leaked and inconclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .recovery import INCONCLUSIVE, RECOVERED
from .verdict import Verdict

__all__ = ["HELD", "LEAKED", "Audit", "outcome_of", "strongest"]

HELD = "held"
LEAKED = "leaked"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """The outcome of attacking a model's updates, and everything that led to it.

    Attributes
    ----------
    outcome : {"held", "leaked", "inconclusive"}
        Whether the advantage is above `limit`.
    message : str
        The reason, with figures and without labels.
    advantage : float
        Maximum over the attacks.
    limit : float
        What the advantage was compared with.
    limit_source : {"threshold", "baseline"}
        Where the limit comes from.
    threshold : float
        The configured threshold, also where the baseline decided.
    verdicts : tuple of Verdict
        One per attack, in the order they ran.
    control : tuple of Verdict
        With a defence: the same attacks on the undefended updates (positive control).
    classes, batches : int
        Size of the problem.
    defence : str or None
        Name of the defence.
    origin, device, compute_dtype, head : str
        Where the updates came from.
    """

    outcome: str
    message: str
    advantage: float
    limit: float
    limit_source: str = "threshold"
    threshold: float
    verdicts: tuple[Verdict, ...]
    control: tuple[Verdict, ...] = ()
    classes: int = 0
    batches: int = 1
    defence: str | None = None
    origin: str = ""
    device: str = ""
    compute_dtype: str = ""
    head: str = ""

    @property
    def strongest(self) -> Verdict | None:
        """The verdict with the highest advantage among the attacks that made a claim, or None."""
        return strongest(self.verdicts)

    def to_record(self, *, show_labels: bool = False) -> dict[str, Any]:
        """Return the audit as a dictionary of JSON types, without labels unless asked.

        Parameters
        ----------
        show_labels : bool, default False
            Include what was named.

        Returns
        -------
        dict
            As described by the report's JSON schema.
        """
        best = self.strongest
        return {
            "outcome": self.outcome,
            "message": self.message,
            "advantage": round(self.advantage, 6),
            "limit": round(self.limit, 6),
            "limit_source": self.limit_source,
            "threshold": round(self.threshold, 6),
            "strongest_attack": None if best is None else best.attack,
            "classes": self.classes,
            "batches": self.batches,
            "defence": self.defence,
            "origin": self.origin,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "head": self.head,
            "verdicts": [v.to_record(show_labels=show_labels) for v in self.verdicts],
            "control": [v.to_record(show_labels=show_labels) for v in self.control],
        }


def strongest(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict with the highest advantage among those with a claim, the first on ties.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Any number.

    Returns
    -------
    Verdict or None
        None if no attack made a claim.
    """
    best = None
    for verdict in verdicts:
        if verdict.status == RECOVERED and (best is None or verdict.advantage > best.advantage):
            best = verdict
    return best


def outcome_of(verdicts: Sequence[Verdict], limit: float) -> tuple[str, str]:
    """Decide between held, leaked and inconclusive.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack.
    limit : float
        Highest advantage that is tolerated.

    Returns
    -------
    outcome, message : str
        A leak found by one attack stands whatever the others say; short of a leak, one
        inconclusive attack, or none that applies, makes the audit inconclusive.
    """
    best = strongest(verdicts)
    # A tolerance far below one label in any batch: limits pass through decimal text in files and options.
    if best is not None and best.advantage > limit + 1e-9:
        return LEAKED, f"leaked: advantage {best.advantage:.2f} > {_floor(limit)} ({best.attack})"
    undecided = [v for v in verdicts if v.status == INCONCLUSIVE]
    if undecided:
        common = len({verdict.message for verdict in verdicts}) == 1
        reason = _tail(undecided[0].message)
        if common:  # a defect of the update or of the batch, not of one attack
            return INCONCLUSIVE, f"inconclusive: {reason.removeprefix('because ')}"
        return INCONCLUSIVE, f"inconclusive: {undecided[0].attack} {reason}"
    if best is None:
        reasons = "; ".join(f"{v.attack} {_tail(v.message)}" for v in verdicts)
        return INCONCLUSIVE, f"inconclusive: no attack applies: {reasons}"
    return HELD, f"held: advantage {best.advantage:.2f} <= {limit:.2f} ({best.attack})"


def _floor(limit: float) -> str:
    # 0.996 > 0.994 must not print as "1.00 > 1.00"... round the limit down instead.
    return f"{math.floor(limit * 100) / 100:.2f}"


def _tail(message: str) -> str:
    for prefix in ("inconclusive, ", "not applicable, "):
        message = message.replace(prefix, "")
    return message
