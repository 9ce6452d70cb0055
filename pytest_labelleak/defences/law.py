"""Noise law: the distribution of the noise that a defence adds, as the defence itself states it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import InvalidArgumentError, quoted

__all__ = ["NoiseLaw"]

_KINDS = ("gaussian", "laplace", "none")
_SCOPES = ("update", "variable")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseLaw:
    """The law of a defence that replaces labels at random, changes the update by rule, clips, and adds noise.

    The parts act in this order. A defence states its law in an attribute ``noise_law``; the noise must be independent
    of everything that the defence is given, and no variable may be shared without it. `Compose` states the law of its
    parts.

    Attributes
    ----------
    kind : {"gaussian", "laplace", "none"}
        Distribution of the noise, independent in every entry. "none" states labels replaced at random, without noise.
    absolute : float or mapping of str to float, optional
        Standard deviation in the gradient's own units, of every variable or by name.
    relative : float, optional
        Standard deviation in units of the root mean square of each variable, after clipping. Exactly one of the
        two is given. Relative noise has a scale that depends on the labels, and the scale is seen by the receiver.
    clip : float, optional
        Largest Euclidean norm before the noise.
    scope : {"update", "variable"}
        Whether that norm is the whole update's or each variable's own.
    randomised : float
        For labels replaced at random before training: probability of the true class minus that of any one other
        class. 1.0 for labels that are kept.
    before : sequence of defence
        Deterministic defences that act before clipping and noise.
    processed : bool
        Whether further changes follow the noise. No change of a shared update makes it tell more.

    Examples
    --------
    >>> from pytest_labelleak import ClipNorm, Compose, GaussianNoise
    >>> law = Compose([ClipNorm(norm=1.0), GaussianNoise(absolute=0.5)]).noise_law
    >>> law.clip, law.absolute
    (1.0, 0.5)
    """

    kind: str = "gaussian"
    absolute: float | Mapping[str, float] | None = None
    relative: float | None = None
    clip: float | None = None
    scope: str = "update"
    randomised: float = 1.0
    before: tuple[Any, ...] = ()
    processed: bool = False

    def __post_init__(self) -> None:
        """Check kind, scope, scales and probability."""
        if self.kind not in _KINDS:
            raise InvalidArgumentError(f"kind={quoted(self.kind)}. Expected one of {', '.join(_KINDS)}.")
        if self.scope not in _SCOPES:
            raise InvalidArgumentError(f"scope={quoted(self.scope)}. Expected one of {', '.join(_SCOPES)}.")
        if self.kind == "none":
            if self.absolute is not None or self.relative is not None or self.randomised == 1.0:
                raise InvalidArgumentError(
                    "kind='none' states labels replaced at random, without noise. Expected neither absolute= nor "
                    "relative=, and randomised= below 1."
                )
        elif (self.absolute is None) == (self.relative is None):
            raise InvalidArgumentError(
                "absolute= and relative=. Expected exactly one of them: the noise has one scale."
            )
        scales = list(self.absolute.values()) if isinstance(self.absolute, Mapping) else [self.absolute]
        for name, values in (("absolute", scales), ("relative", [self.relative]), ("clip", [self.clip])):
            for value in values:
                if value is not None and not (math.isfinite(value) and value > 0.0):
                    raise InvalidArgumentError(f"{name}={quoted(value)}. Expected a finite number above 0.")
        object.__setattr__(self, "before", tuple(self.before))
        if not 0.0 <= self.randomised <= 1.0:
            raise InvalidArgumentError(
                f"randomised={quoted(self.randomised)}. Expected a number in [0, 1]: the probability of the "
                "true class minus that of another."
            )

    def deviation(self, variable: str) -> float:
        """Return the standard deviation of a variable's noise, infinite where the noise is relative.

        Parameters
        ----------
        variable : str
            Name of the variable.

        Returns
        -------
        float
            In the gradient's own units.

        Raises
        ------
        InvalidArgumentError
            If the law names variables, and not this one.
        """
        if self.kind == "none":
            return 0.0
        if self.absolute is None:
            return math.inf
        if not isinstance(self.absolute, Mapping):
            return self.absolute
        if variable not in self.absolute:
            raise InvalidArgumentError(
                f"absolute= has no standard deviation for the variable {variable!r}. Expected one for every variable "
                "that is shared: a variable without noise proves nothing."
            )
        return self.absolute[variable]
