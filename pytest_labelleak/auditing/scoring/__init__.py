"""Recoveries against the truth.

Reading order::

    counts   claimed multiplicities
    samples  isolated samples
    labels   claimed sets of classes
"""
