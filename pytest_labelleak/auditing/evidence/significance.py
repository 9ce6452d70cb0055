"""Claims of an attack against claims that are independent of the labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binom, hypergeom

__all__ = [
    "ClaimedBatch",
    "Luck",
    "claims_by_luck",
    "corrected",
    "jointly_by_luck",
    "level_of_look",
    "shares_by_luck",
]

#: Largest sum of votes for present classes that is told apart in one batch. The number of votes of a class is
#: rounded to so many steps that this suffices: rounded votes are another statistic, whose null is exact all the same.
_LARGEST_SUM = 4096

#: Steps of the common grid on which batches of different sizes are added up. Each batch is rounded up, so p-values
#: grow by rounding and never shrink.
_GRID = 1 << 16

#: Standard deviations of the number of chosen classes kept on either side before it wraps around: the mass
#: beyond is below the precision of a double.
_DEVIATIONS = 9.0

#: Precision of probabilities found by Fourier transform. Smaller p-values are reported as this one.
_PRECISION = 1e-12

#: Length up to which distributions are convolved one after the other; beyond it, by Fourier transform.
_CONVOLVED = 5000

#: Entries of random numbers that are drawn at a time.
_ENTRIES = 1 << 22

#: Slack in comparing a sum with the observed one, in grid steps: both are the same sum up to rounding.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClaimedBatch:
    """The claims of one attack about one batch, one claim for every draw of a random defence.

    Attributes
    ----------
    classes : int
        Number of classes C.
    present : collection of int
        Distinct labels of the batch, m of them. Private.
    claims : sequence of collection of int
        For every draw, the classes that the attack names; empty where it names none or does not apply. Private.
    """

    classes: int
    present: Collection[int] = field(repr=False)
    claims: Sequence[Collection[int]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Luck:
    """How often claims that are independent of the labels would do as well.

    Attributes
    ----------
    advantage : float
        Mean over batches, and over the draws of each, of the true-positive minus the false-positive rate.
    p_value : float
        Probability of as large an advantage if the claims are independent of the labels.
    batches, draws : int
        Batches compared, and claims in all.
    left_out : int
        Batches in which every class is present, or none, or that have no claim.
    """

    advantage: float
    p_value: float
    batches: int
    draws: int
    left_out: int


def claims_by_luck(batches: Sequence[ClaimedBatch]) -> Luck:
    """Return the probability that claims independent of the labels have as large a mean advantage.

    The null hypothesis: the claims about a batch, over all draws of the defence, say nothing about its labels. Given
    the claims, the set of present classes is then any set of its size with equal probability, the same set for all
    draws of the batch and independent between batches. Draws of one batch share their labels, so the null renames
    them jointly; the draws may depend on each other in any way.

    With f the share of draws in which a class is claimed, the advantage of a batch is, up to a constant, the sum of
    f over its present classes times ``1 / m + 1 / (C - m)``: the total of a sample without replacement. For one draw
    it is hypergeometric, for several its distribution is read off its characteristic function, with the number of
    chosen classes as a second variable that is conditioned on. Batches are independent, so their distributions are
    convolved. Nothing is sampled, so the result needs no seed, and p-values are exact up to 1e-12.

    Parameters
    ----------
    batches : sequence of ClaimedBatch
        The claims of one attack.

    Returns
    -------
    Luck
        Advantage and p-value.

    Notes
    -----
    The p-value holds for a number of draws fixed beforehand. Where the number depends on the advantages seen so far,
    compare it with `level_of_look`.

    Examples
    --------
    Three labels of thirty classes, all named and no other: one in 4060 claims of three classes does as well.

    >>> batch = ClaimedBatch(classes=30, present=[3, 7, 20], claims=[[3, 7, 20]])
    >>> luck = claims_by_luck([batch])
    >>> luck.advantage, round(1 / luck.p_value)
    (1.0, 4060)
    """
    usable = [batch for batch in batches if 0 < len(set(batch.present)) < batch.classes and len(batch.claims)]
    counts = {
        "batches": len(usable),
        "draws": sum(len(batch.claims) for batch in usable),
        "left_out": len(batches) - len(usable),
    }
    if not usable:
        return Luck(advantage=0.0, p_value=1.0, **counts)
    advantages, laws = zip(*map(_law, usable), strict=True)
    return Luck(advantage=float(np.mean(advantages)), p_value=_tail(laws), **counts)


def jointly_by_luck(
    attacks: Mapping[str, Sequence[ClaimedBatch]], *, rng: np.random.Generator, renamings: int = 4999
) -> dict[str, float]:
    """Return, for every attack, the probability that the luckiest of all attacks would do as well by luck.

    Attacks on one update name much the same classes, so a correction for their number that knows nothing of that
    gives up most of its power. Here all attacks are renamed together: the labels of each batch are replaced by a
    random set of as many classes, the largest mean advantage over the attacks is noted, and the p-value of an attack is
    the share of renamings in which that maximum reaches its own advantage. The family-wise error is controlled
    whatever attacks have in common [1]_; the observed labels are counted among the renamings [2]_.

    Parameters
    ----------
    attacks : mapping of str to sequence of ClaimedBatch
        For every attack its claims about the same batches, in the same order.
    rng : numpy.random.Generator
        Draws the renamings.
    renamings : int, default 4999
        Number of renamings.

    Returns
    -------
    dict of str to float
        Compare with the level, 0.01 by default. 1.0 for all if no batch has both present and absent classes.

    References
    ----------
    .. [1] P. H. Westfall, S. S. Young, "Resampling-Based Multiple Testing", Wiley 1993.
    .. [2] B. Phipson, G. K. Smyth, "Permutation P-values Should Never Be Zero", Stat. Appl. Genet. Mol. Biol. 9
       (2010) 39. https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    Two attacks that name the same two labels of ten classes: one pair in 45 is as good, whoever names it.

    >>> batch = ClaimedBatch(classes=10, present=[3, 7], claims=[[3, 7]])
    >>> lucky = jointly_by_luck({"llg": [batch], "yin": [batch]}, rng=np.random.default_rng(0))
    >>> 0.015 < lucky["llg"] == lucky["yin"] < 0.03
    True
    """
    names = list(attacks)
    if not names:
        return {}
    observed = np.zeros(len(names))
    null = np.zeros((renamings, len(names)))
    usable = 0
    for batches in zip(*(attacks[name] for name in names), strict=True):
        present = sorted(set(batches[0].present))
        classes, m = batches[0].classes, len(present)
        if not 0 < m < classes:
            continue
        usable += 1
        support = sorted({label for batch in batches for claim in batch.claims for label in claim})
        place = {label: index for index, label in enumerate(support)}
        votes = np.zeros((len(names), len(support)))
        for row, batch in enumerate(batches):
            for claim in batch.claims:
                votes[row, [place[label] for label in set(claim)]] += 1.0 / max(len(batch.claims), 1)
        gain, loss = 1.0 / m + 1.0 / (classes - m), votes.sum(axis=1) / (classes - m)
        hit = [place[label] for label in present if label in place]
        observed += gain * votes[:, hit].sum(axis=1) - loss
        if not support:
            continue
        # A random set of m classes meets the named ones in a hypergeometric number, and in random ones of them.
        met = rng.hypergeometric(m, classes - m, len(support), size=renamings)
        rows = max(1, _ENTRIES // len(support))
        for start in range(0, renamings, rows):
            part = slice(start, min(start + rows, renamings))
            order = rng.random((part.stop - part.start, len(support))).argsort(axis=1).argsort(axis=1)
            null[part] += gain * (order < met[part, None]) @ votes.T - loss
    if not usable:
        return dict.fromkeys(names, 1.0)
    highest = null.max(axis=1)
    beaten = np.count_nonzero(highest[None, :] >= observed[:, None] - _SLACK, axis=1)
    return {name: float((1 + count) / (renamings + 1)) for name, count in zip(names, beaten, strict=True)}


def shares_by_luck(hits: int, trials: int, *, chance: float = 0.0) -> float:
    """Return the probability that claims independent of the truth hit at least so often.

    For figures that are shares of items (transcripts rebuilt, samples isolated), where each item is hit by luck
    with a probability of `chance` at most, whichever other items were hit.

    Parameters
    ----------
    hits : int
        Items hit, in [0, trials].
    trials : int
        Items in all.
    chance : float, default 0.0
        Largest probability of a hit by luck. 0 where luck cannot hit, as with a whole transcript: one hit is then
        evidence enough.

    Returns
    -------
    float
        p-value: 1 without a hit, 0 for a hit where chance is 0.

    Examples
    --------
    >>> shares_by_luck(0, 20), shares_by_luck(1, 20), round(shares_by_luck(3, 20, chance=0.01), 6)
    (1.0, 0.0, 0.001004)
    """
    if hits <= 0:
        return 1.0
    return float(binom.sf(hits - 1, trials, chance))


def corrected(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for their number by Holm's procedure.

    The probability that any attack whose claims are luck has a corrected p-value of `level` or less is at most
    `level`, however the attacks depend on each other [1]_.

    Parameters
    ----------
    p_values : mapping of str to float
        For every attack. Claims with a certificate are proved and need no test: leave these attacks out.

    Returns
    -------
    dict of str to float
        Compare with the level, 0.01 by default.

    References
    ----------
    .. [1] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Stat. 6 (1979) 65-70.
       https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> corrected({"llg": 0.004, "yin": 0.02, "idlg": 0.5})
    {'llg': 0.012, 'yin': 0.04, 'idlg': 0.5}
    """
    found: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        found[name] = largest
    return {name: found[name] for name in p_values}


