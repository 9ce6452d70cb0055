"""Column energy: present classes stand out of the bulk of absent ones, whatever the rank of the gradient."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import scipy.stats

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from .bulk import Split, discoveries, log_tail, split_in_two, standardised, two_normals
from .columns import Columns, Statistic, read_columns

__all__ = ["Energy", "EnergyRules"]


# Rounds of weighting, which end far earlier as a rule: bounds the work.
_MOST_ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyRules:
    """The numbers that decide which classes stand out.

    Attributes
    ----------
    level : float
        Probability that an update of independent noise names any class.
    discovery : float
        False-discovery rate of the names, once some class stands out at `level`.
    split : float
        Largest share of the variance that two clear parts leave.
    uneven : float
        How many times further the energies spread than those of alike columns would, where they are those of a
        gradient that is seen, and not of noise.
    emptied : float
        Share of the entries of a typical column, below which a column was emptied on purpose.
    directions : int
        Leading directions looked at, at most.
    fluctuations : float
        How far above the edge of independent noise a direction must be, in units of the edge's fluctuation.
    """

    level: float = field(default=0.005, metadata={"plateau": (0.0025, 0.02)})
    discovery: float = field(default=0.1, metadata={"plateau": (0.08, 0.2)})
    split: float = field(default=0.15, metadata={"plateau": (0.136, 0.165)})
    uneven: float = field(default=2.0, metadata={"plateau": (1.6, 32)})
    emptied: float = field(default=0.25, metadata={"plateau": (0.0156, 4.0)})
    directions: int = field(default=20, metadata={"plateau": (16, 25)})
    fluctuations: float = field(default=3.3, metadata={"plateau": (0.206, 6.6)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Name every class whose column stands out of the bulk of the others.

    The column of class c holds ``sum_s p_sc h_s`` from every position, and ``-h_s`` besides from the positions of its
    label. A present class therefore stands out in the squared norm of its column, which reads features of any sign,
    any number of positions, and noise far above single entries: the squared norm of the noise of d entries fluctuates
    by ``sqrt(2 / d)`` only.

    1. Every statistic of `Columns` is taken in robust deviations from its bulk. A class stands out if its deviation
       passes Bonferroni's bound over classes and statistics, or if the values fall into two clear parts. If no class
       stands out, the attack does not apply.
    2. The classes that stand out give the matched filter, and every statistic its weight in one sum: the linear
       discriminant of the deviations. Classes are named by the two parts of this sum where these are clear, else by
       its false-discovery rate. The step is repeated until the classes named repeat; of those that alternate, the
       clearest split counts.
    3. Energies that spread further than those of any noise are those of a trained model's probabilities. There the
       two bulks overlap, and classes are named by the likelier of two normal bulks.

    Present classes are taken to be those above the bulk. If no class is above it, classes below it are named: a
    defence that empties the columns of the labels leaves that trace. Columns of zeros beside a majority of others are
    left out as absent.

    The claims rest on statistics and carry no certificate.
    """

    name: ClassVar[str] = "energy"
    reference: ClassVar[str] = "this project"
    cost: ClassVar[str] = "subspace"
    reads_sigmoid: ClassVar[bool] = True

    rules: EnergyRules = field(default_factory=EnergyRules)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that stand out."""
        kept = np.flatnonzero(update.kernel_gradient.any(axis=0))
        beside_empty = 2 * kept.size > update.classes > kept.size > 2
        columns = read_columns(
            _only(update, kept) if beside_empty else update,
            directions=self.rules.directions,
            fluctuations=self.rules.fluctuations,
        )
        statistics = columns.statistics()
        found, strongest = self._standing_out(statistics, len(statistics) + 2)
        side = "above" if found.any() else "below"
        if found.any():
            found = self._combined(columns, statistics, found)
        elif not beside_empty:
            found = self._emptied(columns.filled, columns.live)
        named = np.zeros(update.classes, dtype=bool)
        named[kept if beside_empty else slice(None)] = found
        if beside_empty and not found.any():
            filled = np.zeros(update.classes, dtype=np.int64)
            filled[kept] = columns.filled
            named = self._emptied(filled, columns.live)
        if not named.any():
            raise NotApplicable(
                f"no class stands out of the bulk of the {update.classes} columns, in size or along a direction; the "
                f"strongest statistic is the {strongest}",
                strongest=strongest,
            )
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            labels=tuple(np.flatnonzero(named).tolist()),
            details={"strongest": strongest, "side": side, "directions": int(columns.leading.shape[0])},
        )

    def _standing_out(self, statistics: list[Statistic], tests: int) -> tuple[np.ndarray, str]:
        """Return the classes that surely stand out in any statistic, and the name of the strongest statistic."""
        classes = statistics[0].values.size
        named = np.zeros(classes, dtype=bool)
        bound = np.log(self.rules.level / (tests * classes))
        strongest, best = statistics[0].name, np.inf
        for statistic in (s for s in statistics if s.detects):
            deviations = standardised(statistic)
            tails = log_tail(deviations, classes) if statistic.log_tails is None else statistic.log_tails
            if tails.min() < best:
                strongest, best = statistic.name, float(tails.min())
            named |= tails < bound
            split = self._split(_compressed(deviations), sized=statistic.name == "energy")
            if split.clear:
                named |= split.upper
        return named, strongest

    def _split(self, values: np.ndarray, *, sized: bool) -> Split:
        """Split values in two; clear with an upper majority only for sizes.

        A long tail downwards is cut off as a few classes below. Crowded batches have a real minority there, whose
        columns are smaller.
        """
        split = split_in_two(values, self.rules.split)
        if sized or 2 * int(split.upper.sum()) < values.size:
            return split
        return dataclasses.replace(split, clear=False)

    def _emptied(self, filled: np.ndarray, live: int) -> np.ndarray:
        """Return the classes whose columns hold far fewer entries than chance leaves in the bulk."""
        typical = float(np.median(filled))
        share = min(typical / max(live, 1), 1.0 - 1.0 / (max(live, 1) * filled.size))
        tails = scipy.stats.binom.logcdf(filled, live, share)
        emptied: np.ndarray = (tails < np.log(self.rules.level / filled.size)) & (filled < self.rules.emptied * typical)
        return emptied

    def _combined(self, columns: Columns, statistics: list[Statistic], named: np.ndarray) -> np.ndarray:
        """Return the classes that the statistics name together.

        Where most classes are present, those that stand out most may be a few with many labels, which weigh the
        statistics for themselves. The better half of the energies is therefore another start.
        """
        scores = [_compressed(standardised(statistic)) for statistic in statistics]
        halves = [split_in_two(score, 1.0) for score in scores]
        starts = [named, halves[0].upper, min(halves, key=lambda half: half.left).upper]
        filters: dict[bytes, Statistic] = {}
        answers = [self._from(columns, statistics, start, filters) for start in starts[:2]]
        if all(answer.left is None for answer in answers):
            answers.append(self._from(columns, statistics, starts[2], filters))
        clear = [answer for answer in answers if answer.left is not None]
        if clear:
            return min(clear, key=lambda answer: answer.left or 0.0).named
        if columns.uneven() <= self.rules.uneven:
            return answers[0].named
        # The energies alone besides. A sum of K statistics had K weights to choose, for which its mean likelihood pays
        # as in the Bayesian information criterion.
        price = 0.5 * (len(statistics) + 1) * float(np.log(named.size)) / named.size
        candidates = [(answer.score, answer.named, price) for answer in answers] + [(scores[0], halves[0].upper, 0.0)]
        mixtures: list[tuple[float, np.ndarray]] = []
        for score, members, paid in candidates:
            for upper in (members, split_in_two(score, 1.0).upper):
                if 0 < int(upper.sum()) < upper.size and score.std() > 0:
                    mixture = two_normals(score, upper)
                    mixtures.append((mixture.gain - paid, mixture.upper))
        return max(mixtures, key=lambda pair: pair[0])[1] if mixtures else answers[0].named

    def _from(
        self, columns: Columns, statistics: list[Statistic], named: np.ndarray, filters: dict[bytes, Statistic]
    ) -> _Answer:
        """Return the classes that the statistics name together; the classes `named` give the first weights.

        Two starts often meet, so `filters` keeps the matched filter of every set of classes.
        """
        rounds: dict[bytes, _Answer] = {}
        weighted = _Answer(named=named, score=np.zeros(named.size), left=None)
        while named.any() and not named.all():
            bulk, key = ~named, np.packbits(named).tobytes()
            if key in rounds:  # these classes were named before: all that follows would repeat
                cycle = list(rounds.values())[list(rounds).index(key) :]
                return min(cycle, key=lambda answer: np.inf if answer.left is None else answer.left)
            if len(rounds) == _MOST_ROUNDS:
                break
            if key not in filters:
                filters[key] = columns.against(named)
            evidence = np.stack([_compressed(standardised(s, bulk)) for s in (*statistics, filters[key])])
            means = np.maximum(evidence[:, named].mean(axis=1), 0.0)
            # Statistics that tell the same must not count twice, nor those that scatter among present classes, as sums
            # of signed features do. The ridge keeps near copies from cancelling.
            spread = 0.1 * np.eye(len(means))
            for members in (bulk, named):
                if int(members.sum()) > 1:
                    spread += np.atleast_2d(np.cov(evidence[:, members]))
            weights = np.maximum(np.linalg.solve(spread, means), 0.0)
            total = standardised(Statistic(name="together", values=weights @ evidence), bulk)
            score = _compressed(total)
            # The energy is the first statistic, and leads the sum where sizes tell.
            parts = [(self._split(values, sized=index < 2), values) for index, values in enumerate((score, *evidence))]
            best, values = min(parts, key=lambda part: (not part[0].clear, part[0].left))
            if best.clear:
                left, found = best.left, self._above_the_tail(values, best.upper)
            else:
                left, found = None, discoveries(log_tail(total, int(bulk.sum())), self.rules.discovery)
                found = self._above_the_tail(score, found)
            named = found
            rounds[key] = weighted = _Answer(named=named, score=score, left=left)
        return weighted

    def _above_the_tail(self, score: np.ndarray, named: np.ndarray) -> np.ndarray:
        """Leave out the upper tail of the bulk, if the classes `named` fall into that tail and clearly above it.

        Absent classes that the model finds probable stand out as well, and shade off into the bulk. The present ones
        begin at a gap that is wider than the one between the classes named and the bulk.
        """
        while int(named.sum()) > 3:
            members = np.flatnonzero(named)
            split = split_in_two(score[members], self.rules.split)
            if not split.clear or _gap(score[members], split.upper) <= _gap(score, named):
                break
            named = np.zeros_like(named)
            named[members[split.upper]] = True
        return named


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answer:
    """Classes named together, the score they were named by, and the share of variance that a clear split leaves."""

    named: np.ndarray
    score: np.ndarray
    left: float | None


def _only(update: Update, classes: np.ndarray) -> Update:
    """Return the head's update of some classes alone."""

    def part(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[..., classes]

    names = filter(None, (update.head.kernel, update.head.bias))
    head = dataclasses.replace(
        update.head,
        kernel_value=part(update.head.kernel_value),
        bias_value=part(update.head.bias_value),
        kernel_penalty=part(update.head.kernel_penalty),
        bias_penalty=part(update.head.bias_penalty),
    )
    gradients = {name: update.gradients[name][..., classes] for name in names}
    return dataclasses.replace(update, gradients=gradients, head=head, penalties={}, values={})


def _gap(values: np.ndarray, upper: np.ndarray) -> float:
    """Return the gap between the lowest value of `upper` and the highest of the others."""
    return float(values[upper].min() - values[~upper].max(initial=-np.inf))


def _compressed(deviations: np.ndarray) -> np.ndarray:
    """Return deviations with those beyond a few compressed, so that one extreme class does not decide the weights."""
    compressed: np.ndarray = 3.0 * np.arcsinh(deviations / 3.0)
    return compressed
