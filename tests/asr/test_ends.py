"""The states that no step takes: found always, clear only where they stand out."""

from __future__ import annotations

import numpy as np

from pytest_labelleak.asr.ordering.links import LinkRules, find_ends
from pytest_labelleak.asr.ordering.recurrence import RowFactor


def of(taken):
    """Return the factor of a cell of which steps take these states, with little noise."""
    rows = 1e6 * np.asarray(taken, dtype=float).T
    return RowFactor(rows=rows, noise=np.ones(len(rows)), basis=np.eye(rows.shape[1]), inputs=0)


def test_an_end_stands_out_by_a_gap_or_is_a_guess():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((5, 30))
    ends, clear = find_ends(of(states[:4]), states, LinkRules())
    assert ends.tolist() == [False] * 4 + [True]
    assert clear
    # The states are measured with errors of a fifth, and the last one is two thirds inside of the space.
    rough = states + 0.2 * rng.standard_normal(states.shape)
    rough[4] = rough[:4].mean(axis=0) + 0.25 * rough[4]
    ends, clear = find_ends(of(states[:4]), rough, LinkRules())
    assert ends.any()
    assert not clear


def test_without_a_gradient_of_the_state_every_utterance_has_one_position():
    ends, clear = find_ends(of(np.zeros((2, 30))), np.ones((3, 30)), LinkRules())
    assert ends.all()
    assert clear
