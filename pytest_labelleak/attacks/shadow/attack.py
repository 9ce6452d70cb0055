"""The shadow attack: learn on simulated updates how an update that was defended so is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import scipy.stats

from ...core.errors import InvalidArgumentError, UnknownNameError, quoted
from ...core.optimizer import Optimizer
from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ...defences import resolve
from ...defences.defence import Defence
from .regression import best_threshold, fit, scores
from .simulation import NON_NEGATIVE, SIGNED, norm_beneath, simulate, undefended
from .statistics import read_statistics

#: Quantiles by which the scores of two updates are compared.
_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.97, 1.0)

__all__ = ["PreparedShadow", "Shadow", "ShadowRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRules:
    """Deciding numbers of the shadow attack.

    Attributes
    ----------
    power : float
        Advantage on simulated updates not learned from, below which the attack says that it cannot read such updates.
    errors : float
        Standard errors by which the advantage must exceed it.
    likely : float
        Probability of a kind of features up to which it is ruled out.
    resembling : float
        Share of the median of the simulated updates' highest scores that the update's own highest must reach.
    ridge : float
        Penalty on the squared coefficients of the regression.
    entries : float
        Entries that all simulations together may have; larger heads are simulated less often. Two of every size
        are simulated in any case.
    """

    power: float = field(default=0.1, metadata={"plateau": (0.0667, 0.2)})
    errors: float = field(default=2.0, metadata={"plateau": (1, 4)})
    likely: float = field(default=0.02, metadata={"plateau": (0.00125, 0.32)})
    resembling: float = field(default=0.3, metadata={"plateau": (0.24, 0.6)})
    ridge: float = field(default=1e-3, metadata={"plateau": (0.000667, 0.004)})
    entries: float = field(default=3e7, metadata={"plateau": (1.88e6, 4.8e8)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Name the classes that look like present ones do in simulated updates of the same head and defence.

    A receiver who knows the architecture and the defence simulates: random inputs of the head, random labels, batches
    of several sizes, the same number of local steps, the same defence. Every class of every simulated update is one
    example for a logistic regression on statistics that do not depend on which class it is. The threshold is chosen
    on simulated updates that were not learned from. The attack adapts to any defence that it can call, and assumes
    that the head's inputs resemble its random ones.

    Attributes
    ----------
    defence : Defence or None
        The defence; by default the one that `Update.defences` names, and none if it names none.
    simulations : int
        Number of simulated updates for each kind of features.
    sizes : tuple of int
        Numbers of label positions, in turn.
    features : str
        Kind of the head's inputs: "signed", "non-negative", or "auto". The last takes the kind that the update
        shows, and where it does not show, the kind whose labels are read better.
    rules : ShadowRules
        The deciding numbers.

    References
    ----------
    .. [1] R. Shokri, M. Stronati, C. Song, V. Shmatikov, "Membership Inference Attacks Against Machine Learning
       Models", S&P 2017: shadow models. https://doi.org/10.1109/SP.2017.41
    """

    name: ClassVar[str] = "shadow"
    reference: ClassVar[str] = "this project; shadow models: Shokri et al. 2017, doi:10.1109/SP.2017.41"
    cost: ClassVar[str] = "search"
    reads_sigmoid: ClassVar[bool] = True

    defence: Defence | None = None
    simulations: int = 24
    sizes: tuple[int, ...] = (4, 16, 64, 256)
    features: str = "auto"
    rules: ShadowRules = field(default_factory=ShadowRules)

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.features not in {"auto", SIGNED, NON_NEGATIVE}:
            raise InvalidArgumentError(
                f"features={quoted(self.features)}. Expected 'auto', {SIGNED!r} or {NON_NEGATIVE!r}: the kind of the "
                "inputs of the head, non-negative after ReLU, signed after tanh, GELU or a normalisation."
            )
        if not isinstance(self.simulations, int) or self.simulations < 4:
            raise InvalidArgumentError(f"simulations={quoted(self.simulations)}. Expected an integer of at least 4.")
        if not self.sizes or not all(isinstance(size, int) and size > 0 for size in self.sizes):
            raise InvalidArgumentError(f"sizes={quoted(self.sizes)}. Expected positive numbers of label positions.")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that look present."""
        return self.prepared(update, rng=rng)(update, rng=rng)

    def prepared(self, update: Update, *, rng: np.random.Generator) -> PreparedShadow:
        """Simulate and learn once, for this update and others of the same head and defence.

        Parameters
        ----------
        update : Update
            One of them. Of its entries the norm alone counts, where the defence has an absolute strength.
        rng : numpy.random.Generator
            Source of every random choice.

        Returns
        -------
        PreparedShadow
            The attack with its lessons.

        Raises
        ------
        NotApplicable
            If no update of this head and defence can be learned from.
        """
        if update.classes < 4 or update.features < 2:
            raise NotApplicable(
                f"a head of {update.features} features and {update.classes} classes is too small to compare its columns"
            )
        defence = self._defence(update)
        kinds = (SIGNED, NON_NEGATIVE) if self.features == "auto" else (self.features,)
        return PreparedShadow(
            rules=self.rules,
            assumed="no defence" if defence is None else defence.name,
            shape=(update.features, update.classes),
            setting=_Setting.of(update),
            lessons={kind: self._learn(update, defence, kind, rng) for kind in kinds},
        )

    def _learn(self, update: Update, defence: Defence | None, kind: str, rng: np.random.Generator) -> _Lesson:
        """Simulate updates of one kind of features, fit the regression, and measure it on those it has not seen."""
        count = int(np.clip(self.rules.entries // update.kernel_gradient.size, 2 * len(self.sizes), self.simulations))
        first, *streams = rng.spawn(count + 1)
        # An optimizer with moments is simulated step by step, each with positions of its own.
        several = 1.0 if update.optimizer in (None, Optimizer()) else max(1.0, update.steps / self.sizes[0])
        sizes = [round(several * size) for size in self.sizes]
        norm = norm_beneath(update, defence, undefended(update, max(sizes), kind, first), first)
        tables, sides, present = [], [], []
        for index, stream in enumerate(streams):
            made = simulate(update, defence, sizes[index % len(sizes)], kind, stream, norm=norm)
            # An update in which every class is present teaches nothing.
            if not made.present.all():
                found = read_statistics(made.update)
                tables.append(found.columns)
                sides.append(found.sides)
                present.append(made.present)
        if 2 * len(tables) < count:
            raise NotApplicable(
                f"with {min(sizes)} to {max(sizes)} label positions nearly every one of the "
                f"{update.classes} classes is present; pass Shadow(sizes=...) with smaller batches"
            )
        held_out = [np.empty(0)] * len(tables)
        # Both halves hold every size.
        half = [index // len(self.sizes) % 2 for index in range(len(tables))]
        for fold in range(2):
            learned = [index for index in range(len(tables)) if half[index] != fold]
            coefficients = fit([tables[i] for i in learned], [present[i] for i in learned], self.rules.ridge)
            for index in set(range(len(tables))) - set(learned):
                held_out[index] = scores(coefficients, tables[index])
        return _Lesson(
            coefficients=fit(tables, present, self.rules.ridge),
            scaled=norm is not None,
            sides=np.stack(sides),
            held_out=tuple(held_out),
            present=tuple(present),
        )

    def _defence(self, update: Update) -> Defence | None:
        if self.defence is not None or not update.defences:
            return self.defence
        written = " + ".join(update.defences)
        try:
            return resolve(written)
        except (UnknownNameError, InvalidArgumentError):
            raise NotApplicable(
                f"the defence {quoted(written)} cannot be simulated from its name; pass Shadow(defence=...) with the "
                "defence"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Setting:
    """Everything of an update that its simulations depend on, but for its norm."""

    described: tuple[object, ...]
    kernel: np.ndarray | None = field(repr=False)

    @classmethod
    def of(cls, update: Update) -> _Setting:
        """Describe the head of an update, its training and its defences."""
        biased = update.bias_gradient is not None
        gradient = update.kernel_gradient
        described = (gradient.shape, gradient.dtype, biased, update.steps, update.learning_rate, update.defences)
        return cls(described=(*described, update.head.kind, update.optimizer), kernel=update.head.kernel_value)

    def is_of(self, update: Update) -> bool:
        """Tell whether another update has the same."""
        other = _Setting.of(update)
        if self.described != other.described or (self.kernel is None) != (other.kernel is None):
            return False
        return self.kernel is other.kernel or bool(np.array_equal(self.kernel, other.kernel))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lesson:
    """All that simulated updates of one kind of features teach.

    Attributes
    ----------
    coefficients : ndarray of shape (k + 1,)
        Of the regression on all of them.
    scaled : bool
        Whether they were brought to the norm of the update under attack, which another update need not have.
    sides : ndarray of shape (n, 2)
        Sides of the features, as each of them shows these.
    held_out : tuple of ndarray of shape (C,)
        Scores of each by the regression on the other half.
    present : tuple of ndarray of bool, shape (C,)
        Classes present in each.
    """

    coefficients: np.ndarray = field(repr=False)
    scaled: bool
    sides: np.ndarray = field(repr=False)
    held_out: tuple[np.ndarray, ...] = field(repr=False)
    present: tuple[np.ndarray, ...] = field(repr=False)

    def likelihood(self, sides: np.ndarray) -> float:
        """Return the logarithm of the likelihood of this kind of features, for the sides that an update shows."""
        centre = np.median(self.sides, axis=0)
        scale = np.maximum(1.4826 * np.median(np.abs(self.sides - centre), axis=0), 0.02)
        # Student's law with few degrees of freedom: simulated updates are more alike than real ones.
        return float(np.sum(scipy.stats.t.logpdf((sides - centre) / scale, 3) - np.log(scale)))

    def applied(self, columns: np.ndarray) -> _Answer:
        """Score an update, and measure how well updates like it are read.

        Threshold and power are those on the simulated updates whose scores are distributed most like the scores of
        the update under attack: large batches are read with another threshold than small ones.
        """
        own = scores(self.coefficients, columns)
        shapes = np.stack([np.quantile(values, _QUANTILES) for values in (own, *self.held_out)])
        distance = np.linalg.norm((shapes[1:] - shapes[0]) / (shapes[1:].std(axis=0) + 1e-12), axis=1)
        alike = np.argsort(distance, kind="stable")[: max(len(self.held_out) // 2, 4)]
        threshold, advantages = best_threshold([self.held_out[i] for i in alike], [self.present[i] for i in alike])
        return _Answer(
            own=own,
            threshold=threshold,
            power=float(advantages.mean()),
            error=float(advantages.std(ddof=1) / np.sqrt(advantages.size)),
            highest=float(np.median(shapes[1:, -1])),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Answer:
    """Scores of the update under attack, and how far scores tell the labels of simulated updates like it."""

    own: np.ndarray
    threshold: float
    power: float
    error: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedShadow:
    """The shadow attack after its lessons, for any update of the same head and defence.

    Attributes
    ----------
    rules : ShadowRules
        The deciding numbers.
    assumed : str
        Name of the defence of the simulated updates.
    shape : tuple of int
        Numbers of features and classes of the head.
    setting : setting
        Everything of the update under attack that the lessons depend on, but for its norm.
    lessons : dict of str to lesson
        By the kind of features.
    """

    name: ClassVar[str] = Shadow.name
    reference: ClassVar[str] = Shadow.reference
    cost: ClassVar[str] = Shadow.cost
    reads_sigmoid: ClassVar[bool] = Shadow.reads_sigmoid

    rules: ShadowRules
    assumed: str
    shape: tuple[int, int]
    setting: _Setting = field(repr=False)
    lessons: dict[str, _Lesson] = field(repr=False)

    def serves(self, update: Update) -> bool:
        """Tell whether the same lessons would be learned for another update.

        Parameters
        ----------
        update : Update
            For example of the next batch.

        Returns
        -------
        bool
            False where the defence's strength is absolute: the lessons then hold for one norm of the gradient.
        """
        return not any(lesson.scaled for lesson in self.lessons.values()) and self.setting.is_of(update)

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that look present."""
        if (update.features, update.classes) != self.shape:
            raise InvalidArgumentError(
                f"update has a head of {update.features} features and {update.classes} classes. Expected "
                f"{self.shape[0]} and {self.shape[1]}, as in the update that the attack was prepared on."
            )
        found = read_statistics(update)
        logs = {kind: lesson.likelihood(found.sides) for kind, lesson in self.lessons.items()}
        total = float(np.logaddexp.reduce(list(logs.values())))
        likely = {kind: float(np.exp(log - total)) for kind, log in logs.items()}
        answers = {
            kind: lesson.applied(found.columns)
            for kind, lesson in self.lessons.items()
            if likely[kind] > self.rules.likely
        }
        able = {
            kind: answer
            for kind, answer in answers.items()
            if answer.power - self.rules.errors * answer.error >= self.rules.power
        }
        # A regression of the wrong kind is taken to read nothing: the advantage to expect decides.
        kind, answer = max((able or answers).items(), key=lambda item: likely[item[0]] * item[1].power)
        assumed = f"{kind} features and {self.assumed}"
        simulations = len(self.lessons[kind].held_out)
        details = {"assumed": assumed, "simulations": simulations, "power": round(answer.power, 3)}
        if not able:
            raise NotApplicable(
                f"labels of updates simulated with {assumed} are read with an advantage of {answer.power:.2f} only: "
                "the defence hides them from column statistics",
                **details,
            )
        if answer.own.max() < self.rules.resembling * answer.highest:
            raise NotApplicable(
                f"the update resembles none of those simulated with {assumed}: no column of it stands out as theirs do",
                **details,
            )
        named = np.flatnonzero(answer.own > answer.threshold)
        if not named.size:
            raise NotApplicable(f"no class looks as present ones do in updates simulated with {assumed}", **details)
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason=f"learned on updates simulated with {assumed}",
            labels=tuple(named.tolist()),
            details=details,
        )
