"""iDLG: the label of a single sample, from the one column that opposes all others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update, unit_roundoff
from ..gradient.head import bias_gradient, kernel_blocks

__all__ = ["IDLG", "IDLGRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IDLGRules:
    """When columns are multiples of one another. Plateau: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    roundings : float
        Part of a column that is no multiple, relative to the column, in roundings of the compute dtype.
    """

    roundings: float = field(default=32.0, metadata={"plateau": (2.0, 512.0)})


@dataclass(frozen=True, slots=True, kw_only=True)
class IDLG:
    """Name the label of an update that was computed from one sample.

    For one sample every column of the kernel gradient is the same feature vector times ``p_c - y_c``,
    which is negative for the label alone. That column also has the largest norm, since its factor
    is the sum of all the others. The sign needs no knowledge of the features: a single class takes the negative
    direction, and all others the other one.

    Parameters
    ----------
    rules : IDLGRules
        The number that decides.

    References
    ----------
    .. [1] B. Zhao, K. R. Mopuri, H. Bilen, "iDLG: Improved Deep Leakage from Gradients", 2020.
       https://doi.org/10.48550/arXiv.2001.02610
    """

    name: ClassVar[str] = "idlg"
    reference: ClassVar[str] = "Zhao et al. 2020, doi:10.48550/arXiv.2001.02610"
    cost: ClassVar[str] = "pass"

    rules: IDLGRules = IDLGRules()

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the single label, or say that there is more than one."""
        bias = bias_gradient(update)
        if bias is not None and np.any(bias):
            descending = np.flatnonzero(bias < 0)
            if descending.size != 1:
                raise NotApplicable(f"{descending.size} classes descend: the update holds more than one label position")
            return Recovery(attack=self.name, status=Status.RECOVERED, labels=(int(descending[0]),), positions=1)

        if update.classes < 3:
            raise NotApplicable("with two classes and no bias gradient each column opposes the other")
        blocks = [block for _, block in kernel_blocks(update)]
        top = max(float(np.abs(block).max()) for block in blocks)
        gradient = np.vstack(blocks) / top
        norms = np.linalg.norm(gradient, axis=0)
        label = int(np.argmax(norms))
        direction = gradient[:, label] / norms[label]
        along = direction @ gradient
        # One sample makes every column a multiple of the same feature vector, up to rounding.
        aside = np.linalg.norm(gradient - np.outer(direction, along), axis=0)
        if np.any(aside > self.rules.roundings * unit_roundoff(update.compute_dtype) * norms):
            raise NotApplicable(
                "the columns are not multiples of one another: the update holds more than one label position"
            )
        if np.any(np.delete(along, label) > 0):
            raise NotApplicable(
                "the largest column does not oppose all others: this is no softmax cross-entropy gradient"
            )
        return Recovery(attack=self.name, status=Status.RECOVERED, labels=(label,), positions=1)
