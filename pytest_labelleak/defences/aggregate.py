"""The defence of a sum over participants, of which a receiver sees nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..core.errors import InvalidArgumentError
from ..core.update import Update

__all__ = ["Aggregate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aggregate:
    """Share the sum of this participant's update and those of others, as secure aggregation does.

    The positive control is the participant alone. Classes of other participants alone count as absent: an attack
    that reads the labels of the sum names them, too, and the question is how much it tells of this participant.

    Attributes
    ----------
    clients : sequence of Update
        Updates of the other participants, of the same variables; at least one. Private.

    References
    ----------
    .. [1] K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017.
       https://doi.org/10.1145/3133956.3133982

    Examples
    --------
    >>> other = Update.from_arrays(np.array([[0.5, -0.75, 0.25]]))
    >>> Aggregate(clients=[other]).name
    'aggregate(2 participants)'
    """

    #: A receiver of the sum does not know the numbers that are added.
    secret: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True

    clients: Sequence[Update] = field(repr=False)

    def __post_init__(self) -> None:
        """Check the other participants."""
        given = self.clients
        if isinstance(given, Update) or not isinstance(given, Sequence) or not given:
            raise InvalidArgumentError(
                f"Aggregate got clients of type {type(given).__name__}. Expected a list of at least one Update, of "
                "the other participants."
            )
        strange = [type(one).__name__ for one in given if not isinstance(one, Update)]
        if strange:
            raise InvalidArgumentError(
                f"Aggregate got a client of type {strange[0]}. Expected updates: capture_update(model, batch) of the "
                "other participants, or Update.from_arrays(...)."
            )

    @property
    def name(self) -> str:
        """The name with the number of participants."""
        return f"aggregate({len(self.clients) + 1} participants)"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return the sum over all participants, in the precision of this one's arrays."""
        for place, other in enumerate(self.clients):
            for name, array in update.gradients.items():
                theirs = other.gradients.get(name)
                if theirs is None or theirs.shape != array.shape:
                    found = "is missing" if theirs is None else f"has shape {theirs.shape}"
                    raise InvalidArgumentError(
                        f"the variable {name!r} {found} in client {place} of Aggregate. Expected shape {array.shape}: "
                        "participants share the same variables."
                    )
        sums = {
            name: np.asarray(
                sum((other.gradients[name].astype(np.float64) for other in self.clients), array.astype(np.float64)),
                dtype=array.dtype,
            )
            for name, array in update.gradients.items()
        }
        names = iter(update.gradients)
        return update.map(lambda array: sums[next(names)], defence=self.name)
