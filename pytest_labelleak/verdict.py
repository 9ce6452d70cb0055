"""Verdict and Audit: the only place where a Recovery meets the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import InvalidArgumentError
from .interval import bounded_mean_interval
from .recovery import INCONCLUSIVE, NOT_APPLICABLE, RECOVERED, Recovery

__all__ = ["HELD", "LEAKED", "Audit", "Truth", "Verdict", "outcome_of", "pool", "score", "strongest"]

HELD = "held"
LEAKED = "leaked"


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
    status : {"recovered", "not applicable", "inconclusive"}
        The worst over the batches: "inconclusive", then "not applicable".
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
    recovered : tuple of tuple of int
        What was named in each batch. Private.
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
    recovered: tuple[tuple[int, ...], ...] = field(default=(), repr=False)

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
            "batches": self.batches,
        }
        for name in (
            *("advantage", "true_positive_rate", "false_positive_rate", "precision", "recall", "f1"),
            *("exact_match", "labels", "claimed", "chance"),
        ):
            record[name] = round(float(getattr(self, name)), 6)
        if show_labels:
            record["recovered"] = [list(labels) for labels in self.recovered]
        return record


def score(recovery: Recovery, truth: Truth) -> Verdict:
    """Score what an attack claims about one update against the truth.

    Parameters
    ----------
    recovery : Recovery
        The claim.
    truth : Truth
        The labels.

    Returns
    -------
    Verdict
        With status "inconclusive" if the truth leaves nothing to tell: no label, or every class.

    Raises
    ------
    InvalidArgumentError
        If the recovery names classes that do not exist.
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
    if present.size == truth.classes:
        because = (
            f"every one of the {truth.classes} classes is present, so presence tells nothing; "
            "use a smaller batch or one that misses some classes"
        )
        return Verdict(status=INCONCLUSIVE, message=f"inconclusive, because {because}", **common)
    if recovery.status != RECOVERED:
        return Verdict(status=recovery.status, message=recovery.message, **common)

    claimed = np.unique(np.asarray(recovery.labels, dtype=np.int64))
    if claimed.size and (claimed[0] < 0 or claimed[-1] >= truth.classes):
        raise InvalidArgumentError(
            f"attack {recovery.attack!r} named a class that does not exist. "
            f"Expected class indices from 0 to {truth.classes - 1}."
        )
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


_MEANS = (
    *("advantage", "true_positive_rate", "false_positive_rate", "precision", "recall", "f1", "exact_match"),
    *("labels", "claimed", "chance"),
)


def pool(verdicts: Sequence[Verdict]) -> Verdict:
    """Pool one attack's verdicts over batches.

    A batch on which the attack made no claim counts with advantage 0, as the attacker's loss; one
    that could not be decided makes the pooled verdict inconclusive.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one, all of the same attack.

    Returns
    -------
    Verdict
        Means over the batches, with a confidence interval for two or more.
    """
    if len(verdicts) == 1:
        return verdicts[0]
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
        interval=bounded_mean_interval([v.advantage for v in verdicts], low=-1.0, high=1.0),
        recovered=tuple(labels for v in verdicts for labels in (v.recovered or ((),))),
        **means,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """The outcome of attacking a model's updates, and everything that led to it.

    Attributes
    ----------
    outcome : {"held", "leaked", "inconclusive"}
        Whether the advantage is above `limit`.
    message : str
        The reason, with figures and without labels.
    advantage : float
        Maximum over the attacks.
    limit : float
        What the advantage was compared with.
    limit_source : {"threshold", "baseline"}
        Where the limit comes from.
    threshold : float
        The configured threshold, also where the baseline decided.
    verdicts : tuple of Verdict
        One per attack, in the order they ran.
    control : tuple of Verdict
        With a defence: the same attacks on the undefended updates (positive control).
    classes, batches : int
        Size of the problem.
    defence : str or None
        Name of the defence.
    origin, device, compute_dtype, head : str
        Where the updates came from.
    """

    outcome: str
    message: str
    advantage: float
    limit: float
    limit_source: str = "threshold"
    threshold: float
    verdicts: tuple[Verdict, ...]
    control: tuple[Verdict, ...] = ()
    classes: int = 0
    batches: int = 1
    defence: str | None = None
    origin: str = ""
    device: str = ""
    compute_dtype: str = ""
    head: str = ""

    @property
    def strongest(self) -> Verdict | None:
        """The verdict with the highest advantage among the attacks that made a claim, or None."""
        return strongest(self.verdicts)

    def to_record(self, *, show_labels: bool = False) -> dict[str, Any]:
        """Return the audit as a dictionary of JSON types, without labels unless asked.

        Parameters
        ----------
        show_labels : bool, default False
            Include what was named.

        Returns
        -------
        dict
            As described by the report's JSON schema.
        """
        best = self.strongest
        return {
            "outcome": self.outcome,
            "message": self.message,
            "advantage": round(self.advantage, 6),
            "limit": round(self.limit, 6),
            "limit_source": self.limit_source,
            "threshold": round(self.threshold, 6),
            "strongest_attack": None if best is None else best.attack,
            "classes": self.classes,
            "batches": self.batches,
            "defence": self.defence,
            "origin": self.origin,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "head": self.head,
            "verdicts": [v.to_record(show_labels=show_labels) for v in self.verdicts],
            "control": [v.to_record(show_labels=show_labels) for v in self.control],
        }


def strongest(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict with the highest advantage among those with a claim, the first on ties.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Any number.

    Returns
    -------
    Verdict or None
        None if no attack made a claim.
    """
    best = None
    for verdict in verdicts:
        if verdict.status == RECOVERED and (best is None or verdict.advantage > best.advantage):
            best = verdict
    return best


def outcome_of(verdicts: Sequence[Verdict], limit: float) -> tuple[str, str]:
    """Decide between held, leaked and inconclusive.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per attack.
    limit : float
        Highest advantage that is tolerated.

    Returns
    -------
    outcome, message : str
        A leak found by one attack stands whatever the others say; short of a leak, one
        inconclusive attack, or none that applies, makes the audit inconclusive.
    """
    best = strongest(verdicts)
    # A tolerance far below one label in any batch: limits pass through decimal text in files and options.
    if best is not None and best.advantage > limit + 1e-9:
        return LEAKED, f"leaked: advantage {best.advantage:.2f} > {_floor(limit)} ({best.attack})"
    undecided = [v for v in verdicts if v.status == INCONCLUSIVE]
    if undecided:
        return INCONCLUSIVE, f"inconclusive: {undecided[0].attack} {_tail(undecided[0].message)}"
    if best is None:
        reasons = "; ".join(f"{v.attack} {_tail(v.message)}" for v in verdicts)
        return INCONCLUSIVE, f"inconclusive: no attack applies: {reasons}"
    return HELD, f"held: advantage {best.advantage:.2f} <= {limit:.2f} ({best.attack})"


def _floor(limit: float) -> str:
    # 0.996 > 0.994 must not print as "1.00 > 1.00"... round the limit down instead.
    return f"{math.floor(limit * 100) / 100:.2f}"


def _tail(message: str) -> str:
    for prefix in ("inconclusive, ", "not applicable, "):
        message = message.replace(prefix, "")
    return message
