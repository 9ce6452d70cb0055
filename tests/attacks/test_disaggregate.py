"""Batches taken apart: every sample against the truth, in every kind of head, and refusals with their reason."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.special

from pytest_labelleak import GaussianNoise, InvalidArgumentError, Recovery, Sign, Update, attack
from pytest_labelleak.attacks import Disaggregate
from pytest_labelleak.attacks.disaggregate import one_by_one
from pytest_labelleak.attacks.disaggregate.all_at_once import JointResidual, JointRules, solve_jointly
from pytest_labelleak.attacks.disaggregate.attack import DisaggregateRules
from pytest_labelleak.attacks.disaggregate.one_by_one import Disaggregation, Effort, IsolationRules, take_apart
from pytest_labelleak.attacks.disaggregate.reconstruction import account_for, left_over
from pytest_labelleak.attacks.disaggregate.row_equation import RowEquation, RowResidual
from pytest_labelleak.attacks.disaggregate.sample import Sample, solve
from pytest_labelleak.attacks.disaggregate.spaces import RowSpace, row_space
from pytest_labelleak.attacks.gradient.subspace import find_subspace
from pytest_labelleak.testing import LabelledUpdate, check_attack, make_head_update


def with_loss(
    case: LabelledUpdate,
    *,
    weights: np.ndarray | None = None,
    smoothing: float = 0.0,
    temperature: float = 1.0,
    labels: np.ndarray | None = None,
) -> LabelledUpdate:
    """Differentiate another loss at the inputs and weights of `case`."""
    head = case.update.head
    assert head.kernel_value is not None
    dtype = head.kernel_value.dtype
    inputs = case.features.astype(dtype)
    labels = case.labels if labels is None else labels
    logits = inputs @ head.kernel_value
    if head.bias_value is not None:
        logits = logits + head.bias_value
    logits = logits / dtype.type(temperature)
    output = np.exp(logits - logits.max(axis=1, keepdims=True))
    output /= output.sum(axis=1, keepdims=True)
    weights = case.weights if weights is None else weights
    error = output - dtype.type(smoothing / output.shape[1])
    error[np.arange(labels.size), labels] -= dtype.type(1 - smoothing)
    error *= weights.astype(dtype)[:, None] / dtype.type(temperature)
    gradients = {"kernel": inputs.T @ error} | ({"bias": error.sum(axis=0)} if head.bias else {})
    update = dataclasses.replace(
        case.update, gradients=gradients, head=dataclasses.replace(head, label_smoothing=smoothing)
    )
    return dataclasses.replace(case, update=update, labels=labels, probabilities=output, weights=weights)


def spaces_of(case: LabelledUpdate) -> RowSpace:
    """Return the row space of a batch."""
    return row_space(case.update, find_subspace(case.update))


def batch_of(whole: RowSpace, *, smoothing: float = 0.0, tolerance: float = 1e-4) -> one_by_one._Batch:
    """Return the problem that the search solves, with the rules as they are."""
    return one_by_one._batch(whole, smoothing=smoothing, tolerance=tolerance, effort=Effort(), rules=IsolationRules())


def isolated_from(
    whole: RowSpace, *, smoothing: float = 0.0, tolerance: float = 1e-4, effort: Effort | None = None
) -> Disaggregation:
    """Isolate the samples of a batch, with the rules as they are."""
    return take_apart(
        whole,
        smoothing=smoothing,
        tolerance=tolerance,
        effort=effort or Effort(),
        rules=IsolationRules(),
        rng=np.random.default_rng(0),
    )


def matched(recovery: Recovery, case: LabelledUpdate) -> np.ndarray:
    """Return, for every isolated sample, the true one of its label with the nearest features; no sample twice."""
    assert recovery.features is not None
    free = set(range(case.labels.size))
    chosen = []
    for label, features in zip(recovery.sample_labels, recovery.features, strict=True):
        same = [s for s in free if case.labels[s] == label]
        assert same, "a sample more than the batch has of that label"
        best = min(same, key=lambda s: float(np.linalg.norm(case.features[s] - features)))
        free.discard(best)
        chosen.append(best)
    return np.array(chosen)


def assert_taken_apart(recovery: Recovery, case: LabelledUpdate, *, error: float = 1e-3) -> None:
    assert recovery.status == "recovered", recovery.message
    assert recovery.isolated == recovery.positions == case.labels.size, recovery.message
    assert recovery.counts == dict(Counter(case.labels.tolist()))
    assert recovery.labels == tuple(sorted(set(case.labels.tolist())))
    order = matched(recovery, case)
    truth = case.features[order]
    assert recovery.features is not None
    assert recovery.softmax is not None
    off = np.linalg.norm(recovery.features - truth, axis=1) / np.linalg.norm(truth, axis=1)
    assert off.max() < error
    assert np.median(off) < 1e-5
    assert np.abs(recovery.softmax - case.probabilities[order]).max() < 10 * error
    assert recovery.explained is not None
    assert recovery.explained > 1 - error
    assert recovery.message == ""


@pytest.mark.parametrize("confidence", [None, 0.5, 0.9])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.slow
def test_every_sample_is_isolated(confidence: float | None, signed: bool, bias: bool) -> None:
    case = make_head_update(
        positions=16, features=96, classes=200, seed=1, signed=signed, bias=bias, confidence=confidence
    )
    assert_taken_apart(attack("disaggregate", case.update), case)


@pytest.mark.parametrize("confidence", [None, 0.5])
def test_samples_that_share_a_label_are_told_apart(confidence: float | None) -> None:
    case = make_head_update(positions=20, features=96, classes=200, seed=2, confidence=confidence, among=6)
    assert max(Counter(case.labels.tolist()).values()) >= 4
    assert_taken_apart(attack("disaggregate", case.update), case)


def test_very_confident_samples_are_no_trivial_roots() -> None:
    """Their output is the one-hot target up to a hundred-thousandth, and that must not do as a solution."""
    case = make_head_update(positions=9, features=128, classes=2000, seed=3, signed=True, bias=False, confidence=0.999)
    sure = case.probabilities[np.arange(9), case.labels]
    assert sure.max() > 0.9999
    assert_taken_apart(attack("disaggregate", case.update), case, error=1e-2)


def test_sample_weights_need_not_be_known() -> None:
    case = make_head_update(positions=12, features=64, classes=120, seed=4, confidence=0.3)
    weighted = with_loss(case, weights=np.geomspace(1e-3, 2.0, 12))
    assert_taken_apart(attack("disaggregate", weighted.update), weighted)
    zero = with_loss(case, weights=np.array([0.0, *np.ones(11)]))
    recovery = attack("disaggregate", zero.update)
    assert recovery.isolated == recovery.positions == 11
    assert Counter(recovery.sample_labels) == Counter(case.labels[1:].tolist())


@pytest.mark.parametrize("smoothing", [0.05, 0.2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.slow
def test_label_smoothing_is_accounted_for(smoothing: float, bias: bool) -> None:
    case = make_head_update(positions=10, features=64, classes=120, seed=5, bias=bias, among=8)
    smoothed = with_loss(case, smoothing=smoothing)
    assert_taken_apart(attack("disaggregate", smoothed.update), smoothed)


@pytest.mark.parametrize("bias", [False, True])
def test_samples_surer_than_smoothed_targets_ask_are_found(bias: bool) -> None:
    """Past the target the label's own entry is above zero: no direction that separates the label shows its row."""
    case = make_head_update(positions=10, features=64, classes=120, seed=5, bias=bias, confidence=0.8)
    smoothed = with_loss(case, smoothing=0.2)
    assert np.count_nonzero(case.probabilities[np.arange(10), case.labels] > 0.82) >= 3
    assert_taken_apart(attack("disaggregate", smoothed.update), smoothed)


