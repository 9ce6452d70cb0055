"""Gradient matching without a framework: objectives, optimisers, checkpoints, progress, and the moves of positions."""

from __future__ import annotations

import dataclasses
import io
import os
import stat

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from pytest_labelleak import Update
from pytest_labelleak.asr import GradientMatching, Progress, ProgressLine, free_contexts
from pytest_labelleak.asr.matching.minimise import adam, lbfgs
from pytest_labelleak.asr.matching.objectives import OBJECTIVES, Distance
from pytest_labelleak.asr.matching.observed import observe
from pytest_labelleak.asr.matching.problem import _named_tokens
from pytest_labelleak.asr.matching.rearrange import _orders
from pytest_labelleak.asr.matching.state import State, read_state, write_state
from pytest_labelleak.asr.matching.unknowns import Unknowns
from pytest_labelleak.core.errors import InvalidArgumentError, UnsupportedModelError
from pytest_labelleak.core.recovery import NotApplicable

RNG = np.random.default_rng(0)
TARGETS = [RNG.normal(size=(3, 4)), 5.0 * RNG.normal(size=6), np.zeros(2)]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_distances_have_the_derivative_they_say(kind, scaled):
    distance = Distance(kind=kind, targets=list(map(observe, TARGETS)), scaled=scaled)
    point = [target + 0.5 * RNG.normal(size=target.shape) for target in TARGETS]
    if kind == "cosine":
        point[2][:] = 0.0  # nothing to be compared with
    check_derivative(distance, point)


SPARSE = [np.where(np.abs(target) > 0.5, target, 0.0) for target in TARGETS[:2]]
SIGNS = [np.sign(RNG.normal(size=(5, 4))), np.sign(RNG.normal(size=9))]


def test_what_was_done_to_an_array_is_seen():
    whole, sparse, signs = observe(TARGETS[0]), observe(SPARSE[0]), observe(0.25 * SIGNS[0])
    assert (np.max(whole.width), whole.signs) == (0.0, False)
    smallest = np.abs(SPARSE[0][SPARSE[0] != 0.0]).min()
    np.testing.assert_array_equal(sparse.width, np.where(SPARSE[0] != 0.0, 0.0, smallest))
    assert not sparse.signs
    assert (np.max(signs.width), signs.signs) == (0.0, True)
    # A row without any input, and few entries, are as they are.
    empty = TARGETS[0].copy()
    empty[1] = 0.0
    assert not np.max(observe(empty).width)
    assert not observe(np.ones((1, 3))).signs


def test_dropping_at_random_says_nothing_and_rounding_half_a_step():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(40, 50))
    random = np.where(rng.uniform(size=values.shape) < 0.5, values, 0.0)
    np.testing.assert_array_equal(observe(random).width, np.where(random != 0.0, 0.0, np.inf))
    distance = Distance(kind="plain", targets=[observe(random)])
    assert distance([values])[0] == 0.0
    assert distance([values + 1.0])[0] > 0.1
    rounded = observe(0.5 * np.rint(values / 0.5))
    assert rounded.width == pytest.approx(0.25)
    assert Distance(kind="plain", targets=[rounded])([values])[0] == 0.0


@pytest.mark.parametrize("defence", [np.sign, lambda array: np.where(np.abs(array) > 0.5, array, 0.0)])
def test_defences_saw_the_gradient_with_its_penalty(defence):
    rng = np.random.default_rng(5)
    values, penalty = rng.normal(size=(2, 20, 30))
    distance = Distance(kind="plain", targets=[observe(defence(values + penalty), penalty)])
    assert distance([values])[0] == pytest.approx(0.0, abs=1e-15)
    assert distance([values + penalty])[0] > 0.005
    check_derivative(distance, [values + 0.5 * rng.normal(size=values.shape)])


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_what_was_dropped_counts_only_beyond_what_was_kept(kind, scaled):
    distance = Distance(kind=kind, targets=list(map(observe, SPARSE)), scaled=scaled)
    assert distance(TARGETS[:2])[0] == pytest.approx(0.0, abs=1e-15)
    assert Distance(kind=kind, targets=list(map(observe, SPARSE)), scaled=True)([3.0 * t for t in TARGETS[:2]])[
        0
    ] == pytest.approx(0.0, abs=1e-15)
    point = [target + 0.5 * RNG.normal(size=target.shape) for target in TARGETS[:2]]
    assert distance(point)[0] > 1e-4
    check_derivative(distance, point)


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_of_signs_only_the_wrong_ones_count(kind):
    distance = Distance(kind=kind, targets=list(map(observe, SIGNS)))
    right = [signs * RNG.uniform(0.1, 9.0, signs.shape) for signs in SIGNS]
    assert distance(right)[0] == 0.0
    assert distance([1e-9 * one for one in right])[0] == 0.0
    assert distance([-one for one in right])[0] == pytest.approx(1.0)
    assert distance([np.zeros_like(one) for one in right])[0] == pytest.approx(1.0)
    # A row of small entries counts like the others.
    wrong = [right[0].copy(), right[1]]
    wrong[0][2] *= -1e-6
    assert distance(wrong)[0] > 0.04
    check_derivative(distance, [one + 2.0 * RNG.normal(size=one.shape) for one in right])


