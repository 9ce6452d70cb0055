"""From an update to the problem of gradient matching: tokens and number of label positions are recovered first."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...attacks.gradient.head import bias_gradient
from ...attacks.gradient.reading import Reading
from ...attacks.registry import resolve, run
from ...core.recovery import NotApplicable, Status
from ...core.update import Update
from ..decoders.free_contexts import FreeContextDecoder
from .objectives import Distance
from .observed import observe
from .settings import Settings
from .unknowns import Unknowns

__all__ = ["pose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """Tokens that an update names, and the number of label positions.

    Attributes
    ----------
    tokens : tuple of int
        The tokens. Private.
    positions : int
        Number of label positions.
    certain : bool
        Whether the gradient is exact enough to count positions.
    """

    tokens: tuple[int, ...] = field(repr=False)
    positions: int
    certain: bool


def pose(update: Update, decoder: FreeContextDecoder, settings: Settings) -> Unknowns:
    """Recover tokens and number of positions from an update, and set the problem up.

    Parameters
    ----------
    update : Update
        Gradient of one utterance.
    decoder : FreeContextDecoder
        Speller of the same model.
    settings : Settings
        Variables to match, and restrictions of the unknowns.

    Returns
    -------
    Unknowns

    Raises
    ------
    NotApplicable
        If gradient matching does not apply to the update.
    """
    keys = decoder.keys(every=settings.every_layer)
    missing = [key for key in keys if key not in update.gradients]
    if missing:
        raise NotApplicable(
            f"the update holds no gradient of {', '.join(map(repr, missing))}. Expected all of the speller's "
            "variables, from the same model"
        )
    if update.steps > 1:
        raise NotApplicable(f"the update sums up {update.steps} local steps. Expected the gradient of one")
    if update.head.label_smoothing:
        raise NotApplicable("the loss smooths its labels, which is not supported")
    if update.classes != decoder.classes:
        raise NotApplicable(f"the update has {update.classes} classes and the speller {decoder.classes}")
    found = _named_tokens(update)
    positions, tokens = found.positions, found.tokens
    penalties: dict[str, np.ndarray | None] = dict(update.penalties)
    penalties[update.head.kernel] = update.head.kernel_penalty
    if update.head.bias is not None:
        penalties[update.head.bias] = update.head.bias_penalty
    targets = []
    for key in keys:
        targets.append(observe(np.asarray(update.gradients[key], np.float64), penalties.get(key)))
    ended = settings.known_end and decoder.end is not None and decoder.end in tokens and positions > 1
    bag = np.array(tokens if settings.restrict else range(decoder.classes), np.int64)
    return Unknowns(
        decoder=decoder,
        # Clipping, by the model or by a defence, leaves the scale open.
        distance=Distance(
            kind=settings.objective, targets=targets, scaled=update.reduction != "mean" or bool(update.defences)
        ),
        keys=keys,
        positions=positions,
        bag=bag,
        soft_labels=settings.soft_labels,
        basis=_directions(update, decoder, positions) if settings.subspace and found.certain else None,
        last=decoder.end if ended else None,
        complete=settings.restrict and settings.soft_labels == "softmax" and found.certain,
        label_scale=settings.rules.label_scale,
    )


def _named_tokens(update: Update) -> _Named:
    """Ask the attacks on labels: one that counts positions, or else those that name labels through defences."""
    reading = Reading(update)
    reasons, named, rank = [], {}, 0
    for name in ("rlg", "rlg_robust", "bias_sign"):
        (member,) = resolve([name])
        recovery = run(member, reading, seed=0)
        if recovery.status != Status.RECOVERED or not recovery.labels:
            reasons.append(f"{name}: {recovery.message or 'no label'}")
            continue
        if recovery.positions:
            return _Named(tokens=recovery.labels, positions=recovery.positions, certain=True)
        named[name] = recovery.labels
        if name == "rlg":
            rank = int(recovery.details["rank"])
    if "bias_sign" in named and _turned(bias_gradient(update), named["bias_sign"]):
        del named["bias_sign"]
    if not named:
        raise NotApplicable(f"no attack names tokens ({'; '.join(reasons)})")
    tokens = named.get("bias_sign") or max(named.values(), key=len)
    # Tokens that occur twice then show in the rank alone.
    return _Named(tokens=tokens, positions=max(rank, len(tokens)), certain=False)


def _turned(bias: np.ndarray | None, named: tuple[int, ...]) -> bool:
    """Tell whether noise, and no label, made most of the negative entries of a bias gradient.

    Absent classes have a positive entry, their mean probability, unless noise turned it. An entry that noise turned is
    as small as noise, and so lies nearer to zero than the usual positive one; that of a label does so only where the
    model is all but certain of it.
    """
    if bias is None or not np.any(bias > 0.0):
        return False
    nearer = -bias[list(named)] < np.median(bias[bias > 0.0])
    return 2 * int(np.count_nonzero(nearer)) > len(named)


def _directions(update: Update, decoder: FreeContextDecoder, positions: int) -> np.ndarray | None:
    """Return an orthonormal basis of the contexts' span, or None where the head takes no context unchanged.

    The head's gradient is ``H^T D``, and the rows of H hold the contexts. So the gradient's rows for the context have
    columns that are combinations of contexts, in all directions of their span.
    """
    if decoder.context_rows is None:
        return None
    gradient = np.asarray(update.kernel_gradient, np.float64)
    if update.head.kernel_penalty is not None:
        gradient = gradient - update.head.kernel_penalty
    left = np.linalg.svd(gradient[decoder.context_rows], full_matrices=False)[0]
    directions: np.ndarray = left[:, :positions].T
    return directions
