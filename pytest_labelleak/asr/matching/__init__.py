"""Gradient matching: a transcript searched for by its gradient.

Reading order::

    observed    entries as a defence leaves them
    objectives  distances between gradients
    unknowns    contexts and soft labels
    minimise    optimisers
    rearrange   repair of wrong orders
    state       resumable checkpoints
    progress    progress shown while searching
    problem     update and decoder as a problem to minimise
    search      restarts until one is good enough
    matching    GradientMatching: the settings, and one call
    attack      the attack itself
"""
