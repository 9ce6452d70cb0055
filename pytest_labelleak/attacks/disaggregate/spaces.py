"""The space that every sample's error row lies in, the space of the samples' features, and the logits between them.

The data gradient of the head is ``A = X^T D``: X (S, d) holds the samples' features (with a bias, one more
column of ones), D (S, C) their error rows ``w (p - onehot(y))``. From A alone come a basis T (S, C) of the
rows of D and a basis U of the rows of X with ``A = U T``. Every sample is then two vectors of S numbers:

* its features are ``x = U a``, and with the weights W its logits ``W^T x = K a`` with ``K = W^T U``;
* its error row is ``m T``.

Because ``X^T D = U T``, the two are *dual*: ``m_s . a_t`` is 1 for the same sample and 0 for two different ones.

Columns are equilibrated, as in `gradient.subspace`, so that rounding noise is the same everywhere: a confident
sample's row is a millionth of the others, and visible only where the others are small too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.recovery import NotApplicable
from ...core.update import Update
from ..gradient.head import bias_gradient, kernel_blocks
from ..gradient.subspace import Subspace

__all__ = ["RowSpace", "drift_of", "known_kernel", "row_space"]

# Share of the summed gradient that the weights have taken when a sample is seen. In the middle of all steps the share
# is a half; but a sample seen once is seen before the weights take its own gradient, which matters most to it. Answers
# on several steps are approximate whatever the share is.
_SHARE_SEEN = 0.25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowSpace:
    """Bases of the error rows and of the features, and the logits of the latter.

    Attributes
    ----------
    rows : ndarray of shape (S, C')
        Basis T of the error rows, equilibrated: of about unit columns.
    noise : ndarray of shape (C',)
        Standard deviation of rounding noise in each column.
    scale : ndarray of shape (C',)
        Factor by which every column of T was multiplied.
    columns : ndarray of int, shape (C',)
        Class of each column; classes without any gradient are left out.
    inputs : ndarray of shape (d or d + 1, S)
        Basis U of the features, with a row for the bias.
    logits : ndarray of shape (C', S)
        Logits K of every basis vector.
    offset : ndarray of shape (C',)
        Logits that do not depend on the features: a bias that is not trained, else zero.
    biased : bool
        Whether U has a row for the bias.
    """

    rows: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    columns: np.ndarray = field(repr=False)
    inputs: np.ndarray = field(repr=False)
    logits: np.ndarray = field(repr=False)
    offset: np.ndarray = field(repr=False)
    biased: bool

    @property
    def positions(self) -> int:
        """Number S of label positions."""
        return int(self.rows.shape[0])


def known_kernel(update: Update) -> np.ndarray:
    """Return the head's kernel, or refuse an update without the weights to predict with.

    Parameters
    ----------
    update : Update
        The update that was shared.

    Returns
    -------
    ndarray of shape (d, C)
        As it was shared. A bias with a gradient has a value, and all weights are finite.

    Raises
    ------
    NotApplicable
        With the weight that is missing or not finite.
    """
    if update.head.kernel_value is None:
        raise NotApplicable("the head's weights are not known; pass kernel= (and bias=) with the gradient")
    if update.bias_gradient is not None and update.head.bias_value is None:
        raise NotApplicable("the head has a bias whose value is not known; pass bias= with the gradient")
    for name, array in (("kernel", update.head.kernel_value), ("bias", update.head.bias_value)):
        if array is not None and not np.isfinite(array).all():
            raise NotApplicable(f"the head's {name} has entries that are NaN or infinite")
    return update.head.kernel_value


def drift_of(update: Update) -> float:
    """Return how far the weights had moved during local steps for a typical sample, in units of the summed gradient.

    Parameters
    ----------
    update : Update
        The update that was shared.

    Returns
    -------
    float
        Zero for a single step, or if the learning rate is not known.
    """
    if update.steps == 1 or update.learning_rate is None:
        return 0.0
    return _SHARE_SEEN * update.learning_rate * (update.steps - 1) / update.steps


def row_space(update: Update, subspace: Subspace, *, temperature: float = 1.0) -> RowSpace:
    """Build both bases with two passes over the gradient.

    Parameters
    ----------
    update : Update
        The update that was shared, with the head's weights.
    subspace : Subspace
        The subspace of its signal.
    temperature : float, default 1.0
        Divisor of the logits in the loss.

    Returns
    -------
    RowSpace
        In float64.

    Raises
    ------
    NotApplicable
        If weights of the head are not known.
    """
    columns, positions = subspace.columns, subspace.positions
    functionals = subspace.directions[:, :positions]
    bias = bias_gradient(update)
    rows = np.zeros((positions, columns.size))
    for part, block in kernel_blocks(update):
        rows += functionals[part].T @ block[:, columns]
    if bias is not None:
        rows += np.outer(functionals[-1], bias[columns])
    # The subspace was found on equilibrated columns and keeps their coordinates: how they were scaled follows.
    wanted = np.linalg.norm(subspace.coordinates[:positions], axis=0)
    scale = wanted / np.maximum(np.linalg.norm(rows, axis=0), np.finfo(np.float64).tiny)
    rows *= scale
    orthogonal, triangle = scipy.linalg.qr(rows.T, mode="economic", check_finite=False)
    inverse = scale[:, None] * scipy.linalg.solve_triangular(triangle, orthogonal.T, check_finite=False).T

    head, drift = update.head, drift_of(update)
    kernel = known_kernel(update)
    inputs = np.empty((update.features + (bias is not None), positions))
    logits = np.zeros((columns.size, positions))
    for part, block in kernel_blocks(update):
        inputs[part] = block[:, columns] @ inverse
        weights = kernel[part][:, columns].astype(np.float64)
        if drift:
            weights -= drift * block[:, columns]
        logits += weights.T @ inputs[part]
    offset = np.zeros(columns.size)
    if head.bias_value is not None:
        offset = head.bias_value[columns].astype(np.float64)
    if bias is not None:
        inputs[-1] = bias[columns] @ inverse
        logits += np.outer(offset - drift * bias[columns], inputs[-1])
        offset = np.zeros(columns.size)
    return RowSpace(
        rows=rows,
        noise=subspace.noise,
        scale=scale,
        columns=columns,
        inputs=inputs,
        logits=logits / temperature,
        offset=offset / temperature,
        biased=bias is not None,
    )
