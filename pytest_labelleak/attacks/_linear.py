"""What every attack on a linear softmax head starts from: its data gradient, and simple facts about it."""

from __future__ import annotations

import numpy as np

from ..update import Update

__all__ = ["data_gradient"]


def data_gradient(update: Update) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the part of the head's gradient that depends on the batch, in float64.

    Weight regularisers add a gradient that depends on the weights alone; whoever has the model
    subtracts it.

    Parameters
    ----------
    update : Update
        What was shared.

    Returns
    -------
    kernel : ndarray of shape (d, C)
        ``H^T D``.
    bias : ndarray of shape (C,) or None
        ``1^T D``.
    """
    head = update.head
    kernel = update.kernel_gradient.astype(np.float64)
    if head.kernel_penalty is not None:
        kernel -= head.kernel_penalty
    bias = update.bias_gradient
    if bias is not None:
        bias = bias.astype(np.float64)
        if head.bias_penalty is not None:
            bias -= head.bias_penalty
    return kernel, bias
