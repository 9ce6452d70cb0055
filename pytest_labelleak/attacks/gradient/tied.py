"""A head tied to the input embedding: its gradient taken apart into the two uses of the one variable.

The shared gradient is ``G = H^T D + E``. The projection adds ``H^T D``, of rank S over all classes; the look-ups add
``E``, which is zero but for one column for every token that was fed. Two facts separate the two parts.

* **A looked-up column stands alone.** Its part in E points in a direction of its own, in which every other column has
  noise alone: with the columns as rows of a regression, its leverage is one [1]_. Every other column can be
  made up of the rest, because the softmax spreads each position over all classes.
* **The rows of D sum to zero.** The looked-up columns of ``H^T D``, which E hides, are therefore known in sum: minus
  the sum of the others. With one merged class in their place the rest is the gradient of an ordinary softmax head.

References
----------
.. [1] D. C. Hoaglin, R. E. Welsch, "The Hat Matrix in Regression and ANOVA", The American Statistician 32 (1978)
   17-22. https://doi.org/10.1080/00031305.1978.10479237
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ...core.recovery import NotApplicable
from ...core.update import Update
from .head import bias_gradient, kernel_blocks
from .subspace import Subspace

__all__ = ["Split", "TiedRules", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TiedRules:
    """Deciding numbers of the split.

    Attributes
    ----------
    noise_energy : float
        Energy that all other columns together may have in a looked-up column's own direction, in units of their noise.
        Looked-up columns measure about 1, others thousands and more: their positions are spread over all classes.
    own_deviations : float
        Standard deviations of noise that a looked-up column's own part must exceed.
    """

    noise_energy: float = field(default=25.0, metadata={"plateau": (1.56, 400.0)})
    own_deviations: float = field(default=10.0, metadata={"plateau": (0.625, 160.0)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """The two uses of a tied variable.

    Attributes
    ----------
    tokens : ndarray of int
        Tokens that were looked up, sorted. Private.
    rest : Update
        The projection's gradient for all other classes, and last one class that stands for all those tokens.
    classes : ndarray of int, shape (C',)
        Class of every column of `rest`, -1 for the merged one. All classes, and none merged, if nothing was looked up.
    """

    tokens: np.ndarray = field(repr=False)
    rest: Update = field(repr=False)
    classes: np.ndarray = field(repr=False)


def split(update: Update, subspace: Subspace, rules: TiedRules | None = None) -> Split:
    """Take the gradient of a tied head apart. Attacks share the answer by `Reading.split`.

    Parameters
    ----------
    update : Update
        Whose head is tied.
    subspace : Subspace
        Of its gradient, both uses together.
    rules : TiedRules, optional
        The deciding numbers.

    Returns
    -------
    Split
        The tokens that were looked up, and the gradient of the projection alone.

    Raises
    ------
    NotApplicable
        Where noise hides the look-ups, or too few columns belong to the projection alone.
    """
    if not subspace.exact:
        raise NotApplicable(
            "its noise is more than rounding: what a look-up adds cannot be told from it. Either the batch has as many "
            "label positions and tokens as the head has features, or the update was protected by noise"
        )
    tokens = subspace.columns[_alone(subspace, rules or TiedRules())]
    others = subspace.columns.size - tokens.size
    positions = subspace.positions - tokens.size
    if others <= positions + 1:
        raise NotApplicable(
            f"{tokens.size} of the {subspace.columns.size} columns with a gradient stand alone, which leaves too few "
            f"to tell what the look-ups added: {others} for {positions} label positions. Use a smaller batch"
        )
    if tokens.size == 0:
        rest = dataclasses.replace(update, head=dataclasses.replace(update.head, tied=False))
        return Split(tokens=tokens, rest=rest, classes=np.arange(update.classes))
    classes = np.setdiff1d(np.arange(update.classes), tokens)
    kernel = np.empty((update.features, classes.size + 1), update.kernel_gradient.dtype)
    for rows, block in kernel_blocks(update):
        kernel[rows] = _merge(block[:, classes])
    gradients = {update.head.kernel: kernel}
    bias = bias_gradient(update)
    if bias is not None and update.head.bias is not None:
        gradients[update.head.bias] = _merge(bias[classes])
    # Penalties are subtracted already, and a merged class has no weights.
    head = dataclasses.replace(
        update.head, kernel_value=None, bias_value=None, kernel_penalty=None, bias_penalty=None, tied=False
    )
    rest = dataclasses.replace(update, gradients=gradients, head=head)
    return Split(tokens=np.sort(tokens), rest=rest, classes=np.append(classes, -1))


def _merge(columns: np.ndarray) -> np.ndarray:
    """Append one column that makes the last axis sum to zero."""
    return np.concatenate([columns, -columns.sum(axis=-1, keepdims=True)], axis=-1)


def _alone(subspace: Subspace, rules: TiedRules) -> np.ndarray:
    """Tell which columns have a direction in which no other column has more than noise, shape (C',)."""
    columns, noise = subspace.coordinates, subspace.noise
    # The direction in which column c stands out most against all others is (M M^T)^-1 m_c; by way of an orthogonal
    # factorisation, because the product would lose half of the digits.
    triangle = scipy.linalg.qr(columns.T, mode="r", check_finite=False)[0][: columns.shape[0]]
    whitened = scipy.linalg.solve_triangular(triangle, columns, trans="T", check_finite=False)
    leverage = np.einsum("ij,ij->j", whitened, whitened)
    candidates = np.flatnonzero(leverage > 0.5)  # fewer than twice the rank: leverages sum to it
    alone = np.zeros(columns.shape[1], bool)
    directions = scipy.linalg.solve_triangular(triangle, whitened[:, candidates], check_finite=False)
    directions /= np.linalg.norm(directions, axis=0)
    along = directions.T @ columns
    own = along[np.arange(candidates.size), candidates]
    # Summed without the column itself: subtracting it afterwards would leave the rounding of something larger.
    along[np.arange(candidates.size), candidates] = 0.0
    energy = np.einsum("ij,ij->i", along, along)
    explained = float(noise @ noise)
    alone[candidates] = (energy < rules.noise_energy * explained) & (own > rules.own_deviations * noise[candidates])
    return alone