def check_derivative(distance, point):
    derivative = distance(point)[1]
    for place, here in enumerate(point):

        def along(flat, place=place, here=here):
            moved = list(point)
            moved[place] = flat.reshape(here.shape)
            return distance(moved)[0]

        expected = approx_fprime(here.ravel(), along, 1e-7)
        np.testing.assert_allclose(derivative[place].ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_distances_are_zero_at_the_target_and_know_their_scale(kind):
    targets = TARGETS[:2]
    seen = list(map(observe, targets))
    assert Distance(kind=kind, targets=seen)(targets)[0] == pytest.approx(0.0, abs=1e-15)
    doubled = [2.0 * target for target in targets]
    assert Distance(kind=kind, targets=seen, scaled=True)(doubled)[0] == pytest.approx(0.0, abs=1e-15)
    if kind != "cosine":
        assert Distance(kind=kind, targets=seen)(doubled)[0] == pytest.approx(1.0)
    opposite = [-target for target in targets]
    assert Distance(kind=kind, targets=seen, scaled=True)(opposite)[0] >= 0.99


def test_normalised_distance_weighs_variables_alike():
    value = {
        kind: Distance(kind=kind, targets=list(map(observe, TARGETS[:2])))([TARGETS[0] + 1.0, TARGETS[1]])[0]
        for kind in ("plain", "normalised")
    }
    assert value["normalised"] == pytest.approx(0.5 * 12 / np.sum(TARGETS[0] ** 2))
    assert value["plain"] == pytest.approx(12 / (np.sum(TARGETS[0] ** 2) + np.sum(TARGETS[1] ** 2)))


def bowl(vector):
    scale = np.arange(1.0, vector.size + 1.0)
    return float(np.sum(scale * (vector - 1.0) ** 2)), 2.0 * scale * (vector - 1.0)


def test_both_optimisers_find_a_minimum_and_stop_when_told():
    seen = []
    found, _ = lbfgs(bowl, np.zeros(5), most=100, after=lambda vector, value: seen.append(value) or value < 1e-12)
    np.testing.assert_allclose(found, 1.0, atol=1e-5)
    assert seen == sorted(seen, reverse=True)
    count = []
    found = adam(
        bowl,
        np.zeros(5),
        None,
        step=0,
        rate=lambda step: 0.1 * 0.98**step,
        after=lambda *_: count.append(1) or len(count) == 400,
    )
    np.testing.assert_allclose(found, 1.0, atol=1e-2)
    assert len(count) == 400


def test_adam_takes_steps_of_the_rate():
    seen = []
    adam(bowl, np.zeros(3), None, step=0, rate=lambda step: 0.1 / step, after=lambda v, *_: seen.append(v) or True)
    np.testing.assert_allclose(seen[0], 0.1, rtol=1e-6)  # the first step has the size of the rate, whatever the slope


def test_a_state_survives_its_file_which_only_the_owner_may_read(tmp_path):
    path = tmp_path / "search.npz"
    assert read_state(path, "x") is None
    state = State(
        seeds=np.array([2**63 - 2, 5], np.uint64),
        attempt=1,
        step=7,
        vector=np.arange(3.0),
        moments=np.ones((2, 3)),
        unchanged=4,
        tokens=(1119, 2),
        total=107,
        best_tokens=(8, 2),
        best_contexts=np.zeros(2),
        best_loss=0.5,
        best_residual=0.25,
    )
    umask = os.umask(0)
    try:
        write_state(path, state, "x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = read_state(path, "x")
    for field in dataclasses.fields(State):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(state, field.name))
    assert "1119" not in repr(state)
    with pytest.raises(InvalidArgumentError, match="another search"):
        read_state(path, "y")
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:length])
        with pytest.raises(InvalidArgumentError, match="Delete it"):
            read_state(path, "x")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_line_tells_loss_and_stability_and_no_guess():
    progress = Progress(attempt=2, attempts=5, step=300, steps=600, loss=1.5e-3, unchanged=120, tokens=(77, 78))
    assert "77" not in repr(progress)
    stream = Terminal()
    line = ProgressLine(stream)
    line(progress)
    line(dataclasses.replace(progress, step=400))
    line.close()
    written = stream.getvalue()
    assert written.startswith(
        "\rstart 2/5 [##########          ] step 300, loss 1.50e-03, guess unchanged for 120 steps\r"
    )
    assert written.endswith("\n")
    assert "77" not in written
    log = io.StringIO()
    quiet = ProgressLine(log, show_labels=True)
    quiet(progress)
    quiet(progress)
    assert log.getvalue().count("\n") == 1  # a log does not need both
    assert "(77, 78)" in log.getvalue()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"objective": "l3"}, "objective='l3'"),
        ({"soft_labels": "hard"}, "soft_labels='hard'"),
        ({"optimiser": "sgd"}, "optimiser='sgd'"),
        ({"attempts": 0}, "attempts=0"),
        ({"steps": True}, "steps=True"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"moves": -1}, "moves=-1"),
    ],
)
def test_wrong_settings_are_one_clear_error(setting, message):
    with pytest.raises(InvalidArgumentError, match=message):
        GradientMatching(**setting)


