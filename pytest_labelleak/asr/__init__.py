"""Speech recognition and other text: from recovered tokens to words, and to transcripts in order.

Reading order::

    text             vocabularies, and the words that tokens form
    scoring          claims about text against the truth
    decoders         decoders that run on contexts and labels of the caller's choice
    time_budget      seconds that an attack may take
    claim            transcripts as a claim, and the part of it that is certain
    isolated         label positions, isolated once per update
    ordering         order from the gradient of the decoder's cells
    replay           order from running the decoder
    matching         order from a search by gradients
    default_attacks  the attacks that an assertion on transcripts runs
"""

from __future__ import annotations

from .claim import Transcripts
from .decoders.free_contexts import FreeContextDecoder, free_contexts
from .matching.attack import MatchingAttack
from .matching.claim import Matching
from .matching.matching import PUBLISHED, GradientMatching
from .matching.progress import Progress, ProgressLine
from .ordering.attack import Ordering
from .replay.attack import Replay
from .scoring.utterances import BagReport, Utterance, bag_report, word_error_rate
from .text.subwords import SentencePieces, TokenizerFile
from .text.vocabulary import Graphemes, Vocabulary, WordPieces
from .text.words import exposed_terms, formable, pieces, whole_words

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
