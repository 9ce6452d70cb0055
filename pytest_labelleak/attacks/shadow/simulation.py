"""Simulated updates of the same head and defence, whose labels are known."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import scipy.special

from ...core.optimizer import Optimizer, OptimizerState
from ...core.softmax import softmax
from ...core.update import Update
from ...defences.defence import Defence

__all__ = ["NON_NEGATIVE", "SIGNED", "Simulated", "norm_beneath", "simulate", "undefended"]

#: Kinds of features, in the order of preference.
SIGNED, NON_NEGATIVE = "signed", "non-negative"

#: Spread of the logits of a simulated sample, and how much larger its own label's is: untrained to well trained.
_SPREADS = (0.5, 1.0, 2.0)
_MARGINS = (0.0, 0.0, 3.0, 6.0)
#: Share of a class's own weights in the features of its samples, where weights are known.
_ALIGNED = (0.0, 0.25, 0.5)
#: Labels of a simulated position behind sigmoids, on average.
_SEVERAL = (1, 2, 4)
#: Local steps that are simulated one by one; more are taken together. Bounds the work. Steps of gradient descent add up
#: alike, however many there are; those of an optimizer with moments do not.
_MOST_STEPS, _MOST_STATEFUL_STEPS = 8, 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulated:
    """One simulated update.

    Attributes
    ----------
    update : Update
        As a receiver would see it.
    present : ndarray of bool, shape (C,)
        Classes with a label in it.
    """

    update: Update
    present: np.ndarray = field(repr=False)


def undefended(target: Update, positions: int, kind: str, rng: np.random.Generator) -> Simulated:
    """Simulate the update that `target`'s participant could have computed, before any defence.

    Parameters
    ----------
    target : Update
        Gives the head's size, dtype, weights where these are known, and the number of local steps.
    positions : int
        Number of label positions, over all steps.
    kind : str
        "signed" or "non-negative" features.
    rng : numpy.random.Generator
        Source of every random choice.

    Returns
    -------
    Simulated
        Independent normal features, or the positive parts of such; labels uniform over the classes, several at a
        position behind sigmoids.
    """
    d, classes = target.features, target.classes
    known = target.head.kernel_value
    weights = rng.standard_normal((d, classes)) if known is None else known.astype(np.float64)
    spread, margin = rng.choice(_SPREADS), rng.choice(_MARGINS)
    aligned = 0.0 if known is None else rng.choice(_ALIGNED)
    rule = target.optimizer or Optimizer()
    steps = min(target.steps, _MOST_STEPS if rule == Optimizer() else _MOST_STATEFUL_STEPS, positions)
    state = OptimizerState(rule)
    rate = target.learning_rate if steps > 1 and known is not None and target.learning_rate else 0.0
    kernel: np.ndarray = np.zeros((d, classes))
    bias: np.ndarray = np.zeros(classes)
    labels: list[np.ndarray] = []
    sigmoid = target.head.kind == "sigmoid"
    several = int(rng.choice(_SEVERAL)) if sigmoid else 1
    # The logits of trained sigmoids are as far below zero as their classes are rare.
    rare = float(rng.choice((0.0, np.log(classes / several)))) if sigmoid else 0.0
    for batch in np.array_split(np.arange(positions), steps):
        own = rng.integers(0, classes, batch.size)
        features = rng.standard_normal((batch.size, d))
        if aligned:
            along = weights[:, own].T - weights.mean(axis=1)
            features += aligned * along * (np.sqrt(d) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-300))
        if kind == NON_NEGATIVE:
            features = np.maximum(features, 0.0)
        logits = features @ (weights - rate * kernel)
        deviation = float(logits.std())
        logits *= spread / deviation if deviation > 0 else 1.0
        logits[np.arange(batch.size), own] += margin
        if sigmoid:
            targets = rng.random(logits.shape) < (several - 1) / classes
            logits[targets] += margin
            targets[np.arange(batch.size), own] = True
            error = (scipy.special.expit(logits - rare) - targets) / (batch.size * classes)
            labels.append(np.nonzero(targets)[1])
        else:
            error = softmax(logits)
            error[np.arange(batch.size), own] -= 1.0
            error /= batch.size
            labels.append(own)
        changes = state.step({"kernel": features.T @ error, "bias": error.sum(axis=0)})
        kernel += changes["kernel"]
        bias += changes["bias"]
    present = np.zeros(classes, dtype=bool)
    present[np.concatenate(labels)] = True
    gradients = {target.head.kernel: kernel.astype(target.kernel_gradient.dtype)}
    if target.head.bias is not None and target.bias_gradient is not None:
        gradients[target.head.bias] = bias.astype(target.bias_gradient.dtype)
    head = dataclasses.replace(target.head, kernel_penalty=None, bias_penalty=None)
    update = dataclasses.replace(target, gradients=gradients, head=head, defences=(), penalties={}, values={})
    return Simulated(update=update, present=present)


def norm_beneath(target: Update, defence: Defence | None, made: Simulated, rng: np.random.Generator) -> float | None:
    """Return the norm that a gradient must have for its defended norm to be the target's.

    A defence whose strength is absolute acts on a gradient of the target's scale, which is not known beneath the
    defence.

    Parameters
    ----------
    target : Update
        The update under attack.
    defence : Defence or None
        The defence that was applied.
    made : Simulated
        From `undefended`.
    rng : numpy.random.Generator
        Source of every random choice.

    Returns
    -------
    float or None
        Frobenius norm of the kernel gradient before the defence; None where the scale has no say.
    """
    if defence is None:
        return None
    wanted, own = _norm(target), _norm(made.update)
    if not (wanted > 0 and own > 0 and np.isfinite(wanted)):
        return None
    seed = int(rng.integers(2**63))

    def after(norm: float) -> float:
        return _norm(defence(_scaled(made.update, norm / own), rng=np.random.default_rng(seed)))

    # Where eight times the gradient gives eight times the update, or the same, the scale has no say.
    once, eightfold = after(wanted), after(8.0 * wanted)
    if once == 0 or min(abs(eightfold / once - 1.0), abs(eightfold / once - 8.0)) < 1e-3:
        return None
    low, high = np.log(wanted) - 12.0, np.log(wanted) + 4.0
    for _ in range(14):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if after(float(np.exp(middle))) < wanted else (low, middle)
    return float(np.exp(0.5 * (low + high)))


def simulate(
    target: Update,
    defence: Defence | None,
    positions: int,
    kind: str,
    rng: np.random.Generator,
    *,
    norm: float | None = None,
) -> Simulated:
    """Simulate a shared update.

    Parameters
    ----------
    target : Update
        The update under attack.
    defence : Defence or None
        The defence that was applied.
    positions : int
        Number of label positions.
    kind : str
        "signed" or "non-negative" features.
    rng : numpy.random.Generator
        Source of every random choice.
    norm : float, optional
        Norm of the kernel gradient before the defence, as `norm_beneath` has it; by default that of the simulation.

    Returns
    -------
    Simulated
        The update after the defence.
    """
    made = undefended(target, positions, kind, rng)
    if defence is None:
        return made
    own = _norm(made.update)
    beneath = made.update if norm is None or own == 0 else _scaled(made.update, norm / own)
    return dataclasses.replace(made, update=defence(beneath, rng=rng))


def _scaled(update: Update, scale: float) -> Update:
    gradients = {name: array * array.dtype.type(scale) for name, array in update.gradients.items()}
    return dataclasses.replace(update, gradients=gradients)


def _norm(update: Update) -> float:
    return float(np.linalg.norm(update.kernel_gradient.astype(np.float64)))
