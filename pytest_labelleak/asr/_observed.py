"""What a shared gradient says about the real one: its entries, only the larger ones, or only their signs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Observed", "observe"]

#: Share of zeros in otherwise filled rows and columns from which on they are no accident.
_SCATTERED = 0.01
#: Fewer entries than this of one magnitude may be so by chance.
_FEWEST_SIGNS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """One shared array.

    Attributes
    ----------
    target : ndarray
        As it was shared.
    hidden : float
        Entries that are zero may be anything up to this size: what was kept of a sparse update is no smaller.
    signs : bool
        Whether nothing but signs is left.
    """

    target: np.ndarray = field(repr=False)
    hidden: float = 0.0
    signs: bool = False

    @property
    def size(self) -> float:
        """Squared norm."""
        return float(np.vdot(self.target, self.target))

    def rest(self, gradient: np.ndarray, factor: float = 1.0) -> np.ndarray:
        """Return what of ``factor * gradient`` contradicts what was shared; zero where nothing does.

        Parameters
        ----------
        gradient : ndarray
            Shaped as the target.
        factor : float
            Of its scale.

        Returns
        -------
        ndarray
        """
        scaled = factor * gradient
        if self.signs:
            right = scaled * self.target > 0.0
            return np.where(right, 0.0, scaled)
        if self.hidden:
            beyond = np.sign(scaled) * np.maximum(np.abs(scaled) - self.hidden, 0.0)
            return np.where(self.target != 0.0, scaled - self.target, beyond)
        rest: np.ndarray = scaled - self.target
        return rest


def observe(target: np.ndarray) -> Observed:
    """Tell from an array what was done to it.

    Parameters
    ----------
    target : ndarray
        As it was shared.

    Returns
    -------
    Observed
    """
    filled = target != 0.0
    kept = np.abs(target[filled])
    if kept.size >= _FEWEST_SIGNS and kept.min() == kept.max():
        return Observed(target=target, signs=True)
    inside = filled.size
    if filled.ndim > 1:
        inside = int(np.count_nonzero(filled.any(axis=1))) * int(np.count_nonzero(filled.any(axis=0)))
    if inside - kept.size > _SCATTERED * inside and kept.size:
        return Observed(target=target, hidden=float(kept.min()))
    return Observed(target=target)