@pytest.mark.parametrize(("confidence", "smoothing", "bias"), [(0.7, 0.1, False), (0.9, 0.1, True), (0.9, 0.2, True)])
@pytest.mark.slow
def test_samples_as_sure_as_smoothed_targets_ask_are_found(confidence: float, smoothing: float, bias: bool) -> None:
    """At the target the label's own entry vanishes, and with it every direction that would name the label."""
    seed = 6 if smoothing == 0.2 else 5
    case = make_head_update(positions=10, features=64, classes=120, seed=seed, bias=bias, confidence=confidence)
    smoothed = with_loss(case, smoothing=smoothing)
    own = case.probabilities[np.arange(10), case.labels]
    assert np.abs(own - (1 - smoothing)).min() < 0.04
    assert_taken_apart(attack("disaggregate", smoothed.update), smoothed)


def test_temperature_has_to_be_known() -> None:
    case = with_loss(make_head_update(positions=8, features=64, classes=120, seed=6, confidence=0.5), temperature=2.0)
    assert_taken_apart(attack(Disaggregate(temperature=2.0), case.update), case)
    recovery = attack("disaggregate", case.update)
    assert recovery.status == "not applicable"
    assert "temperature" in recovery.message


def test_a_bias_that_is_not_trained_only_shifts_the_logits() -> None:
    case = make_head_update(positions=8, features=64, classes=120, seed=7, confidence=0.5)
    update = dataclasses.replace(
        case.update,
        gradients={"kernel": case.update.kernel_gradient},
        head=dataclasses.replace(case.update.head, bias=None),
    )
    assert_taken_apart(attack("disaggregate", update), dataclasses.replace(case, update=update))


