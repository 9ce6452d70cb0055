"""Settings of gradient matching, as the problem and the search read them, and the numbers that decide in both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["MatchingRules", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchingRules:
    """Numbers that decide in a search, each with its plateau: the values that change no row of the benchmark.

    Attributes
    ----------
    label_scale : float
        Deviation of the entries behind the soft labels at the start. Small, so that no token is preferred.
    solved : float
        Share of the tolerance at which a descent stops.
    check_steps : int
        Steps of L-BFGS with the tokens held; the distance after them tells whether the tokens are right.
    moves_tried : int
        Orders that are fitted in each round of rearranging, the nearest before the fit first.
    brief_steps, long_steps : int
        Steps of L-BFGS for each of these orders, and for the order that is kept.
    """

    label_scale: float = field(default=0.03, metadata={"plateau": (0.00187, 0.48)})
    solved: float = field(default=1e-2, metadata={"plateau": (6.2e-4, 0.16)})
    check_steps: int = field(default=300, metadata={"plateau": (19, 4800)})
    moves_tried: int = field(default=6, metadata={"plateau": (1, 96)})
    brief_steps: int = field(default=40, metadata={"plateau": (2, 640)})
    long_steps: int = field(default=300, metadata={"plateau": (19, 4800)})


class Settings(Protocol):
    """Fields of `GradientMatching` that the problem and the search read; their meaning is documented there."""

    @property
    def objective(self) -> str:
        """Kind of distance."""

    @property
    def soft_labels(self) -> str:
        """Kind of soft labels."""

    @property
    def optimiser(self) -> str:
        """Name of the optimiser."""

    @property
    def restrict(self) -> bool:
        """Whether labels are restricted to recovered tokens."""

    @property
    def every_layer(self) -> bool:
        """Whether variables below the attention are matched too."""

    @property
    def subspace(self) -> bool:
        """Whether contexts are restricted to the directions of the head's gradient."""

    @property
    def known_end(self) -> bool:
        """Whether the last label is held at the end token."""

    @property
    def attempts(self) -> int:
        """Most starts."""

    @property
    def steps(self) -> int:
        """Most steps of a start."""

    @property
    def patience(self) -> int:
        """Steps without a change of the guess after which a start ends."""

    @property
    def learning_rate(self) -> float:
        """Rate of Adam's first step."""

    @property
    def final_learning_rate(self) -> float:
        """Rate of Adam's last step."""

    @property
    def context_scale(self) -> float:
        """Deviation of the contexts at the start."""

    @property
    def moves(self) -> int:
        """Most rounds of rearranging."""

    @property
    def tolerance(self) -> float:
        """Largest distance of a transcript that explains the gradient."""

    @property
    def rules(self) -> MatchingRules:
        """Numbers that decide."""
