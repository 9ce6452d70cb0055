"""Energy: classes whose columns stand out of the bulk of the others, in size or along a direction.

Reading order::

    columns  one number for each class: energy, occupancy, products with directions, bias
    bulk     the bulk of absent classes: its centre, its scale, who stands out of it
    attack   the attack `energy`: the evidence of all numbers combined into one
"""
