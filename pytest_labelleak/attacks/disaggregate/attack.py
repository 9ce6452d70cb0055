"""Disaggregation: the averaged gradient taken apart into its samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...core.errors import InvalidArgumentError, quoted
from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update, unit_roundoff
from ..gradient.reading import Reading
from ..gradient.subspace import Subspace
from .merged import merged_samples, repeated
from .one_by_one import Disaggregation, Effort, IsolationRules, take_apart
from .reconstruction import account_for
from .sample import Sample
from .spaces import known_kernel, row_space

__all__ = ["Disaggregate", "DisaggregateRules"]

# A rest below this many times its noise is called noise. The number chooses the words of a remark.
_VISIBLE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DisaggregateRules:
    """Residuals that the arithmetic of the forward pass explains. Plateaus: `benchmarks/bench_rules.py`.

    Attributes
    ----------
    roundings : float
        In roundings of the compute dtype: errors of a logit add up to a few hundred.
    finest : float
        Never less, because the fit itself ends there in double precision.
    coarsest : float
        Never more, because chance solutions have such residuals; in half precision it is the limit. It is the tolerance
        for several steps, too: their outputs differ from those of one set of weights for all steps.
    isolation : IsolationRules
        When a solution is a sample.
    """

    roundings: float = field(default=1000.0, metadata={"plateau": (62.5, 16000.0)})
    finest: float = field(default=1e-9, metadata={"plateau": (6.25e-11, 1.6e-08)})
    coarsest: float = field(default=0.03, metadata={"plateau": (0.00187, 0.48)})
    isolation: IsolationRules = field(default_factory=IsolationRules)

    def tolerance(self, update: Update) -> float:
        """Return the residual that the arithmetic of an update explains.

        Parameters
        ----------
        update : Update
            The update that was shared.

        Returns
        -------
        float
            Relative to the length of a row.
        """
        if update.steps > 1:
            return self.coarsest
        return float(np.clip(self.roundings * unit_roundoff(update.compute_dtype), self.finest, self.coarsest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaggregate:
    """Isolate every sample: its label, its softmax output and its features, from the sum over the batch.

    A server that sends out a model has the weights of its head. With them, each sample is an equation of its own:
    its features lie in the column space of the gradient, and their softmax, less the label, lies in the row space.
    The samples alone fulfil both. `sample` solves for one, from a
    direction found by RLG; `one_by_one` takes out the samples found, so that samples that share a label and very
    confident ones come apart too; `reconstruction` rebuilds the gradient from the samples as proof.

    Unknown: batch size, loss weights (sample and class weights), labels. Known as to any receiver:
    weights, label smoothing, weight decay, temperature. Several local steps are solved at one set of weights on
    their way; the message says that this is an approximation. Noise is no obstacle as long as the
    number of label positions shows through it; features are then as noisy as the gradient.

    Two positions with the same features and label are one sample of twice the weight. Positions with the same features
    and different labels, as the first of every sentence, share one row of the gradient. If one such row is left, its
    labels are read from the softmax that the weights give; see `merged`.

    Parameters
    ----------
    temperature : float, default 1.0
        Divisor of the logits in the loss.
    most_positions : int, default 256
        Largest number of label positions attempted; the work grows with its third power.
    starts : int, default 6
        Starts per class where the separating directions alone lead nowhere.
    rules : DisaggregateRules
        The numbers that decide.

    References
    ----------
    .. [1] T. Dang, O. Thakkar, S. Ramaswamy, R. Mathews, P. Chin, F. Beaufays, "Revealing and
       Protecting Labels in Distributed Training", NeurIPS 2021, for the directions it starts from.
       https://doi.org/10.48550/arXiv.2111.00556
    .. [2] G. H. Golub, V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
       whose variables separate", SIAM J. Numer. Anal. 10 (1973) 413-432, for eliminating the error
       row from the residual. https://doi.org/10.1137/0710036
    """

    name: ClassVar[str] = "disaggregate"
    reference: ClassVar[str] = "this project; starts from Dang et al. 2021, doi:10.48550/arXiv.2111.00556"
    cost: ClassVar[str] = "search"
    isolates: ClassVar[bool] = True

    temperature: float = 1.0
    most_positions: int = 256
    starts: int = 6
    rules: DisaggregateRules = DisaggregateRules()

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
        if not (isinstance(self.temperature, (int, float)) and 0.0 < self.temperature < np.inf):
            raise InvalidArgumentError(f"temperature={quoted(self.temperature)}. Expected a finite number above 0.")
        for name in ("most_positions", "starts"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgumentError(f"{name}={quoted(value)}. Expected an integer of at least 1.")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the samples that could be isolated, and the share of the gradient that they explain."""
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        """Return the samples of a reading that could be isolated, and the share of the gradient they explain."""
        update = reading.update
        known_kernel(update)
        smoothing = update.head.label_smoothing
        if not 0.0 <= smoothing < 1.0:
            raise NotApplicable(f"label smoothing of {smoothing:g} leaves nothing of the labels")
        reading.require_fine()
        subspace = reading.subspace()
        details = {"rank": subspace.positions, "noise_ratio": float(f"{subspace.noise_ratio:.2g}")}
        self._require_equations(subspace, smoothed=smoothing > 0.0, details=details)
        tolerance = self.rules.tolerance(update)
        whole = row_space(update, subspace, temperature=self.temperature)
        found = take_apart(
            whole,
            smoothing=smoothing,
            tolerance=tolerance,
            effort=Effort(starts=self.starts),
            rules=self.rules.isolation,
            rng=rng,
        )
        merged: tuple[Sample, ...] = ()
        if not smoothing and update.steps == 1:
            merged = merged_samples(whole, found.isolated, tolerance=tolerance, rules=self.rules.isolation)
        if not found.isolated and not merged:
            why = (
                "Either the weights are not those the gradient was taken at, or the loss is no softmax cross-entropy "
                "of this head's outputs (a temperature has to be passed)"
            )
            if not subspace.exact:
                why = (
                    f"The gradient holds noise {subspace.noise_ratio:.2g} times what rounding explains, and what "
                    "stands out of it is not the samples' row space: it was protected, or it holds more label "
                    "positions than the head has features"
                )
            raise NotApplicable(
                f"no sample fits the head's weights: {_best(found)} where the arithmetic explains {tolerance:.1g}. "
                f"{why}",
                **details,
            )
        samples = (*found.isolated, *merged)
        account = account_for(update, whole, samples, temperature=self.temperature)
        times = repeated(account.labels, account.features, account.weights, self.rules.isolation)
        place = np.repeat(np.arange(times.size), times)
        isolated = int(place.size)
        residuals = [sample.residual for sample in samples]
        counts = {int(label): count for label, count in sorted(Counter(account.labels[place].tolist()).items())}
        # Positions of the same features share a row, which counts once in the rank.
        complete = len(found.isolated) + bool(merged) == subspace.positions
        notes = []
        if not complete:
            notes.append(f"{isolated} of {subspace.positions} label positions isolated, {_reason(found, subspace)}")
        if not subspace.exact:
            notes.append(
                f"the gradient holds noise {subspace.noise_ratio:.2g} times what rounding explains, so features and "
                "outputs are approximate"
            )
        if update.steps > 1:
            notes.append(
                f"the gradient sums {update.steps} steps, so features and outputs are approximate"
                + ("" if update.learning_rate else " (more so because the learning rate is not known)")
            )
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason="; ".join(notes),
            labels=tuple(counts),
            counts=counts if complete else None,
            positions=self._positions(reading, isolated if complete else None),
            details=details
            | {
                "one_by_one": len(found.isolated) - found.jointly,
                "jointly": found.jointly,
                "merged": isolated - len(found.isolated),
                "residual_median": float(f"{np.median(residuals):.2g}"),
                "residual_max": float(f"{max(residuals):.2g}"),
                "unexplained": float(f"{1.0 - account.explained:.2g}"),
            },
            isolated=isolated,
            explained=account.explained,
            sample_labels=tuple(account.labels[place].tolist()),
            softmax=account.softmax[place],
            features=account.features[place],
        )

    @staticmethod
    def _positions(reading: Reading, complete: int | None) -> int | None:
        if complete is not None:
            return complete
        return reading.subspace().positions if reading.counts_positions() else None

    def _require_equations(self, subspace: Subspace, *, smoothed: bool, details: dict[str, float]) -> None:
        """Refuse more label positions than the classes determine, or than the parameters allow."""
        positions, classes = subspace.positions, subspace.columns.size
        # S unknowns and a common factor; every class but the label is an equation, S of which the row space takes.
        needed = 2 * positions + 2 + smoothed
        if classes < needed:
            raise NotApplicable(
                f"{positions} label positions among {classes} classes with a gradient leave more unknowns than "
                f"equations; at least {needed} classes are needed",
                **details,
            )
        if positions > self.most_positions:
            raise NotApplicable(
                f"the gradient holds {positions} label positions; raise most_positions={self.most_positions} to try",
                **details,
            )


def _best(found: Disaggregation) -> str:
    if np.isinf(found.best_rejected):
        return "no direction leads to one"
    return f"the best start leaves a residual of {found.best_rejected:.1g}"


def _reason(found: Disaggregation, subspace: Subspace) -> str:
    visible = found.visibility
    if visible is None or visible >= _VISIBLE:
        return f"no start led to the rest, the best left a residual of {found.best_rejected:.1g}"
    if not subspace.exact:
        return f"the rest stands {visible:.2g} times above the noise"
    return (
        f"the rest stands {visible:.2g} times above rounding: saturated samples, whose error is smaller than "
        "the rest of the others' rounding"
    )
