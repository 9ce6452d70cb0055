"""The classification head of a Keras model, found on a walk from the input of the loss backwards.

Reading order::

    graph    the model's graph, functional, sequential or traced
    product  products of features and a kernel outside of Dense layers
    walk     the walk from an output back to the kernel of its logits
    finding  the head at the end of the walk, or the reason why there is none
"""
