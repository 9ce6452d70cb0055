"""The classification head of a Keras model, found from its loss's input backwards.

Reading order::

    graph    the model's graph, functional, sequential or traced
    product  products written without a layer
    walk     the walk from an output back to a product with a weight
    finding  the head itself, or the reason why there is none
"""
