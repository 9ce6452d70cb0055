"""The attack `matching`: gradient matching as an audit of transcripts runs it, beside linear algebra."""

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

    The claim is a transcript that explains the gradient. If none does, the claim is the best guess, marked as
    unfinished: an audit then counts a right guess as a leak, and a wrong guess leaves it inconclusive.

    Attributes
    ----------
    decoder : FreeContextDecoder
        Speller of the audited model: see `free_contexts`.
    settings : GradientMatching
        Settings of the search.
    time_budget : float
        Seconds after which the search stops, unfinished.
    report : callable or None
        Receives the progress: see `ProgressLine`.
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
            Gradient of one utterance.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Recovery
            With one of `Recovery.transcripts`; ``details["finished"]`` says whether it explains the gradient.

        Raises
        ------
        NotApplicable
            If the update poses no problem to this search.
        """
        deadline = time.monotonic() + self.time_budget
        found = self.settings.search(
            update, self.decoder, rng=rng, report=self.report, stop=lambda: time.monotonic() > deadline
        )
        counts = Counter(found.tokens)
        finished = found.status == Status.RECOVERED
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason="" if finished else found.reason,
            labels=tuple(sorted(counts)),
            counts=dict(sorted(counts.items())),
            positions=found.positions,
            details={"finished": finished, "starts": found.attempts, "steps": found.steps},
            variables=self.decoder.keys(every=self.settings.every_layer),
            transcripts=(found.tokens,),
        )
