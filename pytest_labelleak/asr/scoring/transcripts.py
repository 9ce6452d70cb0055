"""Claimed transcripts against those that were said."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TranscriptScorer:
    """Counts the transcripts that were rebuilt, each matched with one that was said.

    Attributes
    ----------
    limit : float
        Word error rate up to which a transcript counts as rebuilt; 0 is word for word.
    vocabulary : Vocabulary or None
        What the tokens stand for. Without it every label is a word, that of the end of a sentence as well.
    """

    limit: float = 0.0
    vocabulary: Vocabulary | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the limit."""
        rate = self.limit
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 <= rate < 1.0:
            raise InvalidArgumentError(
                f"word_error_rate={quoted(rate)}. Expected a number in [0, 1): at 1 a transcript without a word counts."
            )

    def recovered(self, transcripts: Sequence[Sequence[int]], truth: Truth) -> float:
        """Return the share of the true transcripts that are among those claimed.

        Parameters
        ----------
        transcripts : sequence of sequence of int
            What an attack claims, in any order.
        truth : Truth
            With the lengths of its sequences; without them its labels are one.

        Returns
        -------
        float
            Transcripts in which nothing was said do not count.

        Raises
        ------
        InvalidArgumentError
            If nothing was said in any, or the library jiwer is missing and needed.
        """
        lengths = [truth.labels.size] if truth.lengths is None else list(truth.lengths)
        pieces = np.split(truth.labels, np.cumsum(lengths)[:-1].astype(np.int64))
        said = [text for piece in pieces if (text := self._words(piece.tolist()))]
        if not said:
            raise InvalidArgumentError("nothing was said in any transcript of the batch. Expected words in one.")
        claimed = [self._words(transcript) for transcript in transcripts]
        if not claimed:
            return 0.0
        rates = np.array([[self._rate(true, guess) for guess in claimed] for true in said])
        # As many pairs as possible: one claim stands for one transcript.
        rows, columns = scipy.optimize.linear_sum_assignment(rates <= self.limit + 1e-12, maximize=True)
        return float(np.count_nonzero(rates[rows, columns] <= self.limit + 1e-12) / len(said))

    def _words(self, tokens: Sequence[int]) -> list[str]:
        if self.vocabulary is None:
            return [str(token) for token in tokens]
        spoken = [token for token in tokens if token not in self.vocabulary.special]
        return self.vocabulary.decode(spoken).split()

    def _rate(self, said: list[str], claimed: list[str]) -> float:
        if self.limit == 0.0 or said == claimed:
            return float(said != claimed)
        return word_error_rate([" ".join(said)], [" ".join(claimed)])
