"""The luck of all attacks together: the null of the luckiest one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_labelleak.auditing.evidence.significance import ClaimedBatch, claims_by_luck, jointly_by_luck


def joint(attacks, seed=0, renamings=4999):
    return jointly_by_luck(attacks, rng=np.random.default_rng(seed), renamings=renamings)


def advantage(claims, present, classes):
    """Mean over the draws of the true-positive minus the false-positive rate."""
    rates = [
        len(set(claim) & set(present)) / len(present) - len(set(claim) - set(present)) / (classes - len(present))
        for claim in claims
    ]
    return float(np.mean(rates))


def test_the_null_is_that_of_the_luckiest_attack_over_all_labels():
    claims = {"a": [[0, 1], [0]], "b": [[2, 3, 4], []], "c": [[0, 5], [5]]}
    present, classes = (0, 5), 8
    lucky = joint({name: [ClaimedBatch(classes=classes, present=present, claims=c)] for name, c in claims.items()})
    highest = [
        max(advantage(c, labels, classes) for c in claims.values())
        for labels in itertools.combinations(range(classes), len(present))
    ]
    for name, own in claims.items():
        exact = np.mean(np.array(highest) >= advantage(own, present, classes) - 1e-9)
        assert lucky[name] == pytest.approx(exact, abs=0.03)


def test_one_attack_is_as_lucky_as_alone_over_several_batches():
    batches = [
        ClaimedBatch(classes=12, present=[1, 2], claims=[[1, 3], [1]]),
        ClaimedBatch(classes=9, present=[4], claims=[[4, 5]]),
    ]
    assert joint({"a": batches})["a"] == pytest.approx(claims_by_luck(batches).p_value, abs=0.02)


def test_no_claim_is_impossible_by_luck():
    batch = ClaimedBatch(classes=1000, present=range(20), claims=[range(20)])
    assert joint({"a": [batch]}, renamings=99) == {"a": 0.01}


def test_a_batch_of_every_class_or_of_none_says_nothing():
    for present in (range(4), ()):
        batch = ClaimedBatch(classes=4, present=present, claims=[[0, 1]])
        assert joint({"a": [batch], "b": [batch]}) == {"a": 1.0, "b": 1.0}
    assert joint({}) == {}
    silent = ClaimedBatch(classes=4, present=[1], claims=[[]])
    assert joint({"a": [silent]}) == {"a": 1.0}


def test_the_luckiest_of_many_attacks_is_significant_at_the_level():
    rng = np.random.default_rng(5)
    found = 0
    for run in range(150):
        present = rng.choice(10, 2, replace=False).tolist()
        claims = {f"a{k}": [rng.choice(10, 2, replace=False).tolist()] for k in range(8)}
        attacks = {name: [ClaimedBatch(classes=10, present=present, claims=c)] for name, c in claims.items()}
        found += min(joint(attacks, seed=run, renamings=199).values()) <= 0.2
    # One in five by the level; without a correction two attacks in three would be enough for it.
    assert found / 150 < 0.3
