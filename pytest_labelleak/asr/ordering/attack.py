"""Transcripts from one update by linear algebra: the batch is taken apart, and its label positions are put in order."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...attacks.disaggregate.attack import Disaggregate
from ...attacks.registry import ask
from ...core.recovery import Recovery, Status
from ...core.update import Update
from ..time_budget import check_time_budget
from ..transcripts import Transcripts
from .foretelling import foretold_links
from .links import Links, find_links
from .paths import Cover, cover
from .recurrence import Cell, cells_of, factor, flatness

__all__ = ["Ordering"]

#: Cells with more than this left beyond the rank, and this many times what the best has, take more steps.
_FLAT = 1e-3
_AS_FLAT = 10.0
#: A proof asks that the best link refused costs this many times the worst one used.
_PROOF = 5.0
#: With more plausible links than this for every position, a cell tells nothing, and most likely is no decoder's.
_MOST_PLAUSIBLE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """Read transcripts off an update, with the head's weights.

    `Disaggregate` takes the batch apart: for every label position its label, and what the head saw there, which
    in a decoder with attention is the state of a recurrent cell and the context. The gradient of the cell's kernel then
    says which position follows which (see `_links`; where it shows no context, `_foretelling`). The order that is
    left is followed from end to end, by as many paths as there are utterances (see `_paths`).

    Nothing is known but the update: not the words, how often they occur, how many there are, the number of
    utterances, which variables belong to the decoder, or where in their rows the context comes.

    Parameters
    ----------
    temperature : float, default 1.0
        What the loss divides logits by.
    time_budget : float, default 600
        Seconds after which no further cell is tried, and the search for other readings stops.

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
    cost: ClassVar[str] = "search"

    temperature: float = 1.0
    time_budget: float = 600.0

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
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
            What was shared: gradients of the head and of the decoder's cells, and the head's weights.
        rng : numpy.random.Generator
            Random stream.

        Returns
        -------
        Transcripts
        """
        deadline = time.monotonic() + self.time_budget
        begun = time.process_time()
        apart = ask(Disaggregate(temperature=self.temperature), update, rng=rng)
        split = time.process_time()
        found = self._put_in_order(update, apart, rng, deadline)
        return dataclasses.replace(found, seconds={"apart": split - begun, "order": time.process_time() - split})

    def _put_in_order(self, update: Update, apart: Recovery, rng: np.random.Generator, deadline: float) -> Transcripts:
        if apart.status != Status.RECOVERED or apart.features is None:
            reason = apart.message.removeprefix("not applicable, because ")
            return self._failed(f"the batch cannot be taken apart: {reason}")
        labels, positions = apart.sample_labels, int(apart.details["rank"])
        if len(labels) < positions:
            return self._failed("not every label position could be isolated, and the order of the rest would have gaps")
        if positions == 1:
            return Transcripts(
                attack=self.name, status=Status.RECOVERED, transcripts=(tuple(labels),), certain=((),), unique=True
            )
        best: tuple[Cover, Cell, Links] | None = None
        tried, finished = 0, True
        for cell, links in self._candidates(update, apart.features, positions, rng):
            tried += 1
            found = _ordered(links, labels, deadline)
            if found is not None and (best is None or _rank(found) > _rank(best[0])):
                best = found, cell, links
            if best is not None and best[0].unique:
                break
            finished = time.monotonic() <= deadline
            if not finished:
                break
        if best is not None:
            return self._ordered_by(*best, labels, update.head.kernel, finished=finished)
        if not finished:
            return Transcripts(
                attack=self.name,
                status=Status.INCONCLUSIVE,
                message=f"inconclusive, because {self._ran_out()} before an order was found: the batch was taken "
                f"apart, and {tried} placement(s) in recurrent cells were tried",
                finished=False,
            )
        if not tried:
            return self._failed(
                "no gradient is that of a recurrent cell that takes what the head sees: a context, and its own state "
                "one step before; or the state alone, in one utterance, where the cell's weights are known too"
            )
        return self._failed(
            "the gradients of the cells that fit hold too much noise, or too little of some steps, to tell which label "
            "follows which"
        )

    def _failed(self, because: str) -> Transcripts:
        return Transcripts(attack=self.name, status=Status.NOT_APPLICABLE, message=f"not applicable, because {because}")

    def _ran_out(self) -> str:
        return f"the time budget of {self.time_budget:g} s ran out"

    def _ordered_by(
        self, chosen: Cover, cell: Cell, links: Links, labels: tuple[int, ...], kernel: str, *, finished: bool
    ) -> Transcripts:
        used = [links.cost[p, q] for path in chosen.paths for p, q in itertools.pairwise(path)]
        refused = links.cost[np.isfinite(links.cost) & (links.cost > 1.0)]
        message = ""
        if not chosen.unique:
            sure, total = sum(map(sum, chosen.certain)), sum(map(len, chosen.certain))
            how = "more than one order is plausible" if chosen.exhausted else "too many orders are plausible to look at"
            message = f"{how}; {sure / max(total, 1):.0%} of the links are certain"
        return Transcripts(
            attack=self.name,
            status=Status.RECOVERED,
            message=message,
            transcripts=tuple(tuple(labels[p] for p in path) for path in chosen.paths),
            certain=chosen.certain,
            unique=chosen.unique,
            finished=finished,
            variables=tuple(name for name in (kernel, cell.kernel, cell.recurrent) if name is not None),
            details={
                "largest_used": float(f"{max(used, default=0.0):.2g}"),
                **({"smallest_refused": float(f"{refused.min():.2g}")} if refused.size else {}),
            },
        )

    def _candidates(
        self, update: Update, features: np.ndarray, positions: int, rng: np.random.Generator
    ) -> Iterator[tuple[Cell, Links]]:
        """Yield placements of the head's input in all cells, the likeliest cells first."""
        cells = cells_of(update, most_units=features.shape[1])
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
        for cell, rows in factors:
            for links in foretold_links(update, cell, rows, features):
                yield cell, links


def _stands_out(found: Cover, cost: np.ndarray) -> bool:
    """Tell whether the links used are far better than any that was refused."""
    used = [cost[p, q] for path in found.paths for p, q in itertools.pairwise(path)]
    refused = cost[np.isfinite(cost) & (cost > 1.0)]
    return not used or refused.size == 0 or bool(refused.min() >= _PROOF * max(used))


def _rank(found: Cover) -> tuple[bool, int]:
    return found.unique, sum(map(sum, found.certain))


def _ordered(links: Links, labels: tuple[int, ...], deadline: float) -> Cover | None:
    if np.count_nonzero(links.cost <= 1.0) > _MOST_PLAUSIBLE * len(labels):
        return None
    found = cover(links.cost, links.first, links.ends, labels, deadline=deadline)
    alike = len({labels[p] for p in np.flatnonzero(links.ends)}) == 1
    if found is None or (links.clear and alike and _stands_out(found, links.cost)):
        return found
    # Where utterances end is a guess, they do not end alike, or a link that was refused is nearly as good as one that
    # was used: all that follows from it is a guess too.
    nothing = tuple(tuple(False for _ in path) for path in found.certain)
    return dataclasses.replace(found, unique=False, certain=nothing)
