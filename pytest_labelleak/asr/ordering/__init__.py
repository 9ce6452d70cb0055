"""The attack `ordering`: isolated positions put in order by the gradient of the decoder's own cells.

Reading order::

    recurrence   recurrent cells among the gradients, found by shape and fit
    links        pairs of neighbours
    paths        paths through plausible links, and whether another order fits
    foretelling  links from states that the cell's weights foretell
    attack       the attack itself
"""
