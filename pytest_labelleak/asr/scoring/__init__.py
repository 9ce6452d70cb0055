"""Claims about text against the truth.

Reading order::

    utterances   word error rates, and the report over utterances
    words        words that can be formed
    transcripts  transcripts that were rebuilt
"""
