"""Verdict: a Recovery scored against the truth, the only place where the two meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .counting import count_accuracy, counts_advantage
from .errors import InvalidArgumentError
from .isolation import isolation_figures
from .recovery import INCONCLUSIVE, RECOVERED, Recovery
from .truth import Truth

__all__ = ["NOT_RUN", "SHARES", "Truth", "Verdict", "rounded", "score"]

#: Status of an attack that was left out, because nothing it could find would change anything.
NOT_RUN = "not run"


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
        the attack made no claim, or where every class is present and samples were asked for.
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
    samples_isolated : float or None
        Share of the label positions that the attack separated from the batch, with the right label; None if it never
        isolates anything. A finding of its own: it is what is compared where samples are asked for.
    features_exposed : float or None
        Share of the label positions whose features, the input of the head, came with it; None without any.
    feature_error : float or None
        Median relative error of these features, where the truth has them; over batches, the median of theirs.
    series : tuple of tuple of float
        What the bound is computed from: the advantages of all batches, and their counts advantages if there are;
        where samples were asked for, the shares of label positions isolated.
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
    samples_isolated: float | None = None
    features_exposed: float | None = None
    feature_error: float | None = None
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
            **{name: rounded(getattr(self, name)) for name in _OPTIONAL},
            # Errors go down to rounding: digits that count, not decimals.
            "feature_error": None if self.feature_error is None else float(f"{self.feature_error:.2g}"),
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


#: Figures that are None where an attack makes no such claim.
SHARES = (
    *("positions_exact", "count_accuracy", "counts_exact", "counts_advantage"),
    *("samples_isolated", "features_exposed"),
)
_OPTIONAL = ("upper_bound", *SHARES)


def rounded(value: float | None) -> float | None:
    """Return a figure as records hold it, None for none."""
    return None if value is None else round(float(value), 6)


def score(recovery: Recovery, truth: Truth, *, counts: bool = False, samples: bool = False) -> Verdict:
    """Score what an attack claims about one update against the truth.

    Parameters
    ----------
    recovery : Recovery
        The claim.
    truth : Truth
        The labels.
    counts : bool, default False
        Also score how often each label is claimed to occur.
    samples : bool, default False
        What is asked is whether samples can be isolated, which can be told where every class is present too.

    Returns
    -------
    Verdict
        With status "inconclusive" if the truth leaves nothing to tell: no label, or, unless samples are asked for,
        every class.

    Raises
    ------
    InvalidArgumentError
        If the recovery names or counts classes that do not exist, or counts below zero, or if its samples
        do not fit together.
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
        _check_classes(np.asarray(recovery.sample_labels, dtype=np.int64), recovery.attack, truth)
        common |= isolation_figures(recovery, truth.labels, truth.classes, truth.features)
    if present.size == truth.classes and not samples:
        because = (
            f"every one of the {truth.classes} classes is present, so presence tells nothing; "
            "use a smaller batch or one that misses some classes"
        )
        return Verdict(status=INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status != RECOVERED:
        return Verdict(status=recovery.status, message=recovery.message, **common)

    claimed = np.unique(np.asarray(recovery.labels, dtype=np.int64))
    _check_classes(claimed, recovery.attack, truth)
    # Where every class is present, an exact multiset and none at all say the same about presence.
    absent = truth.classes - present.size
    if counts and absent and recovery.counts is not None:
        common |= _score_counts(recovery.counts, recovery.attack, truth)
    hits = int(np.intersect1d(claimed, present, assume_unique=True).size)
    tpr = hits / present.size
    fpr = (claimed.size - hits) / absent if absent else 0.0
    precision = hits / claimed.size if claimed.size else 0.0
    return Verdict(
        status=RECOVERED,
        message=recovery.message,
        advantage=tpr - fpr if absent else 0.0,
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
