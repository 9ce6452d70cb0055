"""Capture from Keras 3 models, on TensorFlow, JAX and torch.

Reading order::

    batch     a batch as Keras takes it
    loss      the compiled loss, and the facts about it that are public
    head      the classification head, found in the model's graph
    inputs    model and batch made ready, with one clear error for each defect
    state     the model's state, put back bit for bit
    jax_step  one training step on JAX
    gradient  one training step on every backend
    truth     labels of the positions with a weight in the loss
    update    gradients and head as an Update
    adapter   the adapter for Keras models
"""
