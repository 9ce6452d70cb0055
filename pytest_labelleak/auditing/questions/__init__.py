"""The questions that an audit can ask of attacks' claims.

Reading order::

    question      the protocol
    pooling       verdicts over several batches as one
    controlled    a decision that a positive control confirms
    labels        which classes were in the batch, and how often
    label_counts  the shares of the classes among the label positions
    samples       whether the batch comes apart into its samples
    words         which words can be formed
    transcripts   which transcripts can be rebuilt
    asking        a question made from the arguments of a call
"""
