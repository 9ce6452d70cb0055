"""Audit: all verdicts on one model and its batches, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.figures import rounded
from .outcome import strongest
from .questions.words import union_of_terms
from .verdict import Verdict

__all__ = ["Audit"]


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
        What was compared with `limit`: the maximum over the attacks; with `counts`, of the advantage over classes
        and the one over counts; with `samples`, of the share of label positions isolated.
    limit : float
        What the advantage was compared with.
    limit_source : {"threshold", "baseline"}
        Where the limit comes from.
    threshold : float
        The configured threshold, also where the baseline decided.
    confidence : float or None
        What was asked for; None if the point estimate alone was compared.
    verdicts : tuple of Verdict
        One per attack, in the order they ran.
    control : tuple of Verdict
        With a defence: the same attacks on the undefended updates (positive control).
    classes, batches : int
        Size of the problem.
    counts : bool
        Whether counts were scored too.
    samples : bool
        Whether isolated samples decided, and not labels.
    lexicon : int or None
        Where words were asked for: number of words an attacker tries.
    transcripts : float or None
        Where transcripts were asked for: the word error rate up to which one counts as recovered.
    listed : int or None
        Number of sensitive terms, where there is a list.
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
    confidence: float | None = None
    verdicts: tuple[Verdict, ...]
    control: tuple[Verdict, ...] = ()
    classes: int = 0
    batches: int = 1
    counts: bool = False
    samples: bool = False
    lexicon: int | None = None
    transcripts: float | None = None
    listed: int | None = None
    defence: str | None = None
    origin: str = ""
    device: str = ""
    compute_dtype: str = ""
    head: str = ""

    @property
    def strongest(self) -> Verdict | None:
        """The verdict with the highest figure among the attacks that made a claim, or None."""
        return strongest(self.verdicts, samples=self.samples)

    @property
    def upper_bound(self) -> float | None:
        """One-sided upper confidence bound of the maximum over the attacks, or None if there is none."""
        return max((v.upper_bound for v in self.verdicts if v.upper_bound is not None), default=None)

    @property
    def positions_exact(self) -> float | None:
        """Share of batches whose number of label positions the best attack read exactly, None without any claim."""
        return max((v.positions_exact for v in self.verdicts if v.positions_exact is not None), default=None)

    @property
    def samples_isolated(self) -> float | None:
        """Share of label positions that the best attack at it isolated, None if none isolates anything."""
        return max((v.samples_isolated for v in self.verdicts if v.samples_isolated is not None), default=None)

    @property
    def features_exposed(self) -> float | None:
        """Share of label positions whose features the best attack at it recovered, None without any."""
        return max((v.features_exposed for v in self.verdicts if v.features_exposed is not None), default=None)

    @property
    def words(self) -> dict[str, Any] | None:
        """Where words were asked for: mean number of different ones per batch, and what became of them.

        Holds "number", "recovered" (the largest share that an attack's tokens form), "advantage" (over words not
        said; None without any in the lexicon) and "lexicon", its size.
        """
        if self.lexicon is None:
            return None

        def largest(name: str) -> float | None:
            return rounded(max((x for v in self.verdicts if (x := getattr(v, name)) is not None), default=None))

        figures = {"number": "words", "recovered": "words_recovered", "advantage": "words_advantage"}
        return {**{key: largest(name) for key, name in figures.items()}, "lexicon": self.lexicon}

    @property
    def sensitive(self) -> dict[str, Any] | None:
        """With a list of sensitive terms: how many are "listed" and "present", and the indices of those "exposed"."""
        if self.listed is None:
            return None
        present, exposed = union_of_terms(self.verdicts)
        return {"listed": self.listed, "present": len(present), "exposed": list(exposed)}

    @property
    def transcripts_recovered(self) -> float | None:
        """Share of the transcripts that the best attack at it rebuilt, None if none does."""
        shares = (v.transcripts_recovered for v in self.verdicts if v.transcripts_recovered is not None)
        return max(shares, default=None)

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
            "confidence": self.confidence,
            "upper_bound": rounded(self.upper_bound),
            "counts": self.counts,
            "samples": self.samples,
            "positions_exact": rounded(self.positions_exact),
            "samples_isolated": rounded(self.samples_isolated),
            "features_exposed": rounded(self.features_exposed),
            "words": self.words,
            "sensitive": self.sensitive,
            "transcripts": None
            if self.transcripts is None
            else {"word_error_rate": self.transcripts, "recovered": rounded(self.transcripts_recovered)},
            "strongest_attack": None if best is None else best.attack,
            "variables": [] if best is None else list(best.variables),
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
