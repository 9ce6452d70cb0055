"""Isolated label positions: the batch taken apart once per update, for every attack that puts positions in order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ..attacks.disaggregate.attack import Disaggregate
from ..attacks.gradient.reading import Reading
from ..attacks.registry import ask
from ..core.recovery import NotApplicable, Status

__all__ = ["Isolated", "isolate"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Isolated:
    """Label positions of one update, in no order.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Label of each isolated position. Private.
    features : ndarray of shape (n, d)
        Input of the head at each. Private.
    positions : int
        Number S of label positions in the update; n of them are isolated.
    """

    labels: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    positions: int


def isolate(reading: Reading, *, temperature: float) -> tuple[Isolated, float]:
    """Take the batch apart with `Disaggregate`; attacks that share a reading share the result.

    Parameters
    ----------
    reading : Reading
        The update that was shared.
    temperature : float
        Divisor of the logits in the loss.

    Returns
    -------
    isolated : Isolated
    seconds : float
        Processor time of this call.

    Raises
    ------
    NotApplicable
        If the batch cannot be taken apart.
    """
    begun = time.process_time()

    def compute() -> Isolated:
        # A stream of its own: the answer must not depend on which of several attacks asks first.
        recovery = ask(Disaggregate(temperature=temperature), reading, rng=np.random.default_rng(0))
        if recovery.status != Status.RECOVERED or recovery.features is None:
            raise NotApplicable(f"the batch cannot be taken apart: {recovery.reason}")
        return Isolated(
            labels=np.array(recovery.sample_labels, np.int64),
            features=recovery.features,
            positions=int(recovery.details["rank"]),
        )

    isolated = reading.once(("isolated", temperature), compute)
    return isolated, time.process_time() - begun
