"""Gradient matching: a search for the transcript, and the contexts, whose gradient is the shared one.

Reading order::

    settings    settings and deciding numbers
    claim       the claim
    observed    entries of a gradient as a defence leaves them
    objectives  distances between gradients
    unknowns    contexts and soft labels as one vector
    minimise    Adam and L-BFGS
    rearrange   repair of wrong orders
    state       progress of a search, and its file
    progress    one line on the terminal
    problem     update and decoder as a problem to minimise
    search      starts, until one transcript explains the gradient
    matching    GradientMatching: the settings, and one call
    attack      the attack `matching`
"""
