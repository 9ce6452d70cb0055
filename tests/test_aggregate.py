"""Sums over participants: exact sums, a control of the single participant, clear errors."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import Aggregate, InvalidArgumentError, Update, audit
from pytest_labelleak.testing import make_update

CASES = [make_update(positions=4, features=32, classes=100, seed=seed) for seed in range(4)]
OTHERS = [case.update for case in CASES[1:]]


def test_it_shares_the_sum_and_leaves_all_updates_as_they_were() -> None:
    before = [case.update.kernel_gradient.copy() for case in CASES]
    shared = Aggregate(clients=OTHERS)(CASES[0].update, rng=np.random.default_rng(0))
    for name in shared.gradients:
        total = np.sum([case.update.gradients[name].astype(np.float64) for case in CASES], axis=0)
        assert shared.gradients[name] == pytest.approx(total, rel=1e-6, abs=1e-9)
        assert shared.gradients[name].dtype == CASES[0].update.gradients[name].dtype
    assert shared.defences == ("aggregate(4 participants)",)
    assert all(np.array_equal(case.update.kernel_gradient, old) for case, old in zip(CASES, before, strict=True))


def test_a_few_participants_hide_no_label() -> None:
    result = audit(CASES[0].update, CASES[0].labels, defence=Aggregate(clients=OTHERS), attacks=["bias_sign", "rlg"])
    assert result.outcome == "leaked"
    assert result.control[0].advantage == 1.0
    # The labels of the others are named, too, and cost advantage.
    assert 0.8 < result.advantage < 1.0
    assert result.defence == "aggregate(4 participants)"


@pytest.mark.parametrize(
    ("clients", "why"),
    [
        ([], "clients of type list. Expected a list of at least one Update"),
        (OTHERS[0], "clients of type Update"),
        ([OTHERS[0], np.zeros((2, 3))], "a client of type ndarray"),
    ],
)
def test_no_other_participants(clients: object, why: str) -> None:
    with pytest.raises(InvalidArgumentError, match=why):
        Aggregate(clients=clients)  # type: ignore[arg-type]


def test_participants_share_the_same_variables() -> None:
    narrow = Update.from_arrays(np.ones((3, 100)))
    with pytest.raises(InvalidArgumentError, match=r"'kernel' has shape \(3, 100\) in client 0"):
        Aggregate(clients=[narrow])(CASES[0].update, rng=np.random.default_rng(0))
