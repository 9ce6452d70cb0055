"""State of a lingvo task, of lingvo and of TensorFlow, kept during a capture and put back bit for bit."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["OWN_COLLECTION", "untouched"]

#: Collection of a graph in which captures keep the operations they have added, for as long as the graph lives.
OWN_COLLECTION = "pytest_labelleak/lingvo"
#: Dictionaries in which a task and its learners note the results of the last step.
_NOTES = ("_eval_metrics", "_per_example")


@contextlib.contextmanager
def untouched(task: Any, *, eager: bool) -> Iterator[None]:
    """Restore the state that a training step of `task` changes.

    The state consists of moving averages (in eager mode batch normalisation assigns them during the forward pass), the
    notes of metrics, the default graph's collections, and the random states of Python, numpy and eager TensorFlow.
    Random layers and variational noise draw from a separate random state, derived from the user's.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        An instantiated task.
    eager : bool
        Whether the task lives in eager mode. In a graph, a capture assigns no variable.

    Yields
    ------
    None
        The state is restored when the block ends, also by an exception.
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
    """Give eager TensorFlow another stream of operation seeds during the capture, if it has a stream."""
    from tensorflow.python.eager import context

    state = getattr(context.context(), "_rng", None)
    if isinstance(state, random.Random):
        stack.callback(state.setstate, state.getstate())
        # The seeds differ from the user's: kernels are cached by seed, and the user's next draw would continue that of
        # the capture.
        state.seed(repr(state.getstate()) + "labelleak")
