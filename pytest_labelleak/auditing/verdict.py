"""Verdict: the figures of one attack on one or several batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..core.figures import rounded

__all__ = ["FURTHER_ADVANTAGES", "SHARES", "Verdict"]


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
    words : float or None
        Mean number of different words per batch, where words were asked for. Then tokens that stand for no text count
        neither as present nor as claimed.
    words_recovered, words_false_positive_rate, words_advantage : float or None
        Share of the words said that can be formed from the tokens named, share of the other words of a lexicon that
        can be formed too, and the difference of both.
    sensitive_present, sensitive_exposed : tuple of int or None
        With a list of sensitive terms: indices of those that were said, and of those among them that can be formed
        from the tokens named; over batches, in any of them.
    transcripts_recovered : float or None
        Where transcripts were asked for: share of the utterances that the attack rebuilt to within the word error rate
        that was asked for. Then it is also the advantage: guessing a transcript has no chance.
    variables : tuple of str
        Names of the shared variables that the claim was read from.
    series : tuple of tuple of float
        What the bound is computed from: the advantages of all batches, and those over counts or words if there are;
        where samples were asked for, the shares of label positions isolated.
    recovered : tuple of tuple of int
        What was named in each batch. Private.
    formed : tuple of tuple of str
        Where words were asked for: those said in each batch that can be formed. Private.
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
    words: float | None = None
    words_recovered: float | None = None
    words_false_positive_rate: float | None = None
    words_advantage: float | None = None
    sensitive_present: tuple[int, ...] | None = None
    sensitive_exposed: tuple[int, ...] | None = None
    transcripts_recovered: float | None = None
    variables: tuple[str, ...] = ()
    series: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    recovered: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    formed: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    positions: tuple[int | None, ...] = field(default=(), repr=False)

    @property
    def figure(self) -> float:
        """What is compared with the limit: the largest of the advantages over classes, counts and words."""
        others = (getattr(self, name) for name in FURTHER_ADVANTAGES)
        return max(self.advantage, *(-1.0 if other is None else other for other in others))

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
            "words": rounded(self.words),
            "sensitive_present": _listed(self.sensitive_present),
            "sensitive_exposed": _listed(self.sensitive_exposed),
            "variables": list(self.variables),
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
            if self.words is not None:
                record["formed"] = [list(words) for words in self.formed]
        return record


#: Figures that are None where an attack makes no such claim.
SHARES = (
    *("positions_exact", "count_accuracy", "counts_exact", "counts_advantage"),
    *("samples_isolated", "features_exposed"),
    *("words_recovered", "words_false_positive_rate", "words_advantage"),
    "transcripts_recovered",
)
#: Advantages besides the one over classes, each None where it was not asked for or is not claimed.
FURTHER_ADVANTAGES = ("counts_advantage", "words_advantage")
_OPTIONAL = ("upper_bound", *SHARES)


def _listed(indices: tuple[int, ...] | None) -> list[int] | None:
    return None if indices is None else list(indices)
