"""Defences: from an Update to the Update that is shared instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from .errors import InvalidArgumentError, UnknownNameError
from .settings import active_scope
from .update import Update

__all__ = ["Defence", "GaussianNoise", "Sign", "builtin_defences", "resolve"]


@runtime_checkable
class Defence(Protocol):
    """Changes an update before it is shared.

    A defence sees the update alone, makes its random choices with `rng`, and returns a new update of
    the same names, shapes and head.
    """

    @property
    def name(self) -> str:
        """Unique name, used in options and reports; parameters included."""

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Defend `update`.

        Parameters
        ----------
        update : Update
            What would be shared without the defence.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        Update
            What is shared.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Share only the sign of every entry: -1, 0 or 1 (signSGD).

    References
    ----------
    .. [1] J. Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", ICML 2018.
       https://doi.org/10.48550/arXiv.1802.04434
    """

    name: ClassVar[str] = "sign"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return the signs of `update`."""
        return update.map(np.sign, defence=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNoise:
    """Add independent Gaussian noise to every entry.

    Attributes
    ----------
    relative : float or None
        Standard deviation in units of the root mean square of each variable's own gradient.
    absolute : float or None
        Standard deviation in the gradient's own units. Exactly one of the two must be given.
    """

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        """Check that one positive scale is given."""
        if (self.relative is None) == (self.absolute is None):
            raise InvalidArgumentError(
                "GaussianNoise takes exactly one of relative= and absolute=. Expected e.g. GaussianNoise(relative=1.0)."
            )
        scale = self.relative if self.relative is not None else self.absolute
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale) or scale <= 0.0:
            raise InvalidArgumentError(
                f"GaussianNoise got a standard deviation of {scale!r}. Expected a number above 0."
            )

    @property
    def name(self) -> str:
        """The name with its scale, e.g. ``gaussian_noise(relative=1.0)``."""
        kind = "relative" if self.relative is not None else "absolute"
        return f"gaussian_noise({kind}={getattr(self, kind)!r})"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` with noise added."""

        def noisy(array: np.ndarray) -> np.ndarray:
            wide = array.astype(np.float64)
            scale = self.absolute if self.absolute is not None else self.relative * float(np.sqrt(np.mean(wide**2)))  # type: ignore[operator]
            # In the gradient's own precision: a wider result would tell the receiver more than was sent.
            result: np.ndarray = (wide + rng.normal(0.0, 1.0, array.shape) * scale).astype(array.dtype)
            return result

        return update.map(noisy, defence=self.name)


def builtin_defences() -> Mapping[str, Defence]:
    """Return the defences that can be named without parameters."""
    return {Sign.name: Sign()}


def resolve(wanted: Any) -> Defence | None:
    """Turn None, a name or a defence into a defence.

    Parameters
    ----------
    wanted : None, str or defence
        What the settings say.

    Returns
    -------
    Defence or None
        The defence.

    Raises
    ------
    UnknownNameError
        For a name nobody registered.
    InvalidArgumentError
        For a defence without a name, or a hook's defence with the name of a built-in one.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        known = dict(builtin_defences())
        for name, extra in active_scope().defences.items():
            if name in known:
                raise InvalidArgumentError(f"a hook registers a defence named {name!r}, which is built in. Rename it.")
            known[name] = extra
        if wanted not in known:
            raise UnknownNameError(
                f"unknown defence {wanted!r}. Expected one of {', '.join(known)}, or a defence object such as "
                "GaussianNoise(relative=1.0)."
            )
        return known[wanted]
    own = getattr(wanted, "name", None)
    if not isinstance(own, str) or not own:
        raise InvalidArgumentError(f"a defence of type {type(wanted).__name__} has no name. Expected a string 'name'.")
    defence: Defence = wanted
    return defence
