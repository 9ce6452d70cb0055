"""Disaggregation: the averaged gradient taken apart into its samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.recovery import Recovery, Status
from ...core.update import Update, unit_roundoff
from ..gradient.head import coarseness
from ..gradient.subspace import Subspace, find_subspace
from .one_by_one import Deflation, Effort
from .reconstruction import account_for
from .spaces import missing_weights, row_space

__all__ = ["Disaggregate"]

# Errors of the forward pass show in the residual as a few hundred roundings of a logit ...
_ROUNDINGS = 1000.0
# ... in double precision the fit's own convergence is the limit, in half precision what can be told from chance.
_FINEST = 1e-9
_COARSEST = 0.03
# Softmax outputs of a step differ from those that one set of weights for all steps would give.
_SEVERAL_STEPS = 0.03
# Below this the rest is no more than its noise.
_VISIBLE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaggregate:
    """Isolate every sample: its label, its softmax output and its features, from the sum over the batch.

    Whoever sends out a model has the weights of its head. With them, each sample is an equation of its own:
    its features lie in the column space of the gradient, the softmax they give lies, less the label, in the
    row space, and for as many samples as label positions nothing else does. `_sample` solves one, from a
    direction found by RLG; `_deflation` takes out what is found, so that samples that share a label and very
    confident ones come apart too; `_account` rebuilds the gradient from the samples as proof.

    Unknown: batch size, loss weights (sample and class weights), labels. Known as to any receiver:
    weights, label smoothing, weight decay, temperature. Several local steps are solved at one set of weights on
    their way, which is an approximation and is said in the message. Noise is no obstacle as long as the
    number of label positions shows through it; features are then as noisy as the gradient.

    Two positions with the same features and label are one sample of twice the weight.

    Parameters
    ----------
    temperature : float, default 1.0
        What the loss divides logits by.
    most_positions : int, default 256
        Largest number of label positions attempted; the work grows with its third power.
    starts : int, default 6
        Starts per class where the separating directions alone lead nowhere.

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

    def __post_init__(self) -> None:
        """Check the hyper-parameters."""
        if not (np.isfinite(self.temperature) and self.temperature > 0.0):
            raise InvalidArgumentError(f"temperature={self.temperature!r}. Expected a finite number above 0.")
        for name in ("most_positions", "starts"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgumentError(f"{name}={value!r}. Expected an integer of at least 1.")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the samples that could be isolated, and the share of the gradient that they explain."""
        missing = missing_weights(update)
        if missing is not None:
            return Recovery.not_applicable(self.name, missing)
        smoothing = update.head.label_smoothing
        if not 0.0 <= smoothing < 1.0:
            return Recovery.not_applicable(self.name, f"label smoothing of {smoothing:g} leaves nothing of the labels")
        coarse = coarseness(update)
        if coarse is not None:
            return Recovery.not_applicable(self.name, f"{coarse}, and what is left has no low rank")
        subspace = find_subspace(update)
        if isinstance(subspace, str):
            return Recovery.not_applicable(self.name, subspace)
        details = {"rank": subspace.positions, "noise_ratio": float(f"{subspace.noise_ratio:.2g}")}
        refused = self._refuses(subspace, smoothed=smoothing > 0.0)
        if refused is not None:
            return Recovery.not_applicable(self.name, refused, **details)
        tolerance = float(np.clip(_ROUNDINGS * unit_roundoff(update.compute_dtype), _FINEST, _COARSEST))
        if update.steps > 1:
            tolerance = max(tolerance, _SEVERAL_STEPS)
        whole = row_space(update, subspace, temperature=self.temperature)
        search = Deflation(whole, smoothing=smoothing, tolerance=tolerance, effort=Effort(starts=self.starts))
        search.run(rng)
        if not search.samples:
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
            return Recovery.not_applicable(
                self.name,
                f"no sample fits the head's weights: {_best(search)} where the arithmetic explains {tolerance:.1g}. "
                f"{why}",
                **details,
            )
        account = account_for(update, whole, search.samples, temperature=self.temperature)
        isolated = int(account.labels.size)
        residuals = [sample.residual for sample in search.samples]
        counts = {int(label): count for label, count in sorted(Counter(account.labels.tolist()).items())}
        complete = isolated == subspace.positions
        notes = []
        if not complete:
            notes.append(f"{isolated} of {subspace.positions} label positions isolated, {_reason(search, subspace)}")
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
            positions=subspace.positions if complete or subspace.exact else None,
            details=details
            | {
                "one_by_one": isolated - search.jointly,
                "jointly": search.jointly,
                "residual_median": float(f"{np.median(residuals):.2g}"),
                "residual_max": float(f"{max(residuals):.2g}"),
                "unexplained": float(f"{1.0 - account.explained:.2g}"),
            },
            isolated=isolated,
            explained=account.explained,
            sample_labels=tuple(account.labels.tolist()),
            softmax=account.softmax,
            features=account.features,
        )

    def _refuses(self, subspace: Subspace, *, smoothed: bool) -> str | None:
        positions, classes = subspace.positions, subspace.columns.size
        # S unknowns and a common factor; every class but the label is an equation, S of which the row space takes.
        if classes < 2 * positions + 2 + smoothed:
            return (
                f"{positions} label positions among {classes} classes with a gradient leave more unknowns than "
                f"equations; at least {2 * positions + 2 + smoothed} classes are needed"
            )
        if positions > self.most_positions:
            return f"the gradient holds {positions} label positions; raise most_positions={self.most_positions} to try"
        return None


def _best(search: Deflation) -> str:
    if np.isinf(search.best_rejected):
        return "no direction leads to one"
    return f"the best start leaves a residual of {search.best_rejected:.1g}"


def _reason(search: Deflation, subspace: Subspace) -> str:
    visible = search.visibility()
    if visible < _VISIBLE and not subspace.exact:
        return f"the rest stands {visible:.2g} times above the noise"
    if visible < _VISIBLE:
        return (
            f"the rest stands {visible:.2g} times above rounding: saturated samples, whose error is smaller than what "
            "the others' rounding leaves"
        )
    return f"no start led to the rest, the best left a residual of {search.best_rejected:.1g}"
