"""The head's gradient as every attack reads it: its rows, its noise, its rank, its subspace.

Reading order::

    head           kernel and bias gradient as float64 blocks, sums, coarseness
    heads          every softmax head of an update
    range_finder   leading directions by a growing randomised range finder
    rank           number of label positions from the spectrum's own noise
    subspace       directions, coordinates, rank and noise as one value
    counting_rank  whether the rank counts label positions, or is that of a compression
    intervals      entries as intervals that a lossy defence leaves
    tied           a head tied to the input embedding, split into both uses
    reading        one update, with everything that several attacks compute about it
"""
