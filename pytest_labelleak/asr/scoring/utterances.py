"""The report over utterances: the part of each bag of tokens, length and transcript that an attack found.

Every utterance counts, also one for which the attack failed or claimed nothing: without these a defence would look
useless exactly where it works.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError

__all__ = ["BagReport", "Utterance", "bag_report", "word_error_rate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Utterance:
    """Truth and claim for one utterance.

    Attributes
    ----------
    said : sequence of int
        Tokens of the true transcript, as often as they occur. Private.
    claimed : collection of int or None
        Tokens that an attack named; None if it did not apply or could not decide. Private.
    length : int or None
        Claimed number of tokens, if any.
    """

    said: Sequence[int] = field(repr=False)
    claimed: Collection[int] | None = field(repr=False)
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BagReport:
    """Means over utterances, without a token.

    Attributes
    ----------
    utterances : int
        Number of utterances.
    failures : int
        Number of utterances for which the attack claimed no token; they count in every mean.
    length_error : float
        Mean absolute difference of claimed and true length in tokens; the true length where none was claimed.
    precision, recall : float
        Precision and recall of the claimed set of tokens.
    accuracy : float
        Share of the vocabulary's tokens rightly claimed present or absent. Near 1 for an attack that finds nothing:
        read it next to `recall`.
    exact_match : float
        Share of utterances whose set was named exactly.
    """

    utterances: int
    failures: int
    length_error: float
    precision: float
    recall: float
    accuracy: float
    exact_match: float


def bag_report(utterances: Sequence[Utterance], *, classes: int) -> BagReport:
    """Summarise an attack over utterances.

    Parameters
    ----------
    utterances : sequence of Utterance
        All utterances, failures included.
    classes : int
        Size of the vocabulary C.

    Returns
    -------
    BagReport

    Raises
    ------
    InvalidArgumentError
        If there is no utterance, or one has no tokens.
    """
    if not utterances:
        raise InvalidArgumentError("utterances is empty. Expected at least one.")
    empty = sum(1 for utterance in utterances if not len(utterance.said))
    if empty:
        raise InvalidArgumentError(
            f"{empty} of {len(utterances)} utterances have no tokens. Expected those that something was said in."
        )
    rows = []
    for utterance in utterances:
        said, claimed = set(utterance.said), set(utterance.claimed or ())
        right = len(said & claimed)
        rows.append(
            (
                len(utterance.said) if utterance.length is None else abs(utterance.length - len(utterance.said)),
                right / len(claimed) if claimed else 0.0,
                right / len(said),
                1.0 - len(said ^ claimed) / classes,
                float(said == claimed),
            )
        )
    length_error, precision, recall, accuracy, exact_match = np.mean(rows, axis=0).tolist()
    return BagReport(
        utterances=len(utterances),
        failures=sum(1 for utterance in utterances if not utterance.claimed),
        length_error=length_error,
        precision=precision,
        recall=recall,
        accuracy=accuracy,
        exact_match=exact_match,
    )


def word_error_rate(said: Sequence[str], claimed: Sequence[str | None]) -> float:
    """Return the word error rate over all utterances: edits over words of the true transcripts.

    Parameters
    ----------
    said : sequence of str
        True transcripts, none of them empty.
    claimed : sequence of (str or None)
        Claimed transcripts; None counts as a transcript without words.

    Returns
    -------
    float
        0 is perfect; can exceed 1.

    Raises
    ------
    InvalidArgumentError
        If the lengths differ, a true transcript is empty, or the library jiwer is missing.
    """
    if len(said) != len(claimed):
        raise InvalidArgumentError(f"{len(said)} transcripts and {len(claimed)} reconstructions. Expected as many.")
    empty = sum(1 for text in said if not text.split())
    if empty or not said:
        raise InvalidArgumentError(f"{empty} of {len(said)} true transcripts have no words. Expected words in each.")
    try:
        jiwer: Any = importlib.import_module("jiwer")
    except ImportError:
        raise InvalidArgumentError(
            "the word error rate needs the library 'jiwer', which is not installed: pip install jiwer, or install "
            "pytest-labelleak[asr]."
        ) from None
    return float(jiwer.wer(list(said), [text or "" for text in claimed]))
