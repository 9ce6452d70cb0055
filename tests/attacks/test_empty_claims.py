"""An update that holds labels is read or refused: no attack claims to have recovered nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pytest_labelleak import ClipNorm, DropSmallest, GaussianNoise, Quantise, RandomDrop, Sign, Update
from pytest_labelleak.attacks import RLG, builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.testing import make_head_update, make_update


@dataclass(frozen=True)
class LowRank:
    """The kernel's gradient projected on a few directions by one power step, as PowerSGD does."""

    rank: int
    name: str = "low rank"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        def compressed(array: np.ndarray) -> np.ndarray:
            if array.ndim < 2:
                return array.copy()
            wide = array.astype(np.float64)
            basis = np.linalg.qr(wide @ rng.standard_normal((array.shape[1], self.rank)))[0]
            return np.asarray(basis @ (basis.T @ wide), dtype=array.dtype)

        return update.map(compressed, defence=self.name)


@dataclass(frozen=True)
class Factors:
    """The gradient of one of two factors, as of a low-rank adapter, brought back to the kernel's shape."""

    rank: int
    left: bool
    name: str = "factors"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        def compressed(array: np.ndarray) -> np.ndarray:
            if array.ndim < 2:
                return array.copy()
            fixed = rng.standard_normal((array.shape[0 if self.left else 1], self.rank)) / np.sqrt(self.rank)
            wide = array.astype(np.float64)
            return np.asarray(fixed @ (fixed.T @ wide) if self.left else (wide @ fixed) @ fixed.T, dtype=array.dtype)

        return update.map(compressed, defence=self.name)


@dataclass(frozen=True)
class Positive:
    """The negative entries dropped: with them goes every trace of a label that attacks of signs could read."""

    name: str = "positive"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(lambda array: np.maximum(array, 0), defence=self.name)


LOSSY = {
    **{f"low rank {rank}": LowRank(rank) for rank in range(1, 17)},
    **{f"factors {rank}": Factors(rank, left=True) for rank in (1, 2, 4, 8, 16)},
    **{f"factors of classes {rank}": Factors(rank, left=False) for rank in (1, 4, 16)},
    "positive": Positive(),
    "sign": Sign(),
    "drop 99 %": DropSmallest(fraction=0.99),
    "random drop": RandomDrop(fraction=0.9),
    "2 bits": Quantise(bits=2),
    "noise 1": GaussianNoise(relative=1.0),
    "noise 100": GaussianNoise(relative=100.0),
}
CHEAP = [name for name in builtin_attacks() if name != "shadow"]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.slow
def test_no_attack_recovers_nothing_of_a_batch(name: str, signed: bool) -> None:
    case = make_head_update(positions=20, features=48, classes=100, seed=3, signed=signed)
    reading = Reading(LOSSY[name](case.update, rng=np.random.default_rng(0)))
    known = builtin_attacks()
    for member in (known[attack] for attack in CHEAP):
        found = run(member, reading, seed=0)
        assert found.labels or found.status is not Status.RECOVERED, f"{member.name} recovers nothing"


@pytest.mark.parametrize("rank", [1, 2, 4, 8])
def test_a_compression_to_low_rank_is_named_as_a_reason(rank: int) -> None:
    case = make_head_update(positions=20, features=48, classes=100, seed=3, signed=True)
    found = run(RLG(), LowRank(rank)(case.update, rng=np.random.default_rng(0)), seed=0)
    assert found.status is Status.NOT_APPLICABLE
    assert "the rank is not the batch's, as after a compression to low rank" in found.reason


@pytest.mark.parametrize("confidence", [None, 0.8])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 4, 8, 16])
@pytest.mark.slow
def test_no_attack_takes_the_rank_of_a_compressor_for_that_of_a_batch(rank: int, bias: bool, confidence: float) -> None:
    known, claims = builtin_attacks(), 0
    for positions, classes in ((3, 30), (8, 30), (20, 30), (20, 300)):
        if positions <= rank:
            continue
        made = make_head_update(
            positions=positions, features=64, classes=classes, seed=4, signed=True, bias=bias, confidence=confidence
        )
        reading = Reading(LowRank(rank)(made.update, rng=np.random.default_rng(0)))
        for member in (known[name] for name in CHEAP):
            found = run(member, reading, seed=0)
            # Whole counts in the bias gradient, which was not compressed, tell the number rightly.
            assert found.positions in (None, positions), member.name
            # Labels that directions of the projection separate are named all the same, and rightly.
            if member.name == "rlg":
                claims += len(found.labels)
                assert set(found.labels) <= set(made.labels.tolist())
    assert claims or rank < 16


@pytest.mark.parametrize("bias", [False, True])
def test_the_rank_of_an_update_that_was_clipped_counts(bias: bool) -> None:
    made = make_head_update(positions=8, features=64, classes=30, seed=4, signed=True, bias=bias)
    for update in (made.update, ClipNorm(norm=0.01)(made.update, rng=np.random.default_rng(0))):
        assert run(RLG(), update, seed=0).positions == 8


@pytest.mark.parametrize("attack", ["bias_sign", "llg", "yin"])
def test_attacks_of_signs_refuse_an_update_without_negative_entries(attack: str) -> None:
    case = make_update(positions=5, features=16, classes=30, seed=1)
    found = run(builtin_attacks()[attack], Positive()(case.update, rng=np.random.default_rng(0)), seed=0)
    assert found.status is Status.NOT_APPLICABLE
    assert "negative" in found.reason
    assert "dropped" in found.reason