def test_weight_decay_is_subtracted() -> None:
    case = make_head_update(positions=6, features=48, classes=80, seed=8)
    kernel = case.update.head.kernel_value
    assert kernel is not None
    penalty = np.float32(1e-3) * kernel
    update = dataclasses.replace(
        case.update,
        gradients=dict(case.update.gradients) | {"kernel": case.update.kernel_gradient + penalty},
        head=dataclasses.replace(case.update.head, kernel_penalty=penalty),
    )
    assert_taken_apart(attack("disaggregate", update), case)


def test_several_steps_come_apart_approximately_and_it_says_so() -> None:
    """Two batches of four, twice each, with plain gradient descent in between."""
    rng = np.random.default_rng(0)
    features, classes, rate = 128, 300, 0.05
    kernel = rng.normal(size=(features, classes)) * 0.1
    inputs, labels = rng.normal(size=(8, features)), rng.choice(classes, 8, replace=False)
    total, weights = np.zeros_like(kernel), kernel.copy()
    for part in 2 * (slice(0, 4), slice(4, 8)):
        logits = inputs[part] @ weights
        error = np.exp(logits - logits.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(4), labels[part]] -= 1
        step = inputs[part].T @ error / 4
        total += step
        weights -= rate * step
    update = dataclasses.replace(
        Update.from_arrays(total, kernel=kernel, compute_dtype="float64"), steps=4, learning_rate=rate
    )

    def error_of(recovery: Recovery) -> float:
        assert sorted(recovery.sample_labels) == sorted(labels.tolist())
        assert "sums 4 steps, so features and outputs are approximate" in recovery.message
        assert recovery.features is not None
        assert recovery.explained is not None
        assert 0.9 < recovery.explained < 1 - 1e-6
        truth = inputs[[int(np.flatnonzero(labels == label)[0]) for label in recovery.sample_labels]]
        return float(np.median(np.linalg.norm(recovery.features - truth, axis=1) / np.linalg.norm(truth, axis=1)))

    known = error_of(attack("disaggregate", update))
    assert known < 1e-2
    blind = attack("disaggregate", dataclasses.replace(update, learning_rate=None))
    assert "learning rate is not known" in blind.message
    assert error_of(blind) > 2 * known


def test_the_same_answer_at_any_scale_and_class_order() -> None:
    case = make_head_update(positions=12, features=64, classes=100, seed=9, among=6, dtype="float64")
    for scale in (1e-30, 1e30):
        scaled = case.update.map(lambda array, scale=scale: array * scale, defence="scale")
        assert_taken_apart(attack("disaggregate", scaled), case)
    order = np.random.default_rng(0).permutation(100)
    head = case.update.head
    assert head.kernel_value is not None
    assert head.bias_value is not None
    moved = dataclasses.replace(
        case.update,
        gradients={name: array[..., order] for name, array in case.update.gradients.items()},
        head=dataclasses.replace(head, kernel_value=head.kernel_value[:, order], bias_value=head.bias_value[order]),
    )
    place = np.argsort(order)
    truth = dataclasses.replace(case, labels=place[case.labels], probabilities=case.probabilities[:, order])
    assert_taken_apart(attack("disaggregate", moved), truth)


def test_the_same_seed_gives_the_same_bits() -> None:
    case = make_head_update(positions=14, features=64, classes=100, seed=10, among=4)
    one, other = (attack("disaggregate", dataclasses.replace(case.update), seed=3) for _ in range(2))
    assert one.sample_labels == other.sample_labels
    assert np.array_equal(one.features, other.features)
    assert one.details == other.details


def test_solving_on_some_columns_is_checked_on_all() -> None:
    case = make_head_update(positions=12, features=64, classes=3000, seed=11, confidence=0.7, among=8)
    whole = spaces_of(case)
    found = isolated_from(whole, effort=Effort(columns=300))
    labels = Counter(int(whole.columns[sample.column]) for sample in found.isolated)
    assert labels == Counter(case.labels.tolist())
    account = account_for(case.update, whole, found.isolated, temperature=1.0)
    assert account.explained > 1 - 1e-4
    assert account.weights == pytest.approx(1 / 12, rel=1e-3)


