"""Shadow: the labels of simulated updates teach how a defended update is read.

Reading order::

    statistics  class-symmetric numbers of every column, standardised within the update
    simulation  updates of the same head and defence, with labels that are known
    regression  balanced logistic regression on the simulated classes
    attack      the attack `shadow`
"""
