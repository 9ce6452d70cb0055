"""The public assertions, one for each question.

Reading order::

    explanation   the error of a failed assertion
    asserting     the common part: run the pipeline, and raise unless the audit held
    labels        assert_labels_not_recoverable
    label_counts  assert_label_counts_not_recoverable
    samples       assert_samples_not_isolated
    words         assert_words_not_recoverable
    transcripts   assert_transcripts_not_recoverable
"""

from __future__ import annotations

from .label_counts import assert_label_counts_not_recoverable
from .labels import assert_labels_not_recoverable
from .samples import assert_samples_not_isolated
from .transcripts import assert_transcripts_not_recoverable
from .words import assert_words_not_recoverable

__all__ = [
    "assert_label_counts_not_recoverable",
    "assert_labels_not_recoverable",
    "assert_samples_not_isolated",
    "assert_transcripts_not_recoverable",
    "assert_words_not_recoverable",
]
