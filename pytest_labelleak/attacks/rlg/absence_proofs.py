"""Proofs that classes are absent, each made when it is asked for: they are as many as the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from ...core.recovery import Certificate
from ..gradient.subspace import Subspace
from .separation import Separation

__all__ = ["Absences"]


class Absences(Sequence[Certificate]):
    """One certificate for every class that was not named, by class.

    Parameters
    ----------
    subspace : Subspace
        The columns.
    separation : Separation
        The decisions.
    classes : int
        Number of classes C, those without a gradient included.
    """

    def __init__(self, subspace: Subspace, separation: Separation, classes: int) -> None:
        self._subspace, self._separation = subspace, separation
        self._column = np.full(classes, -1)
        self._column[subspace.columns] = np.arange(subspace.columns.size)
        named = np.zeros(classes, dtype=bool)
        named[subspace.columns[separation.present]] = True
        self._labels = np.flatnonzero(~named)

    def __len__(self) -> int:
        """Return the number of classes that were not named."""
        return int(self._labels.size)

    @overload
    def __getitem__(self, index: int) -> Certificate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Certificate]: ...
    def __getitem__(self, index: int | slice) -> Certificate | Sequence[Certificate]:
        """Make one certificate, or several."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        label = int(self._labels[index])
        column = int(self._column[label])
        if column < 0:  # nothing descends along a column of zeros
            nothing = np.empty(0)
            return Certificate(
                label=label, present=False, margin=np.inf, others=nothing.astype(np.int64), coefficients=nothing
            )
        combination = self._separation.combination(column)
        if combination is None:
            raise IndexError(f"no certificate for entry {index}: the class is present")
        # From equilibrated columns to the gradient's own.
        scale = self._subspace.column_scale
        price = float(np.hypot(combination.missed, combination.paid))
        return Certificate(
            label=label,
            present=False,
            margin=self._separation.weakest / max(price, np.finfo(np.float64).tiny),
            others=self._subspace.columns[combination.columns],
            coefficients=combination.coefficients * scale[combination.columns] / scale[column],
            residual=combination.missed,
        )