def test_features_and_rows_of_different_samples_are_dual() -> None:
    """The identity that deflation rests on."""
    case = make_head_update(positions=6, features=40, classes=80, seed=12, dtype="float64")
    whole = spaces_of(case)
    inputs = np.hstack([case.features, np.ones((6, 1))])
    features = np.linalg.lstsq(whole.inputs, inputs.T, rcond=None)[0].T
    error = case.probabilities - np.eye(80)[case.labels]
    rows = np.linalg.lstsq(whole.rows.T, (error[:, whole.columns] * whole.scale).T, rcond=None)[0].T
    products = rows @ features.T
    assert np.abs(products - np.diag(np.diag(products))).max() < 1e-9 * np.abs(np.diag(products)).min()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_products_are_those_of_the_jacobian(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    equation = RowEquation.of(
        rng.normal(size=(4, 30)),
        np.full(30, 1e-9),
        rng.normal(size=(30, 4)),
        rng.normal(size=30),
        np.exp(rng.normal(size=30)),
        smoothing=smoothing,
    )
    residual = RowResidual.of(equation, 3)
    point = rng.normal(size=4)
    ends = [[residual.at(point + sign * step).missed for sign in (1, -1)] for step in 1e-6 * np.eye(4)]
    jacobian = np.array([(forward - back) / 2e-6 for forward, back in ends]).T
    state = residual.at(point)
    assert residual.squares(state) == pytest.approx(np.sum(state.missed**2), rel=1e-12)
    assert residual.gradient(state) == pytest.approx(jacobian.T @ state.missed, rel=1e-6, abs=1e-8)
    assert residual.gram(state) == pytest.approx(jacobian.T @ jacobian, rel=1e-6, abs=1e-8)


def test_a_part_that_is_not_explained_is_not_claimed() -> None:
    """One label position is no softmax error at all: the rest comes apart, and the share says that some is missing."""
    case = make_head_update(positions=8, features=64, classes=100, seed=13)
    rng = np.random.default_rng(0)
    odd = rng.normal(size=100)
    odd -= odd.mean()
    gradients = {
        "kernel": case.update.kernel_gradient + np.outer(rng.normal(size=64), 0.05 * odd).astype(np.float32),
        "bias": case.update.bias_gradient + (0.05 * odd).astype(np.float32),
    }
    recovery = attack("disaggregate", dataclasses.replace(case.update, gradients=gradients))
    assert recovery.positions == 9
    if recovery.status == "recovered":
        assert recovery.isolated is not None
        assert recovery.isolated <= 8
        assert recovery.counts is None
        assert recovery.explained is not None
        assert recovery.explained < 0.999
        assert "of 9 label positions isolated" in recovery.message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kernel_value": None}, "weights are not known; pass kernel="),
        ({"bias_value": None}, "bias whose value is not known; pass bias="),
        ({"kernel_value": np.full((64, 100), np.nan)}, "NaN or infinite"),
        ({"kernel_value": np.random.default_rng(0).normal(size=(64, 100))}, "no sample fits the head's weights"),
        ({"label_smoothing": 1.0}, "leaves nothing of the labels"),
    ],
)
def test_missing_knowledge_is_named(change: dict[str, Any], reason: str) -> None:
    case = make_head_update(positions=8, features=64, classes=100, seed=14)
    update = dataclasses.replace(case.update, head=dataclasses.replace(case.update.head, **change))
    recovery = attack("disaggregate", update)
    assert recovery.status == "not applicable"
    assert reason in recovery.message


def test_solutions_that_do_not_fit_are_no_samples() -> None:
    """Without a bias nothing but the residual tells: every start ends somewhere."""
    case = make_head_update(positions=8, features=64, classes=100, seed=14, bias=False)
    stranger = make_head_update(positions=8, features=64, classes=100, seed=15, bias=False).update.head
    recovery = attack("disaggregate", dataclasses.replace(case.update, head=stranger))
    assert recovery.status == "not applicable"
    assert "no sample fits" in recovery.message


def test_a_few_jacobians_are_enough_from_nearby() -> None:
    """Only the exact derivative converges that fast: an end far from the start, at the limit of arithmetic."""
    case = make_head_update(positions=12, features=64, classes=200, seed=17, confidence=0.5, dtype="float64")
    whole = spaces_of(case)
    equation = RowEquation.of(whole.rows, whole.noise, whole.logits, whole.offset, whole.scale)
    inputs = np.hstack([case.features, np.ones((12, 1))])
    truth = np.linalg.lstsq(whole.inputs, inputs.T, rcond=None)[0].T
    rng = np.random.default_rng(0)
    for label, features in zip(case.labels, truth, strict=True):
        column = int(np.flatnonzero(whole.columns == label)[0])
        away = rng.normal(size=12)
        start = features + 0.05 * np.linalg.norm(features) * away / np.linalg.norm(away)
        solved = solve(equation, column, equation.unknowns(start), most_jacobians=4)
        assert np.linalg.norm(solved.features - features) < 1e-8 * np.linalg.norm(features)


