"""Decoders that can be run over free attention contexts, with second derivatives.

Reading order::

    tensorflow     derivatives compiled by TensorFlow
    keras          Keras spellers
    lingvo         lingvo's decoder
    free_contexts  one entry for both
"""
