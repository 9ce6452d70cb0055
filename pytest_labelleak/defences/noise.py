"""Defences that add noise of mean zero to every entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.update import Update
from .checks import full_name, one_of_two, real
from .law import NoiseLaw
from .scale import norm

__all__ = ["GaussianNoise", "LaplaceNoise"]


def _check(defence: GaussianNoise | LaplaceNoise) -> None:
    kind = one_of_two(defence, "relative", "absolute", f"{type(defence).__name__}(relative=1.0)")
    real(defence, kind, lambda value: value > 0.0, "a standard deviation above 0")


def _with_noise(
    update: Update,
    defence: GaussianNoise | LaplaceNoise,
    draw: Callable[[tuple[int, ...]], np.ndarray],
) -> Update:
    """Return `update` plus noise; `draw` returns noise of a given shape and of standard deviation 1."""

    def noisy(array: np.ndarray) -> np.ndarray:
        deviation = defence.absolute
        if deviation is None:
            deviation = (defence.relative or 0.0) * norm(array) / math.sqrt(max(array.size, 1))
        # The result keeps the dtype of the gradient: a wider one would hold bits that were never sent.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(array.astype(np.float64) + draw(array.shape) * deviation, dtype=array.dtype)

    return update.map(noisy, defence=defence.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNoise:
    """Add independent Gaussian noise to every entry.

    Attributes
    ----------
    relative : float or None
        Standard deviation in units of the root mean square of each variable's own gradient.
    absolute : float or None
        Standard deviation in the gradient's own units. Exactly one of the two must be given.

    References
    ----------
    .. [1] M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016.
       https://doi.org/10.1145/2976749.2978318

    Examples
    --------
    >>> GaussianNoise(relative=0.1).name
    'gaussian_noise(relative=0.1)'
    """

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        """Check that one positive scale is given."""
        _check(self)

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "gaussian_noise")

    @property
    def noise_law(self) -> NoiseLaw:
        """The law of the noise."""
        return NoiseLaw(kind="gaussian", absolute=self.absolute, relative=self.relative)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` with noise added."""
        return _with_noise(update, self, lambda shape: rng.normal(0.0, 1.0, shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaplaceNoise:
    """Add independent Laplace noise to every entry.

    Attributes
    ----------
    relative : float or None
        Standard deviation in units of the root mean square of each variable's own gradient.
    absolute : float or None
        Standard deviation in the gradient's own units: ``sqrt(2)`` times the distribution's scale. Exactly
        one of the two must be given.

    References
    ----------
    .. [1] C. Dwork, F. McSherry, K. Nissim, A. Smith, "Calibrating Noise to Sensitivity in Private Data
       Analysis", TCC 2006. https://doi.org/10.1007/11681878_14

    Examples
    --------
    >>> LaplaceNoise(absolute=0.001).name
    'laplace_noise(absolute=0.001)'
    """

    relative: float | None = None
    absolute: float | None = None

    def __post_init__(self) -> None:
        """Check that one positive scale is given."""
        _check(self)

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "laplace_noise")

    @property
    def noise_law(self) -> NoiseLaw:
        """The law of the noise."""
        return NoiseLaw(kind="laplace", absolute=self.absolute, relative=self.relative)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` with noise added."""
        return _with_noise(update, self, lambda shape: rng.laplace(0.0, math.sqrt(0.5), shape))
