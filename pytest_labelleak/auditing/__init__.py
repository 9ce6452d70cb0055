"""From a model and its batches to an Audit: claims scored against the truth, and decided.

Reading order::

    evidence     statistics that know the labels, and bounds that need none
    statistic    statistics that a question declares, and their pooling over batches
    verdict      one attack's claims, scored
    outcome      held, leaked or inconclusive
    finding      one sentence about an audit
    scoring      claims against the truth
    questions    labels, samples, words, transcripts: figure, scoring, decision and findings of each
    result       Audit
    portfolio    attacks run no further than the outcome needs
    draws        a random defence repeated until the figures are certain
    run          the pipeline: capture, defend, attack, score, decide, record
    measure      audit()
    assertions   the public assertions
"""
