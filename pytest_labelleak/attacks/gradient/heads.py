"""Every softmax head of an update: kernels whose gradient sums to zero over the classes.

A model may have several outputs, or towers that meet the same labels. Each head's errors ``p - onehot(y)`` sum to zero
over its classes, and so does each row of its kernel's gradient. The gradient alone therefore shows all heads. Of the
layers inside, those in front of a layer normalisation have such sums too; attacks that prove their claims find no label
in these.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from ...core.update import Head, Update, unit_roundoff

__all__ = ["HeadRules", "softmax_heads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRules:
    """When sums over the classes vanish.

    Between the ends of the plateau all heads of 30 and more classes and 8 to 512 positions are found in float32,
    float16 and bfloat16, and no layer inside is. Of surer heads of two classes, rounding leaves larger sums.

    Attributes
    ----------
    roundings : float
        Largest root mean square of the sums, in roundings of a row's entries that add up as independent ones do.
    """

    roundings: float = field(default=30.0, metadata={"plateau": (15.0, 45.0)})


def softmax_heads(update: Update, rules: HeadRules | None = None) -> tuple[Update, ...]:
    """Return the update once for every softmax head in it, with that head as its own.

    Parameters
    ----------
    update : Update
        The update that was shared.
    rules : HeadRules, optional
        When sums vanish.

    Returns
    -------
    tuple of Update
        First the update itself. Then one for every other matrix whose rows sum to zero to rounding, in the order of the
        gradients; with the gradient of a bias that sums to zero too, if exactly one of its length is beside it, and
        with the weights that `Update.values` holds.

    Examples
    --------
    >>> errors = np.array([[0.2, -0.5, 0.3], [-0.75, 0.25, 0.5]])
    >>> kernel = np.array([[1.0, 2.0], [3.0, 1.0], [0.5, 1.0]]) @ errors
    >>> update = Update.from_arrays(kernel, gradients={"side": 2.0 * kernel, "inside": np.abs(kernel)})
    >>> [found.head.kernel for found in softmax_heads(update)]
    ['kernel', 'side']
    """
    rules = rules or HeadRules()
    own = {update.head.kernel, update.head.bias}
    found = [update]
    for name, gradient in update.gradients.items():
        if name in own or gradient.ndim != 2 or gradient.shape[1] < 2 or not np.any(gradient):
            continue
        if not _balanced(gradient, update, rules):
            continue
        biases = [
            other
            for other, array in update.gradients.items()
            if other not in own
            and array.shape == (gradient.shape[1],)
            and np.any(array)
            and _balanced(array[None], update, rules)
        ]
        bias = biases[0] if len(biases) == 1 else None
        head = Head(
            layer=name,
            kernel=name,
            bias=bias,
            kernel_value=update.values.get(name),
            bias_value=None if bias is None else update.values.get(bias),
            kernel_penalty=update.penalties.get(name),
            bias_penalty=None if bias is None else update.penalties.get(bias),
        )
        taken = {name, bias}
        found.append(
            dataclasses.replace(
                update,
                head=head,
                values={key: array for key, array in update.values.items() if key not in taken},
                penalties={key: array for key, array in update.penalties.items() if key not in taken},
            )
        )
    return tuple(found)


def _balanced(gradient: np.ndarray, update: Update, rules: HeadRules) -> bool:
    """Tell whether the rows sum to zero, as far as rounding lets them."""
    sums = gradient.sum(axis=1, dtype=np.float64)
    squares = float(np.einsum("ij,ij->", gradient, gradient, dtype=np.float64))
    allowed = rules.roundings * unit_roundoff(update.compute_dtype)
    # False as well where an entry is not finite.
    return bool(float(np.linalg.norm(sums)) <= allowed * np.sqrt(squares))
