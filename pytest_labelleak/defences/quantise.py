"""Defences that share every entry on a coarser grid: its sign, one of a few levels, a shorter float."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.update import Update, unit_roundoff
from .checks import choice, flag, full_name, whole
from .scale import largest_magnitude

__all__ = ["Quantise", "RoundTo", "Sign"]

#: Significant bits, smallest binary exponent as np.frexp counts it, and largest value of the short floats.
_FORMATS = {"float16": (11, -13, 65504.0), "bfloat16": (8, -125, (2.0 - 2.0**-7) * 2.0**127)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Share only the sign of every entry: -1, 0 or 1 (signSGD).

    References
    ----------
    .. [1] J. Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", ICML 2018.
       https://doi.org/10.48550/arXiv.1802.04434
    """

    name: ClassVar[str] = "sign"
    deterministic: ClassVar[bool] = True

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return the signs of `update`."""
        return update.map(lambda array: np.asarray(np.sign(array)), defence=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantise:
    """Share every entry as one of ``2**bits - 1`` evenly spaced levels, symmetric about zero.

    The outermost levels are plus and minus the largest magnitude of each variable; the magnitude is shared too.

    Attributes
    ----------
    bits : int
        Bits per entry, from 2 (levels -1, 0, 1 times the largest magnitude) to 16.
    stochastic : bool
        Round up or down at random so that the expected value is the entry itself (QSGD), instead of
        to the nearest level.

    References
    ----------
    .. [1] D. Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding",
       NeurIPS 2017. https://doi.org/10.48550/arXiv.1610.02132

    Examples
    --------
    >>> Quantise(bits=4, stochastic=True).name
    'quantise(bits=4, stochastic=True)'
    """

    bits: int
    stochastic: bool = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        whole(self, "bits", 2, 16, "a whole number from 2 to 16; for a single bit use Sign()")
        flag(self, "stochastic")

    @property
    def deterministic(self) -> bool:
        """Whether entries are rounded to the nearest level."""
        return not self.stochastic

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "quantise")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update`, each entry at one of the levels."""
        steps = 2 ** (self.bits - 1) - 1  # levels on either side of zero

        def on_lattice(array: np.ndarray) -> np.ndarray:
            top = largest_magnitude(array)
            # An array that is not finite has no scale. It passes unchanged, and so shows that the loss diverged.
            if top == 0.0 or not np.isfinite(top):
                return array.copy()
            levels = array.astype(np.float64) / top * steps
            if self.stochastic:
                below = np.floor(levels)
                levels = below + (rng.random(array.shape) < levels - below)
            else:
                levels = np.rint(levels)
            return np.asarray(levels / steps * top, dtype=array.dtype)

        return update.map(on_lattice, defence=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTo:
    """Share every entry rounded to a shorter floating-point type, to nearest with ties to even.

    The arrays keep their own dtype, as after decoding. The receiver knows the format, so the update's `compute_dtype`
    becomes the coarser of the two types. An entry beyond the range of the type becomes infinite.

    Attributes
    ----------
    dtype : {"float16", "bfloat16"}
        The shorter type.

    References
    ----------
    .. [1] P. Micikevicius et al., "Mixed Precision Training", ICLR 2018.
       https://doi.org/10.48550/arXiv.1710.03740

    Examples
    --------
    >>> RoundTo(dtype="bfloat16").name
    "round_to(dtype='bfloat16')"
    """

    deterministic: ClassVar[bool] = True

    dtype: str

    def __post_init__(self) -> None:
        """Check the type."""
        choice(self, "dtype", tuple(_FORMATS))

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "round_to")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` in the shorter type's values."""
        bits, lowest, largest = _FORMATS[self.dtype]

        def rounded(array: np.ndarray) -> np.ndarray:
            # numpy has no bfloat16, and casting float64 to it by way of float32 would round twice.
            wide = array.astype(np.float64)
            _, exponent = np.frexp(wide)
            quantum = np.maximum(exponent, lowest) - bits  # subnormal numbers are evenly spaced
            with np.errstate(over="ignore", invalid="ignore"):
                wide = np.ldexp(np.rint(np.ldexp(wide, -quantum)), quantum)
                wide = np.where(np.abs(wide) > largest, np.copysign(np.inf, wide), wide)
                return np.asarray(wide, dtype=array.dtype)

        coarser = max(update.compute_dtype, self.dtype, key=unit_roundoff)
        return dataclasses.replace(update.map(rounded, defence=self.name), compute_dtype=coarser)
