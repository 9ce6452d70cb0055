"""The built-in attacks and defences pass the checks that third parties are held to, and the checks can fail."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise, InvalidArgumentError, Recovery, Sign, Update
from pytest_labelleak.attacks import builtin_attacks
from pytest_labelleak.capture.arrays import ArraysAdapter
from pytest_labelleak.testing import check_adapter, check_attack, check_defence, make_update


@pytest.mark.parametrize("name", builtin_attacks())
def test_builtin_attacks_conform(name: str) -> None:
    check_attack(builtin_attacks()[name])


@pytest.mark.parametrize("defence", [Sign(), GaussianNoise(relative=0.5), GaussianNoise(absolute=1e-3)])
def test_builtin_defences_conform(defence: object) -> None:
    check_defence(defence)


def test_the_arrays_adapter_conforms() -> None:
    case = make_update(positions=4, features=8, classes=10)
    check_adapter(ArraysAdapter(), case.update, case.labels)


class _Bad:
    name = "bad"

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    def __call__(self, update: Update, *, rng: np.random.Generator) -> object:
        made = {
            "type": lambda: [1],
            "range": lambda: Recovery(attack="bad", status="recovered", labels=(update.classes,)),
            "order": lambda: Recovery(attack="bad", status="recovered", labels=(1, 0)),
            "numpy": lambda: Recovery(attack="bad", status="recovered", labels=tuple(np.arange(1))),
            "reason": lambda: Recovery(attack="bad", status="not applicable"),
            "name": lambda: Recovery(attack="other", status="recovered"),
            "random": lambda: Recovery(attack="bad", status="recovered", positions=int(random.random() * 1e9)),
            "change": lambda: (update.kernel_gradient.fill(0), Recovery(attack="bad", status="recovered"))[1],
        }
        return made[self.behaviour]()


@pytest.mark.parametrize(
    ("behaviour", "rule"),
    [
        ("type", "not a Recovery"),
        ("range", "out of range"),
        ("order", "sorted"),
        ("numpy", "plain ints"),
        ("reason", "needs a reason"),
        ("name", "names 'other'"),
        ("random", "global random state"),
        ("change", "changed the update"),
    ],
)
def test_check_attack_names_the_broken_rule(behaviour: str, rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_attack(_Bad(behaviour))


class _Forgetful:
    """Prepared on an update, it names another class."""

    name = "forgetful"

    def __init__(self, label: int = 0) -> None:
        self.label = label

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return Recovery(attack=self.name, status="recovered", labels=(self.label,))

    def prepared(self, update: Update, *, rng: np.random.Generator) -> _Forgetful:
        return _Forgetful(1)


def test_a_prepared_attack_gives_the_answer_of_the_attack() -> None:
    with pytest.raises(AssertionError, match="prepared on the update, it gives another answer"):
        check_attack(_Forgetful())


def test_a_prepared_attack_keeps_its_name() -> None:
    class Renamed(_Forgetful):
        def prepared(self, update: Update, *, rng: np.random.Generator) -> _Forgetful:
            other = _Forgetful()
            other.name = "other"
            return other

    with pytest.raises(InvalidArgumentError, match="'forgetful' prepares _Forgetful named 'other'"):
        check_attack(Renamed())


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (lambda u, rng: u, "record its name"),
        (lambda u, rng: u.map(lambda a: a[:1], defence="d"), "shape"),
        (lambda u, rng: u.map(lambda a: a.astype(np.float16), defence="d"), "dtype"),
        (lambda u, rng: u.map(lambda a: np.negative(a, out=a), defence="d"), "changed the update"),
        (lambda u, rng: u.map(lambda a: a + np.random.normal(), defence="d"), "global random state"),  # noqa: NPY002
        (lambda u, rng: None, "not an Update"),
    ],
)
def test_check_defence_names_the_broken_rule(function: object, rule: str) -> None:
    class Defence:
        name = "d"

        def __call__(self, update: Update, *, rng: np.random.Generator) -> object:
            return function(update, rng)  # type: ignore[operator]

    with pytest.raises((AssertionError, ValueError), match=rule):
        check_defence(Defence())
