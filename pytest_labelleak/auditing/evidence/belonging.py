"""Test whether labels and update belong together, and which common mistake explains that they do not."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .columns import RankedColumns, leading_directions, rank_columns, scaled_blocks
from .hindsight import MATCHED, Visibility, fits_better, visibility

__all__ = [
    "Belonging",
    "BelongingRules",
    "Explanation",
    "Match",
    "Mistake",
    "Sighting",
    "belonging",
    "explanation",
    "sighting",
]


class Match(str, enum.Enum):
    """The relation between an update and the labels given with it.

    Attributes
    ----------
    BELONGS
        The labels are visible in it, with the right sign where the sign can be told.
    MISTAKEN
        They are not, and they would be if a mistake were undone.
    UNSEEN
        They are not, and no mistake explains it: another batch, other classes, or a defence that hides them.
    """

    BELONGS = "belongs"
    MISTAKEN = "mistaken"
    UNSEEN = "unseen"

    def __str__(self) -> str:
        """Return the text, the same on every Python."""
        return self.value


class Mistake(str, enum.Enum):
    """A way in which updates and labels are handed over wrongly.

    Attributes
    ----------
    NEGATED
        The update is a weight difference, after minus before.
    TRANSPOSED
        The kernel's gradient is (C, d).
    TRANSPOSED_NEGATED
        Both.
    TOO_LOW, TOO_HIGH
        The loss uses the class after, or before, the one that the labels say.
    REVERSED
        The classes are in reverse order.
    """

    NEGATED = "negated"
    TRANSPOSED = "transposed"
    TRANSPOSED_NEGATED = "transposed and negated"
    TOO_LOW = "labels too low"
    TOO_HIGH = "labels too high"
    REVERSED = "reversed"

    def __str__(self) -> str:
        """Return the text, the same on every Python."""
        return self.value

    @property
    def sentence(self) -> str:
        """The finding and the fix."""
        return _SENTENCES[self]


_SENTENCES = {
    Mistake.NEGATED: (
        "the update looks like its own negative: an update has the sign of a gradient, so pass weights before - "
        "weights after"
    ),
    Mistake.TRANSPOSED: (
        "the update looks transposed: a kernel's gradient has one row per feature and one column per class, so pass "
        "kernel_gradient.T"
    ),
    Mistake.TRANSPOSED_NEGATED: (
        "the update looks transposed and like its own negative: pass (weights before - weights after).T, with one row "
        "per feature and one column per class"
    ),
    Mistake.TOO_LOW: (
        "the update shows the classes that follow the given labels: the loss uses label + 1, so add 1 to the labels"
    ),
    Mistake.TOO_HIGH: (
        "the update shows the classes before the given labels: the loss uses label - 1, so subtract 1 from the labels "
        "(labels that start at 1?)"
    ),
    Mistake.REVERSED: (
        "the update shows the classes in reverse order: give the labels as the loss sees them, C - 1 - label"
    ),
}

#: Labels as the loss would use them, by mistake.
_RENAMED: Mapping[Mistake, Callable[[np.ndarray, int], np.ndarray]] = {
    Mistake.TOO_LOW: lambda labels, classes: (labels + 1) % classes,
    Mistake.TOO_HIGH: lambda labels, classes: (labels - 1) % classes,
    Mistake.REVERSED: lambda labels, classes: classes - 1 - labels,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BelongingRules:
    """Numbers that decide whether the sign and the orientation of a kernel's gradient can be told.

    Attributes
    ----------
    one_signed : float
        Features count as non-negative if the leading direction u of the gradient has this much of its absolute sum on
        one side of zero, from 0 (balanced) to 1. Non-negative features give 1.0, symmetric ones about
        ``1 / sqrt(d)``.
    least_features : float
        Smallest ``|u|_1^2``, the number of entries that u is spread over, for its signs to be no luck: random signs
        reach `one_signed` with probability ``2 exp(-one_signed^2 |u|_1^2 / 2)`` at most (Hoeffding).
    zero_sums : float
        Row sums below this, see `Sighting.row_sums`, are those of a softmax head: the columns are the classes.
    other_sums : float
        Column sums of zero are those of a transposed gradient if the row sums are above this.
    unexplained : float
        Largest residual of the forward pass that rounding explains, in roundings; see `Explanation`.
    """

    one_signed: float = field(default=0.9, metadata={"plateau": (0.85, 0.95)})
    least_features: float = field(default=10.0, metadata={"plateau": (9.0, 12.0)})
    zero_sums: float = field(default=1e-3, metadata={"plateau": (3e-4, 3e-3)})
    other_sums: float = field(default=0.03, metadata={"plateau": (0.01, 0.1)})
    unexplained: float = field(default=64.0, metadata={"plateau": (16.0, 256.0)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """One update with its labels, as far as `belonging` needs them; the update itself is not kept.

    Attributes
    ----------
    given : RankedColumns
        The columns as they were passed.
    transposed : RankedColumns or None
        The rows instead; None where bias or sums say that the classes are on the columns, or where there are too few
        rows for the labels.
    one_signed : bool
        Whether the features look non-negative, so that column sums tell the sign. Not looked at where bias or features
        tell it.
    row_sums, column_sums : float
        Squared norm of the sums over the classes (features) over that of the gradient. 1 for independent entries;
        the gradient of a softmax head has row sums of 0.
    transposed_one_signed : bool
        As `one_signed`, for the transposed gradient.
    """

    given: RankedColumns
    transposed: RankedColumns | None
    one_signed: bool
    row_sums: float
    column_sums: float
    transposed_one_signed: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Belonging:
    """Whether labels and updates belong together.

    Attributes
    ----------
    match : Match
        The answer.
    mistake : Mistake or None
        The mistake that explains it.
    given : Visibility
        Visibility of the labels as given: by the best of all statistics, or, where that is not significant, by the
        one statistic that tells the sign, on its right side.
    corrected : Visibility or None
        With the mistake undone.
    sign_known : bool
        Whether the sign could be told: by features, by a bias, or by features that look non-negative. A head without
        bias on features of both signs has the gradient of ``-H`` if it is negated: its own negative is a gradient too.
    row_sums, column_sums : float
        Means of those of `Sighting`.
    """

    match: Match
    mistake: Mistake | None
    given: Visibility
    corrected: Visibility | None
    sign_known: bool
    row_sums: float
    column_sums: float

    @property
    def sentence(self) -> str:
        """The finding in words, without a label."""
        if self.mistake is not None:
            seen = self.corrected
            if seen is None or not seen.visible:
                return self.mistake.sentence
            return f"{self.mistake.sentence}; the labels are then visible with advantage {seen.advantage:.2f}"
        if self.match is Match.BELONGS:
            return f"labels and update belong together: {self.given.sentence}"
        if not self.given.batches or not self.given.decidable:
            return f"whether labels and update belong together is open: {self.given.sentence}"
        return (
            f"{self.given.sentence}: without a defence they would be, so labels and update do not belong together "
            "(another batch, other classes than the loss uses, a transposed gradient?)"
        )


def sighting(
    kernel_gradient: np.ndarray,
    labels: np.ndarray,
    *,
    bias_gradient: np.ndarray | None = None,
    features: np.ndarray | None = None,
    rules: BelongingRules | None = None,
) -> Sighting:
    """Look at one update, as passed and transposed.

    Parameters
    ----------
    kernel_gradient : ndarray of shape (d, C)
        Gradient of the head's kernel as it was passed.
    labels : ndarray of int, shape (S,)
        Class of every label position, all in [0, C).
    bias_gradient : ndarray of shape (C,), optional
        Gradient of the head's bias.
    features : ndarray of shape (S, d), optional
        The head's input at every label position.
    rules : BelongingRules, optional
        By default ``BelongingRules()``.

    Returns
    -------
    Sighting
        For `belonging`.
    """
    rules = rules or BelongingRules()
    labels = np.asarray(labels, dtype=np.int64).reshape(-1)
    d, classes = kernel_gradient.shape
    rows, columns = _sums(kernel_gradient)
    transposed, turned = None, False
    # A bias of C entries says which axis the classes are on, unless both are as long. So do row sums of zero.
    told = (bias_gradient is not None and d != classes) or (rows < rules.zero_sums and rows < columns)
    if not told and d > 1 and int(labels.max(initial=0)) < d:
        transposed = rank_columns(kernel_gradient.T, labels, bias_gradient=bias_gradient)
        turned = _one_signed(kernel_gradient.T, rules)
    return Sighting(
        given=rank_columns(kernel_gradient, labels, bias_gradient=bias_gradient, features=features),
        transposed=transposed,
        one_signed=bias_gradient is None and features is None and _one_signed(kernel_gradient, rules),
        row_sums=rows,
        column_sums=columns,
        transposed_one_signed=turned,
    )


def belonging(
    batches: Sequence[Sequence[Sighting]],
    *,
    rng: np.random.Generator,
    level: float = 0.01,
    permutations: int = 1999,
    rules: BelongingRules | None = None,
) -> Belonging:
    """Tell whether labels and updates belong together, from the arrays alone.

    The gradient of a softmax head is a function of the labels: without a defence its columns show them to a receiver
    who is told the labels. Where they do not, the common mistakes are tried, each at its share of `level`.

    The sign is told by the first of these that is there: the product of a position's features with its label's column,
    which is negative; the bias gradient, which is smaller at labels; the column sums, where features look
    non-negative. Labels on the wrong side, more than chance would put there, mean a negated update. For features of
    both signs without bias the sign cannot be told from the arrays: the negative of such a gradient is the gradient
    for negated features. Attacks on such heads read both alike.

    Parameters
    ----------
    batches : sequence of sequence of Sighting
        For every batch the draws of its update. Updates before any defence say most.
    rng : numpy.random.Generator
        Draws permutations.
    level : float, default 0.01
        Level of each question: are the labels visible, are they on the right side or the wrong one, does a mistake
        explain that they are not (all mistakes together).
    permutations : int, default 1999
        Number of permutations of every test.
    rules : BelongingRules, optional
        By default ``BelongingRules()``.

    Returns
    -------
    Belonging
        Match, mistake and sentence.

    Examples
    --------
    >>> import numpy as np
    >>> gradient = np.full((16, 40), 0.1)
    >>> gradient[:, [3, 7, 20, 31]] = -0.9
    >>> seen = sighting(-gradient, np.array([3, 7, 20, 31]))
    >>> str(belonging([[seen]], rng=np.random.default_rng(0)).mistake)
    'negated'
    """
    rules = rules or BelongingRules()
    test = functools.partial(visibility, rng=rng, permutations=permutations)
    sightings = [look for draws in batches for look in draws]
    given = [[look.given for look in draws] for draws in batches]
    seen = test(given, level=level)
    means = {
        "row_sums": float(np.mean([look.row_sums for look in sightings])) if sightings else 0.0,
        "column_sums": float(np.mean([look.column_sums for look in sightings])) if sightings else 0.0,
    }
    telling = _telling([look.given for look in sightings], [look.one_signed for look in sightings])

    def found(
        match: Match,
        mistake: Mistake | None = None,
        corrected: Visibility | None = None,
        shown: Visibility | None = None,
    ) -> Belonging:
        return Belonging(
            match=match,
            mistake=mistake,
            given=shown or seen,
            corrected=corrected,
            sign_known=telling is not None,
            **means,
        )

    if seen.visible:
        for mistake in _RENAMED:
            renamed = _renamed(given, mistake)
            others = [draws[0].present for draws in renamed if draws]
            if fits_better(
                [draws for draws in given if draws],
                others,
                rng=rng,
                level=level / len(_RENAMED),
                permutations=permutations,
            ):
                return found(Match.MISTAKEN, mistake, test(renamed, level=level))
    right, wrong = _sides(given, telling, test, level)
    if right is not None and wrong is not None and wrong.visible and wrong.advantage > right.advantage:
        return found(Match.MISTAKEN, Mistake.NEGATED, wrong)
    # With few classes one statistic on one side is significant sooner than the best of all.
    if seen.visible or (right is not None and right.visible):
        return found(Match.BELONGS, shown=seen if seen.visible else right)

    turned = [[look.transposed for look in draws if look.transposed is not None] for draws in batches]
    candidates: dict[Mistake, list[list[RankedColumns]]] = {mistake: _renamed(given, mistake) for mistake in _RENAMED}
    if any(turned):
        candidates[Mistake.TRANSPOSED] = turned
    looks = {mistake: test(pool, level=level / len(candidates)) for mistake, pool in candidates.items()}
    visible = {mistake: look for mistake, look in looks.items() if look.visible}
    # Where the sums say that columns are features, labels that fit the columns do so by luck.
    if any(turned) and all(_sums_say_transposed(look, rules) for look in sightings):
        best = Mistake.TRANSPOSED
    elif visible:
        best = min(visible, key=lambda mistake: (visible[mistake].p_value, -visible[mistake].excess))
    else:
        return found(Match.UNSEEN)
    if best is Mistake.TRANSPOSED:
        side = _telling(
            [look.transposed for look in sightings if look.transposed is not None],
            [look.transposed_one_signed for look in sightings],
        )
        right, wrong = _sides(turned, side, test, level)
        if right is not None and wrong is not None and wrong.visible and wrong.advantage > right.advantage:
            return found(Match.MISTAKEN, Mistake.TRANSPOSED_NEGATED, looks[best])
    return found(Match.MISTAKEN, best, looks[best])


def _renamed(batches: Sequence[Sequence[RankedColumns]], mistake: Mistake) -> list[list[RankedColumns]]:
    """Return the same columns with the labels that the loss would have used."""
    return [
        [
            RankedColumns(
                classes=ranked.classes,
                present=np.sort(_RENAMED[mistake](ranked.present, ranked.classes)),
                ranks=ranked.ranks,
            )
            for ranked in draws
        ]
        for draws in batches
    ]


def _telling(ranked: Sequence[RankedColumns], one_signed: Sequence[bool]) -> str | None:
    """Return the statistic that is small at labels if the sign is right, None if none is."""
    if not ranked:
        return None
    if all(update.matched is not None for update in ranked):
        return MATCHED
    if all("bias" in update.ranks for update in ranked):
        return "bias"
    return "sum" if all(one_signed) else None


def _sides(
    batches: Sequence[Sequence[RankedColumns]], statistic: str | None, test: Callable[..., Visibility], level: float
) -> tuple[Visibility, Visibility] | tuple[None, None]:
    """Return how well labels show on the right side of a statistic, and on the wrong one."""
    if statistic is None:
        return None, None
    low, high = (test(batches, level=level, statistics=(statistic,), side=side) for side in ("low", "high"))
    return low, high


def _one_signed(gradient: np.ndarray, rules: BelongingRules) -> bool:
    """Tell whether the leading direction of a gradient, a mean of features, has entries of one sign."""
    direction = leading_directions(gradient, 1)[:, 0]
    total = float(np.abs(direction).sum())
    return total * total >= rules.least_features and abs(float(direction.sum())) >= rules.one_signed * total


def _sums(gradient: np.ndarray) -> tuple[float, float]:
    """Return the squared norms of row sums and column sums, over the gradient's own."""
    rows, columns, total = np.zeros(gradient.shape[0]), 0.0, 0.0
    for _, block in scaled_blocks(gradient):
        rows += block.sum(axis=1)
        columns += float(np.sum(block.sum(axis=0) ** 2))
        total += float(np.vdot(block, block))
    return (float(rows @ rows) / total, columns / total) if total else (0.0, 0.0)


