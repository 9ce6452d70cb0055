"""Claimed transcripts against the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.optimize

from ...core.errors import InvalidArgumentError, quoted
from ...core.truth import Truth
from ..text.vocabulary import Vocabulary
from .utterances import word_error_rate

__all__ = ["TranscriptScorer"]

#: Quotients of edits and words that should equal the rate differ from it by less; no two quotients are so near.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TranscriptScorer:
    """Counts the true transcripts that are among the claimed ones; each claim stands for one of them.

    Attributes
    ----------
    word_error_rate : float
        Largest word error rate at which a transcript counts as rebuilt; 0 is word for word.
    vocabulary : Vocabulary or None
        Spells the tokens. Without it every label is a word, the end of a sentence included.
    """

    word_error_rate: float = 0.0
    vocabulary: Vocabulary | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the rate."""
        rate = self.word_error_rate
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 <= rate < 1.0:
            raise InvalidArgumentError(
                f"word_error_rate={quoted(rate)}. Expected a number in [0, 1): at 1 a transcript without a word counts."
            )

    def recovered(self, claimed: Sequence[Sequence[int]], truth: Truth) -> float:
        """Return the share of the true transcripts that are among the claimed ones.

        Parameters
        ----------
        claimed : sequence of sequence of int
            Labels of the claimed transcripts; their order is arbitrary.
        truth : Truth
            True labels with the lengths of their sequences; without lengths they are one sequence.

        Returns
        -------
        float
            A true transcript without a word does not count.

        Raises
        ------
        InvalidArgumentError
            If no true transcript has a word, or the library jiwer is missing and needed.
        """
        lengths = [truth.labels.size] if truth.lengths is None else list(truth.lengths)
        pieces = np.split(truth.labels, np.cumsum(lengths)[:-1].astype(np.int64))
        said = [text for piece in pieces if (text := self._words(piece.tolist()))]
        if not said:
            raise InvalidArgumentError("nothing was said in any transcript of the batch. Expected words in one.")
        guesses = [self._words(transcript) for transcript in claimed]
        if not guesses:
            return 0.0
        rates = np.array([[self._rate(true, guess) for guess in guesses] for true in said])
        allowed = rates <= self.word_error_rate + _ROUNDING
        # As many pairs as possible: one claim stands for one transcript.
        rows, columns = scipy.optimize.linear_sum_assignment(allowed, maximize=True)
        return float(np.count_nonzero(allowed[rows, columns]) / len(said))

    def _words(self, tokens: Sequence[int]) -> list[str]:
        if self.vocabulary is None:
            return [str(token) for token in tokens]
        spoken = [token for token in tokens if token not in self.vocabulary.special]
        return self.vocabulary.decode(spoken).split()

    def _rate(self, said: list[str], claimed: list[str]) -> float:
        if self.word_error_rate == 0.0 or said == claimed:
            return float(said != claimed)
        return word_error_rate([" ".join(said)], [" ".join(claimed)])
