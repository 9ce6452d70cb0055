"""Leave a lingvo task, and what lingvo and TensorFlow keep around it, as it was found."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["OWN_COLLECTION", "untouched"]

#: Collection of a graph in which captures keep what they have built in it, so that it lives as long as the graph.
OWN_COLLECTION = "pytest_labelleak/lingvo"
#: Dictionaries in which a task and its learners note what the last step computed.
_NOTES = ("_eval_metrics", "_per_example")


@contextlib.contextmanager
def untouched(task: Any, *, eager: bool) -> Iterator[None]:
    """Restore what running a training step of `task` changes.

    That is: moving averages (batch normalisation assigns them during the forward pass in eager mode), the notes of
    metrics, the default graph's collections, and the random states of Python, numpy and eager TensorFlow. A random
    layer or variational noise draws from states of its own, derived from those that were found.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        Instantiated.
    eager : bool
        Whether it lives in eager mode; in a graph nothing is assigned.

    Yields
    ------
    None
        On leaving, also by an exception, everything is as before.
    """
    import tensorflow as tf

    with contextlib.ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - it is the user's state
        for owner in (task, *getattr(task, "learners", ())):
            for name in _NOTES:
                if hasattr(owner, name):
                    stack.callback(setattr, owner, name, getattr(owner, name))
                    setattr(owner, name, {})
        collections = tf.compat.v1.get_default_graph()._collections
        stack.callback(_put_collections, collections, {name: list(items) for name, items in collections.items()})
        if eager:
            _keep_random(stack)
            for variable in task.vars.Flatten():
                if not variable.trainable:
                    stack.callback(variable.assign, variable.numpy())
        yield


def _put_collections(collections: dict[Any, list[Any]], before: dict[Any, list[Any]]) -> None:
    for name in list(collections):
        if name == OWN_COLLECTION:
            continue
        if name in before:
            collections[name][:] = before[name]
        else:
            del collections[name]


def _keep_random(stack: contextlib.ExitStack) -> None:
    """Give eager TensorFlow another stream of operation seeds for as long, if it has one."""
    from tensorflow.python.eager import context

    state = getattr(context.context(), "_rng", None)
    if isinstance(state, random.Random):
        stack.callback(state.setstate, state.getstate())
        # Not the very same seeds: kernels are cached by seed, and the user's next draw would continue ours.
        state.seed(repr(state.getstate()) + "labelleak")
