"""Visibility of the labels in an update, for a receiver who chooses statistic and threshold knowing them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .columns import RankedColumns

__all__ = ["MATCHED", "Visibility", "fits_better", "visibility"]

#: Ranks sorted at once; bounds memory and decides nothing.
_SORTED_AT_ONCE = 1 << 22

#: Classes up to which all are permuted to draw some; decides nothing but the time.
_PERMUTED_WHOLE = 4096

#: Figures that agree to so many decimals are the same sum of the same shares in another order.
_DECIMALS = 12
_ROUNDING = 10.0**-_DECIMALS

#: Name of the statistic that knows the features.
MATCHED = "matched filter"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visibility:
    """How well the labels are visible in hindsight, and how well chance alone would show as many.

    Attributes
    ----------
    advantage : float
        Largest true-positive rate minus false-positive rate over all statistics, thresholds and sides. 0 if no
        batch can be compared.
    statistic : str
        The statistic that reaches it, "" for none.
    side : str
        "low" if labels have the smaller figures there, else "high".
    figures : dict of str to float
        The same for every statistic.
    chance : float
        Mean of the advantage over labels drawn at random.
    critical : float
        An advantage above this is significant at `level`; at least 1 if no advantage would be.
    p_value : float
        Share of random labels that show at least as well.
    level : float
        Probability that labels independent of the update are called visible.
    batches, draws : int
        Batches that were compared, and updates in all.
    left_out : int
        Batches in which every class is present, or none.
    """

    advantage: float
    statistic: str
    side: str
    figures: dict[str, float] = field(repr=False)
    chance: float
    critical: float
    p_value: float
    level: float
    batches: int
    draws: int
    left_out: int

    @property
    def visible(self) -> bool:
        """Whether labels independent of the update would show as well with a probability of `level` at most."""
        return self.p_value <= self.level

    @property
    def decidable(self) -> bool:
        """Whether any advantage would have been significant."""
        return self.critical < 1.0 - _ROUNDING

    @property
    def excess(self) -> float:
        """The advantage beyond the one that random labels have in the mean.

        A threshold chosen in hindsight has an advantage by choice alone; `chance` is its mean.
        """
        return self.advantage - self.chance

    def beyond(self, limit: float) -> bool:
        """Tell whether the labels are visible, and by more than `limit` above chance.

        Parameters
        ----------
        limit : float
            Tolerated advantage.

        Returns
        -------
        bool
            Over many draws, a small advantage is significant as well; this one would not be tolerated.
        """
        return self.visible and self.excess > limit

    @property
    def sentence(self) -> str:
        """The finding in words, without a label."""
        if not self.batches:
            return "no batch has both present and absent classes, so nothing can be visible in hindsight"
        named = "the matched filter" if self.statistic == MATCHED else f"the column statistic {self.statistic!r}"
        best = f"advantage {self.advantage:.2f} ({named}; chance {self.chance:.2f})"
        if self.visible:
            return (
                "the labels are visible in this update: a receiver who chooses the threshold well reads them with "
                f"{best}"
            )
        if not self.decidable:
            return (
                f"{self.batches} batch(es) with so few classes cannot tell visible labels from chance: the best "
                f"threshold has {best}; pool more batches"
            )
        return (
            f"the labels are not visible in hindsight: the best threshold has {best}, and only more than "
            f"{self.critical:.2f} would be significant"
        )


def visibility(
    batches: Sequence[Sequence[RankedColumns]],
    *,
    rng: np.random.Generator,
    level: float = 0.01,
    permutations: int = 1999,
    statistics: Collection[str] | None = None,
    side: str | None = None,
) -> Visibility:
    """Measure how well labels are visible in hindsight, over several batches and draws of a defence.

    For each statistic the columns are ranked within their update. One threshold on the rank, the same for all
    updates, splits the columns; its advantage is the mean over batches and draws of the true-positive minus the
    false-positive rate over classes. The best threshold, on the better side, gives Youden's J [1]_, which is the
    two-sample Kolmogorov-Smirnov distance of present and absent columns. Tied columns are never split. The figure
    is the maximum over the statistics.

    Its null distribution is that of labels independent of the update. Given the update, the names of the classes
    are then exchangeable: all labels of a batch are renamed by one random permutation of the classes, the same for
    all draws of the batch, independent between batches. The draws of one batch may depend on each other in any way.
    The p-value with the observed labels counted among the permuted ones is valid for any number of
    permutations [2]_.

    Labels that follow known frequencies can be visible without this update: frequent classes have large softmax
    outputs. The null does not know frequencies, so such labels are called visible.

    Parameters
    ----------
    batches : sequence of sequence of RankedColumns
        For every batch the draws of its update, all with the same labels.
    rng : numpy.random.Generator
        Draws the permutations.
    level : float, default 0.01
        Probability that labels independent of the updates are called visible.
    permutations : int, default 1999
        Number of random permutations.
    statistics : collection of str, optional
        Names of the statistics to use, by default all that every update has.
    side : {"low", "high"}, optional
        Only look for labels whose figures are small, or large; by default either.

    Returns
    -------
    Visibility
        Statistic, advantage, null and p-value.

    References
    ----------
    .. [1] W. J. Youden, "Index for Rating Diagnostic Tests", Cancer 3 (1950) 32-35.
       https://doi.org/10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3
    .. [2] B. Phipson, G. K. Smyth, "Permutation P-values Should Never Be Zero", Stat. Appl. Genet. Mol. Biol. 9
       (2010) 39. https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_labelleak.auditing.evidence.columns import rank_columns
    >>> gradient = np.full((2, 40), 0.1)
    >>> gradient[:, [3, 7, 20, 31]] = -0.9
    >>> found = visibility([[rank_columns(gradient, np.array([3, 7, 20, 31]))]], rng=np.random.default_rng(0))
    >>> found.advantage, found.visible
    (1.0, True)
    """
    usable = [list(draws) for draws in batches if len(draws) and draws[0].comparable]
    counted = {"batches": len(usable), "draws": sum(map(len, usable)), "left_out": len(batches) - len(usable)}
    tables = _tables(usable)
    if statistics is not None:
        tables = {name: table for name, table in tables.items() if name in statistics}
    if not tables:
        return Visibility(
            advantage=0.0,
            statistic="",
            side="low",
            figures={},
            chance=0.0,
            critical=1.0,
            p_value=1.0,
            level=level,
            **counted,
        )
    sizes = [(draws[0].classes, draws[0].present.size) for draws in usable]
    truth = [draws[0].present[None, :] for draws in usable]
    seen = {name: table.extremes(truth) for name, table in tables.items()}
    figures = {name: round(float(_on(side, *found)[0]), _DECIMALS) for name, found in seen.items()}
    statistic = max(figures, key=lambda name: figures[name])
    low, high = seen[statistic]

    null = np.concatenate(
        [
            np.max([_on(side, *table.extremes(renamed)) for table in tables.values()], axis=0)
            for renamed in _renamings(sizes, permutations, max(table.entries for table in tables.values()), rng)
        ]
    )
    advantage = figures[statistic]
    # The p-value counts the observed labels too, so at most one permutation less than these may do as well.
    tolerated = math.floor(level * (permutations + 1) + 1e-9)
    return Visibility(
        advantage=advantage,
        statistic=statistic,
        side=side or ("low" if low[0] >= high[0] else "high"),
        figures=figures,
        chance=float(null.mean()),
        critical=float(np.sort(null)[::-1][tolerated - 1]) if tolerated else 1.0,
        p_value=float(1 + np.count_nonzero(null >= advantage - _ROUNDING)) / (permutations + 1),
        level=level,
        **counted,
    )


def fits_better(
    batches: Sequence[Sequence[RankedColumns]],
    others: Sequence[np.ndarray],
    *,
    rng: np.random.Generator,
    level: float = 0.01,
    permutations: int = 999,
) -> bool:
    """Tell whether other labels fit the updates better than the given ones.

    Both sets of present classes may overlap, so both can be visible. The classes in one of the two alone decide: the
    other labels fit better if they are more visible than the given ones, and than all but a share `level` of mixtures
    that draw as many from these classes at random. Each statistic is read on the side on which it shows the given
    labels.

    Parameters
    ----------
    batches : sequence of sequence of RankedColumns
        As for `visibility`.
    others : sequence of ndarray of int
        For every batch, as many other distinct labels as it has. Private.
    rng : numpy.random.Generator
        Draws the mixtures.
    level : float, default 0.01
        Share of mixtures that may fit as well.
    permutations : int, default 999
        Number of mixtures.

    Returns
    -------
    bool
        False also where too few classes differ to tell.
    """
    pairs = [(list(draws), np.unique(other)) for draws, other in zip(batches, others, strict=True) if len(draws)]
    usable = [(draws, other) for draws, other in pairs if draws[0].comparable]
    tables = _tables([draws for draws, _ in usable])
    tables.pop(MATCHED, None)
    if not tables:
        return False
    mixtures, candidates = [], []
    for draws, other in usable:
        given = draws[0].present
        common, differing = np.intersect1d(given, other), np.setxor1d(given, other)
        count = given.size - common.size
        drawn = [rng.permutation(differing)[:count] for _ in range(permutations)]
        mixtures.append(np.stack([np.concatenate([common, chosen]) for chosen in drawn]))
        candidates.append(np.stack([given, other]))

    shown = [table.extremes(candidates) for table in tables.values()]
    # Labels on the other side of the same threshold are the absent classes, not better labels.
    sides = ["low" if low[0] >= high[0] else "high" for low, high in shown]
    own, candidate = np.max([_on(side, *extremes) for side, extremes in zip(sides, shown, strict=True)], axis=0)
    mixed = [_on(side, *table.extremes(mixtures)) for side, table in zip(sides, tables.values(), strict=True)]
    as_well = 1 + np.count_nonzero(np.max(mixed, axis=0) >= candidate - _ROUNDING)
    return bool(candidate > own + _ROUNDING and as_well <= level * (permutations + 1))


def _on(side: str | None, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    if side is None:
        return np.asarray(np.maximum(low, high))
    return low if side == "low" else high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """One statistic over all batches and draws, ready for any choice of labels.

    The curve of a threshold q is ``D(q) = sum of the gains of label entries up to q - loss(q)``. Every entry that
    is passed costs its share of the false-positive rate; an entry of a label repays that and adds its share of the
    true-positive rate. D rises at label entries alone, so its extremes lie just after and just before these.
    """

    ranks: tuple[np.ndarray, ...]  # per batch, shape (rows, C): a row is a draw, or a position of a draw
    answers: tuple[np.ndarray | None, ...]  # per batch, shape (rows,): index of a row's one label; None: all labels
    gains: np.ndarray  # per batch
    loss: np.ndarray  # by twice the rank, shape (2 C,): up to and without this rank
    entries: int

    def extremes(self, labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest advantage with labels below and above the threshold, each of shape (n,).

        `labels` holds, for every batch, n choices of its distinct labels, shape (n, m).
        """
        several = len(self.ranks)
        parts = []
        for batch, (ranks, answers, chosen) in enumerate(zip(self.ranks, self.answers, labels, strict=True)):
            if answers is None:
                taken = ranks[:, chosen].transpose(1, 0, 2).reshape(chosen.shape[0], -1)
            else:
                taken = ranks[np.arange(ranks.shape[0]), chosen[:, answers]]
            parts.append(taken * several + batch if several > 1 else taken)
        keys = np.concatenate(parts, axis=1)
        keys.sort(axis=1)
        entries = keys.shape[1]
        if np.ptp(self.gains) > 0.0:
            gained = np.zeros((keys.shape[0], entries + 1))
            np.cumsum(self.gains[keys % several], axis=1, out=gained[:, 1:])
        else:
            gained = self.gains[0] * np.arange(entries + 1.0)[None, :]
        where = keys // several if several > 1 else keys
        # Among tied entries the last has the largest sum and the first the smallest: ties need no other care.
        below = (gained[:, 1:] - self.loss[1:][where]).max(axis=1)
        above = (self.loss[where] - gained[:, :-1]).max(axis=1)
        return below, above


