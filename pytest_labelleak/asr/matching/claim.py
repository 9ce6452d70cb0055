"""The claim of gradient matching: a transcript, its contexts, and the distance that they leave."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...core.recovery import Status

__all__ = ["Matching"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """Claim of gradient matching.

    Attributes
    ----------
    status : Status
        "recovered" if the transcript, with some contexts, reproduces the shared gradient up to the tolerance.
    reason : str
        Why the status is another than "recovered", as a clause; else a remark. Holds no token.
    tokens : tuple of int
        The transcript; of the best start where the claim is inconclusive. Private.
    contexts : ndarray of shape (initial + S, d), or None
        Contexts that belong to the transcript. Private.
    positions : int or None
        Number S of label positions, recovered.
    loss : float
        Objective where the search stopped.
    residual : float
        Objective with the labels held at `tokens` and the contexts fitted once more.
    steps : int
        Steps of all starts.
    attempts : int
        Number of starts.
    unchanged : int
        Steps without a change of the guess at the end of the last start.
    """

    status: Status
    reason: str = ""
    tokens: tuple[int, ...] = field(default=(), repr=False)
    contexts: np.ndarray | None = field(default=None, repr=False)
    positions: int | None = None
    loss: float = float("nan")
    residual: float = float("nan")
    steps: int = 0
    attempts: int = 0
    unchanged: int = 0

    @property
    def message(self) -> str:
        """The reason as a sentence for people."""
        return self.status.worded(self.reason)
