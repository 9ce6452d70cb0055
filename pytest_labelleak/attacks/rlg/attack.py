"""RLG: the labels from the geometry of the head's kernel gradient alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.recovery import Certificate, NotApplicable, Recovery, Status
from ...core.update import Update
from ..gradient.head import CoarsenessRules
from ..gradient.reading import Reading
from ..gradient.subspace import Subspace, SubspaceRules
from ..gradient.tied import TiedRules
from .absence_proofs import Absences
from .separation import Separation, SeparationRules, largest_deviation, separate

__all__ = ["RLG", "RLGRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RLGRules:
    """Deciding numbers of `RLG`.

    Attributes
    ----------
    level : float
        Probability that the noise of any column exceeds the tilt of the cone (`separation.largest_deviation`).
    surplus : float
        Largest excess of a direction's gifts to the other classes over its taking from the label, as a share of the
        latter. Rounding of probabilities makes a tenth for samples within a few units of the last place of one;
        erased rows make many times as much.
    balanced : float
        Length of the sum of all columns, as a share of their summed sizes, beyond which classes have units of their
        own and no direction has to balance.
    coarseness : CoarsenessRules
        The number of coarse entries.
    subspace : SubspaceRules
        The numbers of rank and noise.
    tied : TiedRules
        The numbers for heads that are tied to the input embedding.
    separation : SeparationRules
        The numbers of the cone.
    """

    level: float = field(default=1e-3, metadata={"plateau": (6.25e-05, 0.016)})
    surplus: float = field(default=1.0, metadata={"plateau": (0.25, 4.0)})
    balanced: float = field(default=0.1, metadata={"plateau": (0.00625, 1.6)})
    coarseness: CoarsenessRules = field(default_factory=CoarsenessRules)
    subspace: SubspaceRules = field(default_factory=SubspaceRules)
    tied: TiedRules = field(default_factory=TiedRules)
    separation: SeparationRules = field(default_factory=SeparationRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class RLG:
    """Name every class that some direction separates from all other classes.

    Needs neither weights nor bias, no sign of the features and no batch size: the rank, that is the
    number of label positions, is found from the gradient's own noise (`gradient.subspace`), and a class is
    present if its column lies outside the cone of the others (`separation`). Scaling the gradient, its rows
    or its columns changes nothing.

    Assumes fewer label positions than features and than classes less one, and rows that are negative
    at the label alone (softmax cross-entropy with one label per position).

    If the head is tied to the input embedding, the tokens that were looked up are named first, from the
    columns they own, and the rest of the gradient is read as usual (`gradient.tied`).

    Parameters
    ----------
    rules : RLGRules
        The deciding numbers.

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and
       Protecting Labels in Distributed Training", NeurIPS 2021.
       https://doi.org/10.48550/arXiv.2111.00556
    """

    name: ClassVar[str] = "rlg"
    reference: ClassVar[str] = "Dang et al. 2021, doi:10.48550/arXiv.2111.00556"
    cost: ClassVar[str] = "subspace"
    reads_tied: ClassVar[bool] = True
    certifies: ClassVar[bool] = True

    rules: RLGRules = field(default_factory=RLGRules)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the separable classes, each with its direction."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the separable classes of a reading, each with its direction."""
        if not reading.update.head.tied:
            return _with_a_label(self._read(reading))
        reading.require_fine(self.rules.coarseness)
        parts = reading.split(self.rules.subspace, self.rules.tied)
        rest = self._read(Reading(parts.rest))
        named = [
            dataclasses.replace(proof, label=int(parts.classes[proof.label]))
            for proof in rest.certificates
            if parts.classes[proof.label] >= 0
        ]
        found = dataclasses.replace(
            rest,
            labels=tuple(sorted({*parts.tokens.tolist(), *(proof.label for proof in named)})),
            certificates=tuple(named),
            absences=(),  # those of the rest speak of merged columns
            details=dict(rest.details) | {"looked_up": int(parts.tokens.size)},
        )
        return _with_a_label(found)

    def _read(self, reading: Reading) -> Recovery:
        rules = self.rules
        reading.require_fine(rules.coarseness)
        subspace = reading.subspace(rules.subspace)
        details = {
            "rank": subspace.positions,
            "gap": float(f"{subspace.gap:.2g}"),
            "noise_ratio": float(f"{subspace.noise_ratio:.2g}"),
        }
        if subspace.positions >= subspace.columns.size - 1:
            raise NotApplicable(
                f"the gradient's rank {subspace.positions} leaves no room among {subspace.columns.size} classes with a "
                "gradient: every one of them could be separated; use a smaller batch",
                **details,
            )
        # No column's noise counts lower than the average over all columns, so that it is known as well as from the
        # residuals of all of them together, however few directions are left beside the signal. A single one may as well
        # be the last of the signal, unless only rounding is left: one degree of freedom excludes next to nothing.
        columns = subspace.columns.size
        pooled = subspace.exact or subspace.degrees > 1
        degrees = max(1, subspace.degrees) * columns if pooled else 1
        deviations = largest_deviation(rules.level, columns=columns, coordinates=subspace.rank, degrees=degrees)
        separation = separate(
            subspace.coordinates,
            subspace.noise,
            deviations=deviations,
            rules=rules.separation,
            leading=subspace.positions,
            balance=1.0 / subspace.column_scale,
        )
        # Directions come from projections and programs with tolerances of their own: each is checked against all
        # columns, and a class whose direction does not separate is not named.
        verified = separation.verified()
        balanced = _balanced(subspace, separation, deviations, rules)
        certificates = [
            Certificate(
                label=int(subspace.columns[column]),
                present=True,
                margin=min(float(separation.margin[column]), verified[column]),
                direction=subspace.directions @ direction,
            )
            for column, direction in separation.directions.items()
            if verified[column] > 1.0 and column in balanced
        ]
        # Every label takes a direction of its own. Where rounding has erased some rows, columns at the rim of
        # the cone stand out too; more classes than directions cannot be labels, and the clearest are taken.
        certificates = sorted(certificates, key=lambda certificate: -certificate.margin)[: subspace.rank]
        certificates.sort(key=lambda certificate: certificate.label)
        if not certificates and not subspace.exact:
            raise NotApplicable(
                f"no class stands out in the {subspace.positions} leading direction(s), and what is left beyond them "
                "is no rounding: the update is noisy, or the batch has as many label positions as there are features "
                "that fire",
                **details,
            )
        unproven = len(separation.directions) - len(certificates)
        doubtful = int(separation.doubtful.size) + unproven
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason=f"{doubtful} classes are too close to call at this noise" if doubtful else "",
            labels=tuple(sorted(certificate.label for certificate in certificates)),
            positions=subspace.positions if reading.counts_positions(rules.subspace) else None,
            certificates=tuple(certificates),
            absences=Absences(subspace, separation, reading.update.classes),
            details=details | {"tested": separation.tested, "doubtful": doubtful},
        )


