"""RLG: the labels from the geometry of the head's kernel gradient alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..recovery import RECOVERED, Certificate, Recovery
from ..update import Update
from ._cone import separate
from ._linear import coarseness
from ._subspace import find_subspace
from ._tied import split

__all__ = ["RLG"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RLG:
    """Name every class that some direction separates from all other classes.

    Needs neither weights nor bias, no sign of the features and no batch size: the rank, that is the
    number of label positions, is found from the gradient's own noise (`_subspace`), and a class is
    present if its column lies outside the cone of the others (`_cone`). Scaling the gradient, its rows
    or its columns changes nothing.

    Assumes fewer label positions than features and than classes less one, and rows that are negative
    at the label alone (softmax cross-entropy with one label per position).

    If the head is tied to the input embedding, the tokens that were looked up are named first, from the
    columns they own, and the rest of the gradient is read as usual (`_tied`).

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and
       Protecting Labels in Distributed Training", NeurIPS 2021.
       https://doi.org/10.48550/arXiv.2111.00556
    """

    name: ClassVar[str] = "rlg"
    reference: ClassVar[str] = "Dang et al. 2021, doi:10.48550/arXiv.2111.00556"
    reads_tied: ClassVar[bool] = True

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the separable classes, each with its direction."""
        if not update.head.tied:
            return self._read(update)
        coarse = coarseness(update)
        if coarse is not None:
            return Recovery.not_applicable(self.name, f"{coarse}, and what is left has no low rank")
        parts = split(update)
        if isinstance(parts, str):
            return Recovery.not_applicable(self.name, parts)
        rest = self._read(parts.rest)
        named = [
            dataclasses.replace(proof, label=int(parts.classes[proof.label]))
            for proof in rest.certificates
            if parts.classes[proof.label] >= 0
        ]
        return dataclasses.replace(
            rest,
            labels=tuple(sorted({*parts.tokens.tolist(), *(proof.label for proof in named)})),
            certificates=tuple(named),
            details=dict(rest.details) | {"looked_up": int(parts.tokens.size)},
        )

    def _read(self, update: Update) -> Recovery:
        coarse = coarseness(update)
        if coarse is not None:
            return Recovery.not_applicable(self.name, f"{coarse}, and what is left has no low rank")
        subspace = find_subspace(update)
        if isinstance(subspace, str):
            return Recovery.not_applicable(self.name, subspace)
        details = {
            "rank": subspace.positions,
            "gap": float(f"{subspace.gap:.2g}"),
            "noise_ratio": float(f"{subspace.noise_ratio:.2g}"),
        }
        if subspace.positions >= subspace.columns.size - 1:
            return Recovery.not_applicable(
                self.name,
                f"the gradient's rank {subspace.positions} leaves no room among {subspace.columns.size} classes with a "
                "gradient: every one of them could be separated; use a smaller batch",
                **details,
            )
        separation = separate(subspace.coordinates, subspace.noise)
        certificates = []
        for column, direction in sorted(separation.directions.items()):
            certificates.append(
                Certificate(
                    label=int(subspace.columns[column]),
                    present=True,
                    margin=float(separation.margin[column]),
                    direction=subspace.directions @ direction,
                )
            )
        labels = sorted(int(c) for c in subspace.columns[separation.present])
        return Recovery(
            attack=self.name,
            status=RECOVERED,
            labels=tuple(labels),
            samples=subspace.positions if subspace.exact else None,
            certificates=tuple(certificates),
            details=details | {"tested": separation.tested},
        )
