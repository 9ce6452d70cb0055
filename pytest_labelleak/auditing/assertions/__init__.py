"""The public assertions, one module each: what is asked, and what is documented; `auditing` does the work."""

from __future__ import annotations

from .labels import assert_labels_not_recoverable
from .samples import assert_samples_not_isolated
from .transcripts import assert_transcripts_not_recoverable
from .words import assert_words_not_recoverable

__all__ = [
    "assert_labels_not_recoverable",
    "assert_samples_not_isolated",
    "assert_transcripts_not_recoverable",
    "assert_words_not_recoverable",
]
