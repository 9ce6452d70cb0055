"""The attack `ordering`: isolated positions put in order by the decoder's own gradient.

Reading order::

    recurrence   recurrent cells found in an update by shape and fit
    links        pairs of neighbours
    paths        paths through all links, and whether another fits
    foretelling  links told by the states themselves
    attack       the attack itself
"""
