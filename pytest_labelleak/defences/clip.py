"""The defence that bounds the length of an update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..core.update import Update
from .checks import choice, full_name, real
from .scale import norm

__all__ = ["ClipNorm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipNorm:
    """Scale an update down to a bound on its norm; a shorter update passes unchanged.

    Clipping alone hides no label, since no sign changes. It bounds the contribution of one participant, and so is the
    first half of differential privacy. The second half is noise:
    ``Compose([ClipNorm(norm=1.0), GaussianNoise(absolute=1.0)])``.

    Attributes
    ----------
    norm : float
        Largest Euclidean norm, above 0, in the gradient's own units.
    scope : {"update", "variable"}
        Whether the bound holds for the norm of the whole update, as in DP-SGD, or for that of each variable.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov, Y. Bengio, "On the Difficulty of Training Recurrent Neural Networks",
       ICML 2013. https://doi.org/10.48550/arXiv.1211.5063
    .. [2] M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016.
       https://doi.org/10.1145/2976749.2978318

    Examples
    --------
    >>> ClipNorm(norm=1.0).name
    'clip_norm(norm=1.0)'
    """

    deterministic: ClassVar[bool] = True

    norm: float
    scope: str = "update"

    def __post_init__(self) -> None:
        """Check the parameters."""
        real(self, "norm", lambda value: value > 0.0, "a number above 0")
        choice(self, "scope", ("update", "variable"))

    @property
    def name(self) -> str:
        """The name with its parameters."""
        return full_name(self, "clip_norm")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update`, scaled down where its norm exceeds the bound."""
        norms = {name: norm(array) for name, array in update.gradients.items()}
        total = norm(np.array(list(norms.values())))

        def clipped(array: np.ndarray) -> np.ndarray:
            length = total if self.scope == "update" else norm(array)
            # An array that is not finite has no direction. It passes unchanged, and so shows that the loss diverged.
            if length <= self.norm or not np.isfinite(length):
                return array.copy()
            # Division and product are two steps: each stays in range where their quotient is no normal number.
            return np.asarray(array.astype(np.float64) / length * self.norm, dtype=array.dtype)

        return update.map(clipped, defence=self.name)
