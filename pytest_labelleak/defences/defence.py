"""Defence: from an Update to the Update that is shared instead."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from ..core.update import Update

__all__ = ["Defence"]


@runtime_checkable
class Defence(Protocol):
    """Changes an update before it is shared.

    A defence sees the update alone, makes its random choices with `rng`, and returns a new update of
    the same names, shapes and head. What is not finite it passes on: that is for the audit to report.
    """

    @property
    def name(self) -> str:
        """Unique name, used in options and reports; parameters included."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Defend `update`.

        Parameters
        ----------
        update : Update
            What would be shared without the defence.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Update
            What is shared.
        """
