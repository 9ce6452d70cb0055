"""The attack `replay`: isolated positions put in order by running the decoder.

Reading order::

    beam    several orders followed side by side through the decoder
    attack  the attack itself
"""
