"""Evidence that a verdict rests on: statistics that know the labels, and bounds that need none.

Attacks must not see the truth; everything in this folder may. None of it runs an attack.

Reading order::

    columns         statistics of the columns of a head's gradient, as ranks
    hindsight       visibility of the labels for a receiver who chooses the threshold knowing them
    significance    claims of attacks against claims that are independent of the labels
    visible_shares  visibility of the shares of the classes
    permutation     claimed histograms against histograms with permuted classes
    confidence      bounds of the mean of bounded observations
    sequential      bounds of a mean advantage that hold whenever the draws of a defence stop
    belonging       whether labels and update belong together, and which mistake would explain that they do not
    undoing         whether a receiver can turn a defence without randomness around
    coverage        variables that attacks examined, and those that a defence left as they are
    proof           bound on the advantage of every attack, where the law of the noise is known
    swaps           this bound for the batches of an audit, from updates recomputed with other labels
    proving         the proof of an audit, from its adapter, its batches and its defence
"""