def test_only_known_models_have_spellers():
    with pytest.raises(UnsupportedModelError, match=r"builtins\.int"):
        free_contexts(3)


def test_a_guess_holds_every_word_that_must_occur():
    class Nothing:
        initial, context_width, classes = 0, 1, 9

    problem = Unknowns(
        decoder=Nothing(),
        distance=None,
        keys=(),
        positions=5,
        bag=np.array([2, 4, 6, 8]),
        soft_labels="softmax",
        last=2,
        complete=True,
    )

    def guess(entries, **changes):
        changed = dataclasses.replace(problem, **changes)
        return changed.guess(np.concatenate([np.zeros(5), np.ravel(entries)]))

    sure = [[0, 9, 0, 0], [0, 9, 3, 0], [0, 0, 0, 9], [0, 9, 2, 0]]
    assert guess(sure, complete=False) == (4, 4, 8, 4, 2)
    assert guess(sure) == (4, 6, 8, 4, 2)  # 6 must be somewhere, and costs least there
    assert guess([[0, 0, 9, 0], [0, 9, 3, 0], [0, 0, 0, 9], [9, 0, 0, 0]]) == (6, 4, 8, 2, 2)


def test_every_swap_and_every_move_is_tried_once():
    orders = [tuple(order) for order in _orders(4, 5)]
    assert len(set(orders)) == len(orders) == 9 + 3  # moves, and swaps of others than neighbours
    assert {order[4] for order in orders} == {4}
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert (1, 2, 3, 0, 4) in orders
    assert (3, 1, 2, 0, 4) in orders


def test_signs_that_noise_turned_name_no_tokens():
    """The kernel's rank drowns in noise, so that the signs of the bias gradient are all that names tokens."""
    rng = np.random.default_rng(0)
    said, classes = rng.permutation(200)[:12], 200
    features, weights = rng.normal(size=(12, 30)), rng.normal(size=(30, classes)) / 5.0
    errors = np.exp(features @ weights)
    errors /= errors.sum(axis=1, keepdims=True)
    errors[np.arange(12), said] -= 1.0
    kernel, bias = features.T @ errors / 12, errors.mean(axis=0)
    kernel = kernel + 10.0 * kernel.std() * rng.normal(size=kernel.shape)
    noise = bias.std() * rng.normal(size=classes)
    for size in (0.0, 0.01):
        named = _named_tokens(Update.from_arrays(kernel, bias_gradient=bias + size * noise))
        assert sorted(named.tokens) == sorted(said.tolist())
        assert not named.certain
    # A weight penalty hides no sign: bias and attack are freed of it alike.
    penalty = 30.0 * noise - np.float64(20.0) * bias
    update = Update.from_arrays(kernel, bias_gradient=bias + penalty)
    update = dataclasses.replace(update, head=dataclasses.replace(update.head, bias_penalty=penalty))
    assert sorted(_named_tokens(update).tokens) == sorted(said.tolist())
    # Signs alone have one size: none of them is nearer to zero than another.
    named = _named_tokens(Update.from_arrays(kernel, bias_gradient=np.sign(bias)))
    assert sorted(named.tokens) == sorted(said.tolist())
    for size in (0.5, 1.0):
        with pytest.raises(NotApplicable, match="no attack names tokens"):
            _named_tokens(Update.from_arrays(kernel, bias_gradient=bias + size * noise))