def _sums_say_transposed(look: Sighting, rules: BelongingRules) -> bool:
    """Tell whether the sums of a softmax head vanish along the features instead of along the classes.

    Features whose mean is subtracted (layer normalisation) make both vanish, which says nothing.
    """
    return look.transposed is not None and look.column_sums < rules.zero_sums and look.row_sums > rules.other_sums


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """How well features and outputs of a forward pass explain a captured gradient.

    Attributes
    ----------
    explained : bool
        Whether the residual is rounding.
    relative : float
        Norm of the residual over that of the gradient.
    roundings : float
        Norm of the residual in units of the compute dtype's rounding of the terms that were added up.
    factor : float
        The gradient is this multiple of the explanation, by least squares: 1 for the same weights, a learning rate
        for a weight difference, negative for a negated one. The residual is that of the multiple, since a factor says
        nothing of the labels.
    mistake : Mistake or None
        The mistake with which the forward pass explains the gradient.
    other_labels : int or None
        Number of positions at which the loss used another label than the given one, where that can be solved for.
    positions : int
        Number of label positions.
    """

    explained: bool
    relative: float
    roundings: float
    factor: float
    mistake: Mistake | None
    other_labels: int | None
    positions: int

    @property
    def sentence(self) -> str:
        """The finding in words, without a label."""
        if self.explained:
            return "the forward pass and the labels explain the gradient to rounding"
        if self.mistake is not None:
            return self.mistake.sentence
        if self.other_labels:
            return (
                f"the loss uses other labels than the given ones at {self.other_labels} of {self.positions} positions: "
                "give the labels as the loss sees them"
            )
        return (
            f"the forward pass and the labels leave {100.0 * self.relative:.2g} % of the gradient unexplained: labels "
            "and update do not belong together, or the loss is no cross-entropy of this head's outputs"
        )


