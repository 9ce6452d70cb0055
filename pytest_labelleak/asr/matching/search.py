"""The search: starts, steps, the check of a guess, and the claim at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.recovery import Status
from .claim import Matching
from .minimise import adam, lbfgs
from .progress import Progress
from .rearrange import rearrange
from .settings import Settings
from .state import State, write_state
from .unknowns import Unknowns

__all__ = ["Search"]


class Search:
    """One search in progress.

    Parameters
    ----------
    settings : Settings
        Limits, optimiser and tolerance.
    problem : Unknowns
        Distance to minimise, and its unknowns.
    state : State
        Progress so far; changed by the search.
    report, checkpoint, every, stop
        As for `GradientMatching`.
    about : str
        Fingerprint of the search, kept in its checkpoint.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        problem: Unknowns,
        state: State,
        report: Callable[[Progress], None] | None,
        checkpoint: str | os.PathLike[str] | None,
        about: str,
        every: int,
        stop: Callable[[], bool] | None,
    ) -> None:
        self._settings, self._problem, self._state = settings, problem, state
        self._report, self._checkpoint, self._about, self._every = report, checkpoint, about, every
        self._stop = stop
        self._late = False
        #: Distance at which a descent stops: far enough below the tolerance to leave no doubt.
        self._solved = settings.rules.solved * settings.tolerance

    def run(self) -> Matching:
        """Start until a transcript explains the gradient, or until starts or time run out.

        Returns
        -------
        Matching
        """
        settings, state = self._settings, self._state
        while state.attempt < settings.attempts and state.best_residual > settings.tolerance:
            if self._attempt():
                break
            state.attempt, state.step, state.unchanged = state.attempt + 1, 0, 0
            state.vector = state.moments = None
            self._save()
        return self._claim()

    def _attempt(self) -> bool:
        """Finish the start in progress; return whether time ran out meanwhile."""
        settings, problem, state = self._settings, self._problem, self._state
        if state.vector is None:
            rng = np.random.default_rng(int(state.seeds[state.attempt]))
            state.vector = problem.start(rng, context_scale=settings.context_scale)
            state.tokens = problem.guess(state.vector)
        if state.step < settings.steps and state.unchanged < settings.patience:
            if settings.optimiser == "adam":
                fall = settings.final_learning_rate / settings.learning_rate

                def rate(step: int) -> float:
                    return float(settings.learning_rate * fall ** min(1.0, step / settings.steps))

                adam(problem, state.vector, state.moments, step=state.step, rate=rate, after=self._after)
            else:
                left = settings.steps - state.step
                lbfgs(problem, state.vector, most=left, after=lambda vector, value: self._after(vector, value, None))
        if self._late:
            return True
        part, residual = lbfgs(
            lambda vector: problem.at_transcript(state.tokens, vector),
            problem.split(state.vector)[0],
            most=settings.rules.check_steps,
            after=lambda vector, value: value < self._solved,
        )
        tokens, part, residual = rearrange(
            problem,
            state.tokens,
            part,
            residual,
            rounds=settings.moves,
            enough=self._solved,
            rules=settings.rules,
            stop=lambda: self._stop is not None and self._stop(),
        )
        if residual < state.best_residual:
            state.best_loss, state.best_residual = problem(state.vector)[0], residual
            state.best_tokens, state.best_contexts = tokens, problem.contexts(part)
        return False

    def _after(self, vector: np.ndarray, value: float, moments: np.ndarray | None) -> bool:
        """Record one step; return whether to stop."""
        settings, state = self._settings, self._state
        guess = self._problem.guess(vector)
        state.unchanged = state.unchanged + 1 if guess == state.tokens else 0
        state.vector, state.moments, state.tokens = vector, moments, guess
        state.step += 1
        state.total += 1
        self._late = self._stop is not None and self._stop()
        if state.step % self._every == 0 or self._late:
            self._save()
            if self._report is not None:
                self._report(
                    Progress(
                        attempt=state.attempt + 1,
                        attempts=settings.attempts,
                        step=state.step,
                        steps=settings.steps,
                        loss=value,
                        unchanged=state.unchanged,
                        tokens=guess,
                    )
                )
        solved = value < self._solved
        return self._late or solved or state.step >= settings.steps or state.unchanged >= settings.patience

    def _save(self) -> None:
        if self._checkpoint is not None:
            write_state(self._checkpoint, self._state, self._about)

    def _claim(self) -> Matching:
        settings, state, problem = self._settings, self._state, self._problem
        shared: dict[str, Any] = {
            "positions": problem.positions,
            "steps": state.total,
            "attempts": min(state.attempt + self._late, settings.attempts),
            "unchanged": state.unchanged,
        }
        if not state.best_tokens:
            return Matching(
                status=Status.INCONCLUSIVE,
                reason=f"time ran out after {state.total} steps of the first start; go on from "
                "the checkpoint, or give it more time",
                tokens=state.tokens,
                **shared,
            )
        shared |= {
            "tokens": state.best_tokens,
            "contexts": state.best_contexts,
            "loss": state.best_loss,
            "residual": state.best_residual,
        }
        if state.best_residual <= settings.tolerance and any(one.signs for one in problem.distance.targets):
            return Matching(
                status=Status.INCONCLUSIVE,
                reason="nothing but signs was shared: the transcript found has them all, but that is no proof",
                **shared,
            )
        if state.best_residual <= settings.tolerance:
            return Matching(status=Status.RECOVERED, reason="the transcript explains the gradient", **shared)
        return Matching(
            status=Status.INCONCLUSIVE,
            reason=f"the best of {shared['attempts']} start(s) leaves {state.best_residual:.1e} "
            f"of the gradient unexplained, more than {settings.tolerance:.1e}; allow more attempts or steps",
            **shared,
        )
