"""Do the labels of a batch explain the errors of the logits that the backward pass shows? For the auditor alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..core.update import unit_roundoff

__all__ = ["Block", "ErrorRules", "Finding", "explain_errors", "explain_rest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRules:
    """Numbers that decide whether labels explain an error.

    Attributes
    ----------
    roundings : float
        Tolerated residual in units of the compute dtype's roundoff, relative to the error's own norm. Another label
        leaves a residual of order 1.
    largest : float
        Bound on the tolerance, for bfloat16.
    """

    roundings: float = field(default=64.0, metadata={"plateau": (32.0, 1024.0)})
    largest: float = field(default=0.2, metadata={"plateau": (0.07, 0.4)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some label positions of a backward pass. Private.

    Attributes
    ----------
    errors : ndarray of shape (positions, C)
        Gradient of the loss with respect to the logits.
    outputs : sequence of ndarray of shape (positions, C)
        Probabilities, from each place where they could be read; none where they are unknown.
    targets : ndarray of shape (positions, C), or of int and shape (positions,)
        Target of every class, or the class of every position. NaN for an entry that is left out.
    keep : ndarray of bool, shape (positions,)
        Positions that have a label.
    """

    errors: np.ndarray = field(repr=False)
    outputs: tuple[np.ndarray, ...] = field(repr=False)
    targets: np.ndarray = field(repr=False)
    keep: np.ndarray = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether labels explain the errors of the logits.

    Attributes
    ----------
    belongs : bool or None
        True if they do at every label position, False if other labels do, None if neither does.
    reason : str
        A clause without a label and without a number of label positions, which would be truth too.
    """

    belongs: bool | None
    reason: str


#: Common mistakes, with the class that the loss then uses.
_SHIFTS: Mapping[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "the class before the label (labels that are shifted by one, as those that start at 1)": (
        lambda labels, classes: (labels - 1) % classes
    ),
    "the class after the label (labels that are shifted by one)": lambda labels, classes: (labels + 1) % classes,
    "the classes in reverse order": lambda labels, classes: classes - 1 - labels,
}
#: Entries below the largest of a row by this factor are rounding in every dtype; it decides no label.
_TINY = 1e-30


def explain_errors(
    blocks: Iterable[Block],
    *,
    compute_dtype: str,
    sigmoid: bool = False,
    label_smoothing: float = 0.0,
    crossentropy: bool = True,
    rules: ErrorRules | None = None,
) -> Finding:
    """Compare the errors of the logits with the labels that the auditor believes in.

    The error of a label position behind a softmax is ``w (p - t)`` with the weight w, the outputs p and the target t.
    With a one-hot target all entries but one are positive, and the negative one is that of the class that the loss
    used. The weight is free, so class weights, sample weights and every reduction are explained, and so is every loss
    that depends on the probability of the label alone, such as a focal loss. With soft targets the outputs are needed.
    Behind a sigmoid each entry is ``w (p - t)`` by itself.

    Parameters
    ----------
    blocks : iterable of Block
        All label positions of one batch.
    compute_dtype : str
        Arithmetic of the backward pass.
    sigmoid : bool, default False
        Whether each class has a sigmoid of its own.
    label_smoothing : float, default 0.0
        Smoothing of the targets in the loss.
    crossentropy : bool, default True
        Whether the loss is known to be a crossentropy. For an unknown loss other labels are reported only if they
        explain every position.
    rules : ErrorRules, optional
        By default ``ErrorRules()``.

    Returns
    -------
    Finding
        Belief, and the clause that says which mistake explains the errors.

    Examples
    --------
    >>> outputs = np.full((2, 4), 0.25)
    >>> errors = outputs - np.eye(4)[[0, 2]]
    >>> def block(labels):
    ...     return [Block(errors=errors, outputs=(outputs,), targets=np.array(labels), keep=np.ones(2, bool))]
    >>> explain_errors(block([0, 2]), compute_dtype="float32").belongs
    True
    >>> print(explain_errors(block([1, 3]), compute_dtype="float32").reason)
    the loss uses the class before the label (labels that are shifted by one, as those that start at 1)
    """
    rules = rules or ErrorRules()
    tolerance = min(rules.largest, rules.roundings * unit_roundoff(compute_dtype))
    tally = _Tally()
    for block in blocks:
        (_sigmoid_rows if sigmoid else _softmax_rows)(block, tolerance, label_smoothing, tally)
    return tally.finding(crossentropy=crossentropy)


@dataclass(slots=True, kw_only=True, eq=False)
class _Tally:
    """Counts over the blocks of one batch."""

    explained: int = 0
    unknown: int = 0
    #: Positions with a label and no error, although their outputs differ from the target.
    silent: int = 0
    #: Positions without a label, and with an error.
    hidden: int = 0
    other: int = 0
    positions: int = 0
    classes: int = 0
    #: Believed and used classes of the positions with one label.
    pairs: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    #: Classes of the silent positions, and of the others.
    silent_classes: set[int] = field(default_factory=set)
    heard_classes: set[int] = field(default_factory=set)
    #: Names of the mistakes that explain all rows of targets so far; None before the first row.
    mistakes: set[str] | None = None

    def finding(self, *, crossentropy: bool) -> Finding:
        if self.other and (crossentropy or not self.unknown):
            return Finding(belongs=False, reason=self._other())
        if self.hidden:
            return Finding(
                belongs=False,
                reason="the loss uses positions that are masked, ignored or of weight zero, and so are no label "
                "positions",
            )
        if self.silent and len(self.silent_classes) == 1 and not self.silent_classes & self.heard_classes:
            return Finding(
                belongs=False,
                reason="the loss leaves out every label position of one class: if the class marks padding, name it "
                "with ignore_class=",
            )
        if self.silent:
            return Finding(belongs=None, reason="the loss leaves out some of the label positions")
        if self.unknown or self.other:
            return Finding(
                belongs=None,
                reason="the errors of the logits are not those of a crossentropy with any one label",
            )
        return Finding(belongs=True, reason="the labels explain the errors of the logits at every label position")

    def _other(self) -> str:
        if self.mistakes:
            return f"the loss uses {min(self.mistakes)}"
        if self.pairs:
            believed, used = (np.concatenate(part) for part in zip(*self.pairs, strict=True))
            for name, shift in _SHIFTS.items():
                if np.array_equal(shift(believed, self.classes), used):
                    return f"the loss uses {name}"
            names = np.unique(np.stack([believed, used]), axis=1)
            if np.unique(believed).size == names.shape[1] > 1 and believed.size > names.shape[1]:
                kind = "permuted" if np.unique(used).size == names.shape[1] else "remapped or merged"
                return f"the loss uses {kind} classes: each label stands for one class, another than its own"
        some = "every label position" if self.other == self.positions else "some label positions"
        return f"the loss uses other labels than those of the batch at {some}"


def _silent_rows(block: Block, errors: np.ndarray, targets: np.ndarray, tolerance: float) -> np.ndarray:
    """Return which rows are zero although the outputs differ from the targets."""
    silent: np.ndarray = ~np.any(errors, axis=1) if block.outputs else np.zeros(len(errors), bool)
    for outputs in block.outputs:
        silent = silent & (np.nanmax(np.abs(outputs - targets), axis=1, initial=0.0) > tolerance)
    return silent


def _softmax_rows(block: Block, tolerance: float, smoothing: float, tally: _Tally) -> None:
    tally.hidden += int(np.count_nonzero(block.errors[~block.keep].any(axis=1)))
    errors = block.errors[block.keep].astype(np.float64)
    outputs = [part[block.keep].astype(np.float64) for part in block.outputs]
    given = block.targets[block.keep]
    count, classes = errors.shape
    tally.positions += count
    tally.classes = classes
    if not count:
        return
    if given.ndim == 1:
        labels, single = given.astype(np.int64), np.ones(count, bool)
        targets = np.zeros((count, classes))
        targets[np.arange(count), labels] = 1.0
    else:
        targets = given.astype(np.float64)
        labels = targets.argmax(axis=1)
        single = np.count_nonzero(targets, axis=1) == 1
    if smoothing:
        targets = targets * (1.0 - smoothing) + smoothing / classes
        single_hard = np.zeros(count, bool)
    else:
        single_hard = single
    kept = Block(errors=errors, outputs=tuple(outputs), targets=targets, keep=np.ones(count, bool))
    silent = _silent_rows(kept, errors, targets, tolerance)
    tally.silent += int(silent.sum())
    tally.silent_classes |= set(labels[silent].tolist())
    tally.heard_classes |= set(labels[~silent].tolist())
    zero = ~errors.any(axis=1)
    used = errors.argmin(axis=1)
    shaped = _one_negative(errors, used, tolerance)
    right = (shaped & (used == labels) & single_hard) | (zero & ~silent)
    other = np.zeros(count, bool)
    for part in outputs:
        right |= _proportional(errors, part - targets, tolerance)
    hot = np.zeros((count, classes))
    hot[np.arange(count), used] = 1.0 - smoothing
    hot += smoothing / classes
    for part in outputs:
        other |= _proportional(errors, part - hot, tolerance)
    other = (other | (shaped if not smoothing else False)) & ~right & ~silent & ~zero
    # A row of several classes that the loss sees as one class is no other label but a crossentropy of another kind.
    other &= used != labels
    tally.other += int(other.sum())
    tally.explained += int(right.sum())
    tally.unknown += int((~right & ~other & ~silent).sum())
    if (other | right).any():
        rows = (other | right) & ~zero & single
        tally.pairs.append((labels[rows], np.where(right, labels, used)[rows]))


def _one_negative(errors: np.ndarray, used: np.ndarray, tolerance: float) -> np.ndarray:
    """Tell which rows sum to zero and have one negative entry."""
    least = -errors[np.arange(len(errors)), used]
    rest = errors.copy()
    rest[np.arange(len(errors)), used] = 0.0
    balanced = np.abs(errors.sum(axis=1)) <= tolerance * np.abs(errors).sum(axis=1)
    return np.asarray((least > 0.0) & balanced & (-np.minimum(rest, 0.0).sum(axis=1) <= tolerance * least))


def _proportional(errors: np.ndarray, expected: np.ndarray, tolerance: float) -> np.ndarray:
    """Tell which rows of errors are a positive multiple of the expected rows, to rounding of outputs of order 1."""
    scale = np.maximum(np.abs(errors).max(axis=1, keepdims=True), _TINY)
    unit = errors / scale
    square = np.maximum((expected * expected).sum(axis=1), _TINY)
    factor = (unit * expected).sum(axis=1) / square
    left = np.linalg.norm(unit - factor[:, None] * expected, axis=1)
    # The outputs are of order 1 and rounded; where they nearly equal the targets, the difference has lost digits.
    allowed = tolerance * (np.linalg.norm(unit, axis=1) + factor / 16.0)
    return np.asarray((factor > 0.0) & (left <= np.minimum(allowed, 0.3 * np.linalg.norm(unit, axis=1))))


def _sigmoid_rows(block: Block, tolerance: float, smoothing: float, tally: _Tally) -> None:
    tally.hidden += int(np.count_nonzero(block.errors[~block.keep].any(axis=1)))
    errors = block.errors[block.keep].astype(np.float64)
    targets = block.targets[block.keep].astype(np.float64)
    if targets.ndim == 1:
        targets = targets[:, None]
    outputs = [part[block.keep].astype(np.float64) for part in block.outputs]
    count, classes = errors.shape
    tally.positions += count
    tally.classes = classes
    if not count:
        return
    out = np.isnan(targets)
    errors = np.where(out, 0.0, errors)
    hard = ((targets == 0.0) | (targets == 1.0) | out) if not smoothing else np.zeros_like(out)
    soft = targets * (1.0 - smoothing) + smoothing / 2.0
    silent = _silent_rows(
        Block(errors=errors, outputs=tuple(outputs), targets=soft, keep=np.ones(count, bool)), errors, soft, tolerance
    )
    tally.silent += int(silent.sum())
    tally.silent_classes |= set(range(int(silent.sum())))  # no row of several classes is a class to ignore
    zero = errors == 0.0
    # The sign of w (p - t) tells a target of 0 from one of 1; for others the outputs decide.
    agrees = zero | out | (hard & ((errors < 0.0) == (targets == 1.0)))
    for part in outputs:
        side = np.sign(part - soft)
        close = np.abs(part - soft) <= tolerance
        agrees |= ~hard & (close | (np.sign(errors) == side))
    if not outputs:
        agrees |= ~hard
    wrong = ~agrees.all(axis=1) & ~silent
    tally.other += int(wrong.sum())
    tally.explained += int((~wrong & ~silent).sum())
    rows = wrong & hard.all(axis=1) & ~out.any(axis=1)
    if not rows.any():
        return
    # For rows of targets the mistakes are tried on all rows, as they cannot be read from one entry.
    used, told = errors < 0.0, targets == 1.0
    candidates = {
        "the classes in reverse order": told[:, ::-1],
        "the class before each label (labels that are shifted by one)": np.roll(told, -1, axis=1),
        "the class after each label (labels that are shifted by one)": np.roll(told, 1, axis=1),
        "the absent classes as the present ones": ~told,
    }
    fitting = {name for name, form in candidates.items() if ((form == used) | zero)[~silent].all()}
    tally.mistakes = fitting if tally.mistakes is None else tally.mistakes & fitting


def explain_rest(
    rest: np.ndarray, candidates: Iterable[np.ndarray | None], *, rounding: float
) -> tuple[np.ndarray | None, float] | None:
    """Find the penalty that explains the part of a gradient that the batch does not.

    Parameters
    ----------
    rest : ndarray
        Gradient minus its part from the batch.
    candidates : iterable of ndarray or None
        Gradients of penalties, up to a factor.
    rounding : float
        Norm of the rounding errors in `rest`.

    Returns
    -------
    penalty, factor : tuple, or None
        The penalty, None where nothing is left to explain; and its multiple of the candidate. None if no candidate
        explains the rest.
    """
    if float(np.linalg.norm(rest)) <= rounding:
        return None, 0.0
    for candidate in candidates:
        if candidate is None or not np.any(candidate):
            continue
        wide = candidate.astype(np.float64)
        factor = float(np.vdot(wide, rest) / np.vdot(wide, wide))
        if float(np.linalg.norm(rest - factor * wide)) <= rounding + 1e-5 * float(np.linalg.norm(rest)):
            return (factor * wide).astype(candidate.dtype), factor
    return None
