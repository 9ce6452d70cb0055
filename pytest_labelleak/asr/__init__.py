"""Speech recognition: from recovered tokens to words, and the report over utterances.

`vocabulary` and `subwords` say what a token stands for, `words` which words can be formed from a set of tokens,
`ordering` and `replay` in which order they were said, `matching` searches for that order by gradients, and
`report` how much of each utterance an attack found.
"""

from __future__ import annotations

from .free_contexts import FreeContextDecoder, free_contexts
from .matching import PUBLISHED, GradientMatching, Matching
from .matching_attack import MatchingAttack
from .ordering import Ordering
from .progress import Progress, ProgressLine
from .replay import Replay
from .report import BagReport, Utterance, bag_report, word_error_rate
from .subwords import SentencePieces, TokenizerFile
from .transcripts import Transcripts
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
    "Replay",
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
