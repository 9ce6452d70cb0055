"""The attack `rlg_robust`: RLG inside the intervals that a lossy defence leaves.

Reading order::

    explaining  columns explained by others inside their intervals
    attack      the attack itself
"""