#: Relative spacing of floating-point numbers, by compute dtype.
_SPACING = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def explanation(
    features: np.ndarray,
    outputs: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    kernel_gradient: np.ndarray,
    *,
    compute_dtype: str = "float32",
    label_smoothing: float = 0.0,
    rules: BelongingRules | None = None,
) -> Explanation:
    """Compare a head's gradient with the one that its features, outputs and labels imply.

    For a softmax cross-entropy it is ``H^T diag(w) (P - Y)``. Rounding adds up to a residual of about one spacing of
    the compute dtype times the norm of ``|H|^T diag(|w|) (P + Y)``: softmax outputs near 1 are rounded before the
    target is subtracted, so the difference itself is no measure.

    Where the given labels do not explain the gradient, the common mistakes are tried, with the update's sign. If none
    explains it and the features are independent, the targets are solved for: ``diag(w) (P - T)`` is the least-squares
    solution of ``H^T X = G``, and the loss used the class of the largest target.

    Parameters
    ----------
    features : ndarray of shape (S, d)
        H: input of the head at every label position.
    outputs : ndarray of shape (S, C)
        P: softmax outputs, from the same forward pass.
    labels : ndarray of int, shape (S,)
        Classes, as one-hot rows Y. Private.
    weights : ndarray of shape (S,)
        w: weight of every position in the loss.
    kernel_gradient : ndarray of shape (d, C)
        G: the captured gradient, without penalties of weight regularisers.
    compute_dtype : str, default "float32"
        Arithmetic of the backward pass.
    label_smoothing : float, default 0.0
        Smoothing of the targets.
    rules : BelongingRules, optional
        By default ``BelongingRules()``.

    Returns
    -------
    Explanation
        Residual, and the mistake if there is one.

    Examples
    --------
    >>> import numpy as np
    >>> features, outputs = np.eye(2, 3), np.full((2, 4), 0.25)
    >>> gradient = features.T @ (outputs - np.eye(4)[[1, 3]]) / 2
    >>> weights = np.full(2, 0.5)
    >>> explanation(features, outputs, np.array([1, 3]), weights, gradient).explained
    True
    >>> str(explanation(features, outputs, np.array([0, 2]), weights, gradient).mistake)
    'labels too low'
    """
    rules = rules or BelongingRules()
    features = np.asarray(features, dtype=np.float64)
    weighted = features * np.asarray(weights, dtype=np.float64)[:, None]
    outputs = np.asarray(outputs, dtype=np.float64)
    gradient = np.asarray(kernel_gradient, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.int64).reshape(-1)
    classes = outputs.shape[1]
    mean_part = weighted.T @ (outputs - label_smoothing / classes)
    length = float(np.linalg.norm(gradient))

    def implied(used: np.ndarray) -> np.ndarray:
        found: np.ndarray = mean_part.copy()
        np.add.at(found.T, used, -(1.0 - label_smoothing) * weighted)
        return found

    def rounding(used: np.ndarray) -> float:
        size = np.abs(weighted).T @ np.abs(outputs)
        np.add.at(size.T, used, np.abs(weighted))
        return _SPACING[compute_dtype] * float(np.linalg.norm(size))

    unit = rounding(labels) or np.finfo(float).tiny

    def fitted(candidate: np.ndarray) -> tuple[float, float]:
        """Return the factor by least squares, and the norm of the residual."""
        square = float(np.vdot(candidate, candidate))
        factor = float(np.vdot(candidate, gradient)) / square if square else 0.0
        return factor, float(np.linalg.norm(gradient - factor * candidate))

    def explains(factor: float, left: float) -> bool:
        return left <= rules.unexplained * unit * abs(factor)

    factor, left = fitted(implied(labels))
    facts: dict[str, Any] = {
        "relative": left / length if length else 0.0,
        "roundings": left / (unit * abs(factor)) if factor else math.inf,
        "factor": factor,
        "positions": labels.size,
    }

    def says(explained: bool, mistake: Mistake | None = None, other_labels: int | None = None) -> Explanation:
        return Explanation(explained=explained, mistake=mistake, other_labels=other_labels, **facts)

    if factor and explains(factor, left):
        return says(factor > 0.0, None if factor > 0.0 else Mistake.NEGATED)
    for mistake, rename in _RENAMED.items():
        renamed = fitted(implied(rename(labels, classes)))
        if renamed[0] > 0.0 and explains(*renamed):
            return says(False, mistake)
    if 0 < labels.size <= features.shape[1] and np.linalg.matrix_rank(weighted) == labels.size:
        targets = outputs - np.linalg.lstsq(weighted.T, gradient, rcond=None)[0]
        used = targets.argmax(axis=1)
        solved = fitted(implied(used))
        if solved[0] > 0.0 and explains(*solved):
            return says(False, other_labels=int(np.count_nonzero(used != labels)))
    return says(False)
