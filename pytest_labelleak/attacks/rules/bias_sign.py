"""The sign of the bias gradient: negative exactly where a class is under-predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.head import bias_gradient

__all__ = ["BiasSign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSign:
    """Name every class whose bias gradient is negative.

    The bias gradient of softmax cross-entropy is ``b_c = sum_s w_s (p_sc - y_sc)``. Without a label
    of class c it is a sum of probabilities and cannot be negative, so nothing is named wrongly; a
    class whose labels are already predicted by the other samples' mass is missed.

    Known label smoothing e lowers every target-free entry by up to ``e / C`` per unit of weight; with
    a mean-reduced loss that bound is used instead of zero.

    Behind sigmoids the same holds for every class by itself: without a label of class c all errors of its logit are
    positive. Smoothing e lowers them by up to ``e / 2``, and the mean is over samples and classes.

    References
    ----------
    .. [1] A. Wainakh et al., "User-Level Label Leakage from Gradients in Federated Learning", PoPETs
       2022(2) 227-244. https://doi.org/10.2478/popets-2022-0043
    """

    name: ClassVar[str] = "bias_sign"
    reference: ClassVar[str] = "Wainakh et al. 2022, doi:10.2478/popets-2022-0043"
    cost: ClassVar[str] = "pass"
    reads: ClassVar[tuple[str, ...]] = ("bias",)
    reads_tied: ClassVar[bool] = True  # from the bias alone
    reads_sigmoid: ClassVar[bool] = True

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that descend."""
        bias = bias_gradient(update)
        if bias is None:
            raise NotApplicable("the head has no bias gradient")
        if not np.any(bias):
            raise NotApplicable("the head's bias gradient is zero everywhere")
        smoothing = update.head.label_smoothing
        lowest = 0.5 * smoothing if update.head.kind == "sigmoid" else smoothing
        bound = lowest / update.classes if smoothing and update.reduction == "mean" else 0.0
        named = np.flatnonzero(bias < -bound)
        if not named.size:
            raise NotApplicable(
                "no entry of the bias gradient is negative"
                + (f" by more than label smoothing of {smoothing:g} alone makes it" if bound else "")
                + ": the labels' own entries were dropped, or this is no cross-entropy gradient"
            )
        return Recovery(attack=self.name, status=Status.RECOVERED, labels=tuple(named.tolist()))
