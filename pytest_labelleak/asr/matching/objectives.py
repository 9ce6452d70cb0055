"""Distances between gradients, with their derivatives: the objectives of gradient matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .observed import Observed

__all__ = ["OBJECTIVES", "Distance"]

#: Squared distance over all variables together; the mean over variables of the squared distance relative to the
#: target's size; the mean of one less the cosine of the angle (Geiping et al., NeurIPS 2020, arXiv 2003.14053).
OBJECTIVES = ("plain", "normalised", "cosine")
#: Rounds after which the best multiple is settled, and the change that counts as none: more rounds and a smaller
#: change alter the multiple by rounding alone.
_FACTORS, _SETTLED = 20, 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distance:
    """Distance from a shared gradient: 0 where the two agree, about 1 where they have nothing in common.

    Attributes
    ----------
    kind : {"plain", "normalised", "cosine"}
        See `OBJECTIVES`.
    targets : sequence of Observed
        The shared gradient, one array per variable. A dropped entry counts only beyond the size at which it would have
        been kept. Of an array reduced to signs only wrong signs count, relative to the gradient's own size.
    scaled : bool
        Whether the shared gradient may be any positive multiple of the mean gradient, as after clipping. The best
        multiple is then taken at each point.
    """

    kind: str
    targets: Sequence[Observed] = field(repr=False)
    scaled: bool = False

    def __call__(self, gradients: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        """Measure, and differentiate.

        Parameters
        ----------
        gradients : sequence of ndarray
            One per target, in its shape.

        Returns
        -------
        value : float
        derivative : list of ndarray
            With respect to `gradients`.
        """
        if self.kind == "cosine":
            return self._angle(gradients)
        sizes = [float(np.vdot(one.target, one.target)) for one in self.targets]
        if self.kind == "plain":
            weights = [1.0 / max(sum(sizes), np.finfo(float).tiny)] * len(sizes)
        else:
            weights = [1.0 / len(sizes) / size if size > 0.0 else 0.0 for size in sizes]
        factor = self._factor(gradients, weights) if self.scaled else 1.0
        value, derivative = 0.0, []
        for weight, gradient, target in zip(weights, gradients, self.targets, strict=True):
            if target.signs:
                part, slope = _wrong_signs(gradient, target)
                value += part / len(sizes)
                derivative.append(slope / len(sizes))
                continue
            rest = target.rest(gradient, factor)
            value += weight * float(np.vdot(rest, rest))
            # The best factor is a minimum, so that it may be held while differentiating.
            derivative.append(2.0 * weight * factor * rest)
        return value, derivative

    def _factor(self, gradients: Sequence[np.ndarray], weights: Sequence[float]) -> float:
        """Return the multiple of smallest distance, where entries count as in `Observed.rest`."""
        factor = 1.0
        for _ in range(_FACTORS):
            along = own = 0.0
            for weight, gradient, target in zip(weights, gradients, self.targets, strict=True):
                if target.signs:
                    continue
                # An entry outside of its interval counts, up to the border of the interval.
                beyond = target.rest(gradient, factor)
                counted = np.where(beyond != 0.0, gradient, 0.0)
                along += weight * float(np.vdot(counted, factor * gradient - beyond))
                own += weight * float(np.vdot(counted, counted))
            before, factor = factor, max(along / own, 0.0) if own > 0.0 else factor
            if abs(factor - before) <= _SETTLED * before:
                break
        return factor

    def _angle(self, gradients: Sequence[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        value, derivative = 0.0, []
        for gradient, observed in zip(gradients, self.targets, strict=True):
            target = observed.target
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


def _wrong_signs(gradient: np.ndarray, target: Observed) -> tuple[float, np.ndarray]:
    """Return the share of a gradient's square that has the wrong sign, on average over rows and columns, and its slope.

    The gradient includes the weight penalty. Each row and each column counts alike, whatever its size. In one square
    over all entries a few large entries would outweigh the rest, and contexts that drive all other entries to zero
    would have the right signs.
    """
    rest, gradient = target.rest(gradient), gradient + target.penalty
    value, slope = 0.0, np.zeros_like(gradient)
    axes = range(gradient.ndim) if gradient.ndim > 1 else (None,)
    for axis in axes:
        whole = np.sum(gradient**2, axis=axis, keepdims=True)
        share = np.divide(np.sum(rest**2, axis=axis, keepdims=True), whole, out=np.ones_like(whole), where=whole > 0.0)
        value += float(share.mean()) / len(axes)
        change = np.divide(2.0 * (rest - share * gradient), whole, out=np.zeros_like(rest), where=whole > 0.0)
        slope += change / (share.size * len(axes))
    return value, slope
