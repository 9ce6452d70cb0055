"""Speech recognition: from recovered tokens to words, and the report over utterances.

`vocabulary` and `subwords` say what a token stands for, `words` which words can be formed from a set of tokens,
`ordering` in which order they were said, `matching` searches for that order where linear algebra does not tell, and
`report` how much of each utterance an attack found.
"""

from __future__ import annotations

from .free_contexts import FreeContextDecoder, free_contexts
from .matching import PUBLISHED, GradientMatching, Matching
from .matching_attack import MatchingAttack
from .ordering import Ordering, Transcripts
from .progress import Progress, ProgressLine
from .report import BagReport, Utterance, bag_report, word_error_rate
from .subwords import SentencePieces, TokenizerFile
from .vocabulary import Graphemes, Vocabulary, WordPieces
from .words import exposed_terms, formable, pieces, whole_words

__all__ = [
    "PUBLISHED",
    "BagReport",
    "FreeContextDecoder",
    "GradientMatching",
    "Graphemes",
    "Matching",
    "MatchingAttack",
    "Ordering",
    "Progress",
    "ProgressLine",
    "SentencePieces",
    "TokenizerFile",
    "Transcripts",
    "Utterance",
    "Vocabulary",
    "WordPieces",
    "bag_report",
    "exposed_terms",
    "formable",
    "free_contexts",
    "pieces",
    "whole_words",
    "word_error_rate",
]
