"""Running a portfolio of attacks over the batches of an audit, no further than its outcome needs."""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable, Sequence

from .. import attacks as attacks_
from ..attacks.gradient.reading import Reading
from ..attacks.registry import prepare
from ..core.recovery import Recovery, Status
from ..core.truth import Truth
from ..core.update import Update
from .questions.pooling import pool
from .questions.question import Question
from .verdict import Verdict

__all__ = ["Clock", "Columns", "PortfolioRun", "size_of"]

#: Bytes of earlier updates that are kept for attacks that may still have to see them.
_MOST_KEPT = 2**28

#: For each attack that ran, its verdicts by batch.
Columns = Sequence[Sequence[Verdict]]


class _Overtime(BaseException):
    """Raised inside an attack when the time budget is spent; no `except Exception` of an attack catches it."""


class Clock:
    """The time budget of one audit.

    Parameters
    ----------
    seconds : float, optional
        From now on; by default there is no end.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() >= self._end

    def timed(self, name: str, attack: Callable[[], Recovery]) -> Recovery:
        """Run an attack, and stop it when the budget is spent.

        Parameters
        ----------
        name : str
            The attack's name.
        attack : callable
            The attack on one update.

        Returns
        -------
        Recovery
            Inconclusive if the budget was spent before the attack had an answer.
        """
        if math.isinf(self.seconds):
            return attack()
        late = Recovery.inconclusive(
            name,
            f"the time budget of {self.seconds:g} s was spent before it had an answer; raise time_budget=, use smaller "
            "batches, or choose attacks=",
        )
        left = self._end - time.monotonic()
        if left <= 0.0:
            return late
        # An exception in the running thread, and no signal: signals belong to the main thread and to other plugins.
        thread = ctypes.c_ulong(threading.get_ident())
        lock, over, thrown = threading.Lock(), False, False

        def throw() -> None:
            nonlocal thrown
            with lock:
                if not over:
                    thrown = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_Overtime))

        timer = threading.Timer(left, throw)
        timer.daemon = True
        try:
            try:
                timer.start()
                return attack()
            except _Overtime:
                thrown = False
                raise
            finally:
                timer.cancel()
                with lock:
                    over = True
                # An exception that is still on its way must arrive here. To take it back would leave the interpreter
                # waiting for it: CPython below 3.12 then hangs under a profiler, a tracer or a debugger.
                while thrown:
                    time.sleep(0.0)
        except _Overtime:
            return late


class PortfolioRun:
    """Runs attacks on one batch after another, cheapest first.

    At any time, the first so many attacks have run on all batches so far, and the others on none: no verdict
    ever has a gap. While nothing is settled, the next attack is run on all batches so far, for which
    their updates are kept. If they grow beyond a bound, nothing is left out from then on, and none is kept.
    So the outcome is that of a full run whatever comes, and at most two large updates are alive at a time.

    Parameters
    ----------
    question : Question
        Scores and pools the claims.
    members : sequence of attack
        In the order to run them.
    seed : int
        Of the audit.
    clock : Clock, optional
        The time budget; by default there is none.
    settled : callable, optional
        From the columns so far to the reason why no further attack matters, or None; by default every attack runs.
    prepared : dict of (int, str) to attack, optional
        Attacks as earlier runs over the same batches prepared them, by batch and name; takes those that are missing.
        By default attacks are not prepared.
    """

    def __init__(
        self,
        question: Question,
        members: Sequence[attacks_.Attack],
        *,
        seed: int,
        settled: Callable[[Columns], str | None] | None = None,
        clock: Clock | None = None,
        prepared: dict[tuple[int, str], attacks_.Attack] | None = None,
    ) -> None:
        self._question = question
        self._prepared = prepared
        self._members = tuple(members)
        self._seed = seed
        self._settled = settled
        self._clock = clock or Clock()
        self._because = ""
        self._columns: list[list[Verdict]] = []
        self._kept: list[tuple[int, Update | None, Truth]] = []
        self._batches = 0
        if settled is None:
            self._columns = [[] for _ in self._members]

    @property
    def columns(self) -> Columns:
        """For each attack that ran, its verdicts by batch."""
        return self._columns

    def _is_complete(self) -> bool:
        return len(self._columns) == len(self._members)

    def add(self, update: Update | None, truth: Truth) -> None:
        """Attack the update of the next batch.

        Parameters
        ----------
        update : Update or None
            The shared update; None for an empty batch.
        truth : Truth
            Its labels.
        """
        if self._kept and sum(size_of(kept) for _, kept, _ in self._kept) > _MOST_KEPT:
            self._run_until_settled(lambda columns: None)
        index, reading = self._batches, None if update is None else Reading(update)
        self._batches += 1
        for member, column in zip(self._members, self._columns, strict=False):
            column.append(self._verdict(member, index, reading, truth))
        if self._is_complete() or self._settled is None:
            return
        self._kept.append((index, update, truth))
        self._run_until_settled(self._settled, reading)

    def verdicts(self, *, confidence: float | None = None) -> tuple[Verdict, ...]:
        """Return one verdict per attack, pooled over the batches; "not run" for those left out.

        Parameters
        ----------
        confidence : float, optional
            Coverage of the upper bounds.

        Returns
        -------
        tuple of Verdict
            In the order of the attacks. Empty without a batch.
        """
        if not self._batches:
            return ()
        return (
            *(pool(self._question, column, confidence=confidence) for column in self._columns),
            *(
                Verdict(
                    attack=member.name,
                    status=Status.NOT_RUN,
                    reason=self._because,
                    batches=self._batches,
                    declared=self._question.declared,
                )
                for member in self._members[len(self._columns) :]
            ),
        )

    def _run_until_settled(self, settled: Callable[[Columns], str | None], last: Reading | None = None) -> None:
        """Run the next attacks on the batches kept; the last of these may have been read already."""
        while not self._is_complete():
            because = settled(self._columns)
            if because is not None:
                self._because = because
                return
            member = self._members[len(self._columns)]
            self._columns.append([])
            for index, update, truth in self._kept:
                reading = last if last is not None and last.update is update else None
                if reading is None and update is not None:
                    reading = Reading(update)
                self._columns[-1].append(self._verdict(member, index, reading, truth))
        self._kept.clear()

    def _verdict(self, member: attacks_.Attack, index: int, reading: Reading | None, truth: Truth) -> Verdict:
        if reading is None:
            recovery = Recovery.inconclusive(member.name, "the batch is empty")
        else:
            recovery = self._clock.timed(
                member.name,
                lambda: attacks_.run(self._ready(member, index, reading), reading, seed=self._seed, batch=index),
            )
        return self._question.score(recovery, truth)

    def _ready(self, member: attacks_.Attack, index: int, reading: Reading) -> attacks_.Attack:
        """Return the attack as it was prepared on the first update of this batch; prepare it if this is the first."""
        if self._prepared is None:
            return member
        key = index, member.name
        if key not in self._prepared:
            # Batches of one model share their head, so that the lessons of the first serve the others as well.
            serving = (
                ready
                for (_, name), ready in self._prepared.items()
                if name == member.name and hasattr(ready, "serves") and ready.serves(reading.update)
            )
            ready = next(serving, None)
            if ready is None:
                ready = prepare(member, reading.update, seed=self._seed, batch=index)
            self._prepared[key] = ready
        return self._prepared[key]


def size_of(update: Update | None) -> int:
    """Return the bytes of an update's arrays.

    Parameters
    ----------
    update : Update or None
        None for an empty batch.

    Returns
    -------
    int
        Gradients and the head's weights.
    """
    if update is None:
        return 0
    head = update.head
    values = (head.kernel_value, head.bias_value, head.kernel_penalty, head.bias_penalty)
    return sum(array.nbytes for array in (*update.gradients.values(), *values) if array is not None)
