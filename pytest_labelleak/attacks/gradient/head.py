"""What every attack on a linear softmax head starts from: the part of its gradient that depends on the batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...core.update import Update

__all__ = [
    "ROWS_PER_BLOCK",
    "SCATTERED",
    "bias_gradient",
    "coarseness",
    "column_sums",
    "kernel_blocks",
    "scattered_share",
]

#: Gradients are widened to float64 in blocks of this many rows, so that no wide copy of the whole exists.
ROWS_PER_BLOCK = 256

# Share of zeros in otherwise filled rows and columns from which on they are no accident.
SCATTERED = 0.01
# Rows looked at, if there are many more.
_LOOKED_AT = 512


def kernel_blocks(update: Update) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the data gradient ``H^T D`` of the head's kernel in float64, a block of rows at a time.

    Weight regularisers add a gradient that depends on the weights alone; whoever has the model
    subtracts it, and so do we.

    Parameters
    ----------
    update : Update
        What was shared.

    Yields
    ------
    rows : slice
        Which features.
    block : ndarray of shape (rows, C)
        Their gradient.
    """
    gradient, penalty = update.kernel_gradient, update.head.kernel_penalty
    for start in range(0, update.features, ROWS_PER_BLOCK):
        rows = slice(start, min(start + ROWS_PER_BLOCK, update.features))
        block = gradient[rows].astype(np.float64)
        if penalty is not None:
            block -= penalty[rows]
        yield rows, block


def bias_gradient(update: Update) -> np.ndarray | None:
    """Return the data gradient ``1^T D`` of the head's bias in float64.

    Parameters
    ----------
    update : Update
        What was shared.

    Returns
    -------
    ndarray of shape (C,) or None
        None if the head has no bias.
    """
    if update.bias_gradient is None:
        return None
    bias: np.ndarray = update.bias_gradient.astype(np.float64)
    if update.head.bias_penalty is not None:
        bias -= update.head.bias_penalty
    return bias


def coarseness(update: Update) -> str | None:
    """Say what was visibly done to the entries of the kernel gradient, or None.

    Sign compression leaves one magnitude. Dropping and quantising leave zeros scattered over rows and
    columns that hold other entries, where sums of products have none: an inactive feature empties its
    whole row. Such matrices can have an exact low rank that counts nothing. (In float16 small products
    underflow by themselves, so there scattered zeros mean nothing.)

    Parameters
    ----------
    update : Update
        What was shared.

    Returns
    -------
    str or None
        A clause for a message.
    """
    # Scattered zeros are scattered over any sample of the rows, and one magnitude is that of any of them.
    every = max(1, update.features // _LOOKED_AT)
    sample = update.kernel_gradient[::every]
    filled = sample != 0
    top = float(max(sample.max(), -sample.min()))
    total = int(np.count_nonzero(filled))
    if total == int(np.count_nonzero(np.abs(sample) == top)) and total > 2:
        gradient = update.kernel_gradient
        top = float(max(gradient.max(), -gradient.min()))
        if np.count_nonzero(gradient) == np.count_nonzero(np.abs(gradient) == top):
            return "every entry has the same magnitude: the update was reduced to its signs"
    share = scattered_share(filled)
    if update.compute_dtype != "float16" and share > SCATTERED:
        return f"{share:.0%} zeros are scattered over the gradient: entries were dropped or rounded to zero"
    return None


def scattered_share(filled: np.ndarray) -> float:
    """Return the share of zeros within rows and columns that hold other entries.

    Parameters
    ----------
    filled : ndarray of bool
        Which entries are not zero; one or two axes.

    Returns
    -------
    float
        Zero where nothing is filled.
    """
    inside = filled.size
    if filled.ndim > 1:
        inside = int(np.count_nonzero(filled.any(axis=1))) * int(np.count_nonzero(filled.any(axis=0)))
    return (inside - int(np.count_nonzero(filled))) / inside if filled.any() else 0.0


def column_sums(update: Update) -> np.ndarray:
    """Return the data gradient of the head's kernel summed over features.

    Parameters
    ----------
    update : Update
        What was shared.

    Returns
    -------
    ndarray of shape (C,)
        ``1^T H^T D``: for non-negative features its sign tells what the bias gradient's would.
    """
    total = np.zeros(update.classes)
    for _, block in kernel_blocks(update):
        total += block.sum(axis=0)
    return total
