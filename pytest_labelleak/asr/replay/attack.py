"""Transcripts from the gradient of the last layer alone: the batch is taken apart, and the decoder run over it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...attacks.disaggregate.attack import Disaggregate
from ...attacks.registry import ask
from ...core.recovery import Recovery, Status
from ...core.update import Update
from ..decoders.free_contexts import FreeContextDecoder
from ..time_budget import check_time_budget
from ..transcripts import Transcripts
from .beam import Path, replay

__all__ = ["Replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Put the words of one or several utterances in order by running the decoder forward.

    `Disaggregate` takes the head's gradient apart into label positions. Each comes with its label, with the context
    that attention answered, and with the decoder's state. Whoever has the weights can compute which state the decoder
    reaches through given words and contexts (see `_replaying`): from the beginning of an utterance on, the position
    whose state it is comes next. No other gradient is read, so that clipping, noise or secrecy of the recurrent
    cells' gradients does not matter, and an utterance is found whole although others of its batch are not.

    Nothing is known but the update and the weights.

    Parameters
    ----------
    decoder : FreeContextDecoder
        The speller of the model, with the weights that the gradient was taken at: see `free_contexts`.
    temperature : float, default 1.0
        What the loss divides logits by.
    time_budget : float, default 600
        Seconds after which nothing is followed further.

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and Protecting Labels in
       Distributed Training", NeurIPS 2021, for the question; their answer is gradient matching.
       https://doi.org/10.48550/arXiv.2111.00556
    """

    name: ClassVar[str] = "replay"
    reference: ClassVar[str] = "this project"
    cost: ClassVar[str] = "search"

    decoder: FreeContextDecoder = field(repr=False)
    temperature: float = 1.0
    time_budget: float = 600.0

    def __post_init__(self) -> None:
        """Check the budget."""
        check_time_budget(self.time_budget)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the transcripts as the claim of an attack, which an audit can score.

        Parameters
        ----------
        update : Update
            As for `order`.
        rng : numpy.random.Generator
            Random stream.

        Returns
        -------
        Recovery
            With `Recovery.transcripts`, and labels and counts from them.
        """
        return self.order(update, rng=rng).as_recovery()

    def order(self, update: Update, *, rng: np.random.Generator) -> Transcripts:
        """Return the transcripts, and what about them is certain.

        Parameters
        ----------
        update : Update
            What was shared: the gradient of the head, and the head's weights.
        rng : numpy.random.Generator
            Random stream.

        Returns
        -------
        Transcripts
        """
        deadline = time.monotonic() + self.time_budget
        if update.classes != self.decoder.classes:
            return self._failed(f"the update has {update.classes} classes and the speller {self.decoder.classes}")
        if self.decoder.context_rows is None:
            return self._failed("the head does not see what attention answers, so no context is known")
        begun = time.process_time()
        apart = ask(Disaggregate(temperature=self.temperature), update, rng=rng)
        split = time.process_time()
        if apart.status != Status.RECOVERED or apart.features is None:
            reason = apart.message.removeprefix("not applicable, because ")
            return self._failed(f"the batch cannot be taken apart: {reason}")
        labels = np.array(apart.sample_labels, np.int64)
        rows = slice(*self.decoder.context_rows.indices(apart.features.shape[1]))
        paths, finished = replay(self.decoder, labels, apart.features, rows, stop=lambda: time.monotonic() > deadline)
        seconds = {"apart": split - begun, "order": time.process_time() - split}
        if not paths and finished:
            return self._failed(
                "no isolated position begins an utterance as the decoder would; its weights are others, or contexts "
                "are too noisy"
            )
        return self._claim(paths, labels, int(apart.details["rank"]), update.head.kernel, seconds, finished=finished)

    def _failed(self, because: str) -> Transcripts:
        return Transcripts(attack=self.name, status=Status.NOT_APPLICABLE, message=f"not applicable, because {because}")

    def _claim(
        self,
        paths: list[Path],
        labels: np.ndarray,
        positions: int,
        kernel: str,
        seconds: dict[str, float],
        *,
        finished: bool,
    ) -> Transcripts:
        used = sum(len(path.positions) for path in paths)
        ended = sum(path.ended for path in paths)
        notes = []
        if not finished:
            notes.append(f"the time budget of {self.time_budget:g} s ran out")
        if used < positions:
            notes.append(f"{used} of {positions} label positions are in an order, {len(labels)} were isolated")
        if self.decoder.end is not None and ended < len(paths):
            notes.append(f"{ended} of {len(paths)} utterance(s) were followed to their end")
        certain = [path.certain for path in paths]
        sure, total = sum(map(sum, certain)), sum(map(len, certain))
        if sure < total:
            notes.append(f"{sure / total:.0%} of the links are certain")
        return Transcripts(
            attack=self.name,
            status=Status.RECOVERED,
            message="; ".join(notes),
            transcripts=tuple(tuple(labels[list(path.positions)].tolist()) for path in paths),
            certain=tuple(one[1:] for one in certain),
            unique=not notes,
            finished=finished,
            variables=(kernel,),
            seconds=seconds,
            details={
                "largest_used": float(f"{max((e for path in paths for e in path.errors), default=0.0):.2g}"),
                "smallest_refused": float(f"{min((e for path in paths for e in path.others), default=0.0):.2g}"),
            },
        )
