"""From an update to what gradient matching has to solve: the words and the number of positions are recovered first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...attacks import attack
from ...core.recovery import Status
from ...core.update import Update
from ..decoders.free_contexts import FreeContextDecoder
from .objectives import Distance
from .observed import observe
from .unknowns import Unknowns

if TYPE_CHECKING:
    from .matching import GradientMatching

__all__ = ["pose"]

#: A bias whose signs noise has turned names classes by the dozen. A transcript has fewer, or one in eight at the most.
_FEW, _SHARE = 12, 0.125


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """Words that an update names, and how many positions they take.

    Attributes
    ----------
    labels : tuple of int
        Private.
    positions : int
        Their number.
    certain : bool
        Whether the gradient is exact enough to count.
    """

    labels: tuple[int, ...] = field(repr=False)
    positions: int
    certain: bool


def pose(update: Update, decoder: FreeContextDecoder, settings: GradientMatching) -> Unknowns | str:
    """Recover words and positions from an update, and set the problem up.

    Parameters
    ----------
    update : Update
        Of one utterance.
    decoder : FreeContextDecoder
        Of the same model.
    settings : GradientMatching
        What to match.

    Returns
    -------
    Unknowns or str
        Or the reason why there is no problem to solve.
    """
    keys = decoder.keys(every=settings.every_layer)
    missing = [key for key in keys if key not in update.gradients]
    if missing:
        return (
            f"the update holds no gradient of {', '.join(map(repr, missing))}. Expected all of the speller's "
            "variables, from the same model"
        )
    if update.steps > 1:
        return f"the update sums up {update.steps} local steps. Expected the gradient of one"
    if update.head.label_smoothing:
        return "the loss smooths its labels, which is not supported"
    if update.classes != decoder.classes:
        return f"the update has {update.classes} classes and the speller {decoder.classes}"
    found = _words(update)
    if isinstance(found, str):
        return found
    positions, words = found.positions, found.labels
    penalties: dict[str, np.ndarray | None] = dict(update.penalties)
    penalties[update.head.kernel] = update.head.kernel_penalty
    if update.head.bias is not None:
        penalties[update.head.bias] = update.head.bias_penalty
    targets = []
    for key in keys:
        targets.append(observe(np.asarray(update.gradients[key], np.float64), penalties.get(key)))
    ended = settings.known_end and decoder.end is not None and decoder.end in words and positions > 1
    bag = np.array(words if settings.restrict else range(decoder.classes), np.int64)
    return Unknowns(
        decoder=decoder,
        # Clipping, by the model or by a defence, leaves the scale open.
        distance=Distance(
            kind=settings.objective, targets=targets, scaled=update.reduction != "mean" or bool(update.defences)
        ),
        keys=keys,
        positions=positions,
        words=bag,
        labels=settings.labels,
        basis=_directions(update, decoder, positions) if settings.subspace and found.certain else None,
        last=decoder.end if ended else None,
        complete=settings.restrict and settings.labels == "softmax" and found.certain,
    )


def _words(update: Update) -> _Words | str:
    """Ask the attacks on labels: one that counts positions, or those that name labels through defences."""
    reasons, named, rank = [], {}, 0
    for name in ("rlg", "rlg_robust", "bias_sign"):
        recovery = attack(name, update)
        if recovery.status != Status.RECOVERED or not recovery.labels:
            reasons.append(f"{name}: {recovery.message or 'no label'}")
            continue
        if recovery.positions:
            return _Words(labels=recovery.labels, positions=recovery.positions, certain=True)
        named[name] = recovery.labels
        if name == "rlg":
            rank = int(recovery.details["rank"])
    if len(named.get("bias_sign", ())) > max(_FEW, _SHARE * update.classes):
        del named["bias_sign"]
    if not named:
        return f"no attack names words ({'; '.join(reasons)})"
    labels = named.get("bias_sign") or max(named.values(), key=len)
    # Of words that occur twice there is no sign then, unless in the rank.
    return _Words(labels=labels, positions=max(rank, len(labels)), certain=False)


def _directions(update: Update, decoder: FreeContextDecoder, positions: int) -> np.ndarray | None:
    """Return the directions that contexts lie in, as the head's gradient tells them: it is ``H^T D``, and H holds them.

    The columns of the rows that take the context are combinations of the contexts, and all directions are there.
    """
    if decoder.context_rows is None:
        return None
    gradient = np.asarray(update.kernel_gradient, np.float64)
    if update.head.kernel_penalty is not None:
        gradient = gradient - update.head.kernel_penalty
    left = np.linalg.svd(gradient[decoder.context_rows], full_matrices=False)[0]
    directions: np.ndarray = left[:, :positions].T
    return directions
