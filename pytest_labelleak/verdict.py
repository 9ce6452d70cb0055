"""Verdict: a Recovery scored against the truth, the only place where the two meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .counting import count_accuracy, counts_advantage
from .errors import InvalidArgumentError
from .interval import bounded_mean_interval, upper_bound
from .recovery import INCONCLUSIVE, NOT_APPLICABLE, RECOVERED, Recovery

__all__ = ["NOT_RUN", "Truth", "Verdict", "mean_figure", "pool", "score"]

#: Status of an attack that was left out, because nothing it could find would change anything.
NOT_RUN = "not run"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """The labels that one update was really computed from.

    Attributes
    ----------
    labels : ndarray of int, shape (S,)
        Class of every label position with a non-zero weight. Private.
    classes : int
        Number of classes C.
    """

    labels: np.ndarray = field(repr=False)
    classes: int

    def __post_init__(self) -> None:
        """Check type and range without ever quoting a label."""
        labels = np.asarray(self.labels)
        if labels.size == 0:
            labels = labels.astype(np.int64)
        if labels.dtype.kind not in "iu":
            raise InvalidArgumentError(f"labels have dtype {labels.dtype}. Expected integers: class indices.")
        labels = labels.reshape(-1).astype(np.int64)
        outside = int(np.count_nonzero((labels < 0) | (labels >= self.classes)))
        if outside:
            raise InvalidArgumentError(
                f"{outside} of {labels.size} labels are out of range. "
                f"Expected class indices from 0 to {self.classes - 1}: the head has {self.classes} outputs."
            )
        object.__setattr__(self, "labels", labels)

    @property
    def present(self) -> np.ndarray:
        """Distinct classes in the update, sorted. Private."""
        return np.unique(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """One attack's recoveries scored against the truth, over one or several batches.

    Rates are means over the batches; a class is the unit of counting.

    Attributes
    ----------
    attack : str
        Name of the attack.
    status : {"recovered", "not applicable", "inconclusive", "not run"}
        The worst over the batches: "inconclusive", then "not applicable". "not run" says nothing either way.
    message : str
        Reason for a status other than "recovered".
    advantage : float
        True-positive rate minus false-positive rate. 0 is guessing, 1 the exact set; 0 where
        the attack made no claim.
    true_positive_rate, false_positive_rate, precision, recall, f1 : float
        In [0, 1].
    exact_match : float
        Share of batches whose set was named exactly.
    labels, claimed : float
        Mean number of distinct labels per batch, and of classes the attack named.
    chance : float
        Expected precision of naming classes at random: labels / C.
    batches : int
        Number of batches.
    interval : tuple of float or None
        95 % confidence interval of the advantage with the batch as the unit; None for one batch.
    upper_bound : float or None
        One-sided upper confidence bound of the advantage, at the confidence that was asked for; None if none
        was, or if the verdict is inconclusive.
    positions_exact : float or None
        Share of batches in which the attack read the number of label positions (the size of the batch, the length of
        a transcript) exactly; None if it never claims a number. A finding of its own, no part of the advantage.
    count_accuracy, counts_exact, counts_advantage : float or None
        Where counts were asked for and the attack claims any: share of label positions whose class and multiplicity
        are right, share of batches with the exact multiset, and the accuracy corrected for chance (see `counting`).
    series : tuple of tuple of float
        What the bound is computed from: the advantages of all batches, and their counts advantages if there are.
    recovered : tuple of tuple of int
        What was named in each batch. Private.
    positions : tuple of (int or None)
        Number of label positions claimed for each batch. Private.
    """

    attack: str
    status: str
    message: str = ""
    advantage: float = 0.0
    true_positive_rate: float = 0.0
    false_positive_rate: float = 0.0
    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0
    exact_match: float = 0.0
    labels: float = 0.0
    claimed: float = 0.0
    chance: float = 0.0
    batches: int = 1
    interval: tuple[float, float] | None = None
    upper_bound: float | None = None
    positions_exact: float | None = None
    count_accuracy: float | None = None
    counts_exact: float | None = None
    counts_advantage: float | None = None
    series: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    recovered: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    positions: tuple[int | None, ...] = field(default=(), repr=False)

    @property
    def figure(self) -> float:
        """What is compared with the limit: the advantage or, if larger, the counts advantage."""
        return self.advantage if self.counts_advantage is None else max(self.advantage, self.counts_advantage)

    def to_record(self, *, show_labels: bool = False) -> dict[str, Any]:
        """Return the verdict as a dictionary of JSON types.

        Parameters
        ----------
        show_labels : bool, default False
            Include what was named.

        Returns
        -------
        dict
            Figures rounded to six digits, so that the same audit gives the same bytes everywhere.
        """
        record: dict[str, Any] = {
            "attack": self.attack,
            "status": self.status,
            "message": self.message,
            "interval": None if self.interval is None else [round(x, 6) for x in self.interval],
            **{name: _rounded(getattr(self, name)) for name in _OPTIONAL},
            "batches": self.batches,
        }
        for name in (
            *("advantage", "true_positive_rate", "false_positive_rate", "precision", "recall", "f1"),
            *("exact_match", "labels", "claimed", "chance"),
        ):
            record[name] = round(float(getattr(self, name)), 6)
        if show_labels:
            record["recovered"] = [list(labels) for labels in self.recovered]
            record["positions"] = list(self.positions)
        return record


_OPTIONAL = ("upper_bound", "positions_exact", "count_accuracy", "counts_exact", "counts_advantage")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)


def score(recovery: Recovery, truth: Truth, *, counts: bool = False) -> Verdict:
    """Score what an attack claims about one update against the truth.

    Parameters
    ----------
    recovery : Recovery
        The claim.
    truth : Truth
        The labels.
    counts : bool, default False
        Also score how often each label is claimed to occur.

    Returns
    -------
    Verdict
        With status "inconclusive" if the truth leaves nothing to tell: no label, or every class.

    Raises
    ------
    InvalidArgumentError
        If the recovery names or counts classes that do not exist, or counts below zero.
    """
    present = truth.present
    common: dict[str, Any] = {
        "attack": recovery.attack,
        "labels": float(present.size),
        "chance": present.size / truth.classes,
    }
    if present.size == 0:
        because = "the batch holds no label: it is empty or every sample weight is zero; pass a batch with samples"
        return Verdict(status=INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status == RECOVERED:
        common["positions"] = (recovery.samples,)
        if recovery.samples is not None:
            common["positions_exact"] = float(recovery.samples == truth.labels.size)
    if present.size == truth.classes:
        because = (
            f"every one of the {truth.classes} classes is present, so presence tells nothing; "
            "use a smaller batch or one that misses some classes"
        )
        return Verdict(status=INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status != RECOVERED:
        return Verdict(status=recovery.status, message=recovery.message, **common)

    claimed = np.unique(np.asarray(recovery.labels, dtype=np.int64))
    _check_classes(claimed, recovery.attack, truth)
    if counts and recovery.counts is not None:
        common |= _score_counts(recovery.counts, recovery.attack, truth)
    hits = int(np.intersect1d(claimed, present, assume_unique=True).size)
    tpr = hits / present.size
    fpr = (claimed.size - hits) / (truth.classes - present.size)
    precision = hits / claimed.size if claimed.size else 0.0
    return Verdict(
        status=RECOVERED,
        message=recovery.message,
        advantage=tpr - fpr,
        true_positive_rate=tpr,
        false_positive_rate=fpr,
        precision=precision,
        recall=tpr,
        f1=2 * hits / (claimed.size + present.size),
        exact_match=float(hits == claimed.size == present.size),
        claimed=float(claimed.size),
        recovered=(tuple(int(c) for c in claimed),),
        **common,
    )


def _check_classes(claimed: np.ndarray, attack: str, truth: Truth) -> None:
    if claimed.size and (claimed.min() < 0 or claimed.max() >= truth.classes):
        raise InvalidArgumentError(
            f"attack {attack!r} named a class that does not exist. "
            f"Expected class indices from 0 to {truth.classes - 1}."
        )


def _score_counts(counts: Mapping[int, int], attack: str, truth: Truth) -> dict[str, float]:
    labels = np.array(list(counts), dtype=np.int64)
    numbers = np.array(list(counts.values()), dtype=np.int64)
    _check_classes(labels, attack, truth)
    if np.any(numbers < 0):
        raise InvalidArgumentError(f"attack {attack!r} counted a label less than 0 times. Expected whole numbers.")
    claimed = np.zeros(truth.classes, dtype=np.int64)
    claimed[labels] = numbers
    true = np.bincount(truth.labels, minlength=truth.classes)
    return {
        "count_accuracy": count_accuracy(claimed, true),
        "counts_exact": float(np.array_equal(claimed, true)),
        "counts_advantage": counts_advantage(claimed, true),
    }


_MEANS = (
    *("advantage", "true_positive_rate", "false_positive_rate", "precision", "recall", "f1", "exact_match"),
    *("labels", "claimed", "chance"),
)


def pool(verdicts: Sequence[Verdict], *, confidence: float | None = None) -> Verdict:
    """Pool one attack's verdicts over batches.

    A batch on which the attack made no claim counts with advantage 0, as the attacker's loss; one
    that could not be decided makes the pooled verdict inconclusive.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one, all of the same attack.
    confidence : float, optional
        Coverage of the one-sided upper bound; without it there is none.

    Returns
    -------
    Verdict
        Means over the batches, with a confidence interval for two or more.
    """
    series = [tuple(v.advantage for v in verdicts)]
    if any(v.counts_advantage is not None for v in verdicts):
        series.append(tuple(v.counts_advantage or 0.0 for v in verdicts))
    bound = None
    if confidence is not None and all(v.status != INCONCLUSIVE for v in verdicts):
        bound = max(upper_bound(values, low=-1.0, high=1.0, confidence=confidence) for values in series)
    if len(verdicts) == 1:
        return dataclasses.replace(verdicts[0], upper_bound=bound, series=tuple(series))
    for status in (INCONCLUSIVE, RECOVERED, NOT_APPLICABLE):
        of_status = [v for v in verdicts if v.status == status]
        if of_status:
            break
    means: dict[str, Any] = {name: float(np.mean([getattr(v, name) for v in verdicts])) for name in _MEANS}
    message = of_status[0].message
    if status == INCONCLUSIVE:
        message = f"{len(of_status)} of {len(verdicts)} batches {message}"
    return Verdict(
        attack=verdicts[0].attack,
        status=status,
        message=message,
        batches=len(verdicts),
        interval=bounded_mean_interval(series[0], low=-1.0, high=1.0),
        upper_bound=bound,
        series=tuple(series),
        positions_exact=_mean_of_claims([v.positions_exact for v in verdicts]),
        count_accuracy=_mean_of_claims([v.count_accuracy for v in verdicts]),
        counts_exact=_mean_of_claims([v.counts_exact for v in verdicts]),
        counts_advantage=_mean_of_claims([v.counts_advantage for v in verdicts]),
        recovered=tuple(labels for v in verdicts for labels in (v.recovered or ((),))),
        positions=tuple(number for v in verdicts for number in (v.positions or (None,))),
        **means,
    )


def mean_figure(verdicts: Sequence[Verdict]) -> float:
    """Return the `figure` that `pool` would give, without the rest.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one, all of the same attack.

    Returns
    -------
    float
        The larger of the mean advantages over classes and over counts.
    """
    advantage = float(np.mean([v.advantage for v in verdicts]))
    counts = _mean_of_claims([v.counts_advantage for v in verdicts])
    return advantage if counts is None else max(advantage, counts)


def _mean_of_claims(figures: Sequence[float | None]) -> float | None:
    """Return the mean of `figures` in which None, no claim, counts 0; None if there was never a claim."""
    if all(figure is None for figure in figures):
        return None
    return float(np.mean([figure or 0.0 for figure in figures]))
