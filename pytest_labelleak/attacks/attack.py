"""Attack: from an Update alone to a Recovery."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from ..core.recovery import Recovery
from ..core.update import Update

__all__ = ["COSTS", "Attack"]

#: Cost classes, cheapest first: one pass over the gradient; its subspace; a search over many.
COSTS = ("pass", "subspace", "search")


@runtime_checkable
class Attack(Protocol):
    """Reads labels from an update.

    An attack sees what a receiver of the update sees: the gradients, the architecture, possibly the
    weights. It never sees labels, batch size or rank. It makes its random choices with `rng` alone,
    leaves the update unchanged, and commits to an answer by itself.

    An attack that shares intermediate results with others has a method ``read(reading, *, rng)`` besides, which is
    called instead with a `Reading` of the update.
    An attack raises `NotApplicable` where a precondition fails, or returns `Recovery.not_applicable`.

    An attribute ``cost``, one of `COSTS`, tells ``attacks="auto"`` when to run it; an attack without one
    runs last.
    An attack that can read a head which is tied to the input embedding says so with an attribute
    ``reads_tied = True``; others are not asked about such updates.
    An attack that can read sigmoid heads (`Head.kind`) says so with an attribute ``reads_sigmoid = True``.
    An attribute ``reads``, a tuple of "kernel" and "bias", says which of the head's gradients it looks at, for a
    verdict that names them; by default both. What else was read, `Recovery.variables` names.
    An attack that separates samples from the batch (`Recovery.isolated`) says so with ``isolates = True``: then an
    assertion on samples also knows what it means that the attack did not apply.
    """

    @property
    def name(self) -> str:
        """Unique name, used in options and reports."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Attack `update`.

        Parameters
        ----------
        update : Update
            What was shared.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Recovery
            The claim; "not applicable" with the reason where a precondition fails.
        """
