"""Attacks by name, and the one place where an attack is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import InvalidArgumentError, UnknownNameError, quoted
from ..core.recovery import NotApplicable, Recovery, Status
from ..core.settings import active_scope
from ..core.update import Update
from .attack import COSTS, Attack
from .counting.bias_counts import BiasCounts
from .counting.ilrg import ILRG
from .counting.llg_star import LLGStar
from .disaggregate.attack import Disaggregate
from .energy.attack import Energy
from .energy.embedding_rows import EmbeddingRows
from .gradient.reading import Reading
from .rlg.attack import RLG
from .robust.attack import RobustRLG
from .rules.bias_sign import BiasSign
from .rules.idlg import IDLG
from .rules.llg import LLG
from .rules.yin import Yin
from .shadow.attack import Shadow

__all__ = ["ask", "attack", "builtin_attacks", "prepare", "resolve", "run"]


def builtin_attacks() -> dict[str, Attack]:
    """Return the built-in attacks by name."""
    members: tuple[Attack, ...] = (
        *(BiasSign(), EmbeddingRows(), IDLG(), Yin(), BiasCounts(), LLG(), LLGStar(), ILRG(), RLG(), RobustRLG()),
        *(Disaggregate(), Energy(), Shadow()),
    )
    return {member.name: member for member in members}


def _registered() -> dict[str, Attack]:
    known: dict[str, Attack] = builtin_attacks()
    for name, extra in active_scope().attacks.items():
        if name in known:
            raise InvalidArgumentError(f"a hook registers an attack named {name!r}, which is built in. Rename it.")
        known[name] = extra
    return known


def _rank(member: Attack) -> int:
    cost = getattr(member, "cost", None)
    return COSTS.index(cost) if cost in COSTS else len(COSTS)


def resolve(wanted: Iterable[Any], known: Mapping[str, Attack] | None = None) -> list[Attack]:
    """Turn names and attacks into attacks.

    Parameters
    ----------
    wanted : iterable of (str or attack)
        ``"auto"`` stands for all registered ones, cheapest first.
    known : mapping of str to attack, optional
        The registry; by default the built-in attacks and those of hooks.

    Returns
    -------
    list of attack
        In the given order, each name once.

    Raises
    ------
    UnknownNameError
        For a name without a registered attack.
    InvalidArgumentError
        For two different attacks of one name, or an attack without a name.
    """
    registry = _registered() if known is None else known
    chosen: dict[str, Attack] = {}
    for item in wanted:
        if isinstance(item, str):
            if item == "auto":
                for name, member in sorted(registry.items(), key=lambda entry: _rank(entry[1])):
                    chosen.setdefault(name, member)
                continue
            if item not in registry:
                raise UnknownNameError(
                    f"unknown attack {quoted(item)}. Expected 'auto' or one of {', '.join(registry)}."
                )
            chosen.setdefault(item, registry[item])
            continue
        own = getattr(item, "name", None)
        if not isinstance(own, str) or not own:
            raise InvalidArgumentError(
                f"an attack of type {type(item).__name__} has no name. Expected a string 'name'."
            )
        if chosen.setdefault(own, item) is not item:
            raise InvalidArgumentError(f"two attacks are named {own!r}. Give one of them another name.")
    return list(chosen.values())


def ask(member: Attack, shared: Update | Reading, *, rng: np.random.Generator) -> Recovery:
    """Call an attack, and turn its refusal into a Recovery. No other place catches `NotApplicable` for good.

    Parameters
    ----------
    member : attack
        The attack.
    shared : Update or Reading
        The update that was shared; a reading of it where several attacks are asked.
    rng : numpy.random.Generator
        Source of every random choice.

    Returns
    -------
    Recovery
        The claim, or "not applicable" with the reason.
    """
    reading = shared if isinstance(shared, Reading) else Reading(shared)
    read = getattr(member, "read", None)
    try:
        return member(reading.update, rng=rng) if read is None else read(reading, rng=rng)
    except NotApplicable as refusal:
        return Recovery.not_applicable(member.name, refusal.because, **refusal.details)


def run(member: Attack, shared: Update | Reading, *, seed: int, batch: int = 0) -> Recovery:
    """Run one attack with its own reproducible random stream, and check its answer.

    Parameters
    ----------
    member : attack
        The attack.
    shared : Update or Reading
        The update that was shared; a reading of it where several attacks run on it.
    seed : int
        The audit's seed.
    batch : int, default 0
        Index of the batch, so that batches get independent streams.

    Returns
    -------
    Recovery
        The claim; "inconclusive" if the update is not finite or zero.

    Raises
    ------
    InvalidArgumentError
        If the attack returns anything but a Recovery under its own name.
    """
    reading = shared if isinstance(shared, Reading) else Reading(shared)
    update = reading.update
    obstacle = _obstacle(member, update)
    if obstacle is not None:
        return obstacle
    recovery = ask(member, reading, rng=_stream(member, seed, batch))
    if not isinstance(recovery, Recovery) or recovery.attack != member.name:
        raise InvalidArgumentError(
            f"attack {member.name!r} returned {type(recovery).__name__}. Expected a Recovery with its own name."
        )
    # A defence of one head alone hides nothing that another head shows. The choice does not depend on the labels, and
    # falls on attacks that prove their claims.
    if recovery.status == Status.NOT_APPLICABLE and getattr(member, "certifies", False):
        for other in reading.other_heads():
            again = ask(member, other, rng=_stream(member, seed, batch))
            if again.status == Status.RECOVERED:
                recovery, update = dataclasses.replace(again, reason=_elsewhere(again, other)), other.update
                break
    if (recovery.status == Status.RECOVERED or recovery.shares is not None) and not recovery.variables:
        parts = [getattr(update.head, part) for part in getattr(member, "reads", ("kernel", "bias"))]
        names = tuple(name for name in parts if name in update.gradients)
        recovery = dataclasses.replace(recovery, variables=names)
    return recovery


def _elsewhere(found: Recovery, other: Reading) -> str:
    return "; ".join(filter(None, (f"read from another head, {other.update.head.kernel!r}", found.reason)))


def prepare(member: Attack, update: Update, *, seed: int, batch: int = 0) -> Attack:
    """Return an attack that has learned all that further updates of the same head and defence share.

    Parameters
    ----------
    member : attack
        The attack.
    update : Update
        The first of these updates.
    seed : int
        The audit's seed.
    batch : int, default 0
        Index of the batch.

    Returns
    -------
    attack
        The attack itself if it has nothing to learn, or cannot be asked about `update`. Else one whose answer about
        `update` is the same.

    Raises
    ------
    InvalidArgumentError
        If the prepared attack has another name.
    """
    learn, update = getattr(member, "prepared", None), update.both_classes()
    if learn is None or _obstacle(member, update) is not None:
        return member
    try:
        prepared: Attack = learn(update, rng=_stream(member, seed, batch))
    except NotApplicable as refusal:
        return _Refusing(name=member.name, because=refusal.because, details=refusal.details)
    if getattr(prepared, "name", None) != member.name:
        raise InvalidArgumentError(
            f"attack {member.name!r} prepares {type(prepared).__name__} named {getattr(prepared, 'name', None)!r}. "
            "Expected an attack of its own name."
        )
    return prepared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Refusing:
    """An attack whose preparation was refused: so is every update that it would have been prepared for."""

    name: str
    because: str
    details: Mapping[str, Any]

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        raise NotApplicable(self.because, **self.details)


def _obstacle(member: Attack, update: Update) -> Recovery | None:
    """Return the answer about an update that the attack is not asked about, or None."""
    defect = update.defect()
    if defect is not None:
        return Recovery.inconclusive(member.name, defect)
    if update.head.tied and not getattr(member, "reads_tied", False):
        return Recovery.not_applicable(
            member.name,
            "the head is tied to the input embedding: its gradient is the sum of both uses, and this attack reads the "
            "head's alone",
        )
    if update.head.kind == "sigmoid" and not getattr(member, "reads_sigmoid", False):
        return Recovery.not_applicable(
            member.name,
            "the head is a sigmoid, whose errors do not sum to zero over the classes, and this attack reads softmax "
            "heads alone",
        )
    return None


def _stream(member: Attack, seed: int, batch: int) -> np.random.Generator:
    # Derived from the name and not the place in the list, so that a further attack changes no other's answer.
    return np.random.default_rng([seed, batch, *member.name.encode()])


def attack(name: str | Attack, update: Update, *, seed: int = 0) -> Recovery:
    """Run one attack on one update.

    Parameters
    ----------
    name : str or attack
        A registered attack's name, or an attack.
    update : Update
        The update that was shared.
    seed : int, default 0
        Seeds the attack's random choices.

    Returns
    -------
    Recovery
        The attack's claim.

    Raises
    ------
    UnknownNameError
        For a name without a registered attack.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_labelleak import Update, attack
    >>> probabilities = np.array([0.2, 0.5, 0.3])
    >>> error = probabilities - np.array([0.0, 0.0, 1.0])
    >>> update = Update.from_arrays(np.outer([1.0, 2.0], error), bias_gradient=error)
    >>> attack("bias_sign", update).labels
    (2,)
    """
    (member,) = resolve([name])
    return run(member, update, seed=seed)