def test_defended_and_overfull_gradients_are_refused_with_a_reason() -> None:
    case = make_head_update(positions=8, features=64, classes=100, seed=15)
    rng = np.random.default_rng(0)
    wide = make_head_update(positions=40, features=64, classes=60, seed=15)
    for update, reason in (
        (Sign()(case.update, rng=rng), "reduced to its signs"),
        (GaussianNoise(relative=0.1)(case.update, rng=rng), "noise|no gap"),
        (wide.update, "more unknowns than equations; at least 82 classes"),
    ):
        recovery = attack("disaggregate", update)
        assert recovery.status == "not applicable"
        import re

        assert re.search(reason, recovery.message), recovery.message
    assert "raise most_positions=4" in attack(Disaggregate(most_positions=4), case.update).message


def test_noise_passes_through_to_the_features() -> None:
    case = make_head_update(positions=20, features=256, classes=400, seed=0, confidence=0.5)
    off = {}
    for strength in (1e-6, 1e-4):
        recovery = attack("disaggregate", GaussianNoise(relative=strength)(case.update, rng=np.random.default_rng(0)))
        assert recovery.isolated == recovery.positions == 20
        assert "approximate" in recovery.message
        truth = case.features[matched(recovery, case)]
        off[strength] = np.median(np.linalg.norm(recovery.features - truth, axis=1) / np.linalg.norm(truth, axis=1))
    assert off[1e-6] < 1e-4 < off[1e-4] < 1e-2


def test_private_fields_stay_out_of_the_repr() -> None:
    case = make_head_update(positions=8, features=64, classes=100, seed=16)
    recovery = attack("disaggregate", case.update)
    assert recovery.isolated == 8
    text = repr(recovery) + recovery.message
    for private in ("sample_labels", "softmax", "features", "counts"):
        assert f"{private}=" not in text
    assert not {str(label) for label in recovery.labels} & set(recovery.message.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"temperature": 0.0}, "temperature=0.0"), ({"starts": 0}, "starts=0"), ({"most_positions": True}, "most_pos")],
)
def test_hyper_parameters_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Disaggregate(**arguments)


def test_the_tolerance_is_a_number_of_roundings_within_bounds() -> None:
    case = make_head_update(positions=4, features=16, classes=40)

    def tolerance(dtype: str, *, steps: int = 1, **changed: float) -> float:
        update = dataclasses.replace(case.update, compute_dtype=dtype, steps=steps)
        return DisaggregateRules(**changed).tolerance(update)  # type: ignore[arg-type]

    assert tolerance("float32", roundings=100.0) == 100.0 * 2.0**-24
    assert tolerance("float64", finest=1e-7) == 1e-7
    assert tolerance("float16", coarsest=0.05) == tolerance("float32", steps=2, coarsest=0.05) == 0.05


NOISY = {
    "largest_noise": 0.0,
    "worth_polishing": 0.0,
    "off_one": 0.0,
    "copy": -1e9,
    "explained_by_noise": 0.0,
    "largest_residual": 0.0,
    "logarithm.above_noise": 1e9,
    "starts.visible": 1e9,
}
SMOOTHED = {"logarithm.share_error": 1e6}


@pytest.mark.parametrize("path", [*NOISY, *SMOOTHED])
@pytest.mark.slow
def test_a_changed_rule_changes_the_answer(path: str) -> None:
    case = make_head_update(positions=8, features=64, classes=100, seed=14, confidence=0.5, bias=path in NOISY)
    if path in SMOOTHED:
        case = with_loss(case, smoothing=0.1)
        update = case.update
    else:
        update = GaussianNoise(relative=1e-3)(case.update, rng=np.random.default_rng(0))
    value = (NOISY | SMOOTHED)[path]

    def changed(rules: Any, first: str, *rest: str) -> Any:
        return dataclasses.replace(rules, **{first: changed(getattr(rules, first), *rest) if rest else value})

    def answer(member: Disaggregate) -> tuple[object, ...]:
        recovery = attack(member, update)
        return recovery.status, recovery.reason, recovery.isolated, dict(recovery.details)

    assert answer(Disaggregate()) == answer(Disaggregate(rules=DisaggregateRules()))
    rules = DisaggregateRules(isolation=changed(IsolationRules(), *path.split(".")))
    assert answer(Disaggregate(rules=rules)) != answer(Disaggregate())


def test_conforms() -> None:
    check_attack(Disaggregate(temperature=0.5))


