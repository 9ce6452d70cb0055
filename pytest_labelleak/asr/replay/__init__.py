"""The attack `replay`: isolated positions put in order by running the decoder.

Reading order::

    beam    the decoder run over positions, with turns taken back
    attack  the attack itself
"""
