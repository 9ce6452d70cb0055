"""Whether the rank of the gradient counts label positions, or is that of a compression to few directions.

The rank of ``A = H^T D`` is the number S of label positions where the gradient was not projected. A projection of the
kernel's gradient on fewer directions, as PowerSGD and other low-rank compressors send it, has a rank of its own. Its
row space is a part of the row space of the errors D. Directions in it still separate labels; their number says nothing.

The bias gradient ``1^T D`` is a vector, which compressors of matrices leave alone. It lies in the row space of
``H^T D`` whenever the rank counts positions, since the features H of S positions are then independent. A direction that
the bias alone holds tells that the kernel's gradient was projected.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...core.update import Update
from .head import ROWS_PER_BLOCK, bias_gradient
from .subspace import Subspace

__all__ = ["CountingRules", "counts_positions"]

# Rows looked at: at least so many, and so many for each direction.
_FEWEST_ROWS = 128
_ROWS_PER_DIRECTION = 4

#: Defences that change no rank, by the first word of their name.
_RANK_KEPT = ("clip", "scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingRules:
    """Numbers that decide whether a rank counts label positions.

    The plateaus are those of 112 batches of 1 to 60 positions (30 to 1000 classes, fresh to confident, float32 and
    bfloat16) and 360 projections of them on 1 to 16 directions. The smallest share of a batch is 0.4, the largest of a
    projection 5e-5.

    Attributes
    ----------
    in_kernel : float
        Times the rounding of the kernel's rows up to which a direction in them is weak.
    beside_bias : float
        A weak direction is held by the bias alone if the kernel's rows have less than this share in it, relative to
        the bias gradient's share.
    """

    in_kernel: float = field(default=50.0, metadata={"plateau": (25.0, 50000.0)})
    beside_bias: float = field(default=0.01, metadata={"plateau": (0.001, 0.1)})


def counts_positions(update: Update, subspace: Subspace, rules: CountingRules) -> bool:
    """Tell whether the rank of an update counts its label positions.

    ============================ ==============================================================
    update                       the rank counts if
    ============================ ==============================================================
    noise beyond rounding        never
    bias gradient shared         no direction is held by the bias alone
    no bias, defences recorded   all of them keep the rank
    no bias, no defence          always
    ============================ ==============================================================

    Parameters
    ----------
    update : Update
        The update that was shared.
    subspace : Subspace
        Its subspace.
    rules : CountingRules
        The deciding numbers.

    Returns
    -------
    bool
        Whether `Subspace.positions` may be claimed.
    """
    if not subspace.exact:
        return False
    if update.bias_gradient is None:
        return all(name.lower().startswith(_RANK_KEPT) for name in update.defences)
    return _share_of_kernel(update, subspace, rules.in_kernel) >= rules.beside_bias


def _share_of_kernel(update: Update, subspace: Subspace, in_kernel: float) -> float:
    """Return the share of the kernel's rows in a direction that the bias alone may hold, relative to the bias's share.

    The direction is that of the bias gradient among all directions in which the kernel's rows hardly exceed rounding.
    The share is the root mean square of the cosines between rows and direction. A very confident sample has little of
    either; a direction that the kernel's gradient lost has no more than rounding of one, and much of the other.

    Parameters
    ----------
    update : Update
        The update that was shared.
    subspace : Subspace
        Its subspace.
    in_kernel : float
        Times the rounding up to which rows hardly exceed it.

    Returns
    -------
    float
        Infinite where the kernel's rows hold all directions.
    """
    bias = bias_gradient(update)
    basis = np.linalg.qr(subspace.coordinates[: subspace.positions].T)[0]
    room = basis.shape[0] - basis.shape[1]
    if room < 1 or bias is None or not np.any(bias):
        return np.inf
    gram = np.zeros((basis.shape[1], basis.shape[1]))
    outside, rows = 0.0, 0
    # A sample of the rows shows a direction that all of them lack.
    every = max(1, update.features // max(_FEWEST_ROWS, _ROWS_PER_DIRECTION * basis.shape[1]))
    for start in range(0, update.features, ROWS_PER_BLOCK * every):
        chosen = slice(start, start + ROWS_PER_BLOCK * every, every)
        block = update.kernel_gradient[chosen].astype(np.float64)
        if update.head.kernel_penalty is not None:
            block -= update.head.kernel_penalty[chosen]
        scaled = block[:, subspace.columns] * subspace.column_scale
        # Rounding is in proportion to each row: weak rows show directions that the others drown.
        norms = np.linalg.norm(scaled, axis=1)
        scaled = scaled[norms > 0] / norms[norms > 0, None]
        inside = scaled @ basis
        gram += inside.T @ inside
        outside += float(np.sum((scaled - inside @ basis.T) ** 2))
        rows += len(scaled)
    values, vectors = np.linalg.eigh(gram)
    # A small eigenvalue of a Gram matrix is known to the rounding of float64, relative to the largest.
    weak = vectors[:, values <= max(in_kernel**2 * outside / room, np.finfo(np.float64).eps * float(values[-1]))]
    held = bias[subspace.columns] * subspace.column_scale
    held = held / np.linalg.norm(held)
    along = weak @ (weak.T @ (basis.T @ held))
    share = float(np.linalg.norm(along))
    if share == 0.0:
        return np.inf
    along /= share
    return float(np.sqrt(max(float(along @ gram @ along), 0.0) / rows)) / share
