"""Attacks that tell how often each label occurs.

Reading order::

    whole_numbers   numbers of positions as whole numbers
    shares          share of each class in the bias gradient, and the number of positions
    sigmoid_counts  counts of classes that are independent of each other
    bias_counts     the attack `bias_counts`
    llg_star        the attack `llg_star`
    ilrg            the attack `ilrg`
"""
