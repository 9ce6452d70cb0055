"""Attacking all batches of an audit, and a random defence again and again until the figures are certain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import attacks as attacks_
from .. import defences as defences_
from ..core.recovery import Status
from ..core.truth import Truth
from ..core.update import Update
from .evidence.belonging import Belonging, Sighting, belonging, sighting
from .evidence.columns import RankedColumns, rank_columns
from .evidence.coverage import Coverage, Watch
from .evidence.hindsight import Visibility, visibility
from .evidence.permutation import ClaimedHistogram, histograms_by_luck
from .evidence.sequential import Decision as Side
from .evidence.sequential import Standing, standing
from .evidence.significance import ClaimedBatch, claims_by_luck, corrected, jointly_by_luck, level_of_look
from .evidence.undoing import can_be_undone
from .evidence.visible_shares import SharesSeen, shares_seen
from .outcome import TOLERANCE, Bar
from .portfolio import Clock, PortfolioRun, size_of
from .questions.pooling import pool
from .questions.question import Evidence, Question, mean_figure, telling
from .scoring.counts import uninformed_distance
from .scoring.labels import true_shares
from .verdict import Verdict

__all__ = ["DrawRules", "Trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRules:
    """Numbers that decide how often a random defence is drawn, and when claims count as no luck.

    Attributes
    ----------
    level : float
        Probability at which claims independent of the labels are called a leak, over all attacks and looks.
    confidence : float
        Coverage of the bounds over the draws.
    most_draws : int
        Largest number of draws.
    least_draws : int
        Draws before a mean may be called a leak while its bounds are open.
    errors : float
        Standard errors by which such a mean has to exceed the limit.
    refusals : int
        Draws after which an attack that takes longer than one pass over the gradient, and that has refused every one
        of them, is not asked again. Its figure is 0 in each, and the visibility of the labels is measured in all draws.
    most_kept : int
        Bytes of updates that are kept to be defended again.
    """

    level: float = 0.01
    confidence: float = 0.95
    most_draws: int = 256
    least_draws: int = 4
    errors: float = 3.0
    refusals: int = 8
    most_kept: int = 2**32


@dataclass(slots=True, eq=False)
class _Batch:
    """One batch: its truth, and either its updates or the looks at them."""

    truth: Truth
    update: Update | None = field(repr=False)
    shared: Update | None = field(repr=False)
    sighting: Sighting | None = field(default=None, repr=False)
    ranked: list[RankedColumns] = field(default_factory=list, repr=False)


class Trial:
    """All attacks on all batches of one audit.

    Parameters
    ----------
    question : Question
        Scores the claims.
    members : sequence of attack
        The attacks.
    defence : defence or None
        Applied before the attacks; a random one is drawn again.
    bar : Bar
        The numbers that figures are compared with.
    seed : int
        Of the audit.
    thrifty : bool
        Whether attacks that can change nothing are left out.
    clock : Clock
        The time budget.
    """

    def __init__(
        self,
        question: Question,
        members: Sequence[attacks_.Attack],
        defence: defences_.Defence | None,
        bar: Bar,
        *,
        seed: int,
        thrifty: bool,
        clock: Clock,
        rules: DrawRules | None = None,
    ) -> None:
        self._question, self._members, self._defence, self._bar = question, tuple(members), defence, bar
        self._seed, self._clock, self._rules = seed, clock, rules or DrawRules()

        def settled(columns: Any) -> str | None:
            because = question.settled(columns, bar.limit)
            return because if because is not None and self._beyond_doubt(columns) else None

        def shown(columns: Any) -> str | None:
            possible = question.shown_possible(columns, bar.threshold)
            # A count that may be luck shows nothing; another attack can do better.
            possible = possible and (not self._asks_counts or self._beyond_doubt(columns))
            return "another attack succeeds without the defence" if possible else None

        def portfolio(rule: Any, prepared: Any = None) -> PortfolioRun:
            rule = rule if thrifty else None
            return PortfolioRun(question, members, seed=seed, settled=rule, clock=clock, prepared=prepared)

        # Attacks as prepared on the first draw, for all of them.
        self._prepared: dict[tuple[int, str], attacks_.Attack] = {}
        self._attacked, self._control = portfolio(settled, self._prepared), portfolio(shown)
        self._batches: list[_Batch] = []
        self._truths: list[Truth] = []
        self._random: bool | None = None
        self._watch = Watch()
        self._head: dict[str, str] = {}
        self._dropped = False
        self._kept = 0

    def add(self, update: Update | None, truth: Truth) -> None:
        """Attack the next batch.

        Parameters
        ----------
        update : Update or None
            The update before any defence; None for an empty batch.
        truth : Truth
            Its labels.
        """
        shared = update
        self._truths.append(truth)
        if self._defence is not None:
            if update is not None:
                shared = self._defended(update, len(self._batches), 0)
                if self._random is None:
                    self._random = self._is_random(update, shared, len(self._batches))
            self._control.add(update, truth)
        if update is not None and shared is not None:
            self._watch.add(update, shared)
            self._head = {part: name for part in ("kernel", "bias") if (name := getattr(update.head, part))}
        self._attacked.add(shared, truth)
        batch = _Batch(truth=truth, update=update, shared=shared)
        self._kept += size_of(update) + (size_of(shared) if shared is not update else 0)
        if self._kept > self._rules.most_kept:
            self._look(batch)
            batch.update = batch.shared = None
            self._dropped = True
        self._batches.append(batch)

    def verdicts(self) -> tuple[tuple[Verdict, ...], tuple[Verdict, ...], Evidence, int]:
        """Draw the defence until the figures are certain, and return everything that decides.

        Returns
        -------
        verdicts, controls : tuple of Verdict
            One per attack, pooled over draws and batches.
        evidence : Evidence
            The rest.
        draws : int
            Number of draws of the defence.
        """
        controls = self._control.verdicts()
        if not self._batches:
            return (), controls, Evidence(members=self._members), 0
        draws = [self._attacked.columns]
        left_out = self._attacked.verdicts()[len(draws[0]) :]
        looks = 1
        now: Standing | None = None
        random = bool(self._random)
        if random and not left_out:
            # Updates that were dropped cannot be defended again: their one draw leaves the bounds open.
            while not self._dropped and not self._certain(draws, looks):
                now = self._standing(draws)
                if now.decision is Side.WITHIN or len(draws) >= self._rules.most_draws or self._clock.spent:
                    break
                if now.decision is Side.ABOVE and len(draws) >= self._rules.most_draws // 4:
                    break
                draws.append(self._draw(len(draws), draws[-1], self._resting(draws)))
                looks = int(math.log2(len(draws))) + 1
            now = self._standing(draws)
        pooled = tuple(
            _pooled(self._question, [columns[place] for columns in draws], self._bar.confidence)
            for place in range(len(draws[0]))
        )
        evidence = Evidence(
            members=self._members,
            control=None if self._defence is None else controls,
            protected=self._defence is not None,
            luck=self._luck(draws),
            control_luck={} if self._defence is None else self._luck([self._control.columns]),
            control_level=self._rules.level,
            level=level_of_look(self._rules.level, looks) if random else self._rules.level,
            certified=self._certified(),
            standing=now,
            rested=tuple(self._members[place].name for place in self._resting(draws)) if random else (),
            asked=self._rules.refusals,
            spent=self._clock.spent,
            look=self._looked,
            undone=None if random else self._undone,
            look_at_shares=self._looked_at_shares if self._asks_counts else None,
        )
        return (*pooled, *left_out), controls, evidence, len(draws)

    def coverage(self, verdicts: Sequence[Verdict], controls: Sequence[Verdict]) -> Coverage:
        """Return the shared variables that attacks examined, and those that the defence left as they are.

        Parameters
        ----------
        verdicts, controls : sequence of Verdict
            As `verdicts` returned them.

        Returns
        -------
        Coverage
            An attack that ran examined the parts of the head that it reads, and the variables of its claims.
        """
        examined = {name for verdict in (*verdicts, *controls) for name in verdict.variables}
        for member, verdict in zip(self._members, verdicts, strict=False):
            if verdict.status != Status.NOT_RUN:
                parts = getattr(member, "reads", tuple(self._head))
                examined |= {self._head[part] for part in parts if part in self._head}
        return self._watch.coverage(examined)

    def _defended(self, update: Update, batch: int, draw: int) -> Update:
        stream = [self._seed, batch, *b"defence"] if not draw else [self._seed, batch, draw, *b"defence"]
        shared: Update = self._defence(update, rng=np.random.default_rng(stream))  # type: ignore[misc]
        return shared

    def _is_random(self, update: Update, shared: Update, batch: int) -> bool:
        """Tell whether another draw of the defence gives another update."""
        again = self._defended(update, batch, 1)
        return any(
            not np.array_equal(array, again.gradients.get(name, ()), equal_nan=True)
            for name, array in shared.gradients.items()
        )

    def _resting(self, draws: Sequence[Sequence[Sequence[Verdict]]]) -> list[int]:
        """Return the places of the attacks that are not asked again: they have refused all draws, at some cost."""
        if len(draws) < self._rules.refusals:
            return []
        return [
            place
            for place, member in enumerate(self._members)
            if getattr(member, "cost", None) != attacks_.COSTS[0]
            and all(verdict.status == Status.NOT_APPLICABLE for columns in draws for verdict in columns[place])
        ]

    def _draw(
        self, draw: int, last: Sequence[Sequence[Verdict]], resting: Sequence[int]
    ) -> Sequence[Sequence[Verdict]]:
        """Attack the next draw; a resting attack refuses it as it refused the last one."""
        asked = [member for place, member in enumerate(self._members) if place not in resting]
        run = PortfolioRun(self._question, asked, seed=self._seed, clock=self._clock, prepared=self._prepared)
        for place, batch in enumerate(self._batches):
            shared = None if batch.update is None else self._defended(batch.update, place, draw)
            run.add(shared, batch.truth)
            if shared is not None and (self._question.asks_presence or self._asks_counts):
                batch.ranked.append(_ranked(shared, batch.truth))
        fresh = iter(run.columns)
        return [last[place] if place in resting else next(fresh) for place in range(len(self._members))]

    def _figures(self, draws: Sequence[Sequence[Sequence[Verdict]]]) -> dict[str, list[float]]:
        """Return each attack's figure in each draw; an attack without a claim has failed."""

        def figure(column: Sequence[Verdict]) -> float:
            found = mean_figure(self._question, column)
            claimed = any(verdict.status == Status.RECOVERED for verdict in column)
            return max(self._question.low, min(1.0, found)) if claimed and found is not None else 0.0

        return {
            member.name: [figure(columns[place]) for columns in draws]
            for place, member in enumerate(self._members[: len(draws[0])])
        }

    def _standing(self, draws: Sequence[Sequence[Sequence[Verdict]]]) -> Standing:
        # A baseline below the threshold is a ratchet for the means; the bounds prove that the threshold holds.
        limit = max(self._bar.limit, self._bar.threshold)
        return standing(self._figures(draws), limit, confidence=self._rules.confidence, low=self._question.low)

    def _certain(self, draws: Sequence[Sequence[Sequence[Verdict]]], looks: int) -> bool:
        """Tell whether further draws cannot change a leak, or an attack that could not decide."""
        if any(v.status == Status.INCONCLUSIVE for column in draws[-1] for v in telling(column)):
            return True
        number = len(draws)
        if number & (number - 1) or number < self._rules.least_draws:
            return False
        luck = self._luck(draws)
        level = level_of_look(self._rules.level, looks)
        for name, figures in self._figures(draws).items():
            error = float(np.std(figures, ddof=1)) / math.sqrt(number)
            clear = float(np.mean(figures)) - self._rules.errors * error > self._bar.limit + TOLERANCE
            if clear and luck.get(name, 0.0) <= level:
                return True
        return False

    def _luck(self, draws: Sequence[Sequence[Sequence[Verdict]]]) -> dict[str, float]:
        """Return the probability that each attack's claims are luck, corrected for their number."""
        beyond = [
            mean_figure(self._question, [verdict for columns in draws for verdict in columns[place]])
            for place in range(len(draws[0]))
        ]
        if all(figure is None or figure <= self._bar.limit for figure in beyond):
            return {}
        # Every test is one of the same hypothesis, that the claims are independent of the labels, so the smallest
        # p-value counts, at its part of the level.
        tests = []
        if self._question.asks_presence:
            found = {
                member.name: self._claimed(draws, place) for place, member in enumerate(self._members[: len(draws[0])])
            }
            alone = {name: claims_by_luck(batches) for name, batches in found.items()}
            # Renaming all attacks together has the power where they agree, exact tails have the precision for late
            # looks.
            tests.append(jointly_by_luck(found, rng=np.random.default_rng([self._seed, *b"luck"])))
            tests.append(corrected({name: luck.p_value for name, luck in alone.items()}))
        if self._asks_counts:
            counted = {
                member.name: self._counts_by_luck(draws, place)
                for place, member in enumerate(self._members[: len(draws[0])])
            }
            # Attacks that claim no shares cannot be lucky with them.
            claimed = {name: p_value for name, p_value in counted.items() if p_value is not None}
            tests.append({**dict.fromkeys(counted, 1.0), **corrected(claimed)})
        return {name: min(1.0, len(tests) * min(test[name] for test in tests)) for name in (tests[0] if tests else ())}

    def _beyond_doubt(self, columns: Sequence[Sequence[Verdict]]) -> bool:
        """Tell whether a leak stands whatever further attacks claim, so that these can be left out.

        The corrections for luck grow with the number of attacks. A claim that survives the largest of them, for all
        attacks of the portfolio and the first look at a random defence, survives in the full run too.
        """
        asks_presence = self._question.asks_presence
        if not asks_presence and not self._asks_counts:
            return True
        # As in `_luck`: two tests of presence, and one of shares.
        tests = 2.0 * asks_presence + self._asks_counts
        level = level_of_look(self._rules.level, 1) / (tests * len(self._members))
        certified = self._certified()
        for place, column in enumerate(columns):
            figure = mean_figure(self._question, column)
            if figure is None or figure <= self._bar.limit + TOLERANCE:
                continue
            proofs = [verdict.stats.get("certified") or 0.0 for verdict in telling(column)]
            if self._members[place].name in certified and min(proofs) > self._bar.limit:
                return True
            if asks_presence and claims_by_luck(self._claimed([columns], place)).p_value <= level:
                return True
            by_shares = self._counts_by_luck([columns], place) if self._asks_counts else None
            if by_shares is not None and by_shares <= level:
                return True
        return False

    def _claimed(self, draws: Sequence[Sequence[Sequence[Verdict]]], place: int) -> list[ClaimedBatch]:
        """Return the claims of the attack at a place, by batch and draw."""
        claimed = []
        for number in range(len(draws[0][place])):
            truth = self._truths[number]
            ignored = self._question.ignored(truth.classes)
            # Classes that count are numbered without gaps.
            counted = np.setdiff1d(np.arange(truth.classes), ignored)
            named = [np.intersect1d(_claim(columns[place][number]), counted) for columns in draws]
            claimed.append(
                ClaimedBatch(
                    classes=counted.size,
                    present=np.searchsorted(counted, np.setdiff1d(truth.present, ignored)).tolist(),
                    claims=[np.searchsorted(counted, claim).tolist() for claim in named],
                )
            )
        return claimed

    @property
    def _asks_counts(self) -> bool:
        """Whether the question compares claimed shares: optional for a question, like the declarations of attacks."""
        return bool(getattr(self._question, "asks_counts", False))

    def _counts_by_luck(self, draws: Sequence[Sequence[Sequence[Verdict]]], place: int) -> float | None:
        """Return the probability that the shares claimed by the attack at a place are luck; None without a claim."""
        batches = []
        for number in range(len(draws[0][place])):
            truth = self._truths[number]
            entries = [columns[place][number].stats["shares"] for columns in draws]
            if not truth.labels.size or not any(entries):
                continue
            true = true_shares(truth)
            scale = uninformed_distance(true, getattr(self._question, "expected", None))
            claims = [_histogram(entry[0], truth.classes) if entry else None for entry in entries]
            batches.append(ClaimedHistogram(true=true, claims=claims, scale=scale))
        rng = np.random.default_rng([self._seed, place, *b"counts"])
        return histograms_by_luck(batches, rng=rng) if batches else None

    def _certified(self) -> frozenset[str]:
        return frozenset(member.name for member in self._members if getattr(member, "certifies", False))

    def _looked(self) -> tuple[Visibility | None, Belonging | None]:
        """Return visibility of the labels in the shared updates, and belonging of the undefended ones."""
        for batch in self._batches:
            self._look(batch)
        rng = np.random.default_rng([self._seed, *b"hindsight"])
        level = self._rules.level
        sightings = [[batch.sighting] for batch in self._batches if batch.sighting is not None]
        seen = visibility([batch.ranked for batch in self._batches], rng=rng, level=level)
        return seen, belonging(sightings, rng=rng, level=level) if sightings else None

    def _undone(self) -> bool:
        """Tell whether a receiver can turn the defence around; secret numbers of other participants prevent it."""
        batch = next((batch for batch in self._batches if batch.update is not None), None)
        if batch is None or batch.update is None or self._defence is None or getattr(self._defence, "secret", False):
            return False
        rng = np.random.default_rng([self._seed, *b"undoing"])
        return can_be_undone(lambda update: self._defended(update, 0, 0), batch.update, rng=rng)

    def _looked_at_shares(self) -> SharesSeen | None:
        """Return visibility of the shares of the classes in the shared updates."""
        for batch in self._batches:
            self._look(batch)
        looks = [(true_shares(batch.truth), batch.ranked) for batch in self._batches if batch.ranked]
        return shares_seen(looks, rng=np.random.default_rng([self._seed, *b"shares"]), level=self._rules.level)

    def _look(self, batch: _Batch) -> None:
        if batch.update is None or batch.shared is None or batch.sighting is not None:
            return
        batch.ranked.insert(0, _ranked(batch.shared, batch.truth))
        kernel, bias = _loss_gradient(batch.update)
        batch.sighting = sighting(kernel, batch.truth.labels, bias_gradient=bias, features=batch.truth.features)


