"""State of a Keras model and of the random generators around it, kept during a capture and put back bit for bit."""

from __future__ import annotations

import collections
import contextlib
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["untouched"]

_GLOBALS = ("global_seed_generator", "current_call_ctx")
_UIDS = "object_name_uids"


@contextlib.contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Restore the state outside of variables that running `model` changes.

    The variables are protected by ``keras.StatelessScope``: inside of it an assignment is recorded and not applied.
    The context manager restores the rest:

    - the random states of Python, numpy and torch
    - Keras' global seed generator, if there was none before
    - Keras' counters of automatic names
    - the losses that layers keep from their last call
    - the compiled loss, which Keras builds on first use: the capture uses a fresh copy
    - buffers of torch modules

    Parameters
    ----------
    model : keras.Model
        A built model.

    Yields
    ------
    None
        The state is restored when the block ends, also by an exception.
    """
    from keras.src.backend.common import global_state

    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        # A project may turn warnings into errors; warnings of Keras' own code must not fail its tests.
        warnings.simplefilter("ignore")
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - it is the user's state
        _keep_torch(stack, model)
        for name in _GLOBALS:
            stack.callback(global_state.set_global_attribute, name, global_state.get_global_attribute(name))
        uids = global_state.get_global_attribute(_UIDS)
        counts = None if uids is None else collections.defaultdict(int, uids)
        stack.callback(global_state.set_global_attribute, _UIDS, counts)
        for layer in model._flatten_layers():
            stack.callback(_put_losses, layer, list(layer._losses), set(layer._loss_ids))
            stack.callback(_put_nodes, layer, len(layer._inbound_nodes), len(layer._outbound_nodes))
        stack.callback(setattr, model, "_losses_override", list(model._losses_override))
        compiled = getattr(model, "_compile_loss", None)
        if compiled is not None:
            stack.callback(setattr, model, "_compile_loss", compiled)
            model._compile_loss = type(compiled)(
                compiled._user_loss, compiled._user_loss_weights, output_names=compiled.output_names
            )
        yield


def _put_losses(layer: Any, losses: list[Any], ids: set[int]) -> None:
    layer._losses[:] = losses
    layer._loss_ids.clear()
    layer._loss_ids.update(ids)


def _put_nodes(layer: Any, inbound: int, outbound: int) -> None:
    """Remove the symbolic calls that the search for the head added."""
    del layer._inbound_nodes[inbound:]
    del layer._outbound_nodes[outbound:]


def _keep_torch(stack: contextlib.ExitStack, model: Any) -> None:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return
    stack.callback(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    if not isinstance(model, torch.nn.Module):
        return
    # Keras does not know the buffers in which modules of plain torch keep their running statistics. Torch does not know
    # the Keras layers that stand in lists.
    modules = {id(module): module for layer in model._flatten_layers() for module in layer.modules()}
    for module in modules.values():
        stack.callback(_put_mode, module, module.training)
        for name, buffer in module.named_buffers(recurse=False):
            stack.callback(_put_buffer, module, name, buffer, buffer.detach().clone())


def _put_mode(module: Any, training: bool) -> None:
    if module.training != training:
        module.training = training


def _put_buffer(module: Any, name: str, buffer: Any, value: Any) -> None:
    buffer.detach().copy_(value)
    module._buffers[name] = buffer
