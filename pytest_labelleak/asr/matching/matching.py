"""Gradient matching: the settings, and one call that searches.

The last step of Dang et al. (NeurIPS 2021, arXiv 2111.00556), after Zhu et al., "Deep leakage from gradients" (NeurIPS
2019, arXiv 1906.08935). The tokens and the number of label positions are recovered from the same update first; the
weights are the only other knowledge.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...core.errors import InvalidArgumentError, quoted
from ...core.recovery import NotApplicable, Status
from ...core.update import Update
from ..decoders.free_contexts import FreeContextDecoder
from .claim import Matching
from .minimise import OPTIMISERS
from .objectives import OBJECTIVES
from .problem import pose
from .progress import Progress
from .search import Search
from .settings import MatchingRules
from .state import State, fingerprint, read_state
from .unknowns import SOFT_LABELS

__all__ = ["PUBLISHED", "GradientMatching"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMatching:
    """The search and its settings. One utterance per update.

    Attributes
    ----------
    objective : {"normalised", "plain", "cosine"}
        Kind of distance: see `pytest_labelleak.asr.matching.objectives.OBJECTIVES`.
    soft_labels : {"softmax", "free"}
        Soft labels by a softmax, or entries without constraint.
    optimiser : {"lbfgs", "adam"}
        L-BFGS, or Adam, which takes many more steps.
    restrict : bool
        Labels are tokens that were recovered from the update, instead of the whole vocabulary.
    every_layer : bool
        Match also the variables below the attention. A part of their gradients went through the attention's query,
        free contexts do not explain that part, and it pulls the search away from the true transcript.
    subspace : bool
        Look for contexts only in the directions that the head's gradient spans, where the head takes the context
        unchanged: far fewer unknowns. Noise in the gradient turns these directions.
    known_end : bool
        Hold the last label at the token that ends every transcript, where it is among the recovered tokens.
    attempts : int
        Most starts; the search ends with the first transcript that explains the gradient.
    steps : int
        Most steps of a start.
    patience : int
        Steps without a change of the guess after which a start ends.
    learning_rate, final_learning_rate : float
        Rates of Adam's first and last step; the rate falls exponentially.
    context_scale : float
        Deviation of the contexts at the start.
    moves : int
        Most moves of single positions after a start that explains nothing; each must explain more.
    tolerance : float
        Largest rest of the gradient, in units of the objective, that a transcript may leave to explain it.
    rules : MatchingRules
        Numbers that decide inside the search.
    """

    objective: str = "normalised"
    soft_labels: str = "softmax"
    optimiser: str = "lbfgs"
    restrict: bool = True
    every_layer: bool = False
    subspace: bool = True
    known_end: bool = True
    attempts: int = 5
    steps: int = 3000
    patience: int = field(default=500, metadata={"plateau": (31, 8000)})
    learning_rate: float = 0.05
    final_learning_rate: float = 0.005
    context_scale: float = field(default=0.1, metadata={"plateau": (0.00625, 0.4)})
    moves: int = 20
    tolerance: float = field(default=1e-5, metadata={"plateau": (6.2e-7, 1.6e-4)})
    rules: MatchingRules = field(default_factory=MatchingRules)

    def __post_init__(self) -> None:
        """Check the settings once."""
        for name, known in (("objective", OBJECTIVES), ("soft_labels", SOFT_LABELS), ("optimiser", OPTIMISERS)):
            if getattr(self, name) not in known:
                raise InvalidArgumentError(f"{name}={quoted(getattr(self, name))}. Expected one of {', '.join(known)}.")
        for name in ("attempts", "steps", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgumentError(f"{name}={quoted(value)}. Expected an integer of at least 1.")
        if not isinstance(self.moves, int) or isinstance(self.moves, bool) or self.moves < 0:
            raise InvalidArgumentError(f"moves={quoted(self.moves)}. Expected an integer of at least 0.")
        for name in ("learning_rate", "final_learning_rate", "context_scale", "tolerance"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0.0 < value < float("inf"):
                raise InvalidArgumentError(f"{name}={quoted(value)}. Expected a finite number above 0.")

    def __call__(
        self,
        update: Update,
        decoder: FreeContextDecoder,
        *,
        rng: np.random.Generator,
        report: Callable[[Progress], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int = 200,
        stop: Callable[[], bool] | None = None,
    ) -> Matching:
        """Search, and return a claim also where the update poses no problem.

        Parameters
        ----------
        update : Update
            Gradient of one utterance.
        decoder : FreeContextDecoder
            Speller of the model, with the weights at which the gradient was taken: see `free_contexts`.
        rng : numpy.random.Generator
            Source of every random choice.
        report : callable, optional
            Receives the progress every `every` steps: see `ProgressLine`.
        checkpoint : path_like, optional
            File that keeps the search every `every` steps, and from which it goes on if the file is there. **Private**:
            it holds guesses of the transcript, and only its owner may read it. Adam goes on exactly, L-BFGS from the
            same point with an empty memory. The file stays when the search is over, and then gives its answer at once.
        every : int, default 200
            Steps between reports and between checkpoints.
        stop : callable, optional
            Asked after every step whether time is up.

        Returns
        -------
        Matching

        Raises
        ------
        InvalidArgumentError
            If the checkpoint is of another search.
        """
        try:
            return self.search(update, decoder, rng=rng, report=report, checkpoint=checkpoint, every=every, stop=stop)
        except NotApplicable as refusal:
            return Matching(status=Status.NOT_APPLICABLE, reason=refusal.because)

    def search(
        self,
        update: Update,
        decoder: FreeContextDecoder,
        *,
        rng: np.random.Generator,
        report: Callable[[Progress], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int = 200,
        stop: Callable[[], bool] | None = None,
    ) -> Matching:
        """Search, and refuse an update that poses no problem.

        Parameters
        ----------
        update, decoder, rng, report, checkpoint, every, stop
            As for a call.

        Returns
        -------
        Matching
            "recovered" or "inconclusive".

        Raises
        ------
        NotApplicable
            If the update poses no problem to this search.
        InvalidArgumentError
            If the checkpoint is of another search.
        """
        problem = pose(update, decoder, self)
        about = fingerprint(repr(self), [*(one.target for one in problem.distance.targets), problem.bag])
        state = None if checkpoint is None else read_state(checkpoint, about)
        if state is None:
            state = State(seeds=rng.integers(2**63, size=self.attempts, dtype=np.uint64))
        return Search(
            settings=self,
            problem=problem,
            state=state,
            report=report,
            checkpoint=checkpoint,
            about=about,
            every=every,
            stop=stop,
        ).run()


#: The published procedure as far as it can be read: every layer, squared distance, free labels, one start.
PUBLISHED = GradientMatching(
    objective="plain",
    soft_labels="free",
    optimiser="adam",
    every_layer=True,
    subspace=False,
    known_end=False,
    attempts=1,
    patience=2000,
    moves=0,
)
