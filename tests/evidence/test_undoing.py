"""Defences that a receiver turns around are no protection, whatever the attacks make of the shared update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pytest_labelleak import Aggregate, Compose, GaussianNoise, Update, audit, defences
from pytest_labelleak.auditing.evidence.undoing import can_be_undone
from pytest_labelleak.testing import make_update

CASE = make_update(positions=8, features=64, classes=100, seed=3, dtype="float64")
ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(100, 100)))[0]


def key(array: np.ndarray) -> np.ndarray:
    return 100.0 * np.random.default_rng(42).normal(size=array.shape)


@dataclasses.dataclass(frozen=True)
class Own:
    """A defence without random choices."""

    function: Callable[[np.ndarray], np.ndarray]
    secret: bool = False
    name: str = "own"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(lambda array: np.asarray(self.function(array), array.dtype), defence=self.name)


KEYED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "classes reversed": lambda a: a[..., ::-1],
    "classes in another order": lambda a: a[..., np.random.default_rng(7).permutation(a.shape[-1])],
    "noise from a fixed seed": lambda a: a + key(a),
    "noise from a fixed seed, relative": lambda a: a + np.sqrt(np.mean(a**2)) * key(a),
    "rotated": lambda a: a @ ROTATION,
    "fixed signs": lambda a: a * np.sign(key(a)),
}


def undone(function: Callable[[np.ndarray], np.ndarray], update: Update = CASE.update) -> bool:
    defence = Own(function)
    rng = np.random.default_rng(0)
    return can_be_undone(lambda u: defence(u, rng=rng), update, rng=rng)


@pytest.mark.parametrize("kind", KEYED)
def test_one_to_one_maps_that_keep_distances_are_found(kind: str) -> None:
    assert undone(KEYED[kind])
    assert undone(KEYED[kind], make_update(positions=2, features=3, classes=100, seed=1, dtype="float64").update)


@pytest.mark.parametrize(
    "function",
    [
        np.sign,
        np.zeros_like,
        lambda a: np.round(a, 2),
        lambda a: a * (np.arange(a.shape[-1]) % 2),
        lambda a: np.sort(a, axis=0),
        lambda a: a * (np.abs(a) >= np.quantile(np.abs(a), 0.9)),
        lambda a: a @ np.diag(np.arange(1.0, 101.0)),
    ],
    ids=["signs", "zeros", "rounded", "half of the classes", "sorted features", "largest tenth", "weighted classes"],
)
def test_maps_that_lose_something_are_not(function: Callable[[np.ndarray], np.ndarray]) -> None:
    assert not undone(function)


def test_too_few_entries_tell_nothing() -> None:
    assert not undone(np.fliplr, Update.from_arrays(np.array([[0.5, -0.5]])))
    assert not undone(np.fliplr, Update.from_arrays(np.ones((4, 5))))


@pytest.mark.parametrize("kind", ["classes reversed", "classes in another order", "noise from a fixed seed"])
@pytest.mark.slow
def test_an_audit_of_a_defence_that_can_be_turned_around_never_holds(kind: str) -> None:
    for seed in range(5):
        case = make_update(positions=8, features=64, classes=100, seed=seed, dtype="float64")
        result = audit(case.update, case.labels, defence=Own(KEYED[kind]), attacks=["bias_sign", "idlg", "yin"])
        assert result.outcome != "held"
        if seed == 3:
            assert result.outcome == "inconclusive"
            assert "can turn it around" in result.message


def test_numbers_that_no_receiver_knows_protect() -> None:
    others = [make_update(positions=8, features=64, classes=100, seed=seed) for seed in range(10, 13)]
    drowned = [one.update.map(lambda array: np.asarray(key(array), array.dtype), defence="key") for one in others]
    aggregate = Aggregate(clients=drowned)
    keyed = Own(KEYED["noise from a fixed seed"], secret=True)
    for defence in (aggregate, Compose([Own(lambda a: 2 * a), aggregate]), keyed):
        result = audit(CASE.update, CASE.labels, defence=defence, attacks=["bias_sign"])
        assert "turn it around" not in result.message
    assert Compose([aggregate]).secret
    assert not Compose([GaussianNoise(relative=1.0)]).secret
    assert not getattr(defences.resolve("sign"), "secret", False)
