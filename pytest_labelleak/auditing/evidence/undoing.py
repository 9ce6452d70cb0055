"""Whether a receiver who knows a defence without randomness can compute the update from the one that is shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ...core.update import Update

__all__ = ["UndoingRules", "can_be_undone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoingRules:
    """Numbers that decide whether a defence keeps distances.

    The plateau of each number is the range in which no answer changes: six maps that keep distances and eleven that do
    not (signs, levels, largest entries ...), on updates of float64 and float32.

    Attributes
    ----------
    pairs : int
        Pairs of classes that are exchanged, and as many pairs of features.
    alike : float
        Largest relative difference between two ratios of distances for them to be the same ratio. Rounding of float32
        stays below it, and rounding to eight bits above.
    """

    pairs: int = field(default=6, metadata={"plateau": (2, 48)})
    alike: float = field(default=1e-3, metadata={"plateau": (1e-6, 0.3)})


def can_be_undone(
    defend: Callable[[Update], Update],
    update: Update,
    *,
    rng: np.random.Generator,
    rules: UndoingRules | None = None,
) -> bool:
    """Tell whether a defence keeps the distances between updates, up to one factor.

    Such a defence is a one-to-one map: another order of the classes, a rotation, the same numbers added to every
    update, such as noise from a fixed seed. A receiver who knows the defence turns it around, whatever
    attacks make of the shared update. The distances are those between the update and copies of it with two
    columns or two rows exchanged, which leaves all norms as they are.

    Parameters
    ----------
    defend : callable
        The defence, without randomness.
    update : Update
        The update before the defence.
    rng : numpy.random.Generator
        Chooses the columns and rows.
    rules : UndoingRules, optional
        The deciding numbers.

    Returns
    -------
    bool
        False as well where too few columns and rows differ to tell.

    Examples
    --------
    >>> update = Update.from_arrays(np.random.default_rng(0).normal(size=(8, 9)))
    >>> for function in (np.fliplr, np.sign):
    ...     print(can_be_undone(lambda u: u.map(function, defence="own"), update, rng=np.random.default_rng(0)))
    True
    False
    """
    rules = rules or UndoingRules()
    shared = defend(update)
    ratios = []
    for exchanged in _exchanged(update, rng, rules.pairs):
        before = _distance(update, exchanged)
        if before > 0.0:
            ratios.append(_distance(shared, defend(exchanged)) / before)
    if len(ratios) < 3:
        return False
    return 0.0 < max(ratios) < np.inf and max(ratios) - min(ratios) <= rules.alike * max(ratios)


def _exchanged(update: Update, rng: np.random.Generator, pairs: int) -> Iterator[Update]:
    """Yield copies of the update with two classes or two features exchanged."""
    head = update.head
    kernel, bias = update.kernel_gradient, update.bias_gradient
    for axis in (0, 1):
        if kernel.shape[axis] < 2:
            continue
        drawn = {frozenset(rng.choice(kernel.shape[axis], 2, replace=False).tolist()) for _ in range(pairs)}
        for first, second in sorted(map(sorted, drawn)):
            order = np.arange(kernel.shape[axis])
            order[[first, second]] = second, first
            own = {head.kernel: np.take(kernel, order, axis=axis)}
            if axis and head.bias is not None and bias is not None:
                own[head.bias] = bias[order]
            yield dataclasses.replace(update, gradients={**update.gradients, **own})


def _distance(one: Update, other: Update) -> float:
    """Return the distance between the gradients of two heads."""
    names = [name for name in (one.head.kernel, one.head.bias) if name is not None]
    squares = 0.0
    for name in names:
        difference = one.gradients[name].astype(np.float64) - other.gradients[name]
        squares += float((difference**2).sum())
    return float(np.sqrt(squares))
