"""Words: which words of a transcript can be formed from the tokens that an attack names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...asr.scoring.words import WordScorer
from ...asr.text.loading import load_vocabulary
from ...core.errors import InvalidArgumentError
from ...core.figures import rounded
from ...core.recovery import Recovery, Status
from ...core.sensitive import SensitiveTerms
from ...core.truth import Truth
from ..finding import Finding, percent
from ..outcome import Bar, Decision, Outcome
from ..statistic import CLAIMED_SHARE, INDICES, PRIVATE_SETS, Statistics
from ..verdict import Verdict
from .controlled import held_by_evidence
from .labels import (
    DECLARED,
    NOTHING_FOUND,
    Labels,
    compare_labels,
    findings_of_labels,
    score_labels,
    succeeds,
    summary_of_labels,
    with_left_out,
)
from .question import Advice, Evidence

__all__ = ["Words", "terms_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Words:
    """Ask whether the words of the transcripts can be formed from the tokens that an attack names.

    The figure is the larger of two advantages: over tokens that stand for text, and over words. A sensitive term that
    was said and can be formed is a leak by itself.

    Attributes
    ----------
    scorer : WordScorer
        Vocabulary and lexicon.
    sensitive : SensitiveTerms or None
        Terms that must not be formed.
    counts : bool
        As for `Labels`.
    """

    name: ClassVar[str] = "words"
    figure_name: ClassVar[str] = "advantage"
    figure_statistic: ClassVar[str] = "advantage"
    low: ClassVar[float] = -1.0
    asks_presence: ClassVar[bool] = True
    declared: ClassVar[Statistics] = {
        **DECLARED,
        **dict.fromkeys(("words", "words_recovered", "words_false_positive_rate", "words_advantage"), CLAIMED_SHARE),
        "sensitive_present": INDICES,
        "sensitive_exposed": INDICES,
        "formed": PRIVATE_SETS,
    }

    scorer: WordScorer = field(repr=False)
    sensitive: SensitiveTerms | None = None
    counts: bool = False

    @classmethod
    def of(
        cls,
        vocabulary: Any,
        *,
        lexicon: Iterable[str] | None = None,
        sensitive: SensitiveTerms | None = None,
        counts: bool = False,
    ) -> Words:
        """Make the question from arguments as users give them.

        Parameters
        ----------
        vocabulary : Vocabulary or path
            The text of each token.
        lexicon : iterable of str, optional
            Words that an attacker would try.
        sensitive : SensitiveTerms, optional
            Terms that must not be formed.
        counts : bool, default False
            As for `Labels`.

        Returns
        -------
        Words
            The question.

        Raises
        ------
        InvalidArgumentError
            If the lexicon is no list of words, or the vocabulary cannot write a term.
        """
        if vocabulary is None:
            raise InvalidArgumentError(
                "vocabulary is None. Expected one of pytest_labelleak.asr, or the path of the model's vocabulary file: "
                "without it tokens are no words."
            )
        scorer = WordScorer(load_vocabulary(vocabulary), lexicon=lexicon, sensitive=sensitive)
        return cls(scorer=scorer, sensitive=sensitive, counts=counts)

    @property
    def compared(self) -> tuple[str, ...]:
        """Advantages over tokens, over counts where asked for, and over words."""
        return (*Labels(counts=self.counts).compared, "words_advantage")

    @property
    def advice(self) -> Advice:
        """Table and advice of a failure message."""
        counts = {"counts": "counts_advantage"} if self.counts else {}
        return Advice(
            columns={
                "advantage": "advantage",
                **counts,
                "words": "words_recovered",
                "bound": "upper_bound",
                "precision": "precision",
                "recall": "recall",
                "exact": "exact_match",
            },
            leak="Whoever receives this update can name these words. Share a protected update (defence=...) and "
            "assert on that, aggregate more samples before sharing, or record the accepted figure with "
            "--labelleak-baseline.",
        )

    def ignored(self, classes: int) -> np.ndarray:
        """Ignore tokens that stand for no text."""
        return self.scorer.ignored(classes)

    def prepare(self, truth: Truth) -> None:
        """Refuse a vocabulary that does not fit the head or the labels."""
        self.scorer.ignored(truth.classes)
        self.scorer.said(truth)

    def score(self, recovery: Recovery, truth: Truth) -> Verdict:
        """Score the tokens named, and the words that they form; tokens without text are left out."""
        verdict = score_labels(
            self,
            recovery,
            truth,
            counts=self.counts,
            ignored=self.scorer.ignored(truth.classes),
            extra=self.scorer.said(truth),
        )
        if verdict.status != Status.RECOVERED:
            return verdict
        claimed = np.unique(np.asarray(recovery.labels, dtype=np.int64))
        stats = {**verdict.stats, **self.scorer.found(claimed, truth)}
        return dataclasses.replace(verdict, stats=stats, figure=self.figure(stats))

    def figure(self, stats: Mapping[str, Any]) -> float | None:
        """Return the largest of the advantages."""
        return max((stats[name] for name in self.compared if stats[name] is not None), default=None)

    def settled(self, columns: Sequence[Sequence[Verdict]], limit: float) -> str | None:
        """Ask as for labels: from the exact set of tokens every word said and every sensitive term can be formed."""
        return Labels(counts=self.counts).settled(columns, limit)

    def shown_possible(self, columns: Sequence[Sequence[Verdict]], threshold: float) -> bool:
        """Tell whether some attack succeeds, and every sensitive term that was said is exposed by one or another."""
        if _missed([verdict for column in columns for verdict in column]):
            return False
        return any(succeeds(self, column, threshold) for column in columns)

    def decide(self, verdicts: Sequence[Verdict], bar: Bar, evidence: Evidence) -> Decision:
        """Compare the advantages, then take the sensitive terms into account.

        Neither the threshold nor a baseline nor a confidence applies to sensitive terms: one that an attack exposes in
        one batch is a leak, also where the audit is otherwise inconclusive.
        """
        decision = compare_labels(self, verdicts, bar, evidence)
        present, exposed = terms_of(verdicts)
        # Whoever tolerates everything asks about the sensitive terms alone, and those have a control of their own.
        terms_alone = bar.threshold >= 1.0 and bool(present)
        if not terms_alone:
            undefended = None
            if evidence.control is not None:
                undefended = compare_labels(self, evidence.control, bar.of_control, evidence, control=True)
            decision = held_by_evidence(decision, bar, evidence, undefended, failure=NOTHING_FOUND, presence=True)
        decision = with_left_out(decision, verdicts)
        if self.sensitive is None:
            return decision
        if exposed:
            by = ", ".join(verdict.attack for verdict in verdicts if verdict.stats["sensitive_exposed"])
            found = (
                f"{len(exposed)} of {len(present)} sensitive term(s) that were said can be formed ({by}): index "
                f"{', '.join(map(str, exposed))} of the list"
            )
            reason = f"{decision.reason}; {found}" if decision.outcome == Outcome.LEAKED else found
            return Decision(outcome=Outcome.LEAKED, reason=reason)
        if decision.outcome != Outcome.HELD:
            return decision
        if self.sensitive.must_occur and not present:
            return Decision(
                outcome=Outcome.INCONCLUSIVE,
                reason=f"none of the {len(self.sensitive)} sensitive term(s) occurs in the transcripts, so the list "
                "tested nothing; plant one in the batch, check how they are spelt, or leave the list out",
            )
        missed = 0 if evidence.control is None else _missed(evidence.control)
        if missed:
            return Decision(
                outcome=Outcome.INCONCLUSIVE,
                reason=f"{missed} of {len(present)} sensitive term(s) that were said cannot be formed without the "
                "defence either, so that the defence was not tested on them; use a batch on which they can",
            )
        return decision

    def summary(self, verdicts: Sequence[Verdict]) -> dict[str, Any]:
        """Return the findings about labels, about words, and about sensitive terms where there is a list."""

        def largest(name: str) -> float | None:
            return rounded(max((v.stats[name] for v in verdicts if v.stats[name] is not None), default=None))

        words = {"number": "words", "recovered": "words_recovered", "advantage": "words_advantage"}
        summary: dict[str, Any] = {
            **summary_of_labels(verdicts),
            "words": {**{key: largest(name) for key, name in words.items()}, "lexicon": self.scorer.lexicon},
        }
        summary["sensitive"] = None
        if self.sensitive is not None:
            present, exposed = terms_of(verdicts)
            summary["sensitive"] = {
                "listed": len(self.sensitive),
                "present": len(present),
                "exposed": list(exposed),
            }
        return summary

    def findings(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Say how many words can be formed, and which sensitive terms are exposed, by their indices."""
        summary = self.summary(verdicts)
        words = summary["words"]
        number, recovered, advantage = words["number"] or 0.0, words["recovered"] or 0.0, words["advantage"]
        text = f"{percent(recovered)} of {number:g} words can be formed"
        if advantage is not None:
            text += f" (advantage {advantage:.2f} over the other words of a lexicon of {words['lexicon']})"
        properties: dict[str, Any] = {"words": f"{number:g}", "words_recovered": recovered}
        found = [
            *findings_of_labels(verdicts),
            Finding(name="words", text=text, prominent=True, properties=properties),
        ]
        if self.sensitive is not None:
            terms = summary["sensitive"]
            exposed = terms["exposed"]
            text = f"sensitive terms: {terms['listed']} listed, {terms['present']} present, {len(exposed)} exposed"
            if exposed:
                text += f" (index {', '.join(map(str, exposed))})"
            detail = ". Neither threshold nor baseline accepts a sensitive term." if exposed else ""
            found.append(
                Finding(name="sensitive", text=text, detail=detail, prominent=True, properties={"sensitive": text})
            )
        return found

    def exposes(self, verdict: Verdict, limit: float) -> bool:
        """Tell whether an advantage is beyond the limit, or a sensitive term can be formed."""
        return bool(verdict.stats["sensitive_exposed"]) or (verdict.figure is not None and verdict.figure > limit)


def terms_of(verdicts: Sequence[Verdict]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the indices of the sensitive terms that were said, and of those that any attack exposed.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Of any attacks and batches.

    Returns
    -------
    present, exposed : tuple of int
        Ascending.
    """
    present = {index for verdict in verdicts for index in verdict.stats["sensitive_present"] or ()}
    exposed = {index for verdict in verdicts for index in verdict.stats["sensitive_exposed"] or ()}
    return tuple(sorted(present)), tuple(sorted(exposed))


def _missed(verdicts: Sequence[Verdict]) -> int:
    present, exposed = terms_of(verdicts)
    return len(set(present) - set(exposed))
