"""Checks that an attack, a defence or an adapter keeps the rules of its protocol."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from ..attacks import COSTS, Attack
from ..attacks.registry import ask, prepare, run
from ..core.recovery import Recovery, Status
from ..core.truth import Truth
from ..core.update import Update
from .updates import make_update

__all__ = ["check_adapter", "check_attack", "check_defence"]


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise AssertionError(rule)


def _global_random_state() -> tuple[Any, ...]:
    keys = np.random.get_state(legacy=False)  # noqa: NPY002 - it is the global state that is being watched
    return random.getstate(), str(keys)


def _named(thing: Any, kind: str) -> str:
    name = getattr(thing, "name", None)
    _require(isinstance(name, str) and bool(name), f"a {kind} must have a non-empty string 'name', got {name!r}")
    return str(name)


def _copies(update: Update) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in update.gradients.items()}


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == other[k].dtype and np.array_equal(a, other[k], equal_nan=True) for k, a in one.items()
    )


_SHAPES = ((1, 1, 2), (1, 4, 3), (3, 8, 10), (5, 3, 10), (12, 30, 6), (8, 40, 60))


def check_attack(attack: Attack) -> None:
    """Check that an attack keeps the rules of the protocol, on small updates of many shapes.

    Parameters
    ----------
    attack : attack
        The attack to check.

    Raises
    ------
    AssertionError
        Naming the broken rule: unique name, a known cost class if any, a Recovery with a known status, sorted labels in
        range, a reason where it does not apply, determinism, no change to the update, no use of global random state; of
        an attack that can be prepared, the same answer after that.
    """
    name = _named(attack, "attack")
    cost = getattr(attack, "cost", None)
    _require(cost is None or cost in COSTS, f"attack {name!r} has cost {cost!r}, which is none of {', '.join(COSTS)}")
    reads = getattr(attack, "reads", ())
    _require(
        isinstance(reads, tuple) and {"kernel", "bias"}.issuperset(reads),
        f"attack {name!r} has reads {reads!r}. Expected a tuple of 'kernel' and 'bias': the gradients it reads",
    )
    for positions, features, classes in _SHAPES:
        for signed in (False, True):
            case = make_update(positions=positions, features=features, classes=classes, signed=signed, bias=not signed)
            where = f"attack {name!r} on {positions} positions, {features} features, {classes} classes"
            before, state = _copies(case.update), _global_random_state()
            recovery = ask(attack, case.update, rng=np.random.default_rng(1))
            # These checks come before the second run, which might undo a change of the first.
            _require(_same(before, _copies(case.update)), f"{where}: it changed the update")
            _require(state == _global_random_state(), f"{where}: it used global random state instead of rng")
            again = ask(attack, case.update, rng=np.random.default_rng(1))
            _require(isinstance(recovery, Recovery), f"{where}: it returned {type(recovery).__name__}, not a Recovery")
            _require(recovery.attack == name, f"{where}: the Recovery names {recovery.attack!r}")
            _require(
                recovery.status in {Status.RECOVERED, Status.NOT_APPLICABLE, Status.INCONCLUSIVE},
                f"{where}: unknown status {recovery.status!r}",
            )
            labels = recovery.labels
            _require(isinstance(labels, tuple), f"{where}: labels must be a tuple")
            _require(all(type(label) is int for label in labels), f"{where}: labels must be plain ints")
            _require(list(labels) == sorted(set(labels)), f"{where}: labels must be sorted and distinct")
            _require(all(0 <= label < classes for label in labels), f"{where}: a label is out of range")
            if recovery.status != Status.RECOVERED:
                _require(bool(recovery.reason), f"{where}: status {recovery.status!r} needs a reason with the reason")
                _require(not labels, f"{where}: status {recovery.status!r} must not name labels")
            _require(
                (labels, recovery.status, recovery.positions) == (again.labels, again.status, again.positions),
                f"{where}: two runs with the same rng differ",
            )
            if not hasattr(attack, "prepared"):
                continue
            ready = prepare(attack, case.update, seed=1)
            one, other = run(attack, case.update, seed=1), run(ready, case.update, seed=1)
            _require(_same(before, _copies(case.update)), f"{where}: it changed the update while it was prepared")
            _require(
                (one.labels, one.status, one.positions) == (other.labels, other.status, other.positions),
                f"{where}: prepared on the update, it gives another answer",
            )


def check_defence(defence: Callable[..., Update]) -> None:
    """Check that a defence keeps the rules of the protocol.

    Parameters
    ----------
    defence : defence
        The defence to check.

    Raises
    ------
    AssertionError
        Naming the broken rule: unique name, same variables, shapes, dtypes and head, its name recorded, determinism,
        no change to the update it is given, no use of global random state.
    """
    name = _named(defence, "defence")
    for positions, features, classes in _SHAPES:
        case = make_update(positions=positions, features=features, classes=classes)
        where = f"defence {name!r} on {features} features, {classes} classes"
        before, state = _copies(case.update), _global_random_state()
        shared = defence(case.update, rng=np.random.default_rng(1))
        _require(_same(before, _copies(case.update)), f"{where}: it changed the update it was given")
        _require(state == _global_random_state(), f"{where}: it used global random state instead of rng")
        again = defence(case.update, rng=np.random.default_rng(1))
        _require(isinstance(shared, Update), f"{where}: it returned {type(shared).__name__}, not an Update")
        _require(shared.head is case.update.head, f"{where}: it replaced the head's description")
        # A composition may record its parts: their names, joined, are its own name.
        _require(
            bool(shared.defences) and " + ".join(shared.defences) == name,
            f"{where}: it did not record its name in Update.defences",
        )
        after = _copies(shared)
        _require(before.keys() == after.keys(), f"{where}: it added or removed variables")
        for key, array in after.items():
            _require(array.shape == before[key].shape, f"{where}: it changed the shape of {key!r}")
            _require(array.dtype == before[key].dtype, f"{where}: it changed the dtype of {key!r}")
        _require(_same(after, _copies(again)), f"{where}: two runs with the same rng differ")


def check_adapter(adapter: Any, model: Any, batch: Any) -> None:
    """Check that an adapter keeps the rules of the protocol on one model and batch of yours.

    Parameters
    ----------
    adapter : adapter
        The adapter to check.
    model, batch : object
        A model that the adapter supports, and a batch with at least one label.

    Raises
    ------
    AssertionError
        Naming the broken rule: a name, an Update with a usable gradient, a Truth over the head's classes, two
        captures alike (the model is unchanged), no use of global random state.
    """
    name = _named(adapter, "adapter")
    where = f"adapter {name!r}"
    state = _global_random_state()
    truth = adapter.labels(model, batch, head=None, class_weight=None)
    update = adapter.capture(model, batch, head=None, training=True, class_weight=None)
    again = adapter.capture(model, batch, head=None, training=True, class_weight=None)
    _require(isinstance(truth, Truth), f"{where}: labels() returned {type(truth).__name__}, not a Truth")
    _require(isinstance(update, Update), f"{where}: capture() returned {type(update).__name__}, not an Update")
    _require(truth.labels.size > 0, f"{where}: labels() found no label in a batch that must have one")
    _require(
        truth.classes == update.classes,
        f"{where}: labels() speaks of {truth.classes} classes, the head has {update.classes} outputs",
    )
    _require(
        truth.features is None or truth.features.shape[1] == update.features,
        f"{where}: labels() gives features of another width than the {update.features} inputs of the head",
    )
    defect = update.defect()
    _require(defect is None, f"{where}: {defect}")
    _require(_same(_copies(update), _copies(again)), f"{where}: capturing twice gives different gradients")
    _require(state == _global_random_state(), f"{where}: it changed global random state")