def level_of_look(level: float, look: int) -> float:
    """Return the part of a level that the test may use when it looks for the look-th time.

    A test that is repeated as draws come in, until it is significant, is significant by luck in the end. The parts
    ``level / (k (k + 1))`` of looks k = 1, 2, ... add up to `level` however many looks there are. Looks after 1, 2,
    4, 8, ... draws cost little: the tenth is after 512 draws.

    Parameters
    ----------
    level : float
        Probability of a false alarm over all looks together.
    look : int
        Number of this look, from 1.

    Returns
    -------
    float
        Level of this look.

    Examples
    --------
    >>> [round(level_of_look(0.01, look), 6) for look in (1, 2, 3)]
    [0.005, 0.001667, 0.000833]
    """
    return level / (look * (look + 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Law:
    """Distribution of the sum of a batch's votes for present classes, and the sum that was observed."""

    probabilities: np.ndarray  # of the sums 0, 1, ...
    observed: int
    worth: float  # advantage per unit of the sum, up to a constant
    transformed: bool  # whether the probabilities come from a Fourier transform


def _law(batch: ClaimedBatch) -> tuple[float, _Law]:
    """Return the advantage of a batch, and the null distribution of its vote."""
    present = np.unique(np.fromiter(batch.present, dtype=np.int64))
    m, absent, draws = present.size, batch.classes - present.size, len(batch.claims)
    votes = np.zeros(batch.classes, dtype=np.int64)
    for claim in batch.claims:
        votes[np.unique(np.fromiter(claim, dtype=np.int64))] += 1
    total, hits = int(votes.sum()), int(votes[present].sum())
    advantage = (hits / m - (total - hits) / absent) / draws
    steps = max(1, min(draws, _LARGEST_SUM // m))
    if steps < draws:
        votes = np.floor(votes * (steps / draws) + 0.5).astype(np.int64)
    law = _Law(
        probabilities=_sampled_sum(np.bincount(votes), m),
        observed=int(votes[present].sum()),
        worth=(1.0 / m + 1.0 / absent) / steps,
        transformed=int(votes.max()) > 1,
    )
    return advantage, law


def _sampled_sum(holders: np.ndarray, m: int) -> np.ndarray:
    """Return the law of the sum of m classes' votes, drawn without replacement; `holders[v]` classes have v votes."""
    classes = int(holders.sum())
    if holders.size <= 2:
        named = int(holders[1]) if holders.size == 2 else 0
        return np.asarray(hypergeom.pmf(np.arange(min(named, m) + 1), classes, named, m))
    # Choose every class with probability m / C on its own, and condition on m chosen ones.
    share = m / classes
    width = min(classes + 1, math.ceil(2.0 * _DEVIATIONS * math.sqrt(m * (1.0 - share))) + 2)
    length = _largest_sum(holders, m) + 1
    around = np.exp(2j * np.pi * np.arange(width) / width)[:, None]
    along = 2j * np.pi * np.arange(length // 2 + 1)[None, :] / length
    joint = np.ones((width, length // 2 + 1), dtype=np.complex128)
    for votes in np.flatnonzero(holders):
        chosen = around * np.exp(along * float(votes)) if votes else around
        joint = joint * (1.0 - share + share * chosen) ** int(holders[votes])
    given = (joint * np.exp(-2j * np.pi * np.arange(width) * m / width)[:, None]).sum(axis=0)
    law = np.maximum(np.fft.irfft(np.conj(given), n=length), 0.0)
    return np.asarray(law / law.sum())


def _largest_sum(holders: np.ndarray, m: int) -> int:
    """Return the sum of the votes of the m classes that have most."""
    left, total = m, 0
    for votes in range(holders.size - 1, -1, -1):
        taken = min(left, int(holders[votes]))
        total, left = total + taken * votes, left - taken
    return total


def _tail(laws: Sequence[_Law]) -> float:
    """Return the probability that the sum of independent votes is worth at least the observed ones."""
    transformed = any(law.transformed for law in laws)
    if len({law.worth for law in laws}) == 1:
        parts = [law.probabilities for law in laws]
        observed = float(sum(law.observed for law in laws))
    else:
        step = sum(law.worth * (law.probabilities.size - 1) for law in laws) / _GRID or 1.0
        # Rounded up, the null is worth more than it is, and the observed sum is not rounded.
        parts = [
            np.bincount(
                np.ceil(np.arange(law.probabilities.size) * (law.worth / step)).astype(np.int64),
                weights=law.probabilities,
            )
            for law in laws
        ]
        observed = sum(law.worth * law.observed for law in laws) / step
    length = sum(part.size - 1 for part in parts) + 1
    if length <= _CONVOLVED:
        together = parts[0]
        for part in parts[1:]:  # sums of positive products: small probabilities keep their precision
            together = np.convolve(together, part)
    else:
        product = np.prod([np.fft.rfft(part, n=length) for part in parts], axis=0)
        together = np.maximum(np.fft.irfft(product, n=length), 0.0)
        transformed = transformed or len(parts) > 1
    tail = min(1.0, float(together[max(0, math.ceil(observed - _SLACK)) :].sum()))
    return max(tail, _PRECISION) if transformed else tail
