"""Transcripts from one update by linear algebra: the batch is taken apart, and its label positions are put in order."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...attacks.gradient.reading import Reading
from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..claim import Transcripts, claim_or_refusal
from ..isolated import isolate
from ..time_budget import check_time_budget
from .foretelling import ForetellingRules, foretold_links
from .links import LinkRules, Links, find_links
from .paths import Cover, cover
from .recurrence import Cell, cells_of, factor, flatness

__all__ = ["Ordering", "OrderingRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderingRules:
    """Numbers that decide which cell gives the order, and whether the order is certain.

    Attributes
    ----------
    flat : float
        Largest relative size of a cell's gradient beyond the rank. A cell that takes more steps than there are label
        positions, such as one of the encoder, leaves more.
    as_flat : float
        The same in units of the flattest cell's rest, for gradients in which noise fills all directions.
    proof : float
        Ratio of the best link refused to the worst link used, from which on the order is certain.
    most_plausible : float
        Plausible links per label position above which a cell holds no order; it then belongs to no decoder.
    links : LinkRules
        Numbers that decide which links are plausible.
    foretelling : ForetellingRules
        Numbers that decide which state a foretold state is.
    """

    flat: float = field(default=1e-3, metadata={"plateau": (6.2e-5, 0.016)})
    as_flat: float = field(default=10.0, metadata={"plateau": (2.5, 160.0)})
    proof: float = field(default=5.0, metadata={"plateau": (0.31, 10.0)})
    most_plausible: float = field(default=4.0, metadata={"plateau": (2.0, 8.0)})
    links: LinkRules = field(default_factory=LinkRules)
    foretelling: ForetellingRules = field(default_factory=ForetellingRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """Read transcripts off an update, with the head's weights.

    `Disaggregate` isolates every label position: its label, and the head's input, which in a decoder with attention
    is the state of a recurrent cell beside the context. The gradient of that cell's kernel then says which position
    follows which (`links`; `foretelling` for a cell whose gradient shows no context). The remaining order is followed
    from end to end, by as many paths as there are utterances (`paths`).

    The attack knows the update alone. It knows no token, no count, no number of positions or utterances, no variable of
    the decoder, and no place of the context in the head's input.

    Parameters
    ----------
    temperature : float, default 1.0
        Divisor of the logits in the loss.
    time_budget : float, default 600
        Seconds after which no further cell is tried, and the search for other orders stops.
    rules : OrderingRules
        Numbers that decide.

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
    rules: OrderingRules = field(default_factory=OrderingRules)

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
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
            Random stream.

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
            Gradients of the head and of the decoder's cells, and the head's weights.
        rng : numpy.random.Generator
            Random stream.

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
            Random stream.

        Returns
        -------
        Transcripts

        Raises
        ------
        NotApplicable
            If the update does not allow an order.
        """
        deadline = time.monotonic() + self.time_budget
        isolated, apart = isolate(reading, temperature=self.temperature)
        begun = time.process_time()
        labels = tuple(isolated.labels.tolist())
        if len(labels) < isolated.positions:
            raise NotApplicable("not every label position could be isolated, and the order of the rest would have gaps")
        if isolated.positions == 1:
            found = Transcripts(
                attack=self.name, status=Status.RECOVERED, transcripts=(labels,), certain=((),), unique=True
            )
        else:
            found = self._put_in_order(reading.update, labels, isolated.features, rng, deadline)
        found = found.over_steps(reading.update.steps)
        return dataclasses.replace(found, seconds={"apart": apart, "order": time.process_time() - begun})

    def _put_in_order(
        self,
        update: Update,
        labels: tuple[int, ...],
        features: np.ndarray,
        rng: np.random.Generator,
        deadline: float,
    ) -> Transcripts:
        best: tuple[Cover, Cell, Links] | None = None
        tried, finished = 0, True
        for cell, links in self._candidates(update, features, rng):
            tried += 1
            found = _ordered(links, labels, deadline, self.rules)
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
                reason=f"the time budget of {self.time_budget:g} s ran out before an order was found: the batch was "
                f"taken apart, and {tried} placement(s) in recurrent cells were tried",
                finished=False,
            )
        if not tried:
            raise NotApplicable(
                "no gradient is that of a recurrent cell that takes what the head sees: a context, and its own state "
                "one step before; or the state alone, in one utterance, where the cell's weights are known too"
            )
        raise NotApplicable(
            "the gradients of the cells that fit hold too much noise, or too little of some steps, to tell which label "
            "follows which"
        )

    def _ordered_by(
        self, chosen: Cover, cell: Cell, links: Links, labels: tuple[int, ...], kernel: str, *, finished: bool
    ) -> Transcripts:
        used, refused = _used_and_refused(chosen.paths, links.cost)
        remark = ""
        if not chosen.unique:
            sure, total = sum(map(sum, chosen.certain)), sum(map(len, chosen.certain))
            how = "more than one order is plausible" if chosen.exhausted else "too many orders are plausible to look at"
            remark = f"{how}; {sure / max(total, 1):.0%} of the links are certain"
        return Transcripts(
            attack=self.name,
            status=Status.RECOVERED,
            reason=remark,
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
        self, update: Update, features: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[Cell, Links]]:
        """Yield placements of the head's input in all cells, the likeliest cells first."""
        positions, rules = len(features), self.rules
        cells = cells_of(update, most_units=features.shape[1])
        flat = {cell: flatness(update, cell, rank=positions, rng=rng) for cell in cells}
        most = max(rules.flat, rules.as_flat * min(flat.values(), default=0.0))
        factors = []
        for cell in sorted(flat, key=flat.__getitem__):
            if flat[cell] > most:
                break
            rows = factor(update, cell, rank=positions, rng=rng)
            factors.append((cell, rows))
            for links in find_links(rows, features, cell.units, rules=rules.links):
                yield cell, links
        for cell, rows in factors:
            for links in find_links(rows, features, cell.units, rules=rules.links, anywhere=True):
                yield cell, links
        for cell, rows in factors:
            for links in foretold_links(update, cell, rows, features, rules=rules.foretelling, link_rules=rules.links):
                yield cell, links


def _used_and_refused(paths: Sequence[Sequence[int]], cost: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return the costs of the links on some paths, and those of the implausible links."""
    used = [float(cost[p, q]) for path in paths for p, q in itertools.pairwise(path)]
    return used, cost[np.isfinite(cost) & (cost > 1.0)]


def _rank(found: Cover) -> tuple[bool, int]:
    return found.unique, sum(map(sum, found.certain))


def _ordered(links: Links, labels: tuple[int, ...], deadline: float, rules: OrderingRules) -> Cover | None:
    if np.count_nonzero(links.cost <= 1.0) > rules.most_plausible * len(labels):
        return None
    found = cover(links.cost, links.first, links.ends, labels, deadline=deadline)
    if found is None:
        return None
    used, refused = _used_and_refused(found.paths, links.cost)
    stands_out = not used or refused.size == 0 or bool(refused.min() >= rules.proof * max(used))
    alike = len({labels[p] for p in np.flatnonzero(links.ends)}) == 1
    if links.clear and alike and stands_out:
        return found
    # No link is certain if the ends of utterances are a guess, if the utterances do not end alike, or if a refused link
    # is nearly as good as a used one.
    nothing = tuple(tuple(False for _ in path) for path in found.certain)
    return dataclasses.replace(found, unique=False, certain=nothing)
