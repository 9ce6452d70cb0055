"""The head's gradient in double precision, freed of weight penalties, and the visible signs of coarse entries.

The head's kernel gradient is ``G = H^T D`` (features by classes): H holds the inputs of the head, one row for each
label position, and D the errors ``p - onehot(y)`` of the softmax outputs, times their loss weights. The bias gradient
is ``1^T D``. A weight penalty adds a part that depends on the weights alone; a receiver who has the model subtracts it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ...core.update import Update

__all__ = [
    "ROWS_PER_BLOCK",
    "CoarsenessRules",
    "bias_gradient",
    "coarseness",
    "column_sums",
    "kernel_blocks",
    "moderate",
    "only_signs",
    "scattered_share",
]

#: Rows that are widened to float64 at a time, so that no wide copy of the whole gradient exists. Decides nothing.
ROWS_PER_BLOCK = 256

# Exponent of two. Fourth powers of entries between two to the minus and the plus of it are normal numbers, and their
# sums are finite.
_MODERATE = 250

# Rows that the test of coarseness looks at. Decides nothing where entries were coarsened alike: scattered zeros are
# scattered over any sample of the rows, and a single magnitude is checked on the whole gradient.
_LOOKED_AT = 512

# So few entries have one magnitude by chance.
_FEW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CoarsenessRules:
    """Deciding numbers of the test for coarse entries.

    Attributes
    ----------
    scattered : float
        Share of zeros, in rows and columns that hold other entries, from which on entries count as dropped.
    """

    scattered: float = field(default=0.01, metadata={"plateau": (0.00667, 0.04)})


def moderate(update: Update) -> Update:
    """Return the update with entries whose powers neither overflow nor vanish.

    A gradient times a constant is the gradient of a loss times this constant, and has the same labels. The constant is
    a power of two, so that no entry is rounded. Entries that are smaller than the largest by more than a factor of
    ``2 ** 250`` become zero.

    Parameters
    ----------
    update : Update
        The update that was shared.

    Returns
    -------
    Update
        The update itself unless its head's gradient has entries near the ends of the range of float64.
    """
    parts = [a for a in (update.kernel_gradient, update.bias_gradient) if a is not None and a.dtype == np.float64]
    sizes = [np.abs(part[part != 0.0]) for part in parts]
    sizes = [size for size in sizes if size.size]
    if not sizes or not all(np.isfinite(size).all() for size in sizes):
        return update
    top = int(np.frexp(max(float(size.max()) for size in sizes))[1])
    least = int(np.frexp(min(float(size.min()) for size in sizes))[1])
    if top <= _MODERATE and least > -_MODERATE and top - least <= _MODERATE:
        return update

    def scaled(array: np.ndarray) -> np.ndarray:
        unit: np.ndarray = np.ldexp(np.asarray(array, dtype=np.float64), -top)
        return np.where(np.abs(unit) >= np.ldexp(1.0, -_MODERATE), unit, 0.0)

    head = update.head
    own = {name: scaled(update.gradients[name]) for name in (head.kernel, head.bias) if name is not None}
    kernel_penalty = None if head.kernel_penalty is None else scaled(head.kernel_penalty)
    bias_penalty = None if head.bias_penalty is None else scaled(head.bias_penalty)
    return dataclasses.replace(
        update,
        gradients={**update.gradients, **own},
        head=dataclasses.replace(head, kernel_penalty=kernel_penalty, bias_penalty=bias_penalty),
    )


def kernel_blocks(update: Update, *, rows_per_block: int = ROWS_PER_BLOCK) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the data gradient ``H^T D`` of the head's kernel in float64, a block of rows at a time.

    Parameters
    ----------
    update : Update
        The update that was shared.
    rows_per_block : int, default 256
        Number of rows of a block.

    Yields
    ------
    rows : slice
        Features of the block.
    block : ndarray of shape (rows, C)
        Their gradient, without the penalty.
    """
    gradient, penalty = update.kernel_gradient, update.head.kernel_penalty
    for start in range(0, update.features, rows_per_block):
        rows = slice(start, min(start + rows_per_block, update.features))
        block = gradient[rows].astype(np.float64)
        if penalty is not None:
            block -= penalty[rows]
        yield rows, block


def bias_gradient(update: Update) -> np.ndarray | None:
    """Return the data gradient ``1^T D`` of the head's bias in float64.

    Parameters
    ----------
    update : Update
        The update that was shared.

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


def coarseness(update: Update, rules: CoarsenessRules | None = None) -> str | None:
    """Describe a visible coarsening of the kernel gradient's entries, or return None.

    Sign compression leaves one magnitude. Dropping and quantising leave zeros that are scattered over rows and columns
    with other entries. A sum of products has none of these: an inactive feature empties its whole row. A coarsened
    gradient can have an exact low rank that counts nothing. In float16 small products underflow by themselves, so
    that scattered zeros mean nothing there.

    Parameters
    ----------
    update : Update
        The update that was shared.
    rules : CoarsenessRules, optional
        The deciding number.

    Returns
    -------
    str or None
        A clause for a message.
    """
    rules = rules or CoarsenessRules()
    every = max(1, update.features // _LOOKED_AT)
    sample = update.kernel_gradient[::every]
    filled = sample != 0
    if only_signs(update):
        return "every entry has the same magnitude: the update was reduced to its signs"
    share = scattered_share(filled)
    if update.compute_dtype != "float16" and share > rules.scattered:
        return f"{share:.0%} zeros are scattered over the gradient: entries were dropped or rounded to zero"
    return None


def only_signs(update: Update) -> bool:
    """Tell whether all entries of the kernel gradient other than zero have one magnitude, as signs leave it.

    Parameters
    ----------
    update : Update
        The update that was shared.

    Returns
    -------
    bool
        False where at most two entries are left: these have one magnitude by chance.

    Examples
    --------
    >>> only_signs(Update.from_arrays([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]))
    True
    """
    every = max(1, update.features // _LOOKED_AT)
    for part in (update.kernel_gradient[::every], update.kernel_gradient):  # as a rule the sample settles it
        sizes = np.abs(part)
        if np.any((sizes > 0) & (sizes < sizes.max())):
            return False
    return int(np.count_nonzero(sizes)) > _FEW


def scattered_share(filled: np.ndarray) -> float:
    """Return the share of zeros within rows and columns that hold other entries.

    Parameters
    ----------
    filled : ndarray of bool
        True for entries other than zero; one or two axes.

    Returns
    -------
    float
        Zero where nothing is filled.

    Examples
    --------
    An empty row is an inactive feature and does not count; one of the four entries that remain is zero.

    >>> scattered_share(np.array([[True, True], [False, False], [True, False]]))
    0.25
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
        The update that was shared.

    Returns
    -------
    ndarray of shape (C,)
        ``1^T H^T D``: for non-negative features its signs are those of the bias gradient.
    """
    total = np.zeros(update.classes)
    for _, block in kernel_blocks(update):
        total += block.sum(axis=0)
    return total
