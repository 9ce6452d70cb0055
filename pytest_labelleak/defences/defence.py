"""Defence: from the update that a participant has to the update that it shares."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from ..core.update import Update

__all__ = ["Defence"]


@runtime_checkable
class Defence(Protocol):
    """Changes an update before it is shared.

    A defence sees the update alone, makes its random choices with `rng`, and returns a new update of the same names,
    shapes and head. Entries that are not finite pass unchanged, so that the audit can report them.

    A receiver knows the defence, and no random choice of `rng`. If a defence without random choices uses other numbers
    that no receiver knows, such as updates of other participants, it says so with an attribute ``secret = True``.

    Two further attributes are optional. ``noise_law`` is the `NoiseLaw` of the noise that the defence adds; with it the
    advantage of every attack can be bounded. ``deterministic`` is True for a defence that makes no random choice; in a
    composition, such a defence may stand before the noise.
    """

    @property
    def name(self) -> str:
        """Unique name for options and reports; contains the parameters."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Defend `update`.

        Parameters
        ----------
        update : Update
            The update without the defence. A gradient points uphill: pass the gradient, or (weights before -
            weights after) of a training step; never after - before.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Update
            The update that is shared.
        """
