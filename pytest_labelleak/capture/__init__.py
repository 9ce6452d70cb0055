"""Capture: from the user's model and batch to an Update, and to the Truth, which is kept apart from the update.

Reading order::

    adapter      the protocol
    batches      one batch, or an iterable of batches
    local_steps  several local training steps as one update
    arrays       updates that the user computed
    belonging    labels and the errors of logits, compared
    keras        Keras 3 models
    lingvo       lingvo tasks
    choosing     the adapter for a model, and the batches that belong to it
"""

from __future__ import annotations

from .adapter import Adapter
from .batches import iter_batches
from .choosing import adapter_for, capture_update, iter_captures, open_model

__all__ = ["Adapter", "adapter_for", "capture_update", "iter_batches", "iter_captures", "open_model"]
