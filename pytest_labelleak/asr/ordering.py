"""Transcripts from one update by linear algebra: the batch is taken apart, and its label positions are put in order."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..attacks.disaggregate import Disaggregate
from ..errors import InvalidArgumentError
from ..recovery import INCONCLUSIVE, NOT_APPLICABLE, RECOVERED
from ..update import Update
from ._links import Links, find_links
from ._paths import Cover, cover
from ._recurrence import Cell, cells_of, factor, flatness

__all__ = ["Ordering", "Transcripts"]

#: Cells with more than this left beyond the rank, and this many times what the best has, take more steps.
_FLAT = 1e-3
_AS_FLAT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transcripts:
    """What an attack claims was said.

    Attributes
    ----------
    attack : str
        Its name.
    status : {"recovered", "not applicable", "inconclusive"}
        "inconclusive" if the time ran out.
    message : str
        Reason for a status other than "recovered", or what is uncertain.
    transcripts : tuple of tuple of int
        Labels in order, one tuple for every utterance, end-of-sentence labels included. In the order of utterances
        only by chance. Private.
    certain : tuple of tuple of bool
        For every two neighbours, whether no other order is plausible there. Private.
    unique : bool
        Whether nothing else is plausible at all.
    finished : bool
        False if the time ran out before everything was tried.
    seconds : mapping of str to float
        Where the time went.
    details : mapping of str to object
        Names of the kernels that were read; sizes of residuals.
    """

    attack: str
    status: str
    message: str = ""
    transcripts: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    certain: tuple[tuple[bool, ...], ...] = field(default=(), repr=False)
    unique: bool = False
    finished: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """Read transcripts off an update, with the head's weights.

    `Disaggregate` takes the batch apart: for every label position its label, and what the head saw there, which
    in a decoder with attention is the state of a recurrent cell and the context. The gradient of the cell's kernel then
    says which position follows which (see `_links`), and the order that is left is followed from end to end, by as
    many paths as there are utterances (see `_paths`).

    Nothing is known but the update: not the words, how often they occur, how many there are, the number of
    utterances, which variables belong to the decoder, or where in their rows the context comes.

    Parameters
    ----------
    temperature : float, default 1.0
        What the loss divides logits by.
    time_budget : float, default 600
        Seconds after which the search for other readings stops.

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and Protecting Labels in
       Distributed Training", NeurIPS 2021, for the question; their answer is gradient matching.
       https://doi.org/10.48550/arXiv.2111.00556
    .. [2] W. Chan, N. Jaitly, Q. Le, O. Vinyals, "Listen, Attend and Spell", ICASSP 2016, for the decoder.
       https://doi.org/10.1109/ICASSP.2016.7472621
    """

    name: ClassVar[str] = "ordering"
    reference: ClassVar[str] = "this project"

    temperature: float = 1.0
    time_budget: float = 600.0

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
        if not (np.isfinite(self.time_budget) and self.time_budget > 0.0):
            raise InvalidArgumentError(
                f"time_budget={self.time_budget!r}. Expected a finite number of seconds above 0."
            )

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Transcripts:
        """Return the transcripts.

        Parameters
        ----------
        update : Update
            What was shared: gradients of the head and of the decoder's cells, and the head's weights.
        rng : numpy.random.Generator
            Random stream.

        Returns
        -------
        Transcripts
        """
        begun = time.monotonic()
        apart = Disaggregate(temperature=self.temperature)(update, rng=rng)
        split = time.monotonic()
        seconds = {"apart": split - begun}

        def failed(message: str, status: str = NOT_APPLICABLE, **details: object) -> Transcripts:
            seconds["order"] = time.monotonic() - split
            return Transcripts(attack=self.name, status=status, message=message, seconds=seconds, details=details)

        if apart.status != RECOVERED or apart.features is None:
            return failed(f"not applicable, because the batch cannot be taken apart: {apart.message}")
        labels, features = apart.sample_labels, apart.features
        positions = int(apart.details["rank"])
        if len(labels) < positions:
            return failed(f"not applicable, because {apart.message}: the order of the rest would have gaps")
        if positions == 1:
            seconds["order"] = 0.0
            return Transcripts(
                attack=self.name,
                status=RECOVERED,
                transcripts=(tuple(labels),),
                certain=((),),
                unique=True,
                seconds=seconds,
            )
        best: tuple[Cover, Cell, Links] | None = None
        tried, deadline = 0, begun + self.time_budget
        for cell, links in self._candidates(update, features, positions, rng):
            tried += 1
            found = _ordered(links, labels, deadline)
            if found is not None and (best is None or _rank(found) > _rank(best[0])):
                best = found, cell, links
            if (best is not None and best[0].unique) or time.monotonic() > deadline:
                break
        seconds["order"] = time.monotonic() - split
        finished = time.monotonic() <= deadline
        if best is None:
            if not finished:
                return dataclasses.replace(
                    failed(f"inconclusive, because the time budget of {self.time_budget:g} s ran out", INCONCLUSIVE),
                    finished=False,
                )
            if not tried:
                return failed(
                    "not applicable, because no gradient is that of a recurrent cell that takes what the head sees: a "
                    "context, and its own state one step before"
                )
            return failed(
                "not applicable, because the gradients of the cells that fit hold too much noise, or too little of "
                "some steps, to tell which label follows which"
            )
        chosen, cell, links = best
        used = [links.cost[p, q] for path in chosen.paths for p, q in itertools.pairwise(path)]
        others = links.cost[links.cost > 1.0]
        message = ""
        if not chosen.unique:
            sure, total = sum(map(sum, chosen.certain)), sum(map(len, chosen.certain))
            how = "more than one order is plausible" if chosen.exhausted else "not all plausible orders were looked at"
            message = f"{how}: {sure / max(total, 1):.0%} of the links are certain"
        return Transcripts(
            attack=self.name,
            status=RECOVERED,
            message=message,
            transcripts=tuple(tuple(labels[p] for p in path) for path in chosen.paths),
            certain=chosen.certain,
            unique=chosen.unique,
            finished=finished,
            seconds=seconds,
            details={
                "kernel": cell.kernel,
                "recurrent_kernel": cell.recurrent,
                "largest_used": float(f"{max(used, default=0.0):.2g}"),
                "smallest_refused": float(f"{others.min():.2g}") if others.size else None,
            },
        )

    def _candidates(
        self, update: Update, features: np.ndarray, positions: int, rng: np.random.Generator
    ) -> Iterator[tuple[Cell, Links]]:
        """Yield placements of the head's input in all cells, the likeliest cells first."""
        cells = cells_of(update, most_units=features.shape[1] - 1)
        flat = {cell: flatness(update, cell, rank=positions, rng=rng) for cell in cells}
        most = max(_FLAT, _AS_FLAT * min(flat.values(), default=0.0))
        factors = []
        for cell in sorted(flat, key=flat.__getitem__):
            if flat[cell] > most:
                break
            rows = factor(update, cell, rank=positions, rng=rng)
            factors.append((cell, rows))
            for links in find_links(rows, features, cell.units):
                yield cell, links
        for cell, rows in factors:
            for links in find_links(rows, features, cell.units, anywhere=True):
                yield cell, links


def _rank(found: Cover) -> tuple[bool, int]:
    return found.unique, sum(map(sum, found.certain))


def _ordered(links: Links, labels: tuple[int, ...], deadline: float) -> Cover | None:
    found = cover(links.cost, links.begins, links.ends, labels, deadline=deadline)
    if found is None or links.clear:
        return found
    if links.begins.all():
        return None
    # Where utterances end is a guess, and so is all that follows from it.
    nothing = tuple(tuple(False for _ in path) for path in found.certain)
    return dataclasses.replace(found, unique=False, certain=nothing)
