"""What a shared gradient says about the real one: its entries, intervals that hold them, or only their signs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...attacks.gradient.head import CoarsenessRules, scattered_share
from ...attacks.gradient.intervals import unit_of

__all__ = ["Observed", "observe"]

#: Fewer entries than this of one magnitude may be so by chance.
_FEWEST_SIGNS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observed:
    """One shared array.

    Attributes
    ----------
    shared : ndarray
        As it was shared: with what a weight penalty added, before a defence saw it.
    penalty : ndarray or float
        What that is.
    width : ndarray or float
        How far the real entry may be from the shared one: 0 where it is exact, infinite where nothing is known.
    signs : bool
        Whether nothing but signs is left.
    """

    shared: np.ndarray = field(repr=False)
    penalty: np.ndarray | float = field(default=0.0, repr=False)
    width: np.ndarray | float = field(default=0.0, repr=False)
    signs: bool = False

    @property
    def target(self) -> np.ndarray:
        """What is known of the loss's own gradient."""
        return self.shared if self.signs else np.asarray(self.shared - self.penalty)

    def rest(self, gradient: np.ndarray, factor: float = 1.0) -> np.ndarray:
        """Return what of ``factor * gradient`` contradicts what was shared; zero where nothing does.

        Parameters
        ----------
        gradient : ndarray
            Of the loss, shaped as what was shared.
        factor : float
            Of its scale.

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
    """Tell from an array what was done to it.

    Parameters
    ----------
    shared : ndarray
        As it was shared.
    penalty : ndarray, optional
        Gradient of a weight penalty in it.

    Returns
    -------
    Observed
        Of dropped entries, the bound that the smallest one kept is; of entries dropped at random, nothing; of rounded
        ones, half a step to either side.
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
