"""Information that a shared array holds about the gradient: entries, intervals around entries, or signs alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...attacks.gradient.head import CoarsenessRules, scattered_share
from ...attacks.gradient.intervals import unit_of

__all__ = ["Observed", "observe"]

#: An array of fewer entries says nothing about signs: two or three entries may share a magnitude for other reasons.
#: Kernels have hundreds of entries, so no answer depends on this number.
_FEWEST_SIGNS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """One shared array.

    Attributes
    ----------
    shared : ndarray
        The array as it was shared. A weight penalty was added before any defence saw it.
    penalty : ndarray or float
        Gradient of that penalty.
    width : ndarray or float
        Largest distance of the real entry from the shared one: 0 where it is exact, infinite where nothing is known.
    signs : bool
        Whether signs alone are left.
    """

    shared: np.ndarray = field(repr=False)
    penalty: np.ndarray | float = field(default=0.0, repr=False)
    width: np.ndarray | float = field(default=0.0, repr=False)
    signs: bool = False

    @property
    def target(self) -> np.ndarray:
        """The loss's own gradient, as far as it is known."""
        return self.shared if self.signs else np.asarray(self.shared - self.penalty)

    def rest(self, gradient: np.ndarray, factor: float = 1.0) -> np.ndarray:
        """Return the part of ``factor * gradient`` that contradicts the shared array; zero where nothing does.

        Parameters
        ----------
        gradient : ndarray
            Gradient of the loss, in the shape of the shared array.
        factor : float
            Scale of the shared array.

        Returns
        -------
        ndarray
        """
        whole = factor * gradient + self.penalty
        if self.signs:
            wrong: np.ndarray = np.where(whole * self.shared > 0.0, 0.0, whole)
            return wrong
        apart = whole - self.shared
        outside: np.ndarray = apart - np.clip(apart, -np.asarray(self.width), self.width)
        return outside


def observe(shared: np.ndarray, penalty: np.ndarray | None = None) -> Observed:
    """Infer from an array which defence shaped it.

    Parameters
    ----------
    shared : ndarray
        The array as it was shared.
    penalty : ndarray, optional
        Gradient of a weight penalty that it includes.

    Returns
    -------
    Observed
        An entry dropped for its size is within the smallest kept one of zero; an entry dropped at random is unknown; a
        rounded entry is known to half a step.
    """
    known: np.ndarray | float = 0.0 if penalty is None else penalty
    filled = shared != 0.0
    kept = np.abs(shared[filled])
    if kept.size >= _FEWEST_SIGNS and kept.min() == kept.max():
        return Observed(shared=shared, penalty=known, signs=True)
    if scattered_share(filled) <= CoarsenessRules().scattered:
        return Observed(shared=shared, penalty=known)
    kind, unit = unit_of(shared) or ("random", np.inf)
    return Observed(shared=shared, penalty=known, width=unit if kind == "lattice" else np.where(filled, 0.0, unit))
