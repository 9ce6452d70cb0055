"""Audit: all verdicts on one model and its batches, and the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.figures import rounded
from .evidence.coverage import Coverage
from .evidence.swaps import Proof
from .finding import Finding
from .outcome import TOLERANCE, Outcome, strongest
from .questions.question import Question
from .verdict import Verdict

__all__ = ["Audit"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """The outcome of attacking a model's updates, and everything that led to it.

    The figure can be read under the name that the question gives it, such as ``audit.advantage``, and so can the
    statistics of the whole audit: ``audit.positions_exact``.

    Attributes
    ----------
    outcome : Outcome
        Held, leaked or inconclusive.
    message : str
        The reason, with figures and without labels.
    question : Question
        The question that was asked.
    figure : float
        The number that was compared with `limit`: the maximum over the attacks; 0 without a claim.
    limit : float
        Highest figure that is tolerated.
    limit_source : {"threshold", "baseline"}
        Where the limit comes from.
    threshold : float
        The configured threshold, also where the baseline decided.
    confidence : float or None
        Coverage that was asked for; None if the point estimate alone was compared.
    verdicts : tuple of Verdict
        One per attack, in the order they ran.
    control : tuple of Verdict
        With a defence: the same attacks on the undefended updates (positive control).
    stats : mapping of str to object
        Statistics of the whole audit, as the question declares them.
    findings : tuple of Finding
        Sentences about these, and about the shared variables that were read.
    classes, batches : int
        Size of the problem.
    draws : int
        Number of draws of the defence.
    defence : str or None
        Name of the defence.
    proof : Proof or None
        The bound on every attack, where it was computed, or the reason why a required one is missing.
    coverage : Coverage
        The shared variables that attacks examined, those that none did, and those that the defence left as they are.
    origin, device, compute_dtype, head : str
        Where the updates came from.
    """

    outcome: Outcome
    message: str
    question: Question = field(repr=False)
    figure: float
    limit: float
    limit_source: str = "threshold"
    threshold: float
    confidence: float | None = None
    verdicts: tuple[Verdict, ...]
    control: tuple[Verdict, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    classes: int = 0
    batches: int = 1
    draws: int = 1
    defence: str | None = None
    proof: Proof | None = None
    coverage: Coverage = field(default_factory=Coverage)
    origin: str = ""
    device: str = ""
    compute_dtype: str = ""
    head: str = ""

    def __getattr__(self, name: str) -> Any:
        """Read the figure under the question's name for it, or a statistic of the audit."""
        # Without its fields, as while a copy is being made, the object has no statistics either.
        if not name.startswith("_") and name not in Audit.__slots__:
            if name in self.stats:
                return self.stats[name]
            if name == self.question.figure_statistic:
                return self.figure
            raise AttributeError(f"an audit of {self.question.name} has no {name!r}.")
        raise AttributeError(name)

    @property
    def strongest(self) -> Verdict | None:
        """The verdict with the highest figure among the attacks that made a claim, or None."""
        return strongest(self.verdicts)

    @property
    def upper_bound(self) -> float | None:
        """One-sided upper confidence bound of the maximum over the attacks, or None if there is none."""
        return max((v.upper_bound for v in self.verdicts if v.upper_bound is not None), default=None)

    @property
    def accepted(self) -> bool:
        """Whether it holds only because the baseline accepts the leak: by the threshold alone it would not."""
        if self.outcome != Outcome.HELD or self.limit_source != "baseline" or self.limit <= self.threshold + TOLERANCE:
            return False
        undecided = self.confidence is not None and (self.upper_bound is None or self.upper_bound > self.threshold)
        return self.figure > self.threshold + TOLERANCE or undecided

    def to_record(self, *, show_labels: bool = False) -> dict[str, Any]:
        """Return the audit as a dictionary of JSON types, without labels unless asked.

        Parameters
        ----------
        show_labels : bool, default False
            Include private statistics of the verdicts.

        Returns
        -------
        dict
            As described by the report's JSON schema.
        """
        best = self.strongest
        outcome, message = str(self.outcome), self.message
        if self.accepted:
            message = f"accepted by the baseline: {message.removeprefix(f'{outcome}: ')}"
            outcome = "accepted"
        return {
            "question": self.question.name,
            "outcome": outcome,
            "accepted": self.accepted,
            "message": message,
            "figure": round(self.figure, 6),
            "figure_name": self.question.figure_name,
            "limit": round(self.limit, 6),
            "limit_source": self.limit_source,
            "threshold": round(self.threshold, 6),
            "confidence": self.confidence,
            "upper_bound": rounded(self.upper_bound),
            "statistics": dict(self.stats),
            "findings": [finding.to_record() for finding in self.findings],
            "strongest_attack": None if best is None else best.attack,
            "variables": [] if best is None else list(best.variables),
            "classes": self.classes,
            "batches": self.batches,
            "draws": self.draws,
            "defence": self.defence,
            "proof": None if self.proof is None else self.proof.to_record(),
            "coverage": self.coverage.to_record(),
            "origin": self.origin,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "head": self.head,
            "verdicts": [v.to_record(show_labels=show_labels) for v in self.verdicts],
            "control": [v.to_record(show_labels=show_labels) for v in self.control],
        }
