"""Progress of a long search on one line, without its guess."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

from ...core.settings import active_scope
from ..text.vocabulary import Vocabulary

__all__ = ["Progress", "ProgressLine"]

_WIDTH = 20
#: Seconds between lines where they cannot be overwritten, as in a log.
_LOG_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Progress:
    """Progress of a search.

    Attributes
    ----------
    attempt, attempts : int
        Number of the start in progress, from 1, and most starts.
    step, steps : int
        Number of the step in this start, and most steps.
    loss : float
        Value of the objective.
    unchanged : int
        Steps since the last change of the guess.
    tokens : tuple of int
        The guess. Private.
    """

    attempt: int
    attempts: int
    step: int
    steps: int
    loss: float
    unchanged: int
    tokens: tuple[int, ...] = field(repr=False)


class ProgressLine:
    """Writes a bar, the loss, and the number of steps without a change of the guess.

    Parameters
    ----------
    stream : text stream, optional
        Stream to write to; default standard error.
    vocabulary : Vocabulary, optional
        Spells the guess, which is written only if `show_labels` allows it.
    show_labels : bool, optional
        Write the guess too. Default: the permission of the running test (``--labelleak-show-labels``), so no.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        show_labels: bool | None = None,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._vocabulary = vocabulary
        self._show = active_scope().settings.show_labels if show_labels is None else show_labels
        self._width = 0
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write over the last line; on a stream that cannot, write a new line every 15 seconds."""
        filled = round(_WIDTH * min(1.0, progress.step / progress.steps))
        line = (
            f"start {progress.attempt}/{progress.attempts} [{'#' * filled:<{_WIDTH}}] step {progress.step}, "
            f"loss {progress.loss:.2e}, guess unchanged for {progress.unchanged} steps"
        )
        if self._show:
            said = progress.tokens if self._vocabulary is None else self._vocabulary.decode(progress.tokens)
            line += f": {said}"
        if self._stream.isatty():
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        elif time.monotonic() >= self._next:
            self._stream.write(line + "\n")
            self._next = time.monotonic() + _LOG_SECONDS
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0
