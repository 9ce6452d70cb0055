"""The attack `rlg_robust`: RLG inside the intervals that a lossy defence leaves.

Reading order::

    explaining  columns explained one after the other until none stands out
    attack      the attack itself
"""
