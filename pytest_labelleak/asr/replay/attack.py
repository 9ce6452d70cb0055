"""Transcripts from the gradient of the last layer alone: the batch is taken apart, and the decoder is run over it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...attacks.gradient.reading import Reading
from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..claim import Transcripts, claim_or_refusal
from ..decoders.free_contexts import FreeContextDecoder
from ..isolated import Isolated, isolate
from ..time_budget import check_time_budget
from .beam import Path, ReplayRules, replay

__all__ = ["Replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Put the label positions of one or several utterances in order by running the decoder forward.

    `Disaggregate` isolates the label positions of the head's gradient. Each comes with its label, the context, and
    the decoder's state. The weights determine the state that the decoder reaches through given labels and contexts
    (`beam`): from the beginning of an utterance on, the position with that state comes next. No other gradient is read.
    So clipping, noise or secrecy of the recurrent cells' gradients does not matter, and an utterance is found whole
    although others of its batch are not.

    The attack knows the update and the weights, and nothing else.

    Parameters
    ----------
    decoder : FreeContextDecoder
        Speller of the model, with the weights at which the gradient was taken: see `free_contexts`.
    temperature : float, default 1.0
        Divisor of the logits in the loss.
    time_budget : float, default 600
        Seconds after which no order is followed further.
    rules : ReplayRules
        Numbers that decide.

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
    rules: ReplayRules = field(default_factory=ReplayRules)

    def __post_init__(self) -> None:
        """Check the budget."""
        check_time_budget(self.time_budget)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the transcripts as the claim of an attack; see `read`."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the transcripts as the claim of an attack, which an audit can score.

        Parameters
        ----------
        reading : Reading
            The update that was shared, as for `order`.
        rng : numpy.random.Generator
            Random stream; not used, since nothing here is drawn.

        Returns
        -------
        Recovery
            With `Recovery.transcripts`, and labels and counts from them.

        Raises
        ------
        NotApplicable
            If the update does not allow an order.
        """
        return self.claim(reading, rng=rng).as_recovery()

    def order(self, update: Update, *, rng: np.random.Generator) -> Transcripts:
        """Return the transcripts, and the part of them that is certain.

        Parameters
        ----------
        update : Update
            The gradient of the head, and the head's weights.
        rng : numpy.random.Generator
            Random stream; not used, since nothing here is drawn.

        Returns
        -------
        Transcripts
            Also where the attack does not apply.
        """
        return claim_or_refusal(self.name, lambda: self.claim(Reading(update), rng=rng))

    def claim(self, reading: Reading, *, rng: np.random.Generator) -> Transcripts:
        """Return the transcripts of a reading, and the part of them that is certain.

        Parameters
        ----------
        reading : Reading
            The update that was shared, as for `order`. Its positions are isolated once for all attacks that share it.
        rng : numpy.random.Generator
            Random stream; not used, since nothing here is drawn.

        Returns
        -------
        Transcripts

        Raises
        ------
        NotApplicable
            If the update does not allow an order.
        """
        deadline = time.monotonic() + self.time_budget
        update, decoder = reading.update, self.decoder
        if update.classes != decoder.classes:
            raise NotApplicable(f"the update has {update.classes} classes and the speller {decoder.classes}")
        if decoder.context_rows is None:
            raise NotApplicable("the head does not see what attention answers, so no context is known")
        isolated, apart = isolate(reading, temperature=self.temperature)
        begun = time.process_time()
        paths, finished = replay(
            decoder,
            isolated.labels,
            isolated.features,
            slice(*decoder.context_rows.indices(isolated.features.shape[1])),
            stop=lambda: time.monotonic() > deadline,
            rules=self.rules,
        )
        if not paths and finished:
            raise NotApplicable(
                "no isolated position begins an utterance as the decoder would; its weights are others, or contexts "
                "are too noisy"
            )
        found = self._judged(paths, isolated, update.head.kernel, finished=finished).over_steps(update.steps)
        return dataclasses.replace(found, seconds={"apart": apart, "order": time.process_time() - begun})

    def _judged(self, paths: Sequence[Path], isolated: Isolated, kernel: str, *, finished: bool) -> Transcripts:
        """Return the paths as a claim, with a remark on every shortcoming."""
        labels = isolated.labels
        used = sum(len(path.positions) for path in paths)
        ended = sum(path.ended for path in paths)
        remarks = []
        if not finished:
            remarks.append(f"the time budget of {self.time_budget:g} s ran out")
        if used < isolated.positions:
            remarks.append(
                f"{used} of {isolated.positions} label positions are in an order, {len(labels)} were isolated"
            )
        if self.decoder.end is not None and ended < len(paths):
            remarks.append(f"{ended} of {len(paths)} utterance(s) were followed to their end")
        certain = [path.certain for path in paths]
        sure, total = sum(map(sum, certain)), sum(map(len, certain))
        if sure < total:
            remarks.append(f"{sure / total:.0%} of the links are certain")
        return Transcripts(
            attack=self.name,
            status=Status.RECOVERED,
            reason="; ".join(remarks),
            transcripts=tuple(tuple(labels[list(path.positions)].tolist()) for path in paths),
            certain=tuple(one[1:] for one in certain),
            unique=not remarks,
            finished=finished,
            variables=(kernel,),
            details={
                "largest_used": float(f"{max((e for path in paths for e in path.errors), default=0.0):.2g}"),
                "smallest_refused": float(f"{min((e for path in paths for e in path.others), default=0.0):.2g}"),
            },
        )
