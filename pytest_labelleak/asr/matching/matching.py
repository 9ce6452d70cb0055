"""Gradient matching: search for the transcript, and the contexts, whose gradient is the one that was shared.

The last step of Dang et al. (NeurIPS 2021, arXiv 2111.00556), after Zhu et al., "Deep leakage from gradients" (NeurIPS
2019, arXiv 1906.08935). The words, and how many positions there are, are recovered from the same update first; nothing
else is known but the weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Status
from ...core.update import Update
from ..decoders.free_contexts import FreeContextDecoder
from .minimise import OPTIMISERS
from .objectives import OBJECTIVES
from .problem import pose
from .progress import Progress
from .search import Matching, Search
from .state import State, fingerprint, read_state
from .unknowns import LABELS

__all__ = ["PUBLISHED", "GradientMatching", "Matching"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientMatching:
    """The search and its settings. One utterance per update.

    Attributes
    ----------
    objective : {"normalised", "plain", "cosine"}
        See `pytest_labelleak.asr._objectives.OBJECTIVES`.
    labels : {"softmax", "free"}
        Soft labels by a softmax, or entries without constraint.
    optimiser : {"lbfgs", "adam"}
        L-BFGS, or Adam, which takes many more steps.
    restrict : bool
        Only words that were recovered from the update, and not the whole vocabulary.
    every_layer : bool
        Match variables, too, whose gradients free contexts do not explain, because a part of them went through the
        attention's question. They pull the answer away.
    subspace : bool
        Look for contexts only in the directions that the head's gradient says they have, where the head takes them as
        they are: far fewer unknowns. Noise in the gradient turns the directions.
    known_end : bool
        Hold the last label at the token that ends every transcript, where the words have it.
    attempts : int
        Starts at the most; the search ends with the first whose transcript explains the gradient.
    steps : int
        Per attempt at the most.
    patience : int
        Stop when the guess has been unchanged for so many steps.
    learning_rate, final_learning_rate : float
        Of Adam, at the first and the last step; it falls exponentially.
    context_scale : float
        Deviation of the contexts at the start.
    moves : int
        Where a start ends without an explanation: at the most so many moves of single positions, each of which must
        explain more.
    tolerance : float
        Most that may be left of the gradient, in units of the objective, for a transcript to explain it.
    """

    objective: str = "normalised"
    labels: str = "softmax"
    optimiser: str = "lbfgs"
    restrict: bool = True
    every_layer: bool = False
    subspace: bool = True
    known_end: bool = True
    attempts: int = 5
    steps: int = 3000
    patience: int = 500
    learning_rate: float = 0.05
    final_learning_rate: float = 0.005
    context_scale: float = 0.3
    moves: int = 20
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        """Check the settings once."""
        for name, known in (("objective", OBJECTIVES), ("labels", LABELS), ("optimiser", OPTIMISERS)):
            if getattr(self, name) not in known:
                raise InvalidArgumentError(f"{name}={getattr(self, name)!r}. Expected one of {', '.join(known)}.")
        for name in ("attempts", "steps", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgumentError(f"{name}={value!r}. Expected an integer of at least 1.")
        if not isinstance(self.moves, int) or isinstance(self.moves, bool) or self.moves < 0:
            raise InvalidArgumentError(f"moves={self.moves!r}. Expected an integer of at least 0.")
        for name in ("learning_rate", "final_learning_rate", "context_scale", "tolerance"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0.0 < value < float("inf"):
                raise InvalidArgumentError(f"{name}={value!r}. Expected a finite number above 0.")

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
        """Search.

        Parameters
        ----------
        update : Update
            Gradient of one utterance.
        decoder : FreeContextDecoder
            The speller of the model with the weights that the gradient was taken at: see `free_contexts`.
        rng : numpy.random.Generator
            Source of every random choice.
        report : callable, optional
            Told how far the search is, every `every` steps: see `ProgressLine`.
        checkpoint : path_like, optional
            File in which the search is kept every `every` steps, and from which it goes on if it is there. **Private**:
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
        problem = pose(update, decoder, self)
        if isinstance(problem, str):
            return Matching(status=Status.NOT_APPLICABLE, message=f"not applicable, because {problem}")
        about = fingerprint(repr(self), [*(one.target for one in problem.distance.targets), problem.words])
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
    labels="free",
    optimiser="adam",
    every_layer=True,
    subspace=False,
    known_end=False,
    attempts=1,
    patience=2000,
    moves=0,
)