def _with_a_label(found: Recovery) -> Recovery:
    """Refuse an answer without a class: the update of a batch whose rank shows has a class that can be separated.

    S independent rows ``p - onehot(y)`` combine to functionals that are negative at any one of their labels alone. A
    projection of the gradient on fewer directions, as low-rank compressors send it, keeps few of these functionals.
    """
    if found.labels:
        return found
    raise NotApplicable(
        f"no class can be separated from the others in the {found.details['rank']} direction(s) of the gradient, and "
        "in those of a softmax batch every label can: the rank is not the batch's, as after a compression to low rank, "
        "or rounding has erased the labels' own entries",
        **found.details,
    )


def _balanced(subspace: Subspace, separation: Separation, deviations: float, rules: RLGRules) -> set[int]:
    """Return the present columns whose direction takes as much from the label as it gives to all others.

    The rows ``p - onehot(y)`` sum to zero over the classes, and so does every combination of them. A row whose
    probability was rounded to one does not: its label has no negative entry any more, only the others have positive
    ones. Directions through such rows separate whatever column is at the rim of the cone, by a small negative part
    beside a large positive one.
    """
    masses = 1.0 / subspace.column_scale
    total = subspace.coordinates @ masses
    if np.linalg.norm(total) > rules.balanced * float(masses.sum()):
        return set(separation.directions)
    noise = deviations * float(np.linalg.norm(subspace.noise * masses))
    found = set()
    for column, direction in separation.directions.items():
        taken = -float(direction @ subspace.coordinates[:, column]) * masses[column]
        surplus = float(direction @ total)
        if surplus <= max(rules.surplus * taken, noise):
            found.add(column)
    return found