def _tables(batches: Sequence[Sequence[RankedColumns]]) -> dict[str, _Table]:
    """Return a table for every statistic that all updates have."""
    if not batches:
        return {}
    updates = [update for draws in batches for update in draws]
    names = [name for name in updates[0].ranks if all(name in update.ranks for update in updates)]
    tables = {}
    for name in names:
        rows = [np.stack([update.ranks[name] for update in draws]) for draws in batches]
        labels = [draws[0].present.size for draws in batches]
        tables[name] = _table(rows, [None] * len(rows), labels)
    if all(update.matched is not None for update in updates):
        rows = [np.concatenate([u.matched for u in draws if u.matched is not None]) for draws in batches]
        answers = [np.concatenate([u.answers for u in draws if u.answers is not None]) for draws in batches]
        tables[MATCHED] = _table(rows, answers, [1] * len(rows))
    return tables


def _table(rows: Sequence[np.ndarray], answers: Sequence[np.ndarray | None], labels: Sequence[int]) -> _Table:
    largest = 2 * max(ranks.shape[1] for ranks in rows)
    gains, loss = np.zeros(len(rows)), np.zeros(largest)
    entries = 0
    for batch, (ranks, count) in enumerate(zip(rows, labels, strict=True)):
        absent = ranks.shape[1] - count
        share = 1.0 / (len(rows) * ranks.shape[0])
        gains[batch] = share * (1.0 / count + 1.0 / absent)
        loss += np.bincount(ranks.reshape(-1), minlength=largest) * (share / absent)
        entries += ranks.shape[0] * count
    passed = np.concatenate([[0.0], np.cumsum(loss)])
    return _Table(ranks=tuple(rows), answers=tuple(answers), gains=gains, loss=passed, entries=entries)


def _renamings(
    sizes: Sequence[tuple[int, int]], count: int, entries: int, rng: np.random.Generator
) -> Iterator[list[np.ndarray]]:
    """Yield, in pieces, `count` random renamings of the labels of every batch, independent between batches."""
    piece = max(1, _SORTED_AT_ONCE // max(1, entries))
    for start in range(0, count, piece):
        rows = min(piece, count - start)
        yield [_distinct(classes, labels, rows, rng) for classes, labels in sizes]


def _distinct(classes: int, count: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows of `count` distinct classes in random order, all such rows equally likely."""
    if count * count > 2 * classes:
        if classes > _PERMUTED_WHOLE:
            return np.stack([rng.choice(classes, size=count, replace=False) for _ in range(rows)])
        every = np.broadcast_to(np.arange(classes, dtype=np.int32), (rows, classes))
        return np.asarray(rng.permuted(every, axis=1)[:, :count])
    # Fewer than about count^2 / (2 C) pairs are equal, so few rows are drawn more than once or twice.
    drawn = rng.integers(0, classes, size=(rows, count))
    while True:
        ordered = np.sort(drawn, axis=1)
        again = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not again.size:
            return drawn
        drawn[again] = rng.integers(0, classes, size=(again.size, count))
