"""Distances between gradients, with their derivatives: what gradient matching minimises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["OBJECTIVES", "Distance"]

#: Squared distance over all variables together; the mean over variables of the squared distance relative to the
#: target's size; the mean of one less the cosine of the angle (Geiping et al., NeurIPS 2020, arXiv 2003.14053).
OBJECTIVES = ("plain", "normalised", "cosine")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distance:
    """Distance from a shared gradient: 0 where the two agree, about 1 where they have nothing in common.

    Attributes
    ----------
    kind : {"plain", "normalised", "cosine"}
        See `OBJECTIVES`.
    targets : sequence of ndarray
        The shared gradient, one array per variable.
    scaled : bool
        Whether the shared gradient may be any positive multiple of the mean's, as after clipping. The best multiple is
        then taken at each point.
    """

    kind: str
    targets: Sequence[np.ndarray] = field(repr=False)
    scaled: bool = False

    def __call__(self, gradients: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """Measure, and differentiate.

        Parameters
        ----------
        gradients : sequence of ndarray
            Shaped as `targets`.

        Returns
        -------
        value : float
        derivative : list of ndarray
            With respect to `gradients`.
        """
        if self.kind == "cosine":
            return self._angle(gradients)
        sizes = [float(np.vdot(target, target)) for target in self.targets]
        if self.kind == "plain":
            weights = [1.0 / max(sum(sizes), np.finfo(float).tiny)] * len(sizes)
        else:
            weights = [1.0 / len(sizes) / size if size > 0.0 else 0.0 for size in sizes]
        factor = 1.0
        if self.scaled:
            along = sum(w * float(np.vdot(g, t)) for w, g, t in zip(weights, gradients, self.targets, strict=True))
            own = sum(w * float(np.vdot(g, g)) for w, g in zip(weights, gradients, strict=True))
            factor = max(along / own, 0.0) if own > 0.0 else 0.0
        value, derivative = 0.0, []
        for weight, gradient, target in zip(weights, gradients, self.targets, strict=True):
            rest = factor * gradient - target
            value += weight * float(np.vdot(rest, rest))
            # The best factor is a minimum, so that it may be held while differentiating.
            derivative.append(2.0 * weight * factor * rest)
        return value, derivative

    def _angle(self, gradients: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        value, derivative = 0.0, []
        for gradient, target in zip(gradients, self.targets, strict=True):
            size, length = np.linalg.norm(gradient), np.linalg.norm(target)
            if size == 0.0 or length == 0.0:
                value += float(length > 0.0)
                derivative.append(np.zeros_like(gradient))
                continue
            ours, theirs = gradient / size, target / length
            # Half the squared distance of the unit vectors is one less the cosine, without its cancellation near 1.
            value += 0.5 * float(np.sum((ours - theirs) ** 2))
            derivative.append((np.vdot(ours, theirs) * ours - theirs) / size / len(self.targets))
        return value / len(self.targets), derivative
