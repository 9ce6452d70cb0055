"""Proof: the bound on every attack for the batches of an audit, from updates recomputed with other labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.softmax import softmax
from ...core.truth import Truth
from ...core.update import Update
from ...defences.clip import ClipNorm
from ...defences.law import NoiseLaw
from .confidence import upper_bound
from .proof import Bound, head_bound, pair_bound

__all__ = ["Proof", "ProofRules", "Swappable", "broken_law", "head_alone", "proof_by_swaps", "proof_of_heads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRules:
    """Numbers of a proof.

    Attributes
    ----------
    confidence : float
        Probability with which a bound over a sample of swaps is right.
    most_swaps : int
        Swaps that are computed, for positions and for classes each; both together where one swap is of both kinds.
        Where there are no more, the bound needs no confidence.
    repeated : float
        Largest bound between two captures of the same batch. Captures that differ by more, in units of the noise, make
        no proof.
    residual : float
        Largest distance between the gradient of a head and the one that features, weights and labels give, relative to
        the gradient.
    deviations : float
        Standard deviations by which noise may be weaker than its law says.
    """

    confidence: float = 0.99
    most_swaps: int = 128
    repeated: float = 1e-3
    residual: float = 1e-3
    deviations: float = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A figure that no attack can exceed on the batches of an audit, or the reason why there is none.

    Attributes
    ----------
    bound : float or None
        The larger of the next two; None without a proof.
    positions, classes : float or None
        Means of the bounds for the label of one position, and for the presence of one class.
    because : str
        The reason why there is no bound, as a clause.
    swaps : int
        Number of updates that were recomputed with other labels; 0 for a closed form.
    confidence : float or None
        Probability with which the bound is right; None where all swaps were computed.
    """

    bound: float | None = None
    positions: float | None = None
    classes: float | None = None
    because: str = ""
    swaps: int = 0
    confidence: float | None = None

    @classmethod
    def missing(cls, because: str) -> Proof:
        """Return the absence of a proof.

        Parameters
        ----------
        because : str
            The reason, as a clause.

        Returns
        -------
        Proof
            Without a bound.
        """
        return cls(because=because)

    @property
    def shown(self) -> str:
        """The bound with two decimals, rounded up: "0.27"."""
        return "-" if self.bound is None else f"{math.ceil(100.0 * self.bound - 1e-9) / 100.0:.2f}"

    def within(self, limit: float) -> bool:
        """Tell whether no attack can exceed a limit.

        Parameters
        ----------
        limit : float
            Highest figure that is tolerated.

        Returns
        -------
        bool
            False without a bound.
        """
        return self.bound is not None and self.bound <= limit

    def to_record(self) -> dict[str, float | int | str | None]:
        """Return the proof as a dictionary of JSON types.

        Returns
        -------
        dict
            Figures with six digits, rounded up.
        """

        def up(value: float | None) -> float | None:
            return None if value is None else min(1.0, math.ceil(value * 1e6 - 1e-6) / 1e6)

        return {
            "bound": up(self.bound),
            "positions": up(self.positions),
            "classes": up(self.classes),
            "because": self.because,
            "swaps": self.swaps,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swappable:
    """One batch whose update can be recomputed with other labels.

    Attributes
    ----------
    labels : ndarray of int, shape (S,)
        The true labels. Private.
    classes : int
        Number of classes C.
    recompute : callable
        From labels of shape (S,) to the update before any defence, of all shared variables; None where the batch
        cannot have such labels.
    """

    labels: np.ndarray = field(repr=False)
    classes: int
    recompute: Callable[[np.ndarray], Update | None] = field(repr=False)

    @property
    def absent(self) -> np.ndarray:
        """Classes without a label position."""
        return np.setdiff1d(np.arange(self.classes), self.labels)

    def size(self, kind: str) -> int:
        """Return the number of swaps of a kind, "positions" or "classes"."""
        if kind == "positions":
            return int(self.labels.size * (self.classes - 1))
        return int(np.unique(self.labels).size * self.absent.size)

    def swapped(self, kind: str, number: int) -> np.ndarray:
        """Return the labels after the swap of a number below `size`."""
        labels = self.labels.copy()
        if kind == "positions":
            place, other = divmod(number, self.classes - 1)
            labels[place] = other + (other >= labels[place])
        else:
            place, other = divmod(number, self.absent.size)
            labels[self.labels == np.unique(self.labels)[place]] = self.absent[other]
        return labels


def proof_by_swaps(
    batches: Sequence[Swappable],
    law: NoiseLaw,
    *,
    rng: np.random.Generator,
    spent: Callable[[], bool] = lambda: False,
    rules: ProofRules | None = None,
) -> Proof:
    """Bound every attack by recomputing the updates of the batches with other labels.

    A swap replaces the label of one position, or moves all positions of a present class to an absent one; see
    `head_bound` for the statement that follows from each. All swaps are computed where they are few. Otherwise the
    means are those of a sample: a batch, then a swap, both uniform; and their upper bounds count.

    Parameters
    ----------
    batches : sequence of Swappable
        The batches with at least one label.
    law : NoiseLaw
        Of the defence.
    rng : numpy.random.Generator
        Source of the sample.
    spent : callable, optional
        Whether the time budget is spent.
    rules : ProofRules, optional
        Numbers.

    Returns
    -------
    Proof
        Without a bound if the budget ended, or if captures of the same batch differ.
    """
    rules = rules or ProofRules()
    if law.randomised < 1.0 and (law.kind == "none" or law.clip is not None or law.relative is not None or law.before):
        # Labels of the other positions are random, too, and the scale depends on them: the noise is left out.
        return _by_randomness(batches, law)
    plans, sampled = _plans(batches, rng, rules)
    values: dict[str, dict[int, list[float]]] = {kind: {} for kind in plans}
    computed = 0
    for place, batch in enumerate(batches):
        base = batch.recompute(batch.labels)
        again = batch.recompute(batch.labels.copy())
        if base is None or again is None or _between(base, again, law) > rules.repeated:
            return Proof.missing("two captures of the same batch differ by more than the noise hides")
        known: dict[bytes, float] = {}
        for kind, plan in plans.items():
            for labels in (labels for at, labels in plan if at == place):
                if spent():
                    return Proof.missing("the time budget was spent before it was complete; raise time_budget=")
                key = labels.tobytes()
                if key not in known:
                    other = batch.recompute(labels)
                    computed += 1
                    known[key] = 1.0 if other is None else _between(base, other, law)
                bound = known[key]
                if kind == "classes" and law.randomised < 1.0:
                    moved = int(np.count_nonzero(labels != batch.labels))
                    bound = 1.0 - (1.0 - law.randomised) ** moved
                values[kind].setdefault(place, []).append(bound)
    if not any(bound > 0.0 for bounds in values["positions"].values() for bound in bounds):
        return Proof.missing("no other label changes the update: it is computed from other labels than those given")
    means = {kind: _mean(list(values[kind].values()), kind in sampled, rules) for kind in values}
    return Proof(
        bound=max(means.values()),
        positions=means["positions"],
        classes=means["classes"],
        swaps=computed,
        confidence=rules.confidence if sampled else None,
    )


def _plans(
    batches: Sequence[Swappable], rng: np.random.Generator, rules: ProofRules
) -> tuple[dict[str, list[tuple[int, np.ndarray]]], set[str]]:
    """Return the swaps to compute, by kind, as batch and labels; and the kinds of which they are a sample."""
    plans: dict[str, list[tuple[int, np.ndarray]]] = {}
    sampled = set()
    # Where each class has one position, its swap with an absent class is one of the position: one sample serves both.
    alike = all(_distinct(batch.labels) for batch in batches) and len({batch.labels.size for batch in batches}) == 1
    most = rules.most_swaps * (2 if alike else 1)
    for kind in ("positions", "classes"):
        sizes = [batch.size(kind) for batch in batches]
        drawn = [place for place, size in enumerate(sizes) if size]
        if sum(sizes) <= most:
            numbers = [(place, number) for place in drawn for number in range(sizes[place])]
        else:
            sampled.add(kind)
            numbers = [(int(place), int(rng.integers(sizes[place]))) for place in rng.choice(drawn, most)]
        plans[kind] = [(place, batches[place].swapped(kind, number)) for place, number in numbers]
    if alike and len(sampled) == 2:
        shared = [(place, labels) for place, labels in plans["positions"] if _distinct(labels)]
        # Where hardly a class is absent, hardly a swap leads to one.
        plans["classes"] = shared if len(shared) >= rules.most_swaps else plans["classes"]
    return plans, sampled


def _distinct(labels: np.ndarray) -> bool:
    return len(np.unique(labels)) == labels.size


def _mean(by_batch: Sequence[Sequence[float]], sampled: bool, rules: ProofRules) -> float:
    """Return the mean over batches of the mean over swaps, or its upper bound where the swaps are a sample."""
    if not by_batch:
        return 0.0
    if not sampled:
        return float(np.mean([np.mean(bounds) for bounds in by_batch]))
    every = [bound for bounds in by_batch for bound in bounds]
    # Two means, for positions and for classes, share the risk.
    return upper_bound(every, low=0.0, high=1.0, confidence=1.0 - (1.0 - rules.confidence) / 2.0)


def _between(update: Update, other: Update, law: NoiseLaw) -> float:
    """Return the bound between two updates behind the same defence."""
    for part in law.before:
        update, other = (part(each, rng=np.random.default_rng(0)) for each in (update, other))
    return pair_bound(update.gradients, other.gradients, law)


def _by_randomness(batches: Sequence[Swappable], law: NoiseLaw) -> Proof:
    differs = [
        float(np.mean(1.0 - (1.0 - law.randomised) ** np.unique(batch.labels, return_counts=True)[1]))
        for batch in batches
        if batch.absent.size
    ]
    classes = float(np.mean(differs)) if differs else 0.0
    return Proof(bound=max(law.randomised, classes), positions=law.randomised, classes=classes)


def proof_of_heads(bounds: Sequence[Bound]) -> Proof:
    """Return the proof that closed forms give.

    Parameters
    ----------
    bounds : sequence of Bound
        One for each batch.

    Returns
    -------
    Proof
        The means over the batches.
    """
    positions = float(np.mean([bound.positions for bound in bounds]))
    classes = float(np.mean([bound.classes for bound in bounds]))
    return Proof(bound=max(positions, classes), positions=positions, classes=classes)


def head_alone(
    update: Update, truth: Truth, law: NoiseLaw, *, rules: ProofRules | None = None
) -> Bound | Swappable | str:
    """Bound every attack on an update that is a softmax head alone, where its features and weights are known.

    Features, weights and labels give the errors of the logits, and these must give the gradient: then the update with
    any other labels follows.

    Parameters
    ----------
    update : Update
        The update before any defence.
    truth : Truth
        Labels and features.
    law : NoiseLaw
        Of the defence.
    rules : ProofRules, optional
        Numbers.

    Returns
    -------
    Bound, Swappable or str
        A closed form; the batch where other deterministic changes act before the noise; or the reason why neither can
        be had, as a clause.
    """
    rules = rules or ProofRules()
    head = update.head
    if head.kind != "softmax":
        return "the head is a sigmoid, and the proof is one for softmax heads"
    if head.tied or set(update.gradients) != {name for name in (head.kernel, head.bias) if name}:
        return "other variables than the head are shared, and they cannot be recomputed from arrays"
    if update.steps > 1 or update.defences:
        return "the update is no gradient of one step, so that it cannot be recomputed with other labels"
    if truth.features is None:
        return 'the features of the label positions are not known; pass the batch as {"y": labels, "features": ...}'
    if head.kernel_value is None or (head.bias and head.bias_value is None):
        return "the weights of the head are not known; pass kernel= and bias= to Update.from_arrays"
    weights = _weights(update, truth, rules)
    if weights is None:
        return "features, weights and labels do not give the gradient"
    moved = weights * (1.0 - head.label_smoothing)
    if not law.before and law.kind != "none" and law.randomised == 1.0:
        try:
            return _closed_form(update, truth, law, moved)
        except InvalidArgumentError:
            return "the law of the noise leaves a variable of the head without noise"
    return Swappable(
        labels=truth.labels,
        classes=truth.classes,
        recompute=lambda labels: _relabelled(update, truth, moved, labels),
    )


def _closed_form(update: Update, truth: Truth, law: NoiseLaw, moved: np.ndarray) -> Bound:
    head = update.head
    if isinstance(law.absolute, Mapping):
        named = {"kernel": law.deviation(head.kernel), **({"bias": law.deviation(head.bias)} if head.bias else {})}
        law = dataclasses.replace(law, absolute=named)
    return head_bound(
        np.asarray(truth.features),
        truth.labels,
        law,
        classes=truth.classes,
        weights=moved,
        kernel_gradient=update.kernel_gradient,
        bias_gradient=update.bias_gradient,
    )


def _weights(update: Update, truth: Truth, rules: ProofRules) -> np.ndarray | None:
    """Return the weights of the label positions in the loss, shape (S,); None if nothing gives the gradient."""
    head = update.head
    features = np.asarray(truth.features, dtype=np.float64)
    logits = features @ np.asarray(head.kernel_value, dtype=np.float64)
    if head.bias_value is not None:
        logits = logits + head.bias_value
    errors = softmax(logits) - head.label_smoothing / truth.classes
    errors[np.arange(truth.labels.size), truth.labels] -= 1.0 - head.label_smoothing
    kernel = update.kernel_gradient.astype(np.float64)
    kernel -= 0.0 if head.kernel_penalty is None else head.kernel_penalty
    bias = np.zeros(truth.classes) if update.bias_gradient is None else update.bias_gradient.astype(np.float64)
    bias -= 0.0 if head.bias_penalty is None else head.bias_penalty
    inputs = features
    if update.bias_gradient is not None:
        inputs, kernel = np.hstack([features, np.ones((len(features), 1))]), np.vstack([kernel, bias])
    # The gradient is linear in the weights. Equal weights come first, since repeated positions leave theirs open.
    products = (inputs @ inputs.T) * (errors @ errors.T)
    sums = np.einsum("sd,dc,sc->s", inputs, kernel, errors, optimize=True)
    for weights in (
        np.full(truth.labels.size, 1.0 / truth.labels.size),
        np.linalg.lstsq(products, sums, rcond=None)[0],
    ):
        left = np.linalg.norm(inputs.T @ (weights[:, None] * errors) - kernel)
        if left <= rules.residual * np.linalg.norm(kernel):
            return np.asarray(weights)
    return None


def _relabelled(update: Update, truth: Truth, moved: np.ndarray, labels: np.ndarray) -> Update:
    """Return the update with other labels: the errors of the logits change by the weight of each position."""
    change = np.zeros((truth.labels.size, truth.classes))
    places = np.arange(truth.labels.size)
    change[places, truth.labels] += moved
    change[places, labels] -= moved
    head = update.head
    gradients = dict(update.gradients)
    kernel = update.kernel_gradient + np.asarray(truth.features).T @ change
    gradients[head.kernel] = np.asarray(kernel, dtype=update.kernel_gradient.dtype)
    if head.bias and update.bias_gradient is not None:
        gradients[head.bias] = np.asarray(update.bias_gradient + change.sum(axis=0), dtype=update.bias_gradient.dtype)
    return dataclasses.replace(update, gradients=gradients)


def broken_law(
    update: Update, shared: Update, again: Update, law: NoiseLaw, *, rules: ProofRules | None = None
) -> str | None:
    """Say where a defence adds less noise than its law says, or the same noise to every update.

    Parameters
    ----------
    update, shared, again : Update
        The update before the defence and after it, with two generators.
    law : NoiseLaw
        Of the defence.
    rules : ProofRules, optional
        Numbers.

    Returns
    -------
    str or None
        A clause with the variable; None if nothing contradicts the law. Changes behind the noise leave its size open.
    """
    rules = rules or ProofRules()
    if law.kind == "none":
        return None
    # Numbers that every receiver can draw again hide nothing.
    if all(np.array_equal(array, again.gradients[name]) for name, array in shared.gradients.items()):
        return "two draws of the defence are the same: its noise does not come from the generator rng="
    if law.processed:
        return None
    rng = np.random.default_rng(0)
    for part in (*law.before, *(() if law.clip is None else (ClipNorm(norm=law.clip, scope=law.scope),))):
        update = part(update, rng=rng)
    for name, array in update.gradients.items():
        noise = np.asarray(shared.gradients[name], dtype=np.float64) - array
        square = float(np.mean(noise**2))
        try:
            stated = law.deviation(name) ** 2
        except InvalidArgumentError:
            return f"the law of the noise does not mention the variable {name!r}"
        if law.relative is not None:
            stated = law.relative**2 * float(np.mean(np.asarray(array, dtype=np.float64) ** 2))
        # The variance of a squared Laplace variable is five times its squared mean, of a Gaussian one twice.
        spread = math.sqrt((5.0 if law.kind == "laplace" else 2.0) / noise.size)
        if square < stated * (1.0 - rules.deviations * spread) or (square == 0.0 and stated > 0.0):
            return f"the variable {name!r} has less noise than the law of the defence says"
        other = np.asarray(again.gradients[name], dtype=np.float64) - array
        together = abs(float(np.vdot(noise, other))) / max(float(np.linalg.norm(noise) * np.linalg.norm(other)), 1e-300)
        if together > rules.deviations / math.sqrt(noise.size):
            return f"two draws of the defence share noise in the variable {name!r}: it does not come from rng= alone"
    return None
