"""Decoders that run on contexts and labels of the caller's choice, with second derivatives.

Reading order::

    tensorflow     derivatives compiled by TensorFlow
    keras          Keras spellers
    lingvo         lingvo's decoder
    free_contexts  the role, and one entry for both frameworks
"""
