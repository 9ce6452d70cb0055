"""The attack `disaggregate`: the averaged gradient taken apart into its samples.

Reading order::

    spaces          row and column space of the gradient, in the coordinates of the weights
    row_equation    the equation that one sample's row fulfils, and its derivatives
    least_squares   the method of Levenberg and Marquardt
    sample          the equation solved from one start
    starts          starts: separating directions and others
    all_at_once     samples that no single start leads to, solved jointly
    reconstruction  the gradient rebuilt from the samples, as proof
    one_by_one      samples found one after the other, each taken out of the rest
    merged          one row that several labels share
    attack          the attack itself
"""
