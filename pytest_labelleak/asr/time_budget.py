"""Time that an attack may take."""

from __future__ import annotations

import math

from ..core.errors import InvalidArgumentError, quoted

__all__ = ["check_time_budget"]


def check_time_budget(seconds: float) -> None:
    """Refuse a budget in which no attack can work.

    Parameters
    ----------
    seconds : float
        The budget, in seconds.

    Raises
    ------
    InvalidArgumentError
        If it is not a finite number above 0.
    """
    if not (math.isfinite(seconds) and seconds > 0.0):
        raise InvalidArgumentError(f"time_budget={quoted(seconds)}. Expected a finite number of seconds above 0.")