def _loss_gradient(update: Update) -> tuple[np.ndarray, np.ndarray | None]:
    """Return kernel and bias gradient of the head without the parts of weight penalties, a column for each class."""
    update = update.both_classes()
    head = update.head
    kernel, bias = update.kernel_gradient, update.bias_gradient
    if head.kernel_penalty is not None and not update.defences:
        kernel = kernel - head.kernel_penalty
    if bias is not None and head.bias_penalty is not None and not update.defences:
        bias = bias - head.bias_penalty
    return kernel, bias


def _ranked(update: Update, truth: Truth) -> RankedColumns:
    kernel, bias = _loss_gradient(update)
    return rank_columns(kernel, truth.labels, bias_gradient=bias, features=truth.features)


def _histogram(entries: Sequence[tuple[int, float]], classes: int) -> np.ndarray:
    shares = np.zeros(classes)
    for label, share in entries:
        shares[label] = share
    return shares


def _claim(verdict: Verdict) -> Sequence[int]:
    if verdict.status != Status.RECOVERED:
        return ()
    sets: Sequence[Sequence[int]] = verdict.stats["recovered"]
    return sets[0] if sets else ()


def _pooled(question: Question, columns: Sequence[Sequence[Verdict]], confidence: float | None) -> Verdict:
    """Pool one attack's verdicts, first over the draws of each batch, then over the batches."""
    if len(columns) == 1:
        return pool(question, columns[0], confidence=confidence)
    by_batch = [
        dataclasses.replace(pool(question, verdicts), batches=1, interval=None)
        for verdicts in zip(*columns, strict=True)
    ]
    return pool(question, by_batch, confidence=confidence)
