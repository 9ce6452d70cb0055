"""The attack `rlg`: labels from the geometry of the head's kernel gradient.

Reading order::

    cone_projection  non-negative least squares with delayed columns
    label_program    the linear program that finds all extreme columns
    elimination      a positive basis that rejects every class outside it at once
    separation       present and absent classes, with a margin for each
    absence_proofs   certificates of the classes that are not named
    attack           the attack itself
"""
