"""The shadow attack: learn on simulated updates how an update that was defended so is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import scipy.stats

from ...core.errors import InvalidArgumentError, UnknownNameError
from ...core.recovery import NotApplicable, Recovery, Status
from ...core.update import Update
from ...defences import resolve
from ...defences.defence import Defence
from .regression import best_threshold, fit, scores
from .simulation import NON_NEGATIVE, SIGNED, Simulated, simulate
from .statistics import column_statistics, one_sidedness

#: Quantiles by which the scores of two updates are compared.
_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.97, 1.0)

__all__ = ["Shadow", "ShadowRules"]


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
        Entries that all simulations together may have; larger heads are simulated less often. Six always are.
    """

    power: float = field(default=0.05, metadata={"plateau": (0.05, 0.05)})
    errors: float = field(default=2.0, metadata={"plateau": (2.0, 2.0)})
    likely: float = field(default=0.02, metadata={"plateau": (0.02, 0.02)})
    resembling: float = field(default=0.3, metadata={"plateau": (0.3, 0.3)})
    ridge: float = field(default=1e-3, metadata={"plateau": (1e-3, 1e-3)})
    entries: float = field(default=3e7, metadata={"plateau": (3e7, 3e7)})


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

    defence: Defence | None = None
    simulations: int = 24
    sizes: tuple[int, ...] = (4, 16, 64, 256)
    features: str = "auto"
    rules: ShadowRules = field(default_factory=ShadowRules)

    def __post_init__(self) -> None:
        """Check the parameters."""
        if self.features not in {"auto", SIGNED, NON_NEGATIVE}:
            raise InvalidArgumentError(
                f"features={self.features!r}. Expected 'auto', {SIGNED!r} or {NON_NEGATIVE!r}: the kind of the inputs "
                "of the head, non-negative after ReLU, signed after tanh, GELU or a normalisation."
            )
        if not isinstance(self.simulations, int) or self.simulations < 4:
            raise InvalidArgumentError(f"simulations={self.simulations!r}. Expected an integer of at least 4.")
        if not self.sizes or not all(isinstance(size, int) and size > 0 for size in self.sizes):
            raise InvalidArgumentError(f"sizes={self.sizes!r}. Expected positive numbers of label positions.")

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        """Return the classes that look present."""
        if update.classes < 4 or update.features < 2:
            raise NotApplicable(
                f"a head of {update.features} features and {update.classes} classes is too small to compare its columns"
            )
        defence = self._defence(update)
        made = self._simulate(update, defence, rng)
        likely = _likely(update, made)
        lessons = {kind: self._learn(made[kind], update) for kind in made if likely[kind] > self.rules.likely}
        # A regression of the wrong kind is taken to read nothing: the advantage to expect decides.
        kind, lesson = max(lessons.items(), key=lambda item: likely[item[0]] * item[1].power)
        assumed = f"{kind} features and {'no defence' if defence is None else defence.name}"
        details = {"assumed": assumed, "simulations": len(made[kind]), "power": round(lesson.power, 3)}
        if lesson.power - self.rules.errors * lesson.error < self.rules.power:
            raise NotApplicable(
                f"labels of updates simulated with {assumed} are read with an advantage of {lesson.power:.2f} only: "
                "the defence hides them from column statistics",
                **details,
            )
        own = lesson.own
        if own.max() < self.rules.resembling * float(np.median(lesson.highest)):
            raise NotApplicable(
                f"the update resembles none of those simulated with {assumed}: no column of it stands out as theirs do",
                **details,
            )
        return Recovery(
            attack=self.name,
            status=Status.RECOVERED,
            reason=f"learned on updates simulated with {assumed}",
            labels=tuple(np.flatnonzero(own > lesson.threshold).tolist()),
            details=details,
        )

    def _learn(self, made: list[Simulated], update: Update) -> _Lesson:
        """Fit the regression on simulated updates, and measure it on those that it has not seen.

        Threshold and power are those on the simulated updates whose scores are distributed most like the scores of
        the update under attack: large batches are read with another threshold than small ones.
        """
        tables, present = [column_statistics(one.update) for one in made], [one.present for one in made]
        held_out = [np.empty(0)] * len(made)
        # Both halves hold every size.
        half = [index // len(self.sizes) % 2 for index in range(len(made))]
        for fold in range(2):
            learned = [index for index in range(len(made)) if half[index] != fold]
            coefficients = fit([tables[i] for i in learned], [present[i] for i in learned], self.rules.ridge)
            for index in set(range(len(made))) - set(learned):
                held_out[index] = scores(coefficients, tables[index])
        own = scores(fit(tables, present, self.rules.ridge), column_statistics(update))
        shapes = np.stack([np.quantile(values, _QUANTILES) for values in (own, *held_out)])
        distance = np.linalg.norm((shapes[1:] - shapes[0]) / (shapes[1:].std(axis=0) + 1e-12), axis=1)
        alike = np.argsort(distance, kind="stable")[: max(len(made) // 2, 4)]
        threshold, advantages = best_threshold([held_out[i] for i in alike], [present[i] for i in alike])
        return _Lesson(
            own=own,
            threshold=threshold,
            power=float(advantages.mean()),
            error=float(advantages.std(ddof=1) / np.sqrt(advantages.size)),
            highest=np.array([values.max() for values in held_out]),
        )

    def _defence(self, update: Update) -> Defence | None:
        if self.defence is not None or not update.defences:
            return self.defence
        written = " + ".join(update.defences)
        try:
            return resolve(written)
        except (UnknownNameError, InvalidArgumentError):
            raise NotApplicable(
                f"the defence {written!r} cannot be simulated from its name; pass Shadow(defence=...) with the defence"
            ) from None

    def _simulate(
        self, update: Update, defence: Defence | None, rng: np.random.Generator
    ) -> dict[str, list[Simulated]]:
        """Return simulated updates by the kind of their features."""
        count = int(np.clip(self.rules.entries // update.kernel_gradient.size, 2 * len(self.sizes), self.simulations))
        made: dict[str, list[Simulated]] = {}
        for kind in (SIGNED, NON_NEGATIVE) if self.features == "auto" else (self.features,):
            group = [
                simulate(update, defence, self.sizes[index % len(self.sizes)], kind, stream)
                for index, stream in enumerate(rng.spawn(count))
            ]
            # An update in which every class is present teaches nothing.
            made[kind] = [one for one in group if not one.present.all()]
            if 2 * len(made[kind]) < count:
                raise NotApplicable(
                    f"with {min(self.sizes)} to {max(self.sizes)} label positions nearly every one of the "
                    f"{update.classes} classes is present; pass Shadow(sizes=...) with smaller batches"
                )
        return made


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lesson:
    """Scores of the update under attack, and how far scores tell the labels of simulated updates like it."""

    own: np.ndarray
    threshold: float
    power: float
    error: float
    highest: np.ndarray


def _likely(update: Update, made: dict[str, list[Simulated]]) -> dict[str, float]:
    """Return the probability of each kind of features, from the sides that simulated updates of each kind show."""
    own = one_sidedness(update)
    logs = {}
    for kind, group in made.items():
        sides = np.stack([one_sidedness(one.update) for one in group])
        centre = np.median(sides, axis=0)
        scale = np.maximum(1.4826 * np.median(np.abs(sides - centre), axis=0), 0.02)
        # Student's law with few degrees of freedom: simulated updates are more alike than real ones.
        logs[kind] = float(np.sum(scipy.stats.t.logpdf((own - centre) / scale, 3) - np.log(scale)))
    highest = max(logs.values())
    total = sum(np.exp(value - highest) for value in logs.values())
    return {kind: float(np.exp(value - highest) / total) for kind, value in logs.items()}
