"""Claims about text against the truth.

Reading order::

    utterances   word error rates, and the report over utterances
    words        words that a bag of tokens forms
    transcripts  transcripts that an attack rebuilt
"""
