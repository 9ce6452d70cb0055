"""Values and errors that every other folder speaks of; needs numpy at most.

Reading order::

    errors     the exceptions that users see
    version    the version of the installed package
    files      atomic writing, and the reasons why a file cannot be written
    sensitive  sensitive terms: reading a list, matching, redaction to indices
    settings   settings of an audit, and the scope of the running test
    figures    figures as records and baselines hold them
    tensors    tensors of any framework as numpy arrays
    softmax    the softmax
    archive    .npz files of arrays and plain data
    optimizer  Optimizer: how local steps turn gradients into changes of the weights
    update     Update: named gradients, and the layout of their classification head
    truth      Truth: labels behind an update, kept apart from it
    recovery   Recovery: the claim of an attack, with its certificates

Symbols in the docstrings of this package: S label positions, C classes, d features (inputs of the classification head).
A label position is one place that has a label: an image, or a token of a transcript.
"""