@pytest.mark.slow
def test_samples_whose_label_entry_was_rounded_away_are_found() -> None:
    """``p - 1`` is exactly zero in single precision: their rows are negative nowhere, so that RLG cannot see them."""
    case = make_head_update(positions=20, features=256, classes=400, seed=1, confidence=0.999999)
    lost = case.probabilities[np.arange(20), case.labels] == 1.0
    assert np.count_nonzero(lost) > 10
    named = set(attack("rlg", case.update).labels)
    assert named != set(case.labels.tolist())
    recovery = attack("disaggregate", case.update)
    assert recovery.isolated == 20
    assert Counter(recovery.sample_labels) == Counter(case.labels.tolist())


@pytest.mark.parametrize("smoothing", [0.1, 0.2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.slow
def test_sure_samples_of_smoothed_targets_come_out_together(smoothing: float, bias: bool) -> None:
    """Far past the target all rows are nearly the same constant: none has a start of its own, but all have one."""
    case = make_head_update(positions=20, features=256, classes=400, seed=0, bias=bias, confidence=0.99)
    smoothed = with_loss(case, smoothing=smoothing)
    recovery = attack("disaggregate", smoothed.update)
    assert_taken_apart(recovery, smoothed)
    assert (recovery.details["one_by_one"], recovery.details["jointly"]) == (0, 20)


@pytest.mark.slow
def test_one_by_one_alone_stalls_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second path has a use: without it, a part of such a batch stays together."""
    case = make_head_update(positions=10, features=64, classes=100, seed=0, confidence=0.99)
    smoothed = with_loss(case, smoothing=0.2)
    assert attack("disaggregate", smoothed.update).isolated == 10
    monkeypatch.setattr(one_by_one, "_jointly", lambda batch, progress, **_: progress)
    recovery = attack("disaggregate", smoothed.update)
    assert recovery.isolated is None or recovery.isolated < 10


@pytest.mark.slow
def test_where_single_rows_mislead_all_of_them_do_not() -> None:
    """Nearly saturated, without a bias, one by one takes chance solutions for samples; together they leave no room."""
    case = make_head_update(positions=20, features=256, classes=400, seed=1, bias=False, confidence=0.9999)
    smoothed = with_loss(case, smoothing=0.05)
    recovery = attack("disaggregate", smoothed.update)
    assert recovery.isolated == 20
    assert Counter(recovery.sample_labels) == Counter(case.labels.tolist())
    assert recovery.explained is not None
    assert recovery.explained > 0.95


def test_one_shared_label_does_not_cost_all_the_others() -> None:
    """Sure samples of one label have the same row, so that together they are not all found; most are."""
    case = make_head_update(positions=20, features=256, classes=400, seed=0, confidence=0.99)
    inputs, labels = case.features.copy(), case.labels.copy()
    inputs[1] = inputs[0] + 1e-3 * np.random.default_rng(0).normal(size=256) * np.abs(inputs[0]).mean()
    labels[1] = labels[0]
    shared = with_loss(dataclasses.replace(case, features=inputs), smoothing=0.1, labels=labels)
    batch = batch_of(spaces_of(shared), smoothing=0.1)
    assert 16 <= one_by_one._jointly(batch, one_by_one._nothing(batch), most=True).jointly < 20
    recovery = attack("disaggregate", shared.update)
    assert (Counter(recovery.sample_labels) & Counter(labels.tolist())).total() >= 18


@pytest.mark.slow
def test_most_of_the_samples_together_are_kept_where_one_does_not_come_out() -> None:
    case = make_head_update(positions=20, features=256, classes=400, seed=0, bias=False, confidence=0.99)
    smoothed = with_loss(case, smoothing=0.05)
    batch = batch_of(spaces_of(smoothed), smoothing=0.05)
    assert 10 <= one_by_one._jointly(batch, one_by_one._nothing(batch), most=True).jointly < 20


def test_no_joint_solution_is_taken_that_explains_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that each pass, and that leave as much of the gradient as before, are not taken."""
    case = make_head_update(positions=12, features=96, classes=200, seed=3, confidence=0.99)
    smoothed = with_loss(case, smoothing=0.2)
    batch = batch_of(spaces_of(smoothed), smoothing=0.2)
    nothing = one_by_one._nothing(batch)
    taken = one_by_one._jointly(batch, nothing)
    assert taken.jointly == len(taken.isolated) > 6
    lefts = [left_over(batch.whole, each.isolated, smoothing=0.2) for each in (nothing, taken)]
    assert lefts[1] < 1e-2 * lefts[0]
    monkeypatch.setattr(one_by_one, "left_over", lambda *_, **__: 1.0)
    assert one_by_one._jointly(batch, nothing) is nothing


def test_samples_leave_as_much_of_the_row_space_as_of_the_gradient() -> None:
    """Computed within the row space, against the samples subtracted from the gradient itself."""
    case = make_head_update(positions=6, features=40, classes=80, seed=12, dtype="float64")
    whole = spaces_of(case)
    isolated = isolated_from(whole, tolerance=1e-6).isolated
    bias = case.update.bias_gradient
    assert bias is not None
    total = np.vstack([case.update.kernel_gradient, bias])
    assert left_over(whole, [], smoothing=0.0) == pytest.approx(np.linalg.norm(total), rel=1e-9)
    some = isolated[:4]
    account = account_for(case.update, whole, some, temperature=1.0)
    left = (1.0 - account.explained) * np.linalg.norm(total)
    assert left_over(whole, some, smoothing=0.0) == pytest.approx(left, rel=1e-6)
    assert left_over(whole, isolated, smoothing=0.0) < 1e-8 * np.linalg.norm(total)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_joint_derivatives_are_those_of_the_rows(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    equation = RowEquation.of(
        rng.normal(size=(3, 30)),
        np.exp(0.1 * rng.normal(size=30)),
        rng.normal(size=(30, 3)),
        rng.normal(size=30),
        np.exp(rng.normal(size=30)),
        smoothing=smoothing,
    )
    residual = JointResidual.of(equation, rng.normal(size=(3, 3)), np.array([2, 5, 9]))
    point = np.concatenate([rng.normal(size=9), 0.1 * rng.normal(size=3)])
    ends = [[residual.at(point + sign * step).missed.ravel() for sign in (1, -1)] for step in 1e-6 * np.eye(12)]
    jacobian = np.array([(forward - back) / 2e-6 for forward, back in ends]).T
    state = residual.at(point)
    gram, gradient = residual.gram(state), residual.gradient(state)
    assert residual.squares(state) == pytest.approx(np.sum(state.missed**2), rel=1e-12)
    assert gram == pytest.approx(jacobian.T @ jacobian, rel=1e-6, abs=1e-6 * np.abs(gram).max())
    assert gradient == pytest.approx(jacobian.T @ state.missed.ravel(), rel=1e-6, abs=1e-6 * np.abs(gradient).max())


def test_more_than_the_joint_path_can_take_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    equation = RowEquation.of(
        rng.normal(size=(49, 120)), np.ones(120), rng.normal(size=(120, 49)), np.zeros(120), np.ones(120)
    )
    assert solve_jointly(equation, np.eye(49), inputs=None, rules=JointRules()) == []


@pytest.mark.slow
def test_as_many_samples_as_features_come_apart_without_a_copy() -> None:
    """Noise that earlier rounds leave behind adds up there, and two starts that lead to one sample look like two."""
    for seed in (0, 1):
        case = make_head_update(positions=64, features=64, classes=500, seed=seed, confidence=0.9, among=64)
        recovery = attack("disaggregate", case.update)
        assert recovery.isolated is not None
        assert recovery.isolated >= 62
        assert len(set(matched(recovery, case).tolist())) == recovery.isolated


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_late_finds_are_polished_among_all_samples(seed: int) -> None:
    """Without, the noise of the samples taken out before costs one to three of the last ones."""
    case = make_head_update(positions=96, features=96, classes=400, seed=seed, signed=True, confidence=0.9)
    recovery = attack("disaggregate", case.update)
    assert recovery.isolated == 96
    assert sorted(recovery.sample_labels) == sorted(case.labels.tolist())


def test_copies_are_told_by_duality_also_where_rows_and_features_are_far_apart() -> None:
    """A row of cosine 0.01 to its own sample's features looks dual to them; their product says that it is not."""
    features, row = np.array([100.0, 0.0, 0.0]), np.array([0.01, 1.0, 0.0])

    def sample(a: np.ndarray, m: np.ndarray) -> Sample:
        return Sample(column=0, features=a, row=m, residual=1e-6, noise=1e-6)

    one = sample(features, row)
    assert one.row @ one.features == 1.0
    rules = IsolationRules()
    assert one_by_one._overlaps(one, sample(features * 1.001, row / 1.001), rules)
    other = sample(np.array([1.0, -0.01, 0.0]), np.array([0.0, -100.0, 0.0]))  # dual to the first, and of one itself
    assert other.row @ other.features == 1.0
    assert not one_by_one._overlaps(one, other, rules)
    mixture = sample(np.array([1.0, 0.2, 0.0]), np.array([0.0, 5.0, 0.0]))
    assert one_by_one._overlaps(one, mixture, rules)


def test_a_solution_that_could_be_of_noise_alone_is_no_sample() -> None:
    """A solution as good as any, but for the noise that its row is said to hold."""
    case = make_head_update(positions=8, features=64, classes=100, seed=14)
    batch = batch_of(spaces_of(case))
    isolated = isolated_from(batch.whole).isolated
    assert len(isolated) == 8

    def accepted(**changed: float) -> bool:
        return one_by_one._accepted(batch, dataclasses.replace(isolated[0], **changed)) is not None  # type: ignore[arg-type]

    assert accepted()
    assert accepted(noise=0.09)
    assert not accepted(noise=0.11)
    # Nor may the residual be more than noise of that size makes of a true sample.
    assert accepted(noise=0.05, residual=0.07)
    assert not accepted(noise=0.05, residual=0.09)


def test_confident_samples_come_out_of_noise() -> None:
    case = make_head_update(positions=20, features=256, classes=400, seed=0, confidence=0.5)
    noisy = GaussianNoise(relative=1e-3)(case.update, rng=np.random.default_rng(0))
    recovery = attack("disaggregate", noisy)
    assert recovery.isolated == 20
    order = matched(recovery, case)
    truth = case.features[order]
    assert recovery.features is not None
    assert (np.linalg.norm(recovery.features - truth, axis=1) < 0.03 * np.linalg.norm(truth, axis=1)).all()


@pytest.mark.parametrize("seed", [6, 7])
@pytest.mark.slow
def test_samples_with_nearly_the_same_features_come_apart(seed: int) -> None:
    # As in a decoder that has just begun to learn. Samples found first, with all others in the way, are known badly.
    rng = np.random.default_rng(seed)
    positions, width, classes = 24, 96, 400
    features = 0.1 * rng.normal(size=width)
    features = features + 0.01 * rng.normal(size=(positions, width)) * np.exp(rng.normal(size=(positions, 1)))
    kernel, bias = rng.normal(size=(width, classes)) / np.sqrt(width), 0.3 * rng.normal(size=classes)
    labels = rng.integers(0, classes, positions)
    labels[12:16] = labels[:4]
    errors = scipy.special.softmax(features @ kernel + bias, axis=1)
    errors[np.arange(positions), labels] -= 1.0
    gradient = features.T @ errors * (1.0 + 6e-8 * rng.normal(size=kernel.shape)) / positions
    bias_gradient = errors.mean(axis=0)
    update = Update.from_arrays(
        gradient.astype(np.float32),
        bias_gradient=bias_gradient.astype(np.float32),
        kernel=kernel.astype(np.float32),
        bias=bias.astype(np.float32),
    )
    recovery = Disaggregate()(update, rng=np.random.default_rng(0))
    assert recovery.isolated == positions
    assert recovery.features is not None
    for label, found in zip(recovery.sample_labels, recovery.features, strict=True):
        distances = np.linalg.norm(features[labels == label] - found, axis=1)
        # Their own distances are .1 and more.
        assert distances.min() < 0.005


def searched() -> tuple[one_by_one._Batch, one_by_one._Progress]:
    """Return a batch of twelve that came apart entirely."""
    case = make_head_update(positions=12, features=64, classes=200, seed=5)
    batch = batch_of(spaces_of(case), tolerance=6e-5)
    progress = one_by_one._search(batch, one_by_one._nothing(batch), np.random.default_rng(0))
    assert len(progress.isolated) == 12
    return batch, progress


def test_a_mixture_is_given_up_for_the_samples_it_hides() -> None:
    batch, progress = searched()
    one, other, *rest = progress.isolated
    between = dataclasses.replace(
        one, features=(one.features + other.features) / 2, row=one.row + other.row, residual=1e-3
    )
    misled = one_by_one._only(batch, progress, [*rest, between])
    again = one_by_one._search(batch, misled, np.random.default_rng(0))
    assert len(again.isolated) == 12
    assert max(sample.residual for sample in again.isolated) < 6e-5


def test_a_sample_found_again_is_no_other_sample() -> None:
    batch, progress = searched()
    one, _, *rest = progress.isolated
    fewer = one_by_one._only(batch, progress, rest)
    assert one_by_one._worth_taking(batch, fewer, [rest[3], one, rest[5]]) == [one]


def test_samples_given_up_for_nothing_are_kept() -> None:
    batch, progress = searched()
    doubtful = dataclasses.replace(progress.isolated[0], residual=1e-3)
    found = one_by_one._only(batch, progress, [doubtful, *progress.isolated[1:]])
    assert one_by_one._reopened(batch, found, np.random.default_rng(0)).isolated == found.isolated
