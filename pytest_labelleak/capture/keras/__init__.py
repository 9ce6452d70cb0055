"""Capture from Keras 3 models, on TensorFlow, JAX and torch.

Reading order::

    batch      a batch as Keras takes it
    loss       the compiled loss, and the facts about it that are public
    head       the classification head, found in the model's graph
    inputs     model and batch made ready, with one clear error for each defect
    state      the model's state, put back bit for bit
    probe      features and logits of the head in the pass that gives the gradient
    jax_step   one training step on JAX
    gradient   one training step on every backend
    truth      labels of the positions with a weight in the loss
    belonging  the errors of the logits, compared with the labels
    update     gradients and head as an Update
    adapter    the adapter for Keras models
"""
