"""A Recovery scored against the truth, the only place where the two meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Recovery, Status
from ...core.truth import Truth
from ..verdict import Verdict
from .counts import count_accuracy, counts_advantage
from .samples import isolation_figures

__all__ = ["Scorer", "SequenceScorer", "score", "score_transcripts"]


class Scorer(Protocol):
    """Scores a claimed set of classes by what these stand for, such as words."""

    def ignored(self, classes: int) -> np.ndarray:
        """Return those of so many classes whose presence says nothing."""

    def said(self, truth: Truth) -> dict[str, Any]:
        """Return figures of the truth alone, by the names of `Verdict`."""

    def found(self, claimed: np.ndarray, truth: Truth) -> dict[str, Any]:
        """Return figures of a claim, by the names of `Verdict`."""


class SequenceScorer(Protocol):
    """Scores claimed transcripts."""

    @property
    def word_error_rate(self) -> float:
        """Word error rate up to which a transcript counts as recovered."""

    def recovered(self, transcripts: Sequence[Sequence[int]], truth: Truth) -> float:
        """Return the share of the true transcripts that are among those claimed."""


def score(
    recovery: Recovery,
    truth: Truth,
    *,
    counts: bool = False,
    samples: bool = False,
    words: Scorer | None = None,
) -> Verdict:
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
    words : Scorer, optional
        What is asked is which words can be formed; classes that it ignores are left out.

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
    ignored = np.empty(0, np.int64) if words is None else words.ignored(truth.classes)
    present = np.setdiff1d(truth.present, ignored, assume_unique=True)
    classes = truth.classes - ignored.size
    common: dict[str, Any] = {
        "attack": recovery.attack,
        "labels": float(present.size),
        "chance": present.size / classes,
        "variables": recovery.variables,
    }
    if words is not None:
        common |= words.said(truth)
    if present.size == 0:
        because = "the batch holds no label: it is empty or every sample weight is zero; pass a batch with samples"
        return Verdict(status=Status.INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status == Status.RECOVERED:
        common["positions"] = (recovery.positions,)
        if recovery.positions is not None:
            common["positions_exact"] = float(recovery.positions == truth.labels.size)
        _check_classes(np.asarray(recovery.sample_labels, dtype=np.int64), recovery.attack, truth)
        common |= isolation_figures(recovery, truth.labels, truth.classes, truth.features)
    if present.size == classes and not samples:
        because = (
            f"every one of the {classes} classes is present, so presence tells nothing; "
            "use a smaller batch or one that misses some classes"
        )
        return Verdict(status=Status.INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status != Status.RECOVERED:
        return Verdict(status=recovery.status, message=recovery.message, **common)

    claimed = np.unique(np.asarray(recovery.labels, dtype=np.int64))
    _check_classes(claimed, recovery.attack, truth)
    if words is not None:
        common |= words.found(claimed, truth)
        claimed = np.setdiff1d(claimed, ignored, assume_unique=True)
    # Where every class is present, an exact multiset and none at all say the same about presence.
    absent = classes - present.size
    if counts and absent and recovery.counts is not None:
        common |= _score_counts(recovery.counts, recovery.attack, truth)
    hits = int(np.intersect1d(claimed, present, assume_unique=True).size)
    tpr = hits / present.size
    fpr = (claimed.size - hits) / absent if absent else 0.0
    precision = hits / claimed.size if claimed.size else 0.0
    return Verdict(
        status=Status.RECOVERED,
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


def score_transcripts(recovery: Recovery, truth: Truth, scorer: SequenceScorer) -> Verdict:
    """Score the transcripts that an attack claims about one update.

    Parameters
    ----------
    recovery : Recovery
        The claim.
    truth : Truth
        The labels in order, with the lengths of their sequences.
    scorer : SequenceScorer
        Compares transcripts.

    Returns
    -------
    Verdict
        Whose advantage is the share of the true transcripts that were recovered.

    Raises
    ------
    InvalidArgumentError
        If the recovery names classes that do not exist.
    """
    common: dict[str, Any] = {
        "attack": recovery.attack,
        "labels": float(truth.present.size),
        "chance": truth.present.size / truth.classes,
        "variables": recovery.variables,
    }
    if truth.labels.size == 0:
        because = "the batch holds no label: it is empty or every sample weight is zero; pass a batch with transcripts"
        return Verdict(status=Status.INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status != Status.RECOVERED:
        return Verdict(status=recovery.status, message=recovery.message, **common)
    if recovery.transcripts is None:
        because = "it does not tell the order of labels"
        return Verdict(status=Status.NOT_APPLICABLE, message=f"not applicable, because {because}", **common)
    named = [label for transcript in recovery.transcripts for label in transcript]
    _check_classes(np.asarray(named, dtype=np.int64), recovery.attack, truth)
    share = scorer.recovered(recovery.transcripts, truth)
    if share < 1.0 and recovery.details.get("finished") is False:
        # A best guess when the time ran out: what it missed might have been found.
        return Verdict(status=Status.INCONCLUSIVE, message=f"inconclusive, because {recovery.message}", **common)
    if not share and recovery.details.get("unique") is False:
        # A guess that got nothing right says that the attack cannot tell, and not that nothing is to be had.
        return Verdict(status=Status.NOT_APPLICABLE, message=f"not applicable, because {recovery.message}", **common)
    said = 1 if truth.lengths is None else sum(1 for length in truth.lengths if length)
    precision = min(share * said / max(len(recovery.transcripts), 1), 1.0)
    return Verdict(
        status=Status.RECOVERED,
        message=recovery.message,
        advantage=share,
        true_positive_rate=share,
        precision=precision,
        recall=share,
        f1=2.0 * precision * share / (precision + share) if share else 0.0,
        exact_match=float(share == 1.0),
        transcripts_recovered=share,
        claimed=float(len(set(named))),
        positions=(recovery.positions,),
        recovered=(tuple(named),),
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
