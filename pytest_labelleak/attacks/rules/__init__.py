"""Attacks that apply one rule to each class.

Reading order::

    bias_sign  the attack `bias_sign`
    idlg       the attack `idlg`
    yin        the attack `yin`
    llg        the attack `llg`
"""
