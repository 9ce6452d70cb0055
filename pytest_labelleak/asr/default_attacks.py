"""Which attacks rebuild the transcripts of a model."""

from __future__ import annotations

from typing import Any

from ..core.errors import UnsupportedModelError
from .decoders.free_contexts import free_contexts
from .ordering.attack import Ordering
from .replay.attack import Replay

__all__ = ["chosen_attacks"]


def chosen_attacks(wanted: Any, model: Any, *, time_budget: float) -> list[Any]:
    """Return attacks as they were asked for, with those of this package made from their names.

    Parameters
    ----------
    wanted : None, str, attack, or sequence of these
        None for all that need nothing but the model.
    model : object
        What is audited: its decoder is run.
    time_budget : float
        Of those made here, in seconds.

    Returns
    -------
    list of attack or str
        Names that are none of this package's stay as they are.

    Raises
    ------
    UnsupportedModelError
        If "replay" is asked for by its name, and the model's decoder cannot be taken out.
    """
    ordering = Ordering(time_budget=time_budget)
    if wanted is None:
        try:
            return [ordering, Replay(decoder=free_contexts(model), time_budget=time_budget)]
        except UnsupportedModelError:
            return [ordering]
    made: list[Any] = []
    for attack in [wanted] if isinstance(wanted, str) or callable(wanted) else list(wanted):
        if attack == ordering.name:
            made.append(ordering)
        elif attack == Replay.name:
            made.append(Replay(decoder=free_contexts(model), time_budget=time_budget))
        else:
            made.append(attack)
    return made
