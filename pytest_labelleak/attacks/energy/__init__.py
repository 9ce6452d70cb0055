"""Energy: classes whose columns, or rows of an embedding, stand out of the bulk of the others.

Reading order::

    columns         one number for each class: energy, occupancy, products with directions, bias
    bulk            the bulk of absent classes: its centre, its scale, who stands out of it
    attack          the attack `energy`: the evidence of all numbers combined into one
    embedding_rows  the attack `embedding_rows`: rows of a lookup table that move
"""
