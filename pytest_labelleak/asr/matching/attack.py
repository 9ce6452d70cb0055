"""Gradient matching as an attack, which an audit of transcripts can run beside the closed form."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import Recovery, Status
from ...core.update import Update
from ..decoders.free_contexts import FreeContextDecoder
from ..time_budget import check_time_budget
from .matching import GradientMatching
from .progress import Progress

__all__ = ["MatchingAttack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchingAttack:
    """Search for the transcript of one utterance by gradient matching.

    A transcript that explains the gradient is its claim. Without one it claims the best guess, and says that it has not
    finished: an audit then counts a right guess as a leak, and is inconclusive for a wrong one.

    Attributes
    ----------
    decoder : FreeContextDecoder
        The speller of the audited model: see `free_contexts`.
    settings : GradientMatching
        Of the search.
    time_budget : float
        Seconds after which it stops, inconclusive.
    report : callable or None
        Told how far it is: see `ProgressLine`.
    """

    name: ClassVar[str] = "matching"
    reference: ClassVar[str] = "Dang et al. 2021, arXiv 2111.00556"
    cost: ClassVar[str] = "search"

    decoder: FreeContextDecoder = field(repr=False)
    settings: GradientMatching = field(default_factory=GradientMatching)
    time_budget: float = 600.0
    report: Callable[[Progress], None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the budget."""
        check_time_budget(self.time_budget)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Search.

        Parameters
        ----------
        update : Update
            Of one utterance.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Recovery
            With one of `Recovery.transcripts`; ``details["finished"]`` says whether it explains the gradient.
        """
        deadline = time.monotonic() + self.time_budget
        found = self.settings(
            update, self.decoder, rng=rng, report=self.report, stop=lambda: time.monotonic() > deadline
        )
        if found.status == Status.NOT_APPLICABLE:
            return Recovery(
                attack=self.name,
                status=Status(found.status),
                reason=found.message.removeprefix("not applicable, because "),
            )
        counts = Counter(found.tokens)
        finished = found.status == Status.RECOVERED
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason="" if finished else found.message.removeprefix("inconclusive, because "),
            labels=tuple(sorted(counts)),
            counts=dict(sorted(counts.items())),
            positions=found.positions,
            details={"finished": finished, "starts": found.attempts, "steps": found.steps},
            variables=self.decoder.keys(every=self.settings.every_layer),
            transcripts=(found.tokens,),
        )
