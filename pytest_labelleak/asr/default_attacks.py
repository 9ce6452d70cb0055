"""The attacks that an assertion on transcripts runs."""

from __future__ import annotations

from typing import Any

from ..core.errors import UnsupportedModelError
from .decoders.free_contexts import free_contexts
from .ordering.attack import Ordering
from .replay.attack import Replay

__all__ = ["chosen_attacks"]


def chosen_attacks(wanted: Any, model: Any, *, time_budget: float) -> list[Any]:
    """Return the attacks that a caller asked for; names of this package's attacks become attacks.

    Parameters
    ----------
    wanted : None, str, attack, or sequence of these
        None for every attack that needs the model alone.
    model : object
        The audited model; `Replay` runs its decoder.
    time_budget : float
        Seconds for each attack that is made here.

    Returns
    -------
    list of attack or str
        Other names, and attacks, are returned unchanged.

    Raises
    ------
    UnsupportedModelError
        If the caller asks for "replay" by its name, and the model's decoder cannot be taken out.
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
