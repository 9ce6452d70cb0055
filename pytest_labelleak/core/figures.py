"""Figures as records and baselines hold them: six decimals, the same bytes everywhere."""

from __future__ import annotations

import math

__all__ = ["round_up", "rounded"]


def rounded(value: float | None) -> float | None:
    """Return a figure with the six decimals that records hold; None stays None."""
    return None if value is None else round(float(value), 6)


def round_up(advantage: float) -> float:
    """Return the smallest number of six decimals in [0, 1] that `advantage` does not exceed.

    Parameters
    ----------
    advantage : float
        Measured advantage.

    Returns
    -------
    float
        Never below `advantage`, so that a run against its own baseline passes.

    Examples
    --------
    >>> round_up(1 / 3), round_up(0.1 + 0.2), round_up(-0.5)
    (0.333334, 0.3, 0.0)
    """
    # Verdicts tolerate a thousandth of the last digit, and so does the rounding: 0.1 + 0.2 stays 0.3.
    return min(1.0, max(0.0, math.ceil(advantage * 1e6 - 1e-3) / 1e6))
