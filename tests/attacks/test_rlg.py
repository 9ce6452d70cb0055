"""RLG against exact answers: small linear programs, invariances, known truth of every difficulty."""

from __future__ import annotations

import dataclasses
import functools

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from pytest_labelleak import Recovery, Sign, Update, attack
from pytest_labelleak.attacks.gradient.subspace import find_subspace
from pytest_labelleak.attacks.rlg.separation import SeparationRules, _Test, separate
from pytest_labelleak.testing import LabelledUpdate, labelled_updates, make_update


def separable_by_linear_program(error_rows: np.ndarray) -> set[int]:
    """Decide each class with its own linear program on the true error rows, in float64."""
    found = set()
    for label in range(error_rows.shape[1]):
        others = np.delete(np.arange(error_rows.shape[1]), label)
        # minimise a.x_c subject to a.x_j >= 0, |a| <= 1: negative exactly for a separable class
        answer = linprog(
            error_rows[:, label],
            A_ub=-error_rows[:, others].T,
            b_ub=np.zeros(others.size),
            bounds=[(-1, 1)] * error_rows.shape[0],
        )
        if answer.fun < -1e-9:
            found.add(label)
    return found


def rlg(update: Update) -> Recovery:
    return attack("rlg", update)


def recovered_set(update: Update) -> set[int]:
    recovery = rlg(update)
    assert recovery.status == "recovered", recovery.message
    return set(recovery.labels)


@pytest.mark.parametrize("confidence", [None, 0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("positions", [1, 2, 10, 50])
@pytest.mark.parametrize("signed", [False, True])
def test_names_exactly_the_labels_without_being_told_how_many(
    confidence: float | None, positions: int, signed: bool
) -> None:
    case = make_update(
        positions=positions, features=256, classes=400, seed=3, signed=signed, confidence=confidence, duplicates=0.2
    )
    recovery = rlg(case.update)
    assert set(recovery.labels) == set(case.labels.tolist())
    assert recovery.positions == positions
    assert {c.label for c in recovery.certificates} == set(recovery.labels)


def test_confident_samples_below_a_fixed_tolerance_are_found() -> None:
    """The smallest rows are a millionth of the largest: a rank cut at eps * max(d, C) loses them."""
    rng = np.random.default_rng(0)
    positions, features, classes = 30, 256, 400
    labels = rng.choice(classes, positions, replace=False)
    logits = rng.normal(size=(positions, classes)) * 3
    rows = np.arange(positions)
    doubt = 10.0 ** rng.uniform(-6, -0.1, positions)
    logits[rows, labels] = np.log(np.exp(logits).sum(1) - np.exp(logits[rows, labels])) + np.log((1 - doubt) / doubt)
    logits = logits.astype(np.float32)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[rows, labels] -= 1
    gradient = np.abs(rng.normal(size=(positions, features))).astype(np.float32).T @ (p / np.float32(positions))
    values = np.linalg.svd(gradient.astype(float), compute_uv=False)
    assert np.count_nonzero(values > np.finfo(np.float32).eps * classes * values[0]) < positions
    assert recovered_set(Update.from_arrays(gradient)) == set(labels.tolist())


@given(case=labelled_updates(max_positions=6, max_features=24, max_classes=30))
@hypothesis.settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_agrees_with_linear_programs_on_the_true_rows(case: LabelledUpdate) -> None:
    recovery = rlg(case.update)
    rank = min(case.labels.size, case.update.features + (case.update.bias_gradient is not None))
    if recovery.status != "recovered" or recovery.positions != rank or rank < case.labels.size:
        return  # a batch too large for the head; what is said then is tested below
    error = case.probabilities.astype(np.float64)
    error[np.arange(case.labels.size), case.labels] -= 1
    expected = separable_by_linear_program(error)
    margins = {c.label: c.margin for c in recovery.certificates}
    # What a linear program with its own tolerance cannot settle, this need not settle either.
    doubtful = {label for label, margin in margins.items() if margin < 1e3}
    assert set(recovery.labels) - doubtful <= expected | doubtful
    assert expected <= set(recovery.labels) | doubtful or recovery.details["gap"] < 1e3


@given(
    case=labelled_updates(max_positions=4),
    scale=st.sampled_from([1e-30, 1e-6, 1e6, 1e30]),
)
@hypothesis.settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_scale_changes_nothing(case: LabelledUpdate, scale: float) -> None:
    scaled = case.update.map(lambda a: a.astype(np.float64) * scale, defence="scale")
    plain = case.update.map(lambda a: a.astype(np.float64), defence="scale")
    assert (rlg(scaled).status, rlg(scaled).labels) == (rlg(plain).status, rlg(plain).labels)


def test_class_order_feature_order_and_rotation_change_nothing() -> None:
    case = make_update(positions=12, features=64, classes=100, seed=5, signed=True, bias=False, dtype="float64")
    gradient = case.update.kernel_gradient
    rng = np.random.default_rng(0)
    classes, features = rng.permutation(100), rng.permutation(64)
    rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    truth = set(case.labels.tolist())
    make = dataclasses.replace
    for changed, mapped in (
        (gradient[:, classes], {int(np.flatnonzero(classes == label)[0]) for label in truth}),
        (gradient[features], truth),
        (rotation @ gradient, truth),
    ):
        assert recovered_set(make(case.update, gradients={"kernel": changed})) == mapped


def test_every_certificate_separates() -> None:
    case = make_update(positions=20, features=128, classes=300, seed=1, signed=True, confidence=0.9)
    gradient = np.vstack([case.update.kernel_gradient, case.update.bias_gradient]).astype(np.float64)
    recovery = rlg(case.update)
    assert recovery.certificates
    for certificate in recovery.certificates:
        values = certificate.direction @ gradient
        others = np.delete(values, certificate.label)
        assert certificate.margin > 1
        assert values[certificate.label] < 0
        assert others.min() > values[certificate.label] * 1e-3


def test_every_class_not_named_is_inside_the_cone_of_the_others() -> None:
    from scipy.optimize import nnls

    case = make_update(positions=8, features=64, classes=120, seed=2, signed=True)
    subspace = find_subspace(case.update)
    points = subspace.coordinates
    separation = separate(points, subspace.noise, deviations=10.0)
    for column in range(points.shape[1]):
        _, distance = nnls(np.delete(points, column, axis=1), points[:, column], maxiter=10_000)
        assert (distance > 1e-4) == separation.present[column]


def check_absences(case: LabelledUpdate, recovery: Recovery) -> None:
    """Rebuild the column of every class not named from the gradient as it was shared."""
    gradient = case.update.kernel_gradient.astype(np.float64)
    if case.update.bias_gradient is not None:
        gradient = np.vstack([gradient, case.update.bias_gradient])
    named = set(recovery.labels)
    assert len(recovery.absences) == case.update.classes - len(named)
    seen = set()
    for certificate in recovery.absences:
        seen.add(certificate.label)
        assert not certificate.present
        assert np.all(certificate.coefficients > 0)
        assert certificate.label not in certificate.others
        column = gradient[:, certificate.label]
        rebuilt = gradient[:, certificate.others] @ certificate.coefficients
        # Every column may be off by its own rounding, which the coefficients amplify.
        terms = np.linalg.norm(gradient[:, certificate.others], axis=0) @ certificate.coefficients
        allowed = 1e-6 * (terms + np.linalg.norm(column)) + 2 * certificate.residual * np.linalg.norm(column)
        assert np.linalg.norm(rebuilt - column) <= allowed
        assert certificate.margin > 1
    assert seen == set(range(case.update.classes)) - named


@pytest.mark.parametrize(
    ("positions", "duplicates", "confidence", "classes"),
    [(20, 0.0, None, 300), (20, 0.0, 0.9, 300), (30, 0.5, 0.9, 300), (30, 0.4, None, 300), (5, 0.4, 0.5, 40)],
)
def test_every_class_not_named_is_proved_absent(
    positions: int, duplicates: float, confidence: float | None, classes: int
) -> None:
    case = make_update(
        positions=positions,
        features=128,
        classes=classes,
        seed=9,
        signed=True,
        confidence=confidence,
        duplicates=duplicates,
    )
    recovery = rlg(case.update)
    assert set(recovery.labels) == set(case.labels.tolist())
    assert recovery.details["doubtful"] == 0
    check_absences(case, recovery)


@pytest.mark.slow
def test_a_label_that_happens_to_be_in_the_repeated_part_of_the_basis_is_named() -> None:
    # A dozen of these once lost a label each: its price left out what of the label itself the closing brings in.
    for seed in range(40):
        case = make_update(
            positions=40, features=64, classes=100, seed=seed, confidence=0.7, duplicates=0.15 if seed % 2 else 0.3
        )
        assert set(case.labels.tolist()) <= set(rlg(case.update).labels), seed


@pytest.mark.parametrize("seed", range(6))
def test_the_price_of_a_class_eliminated_with_others_is_that_of_its_combination(seed: int) -> None:
    case = make_update(positions=32, features=64, classes=100, seed=seed, confidence=0.5, duplicates=0.3)
    subspace = find_subspace(case.update)
    separation = separate(subspace.coordinates, subspace.noise, deviations=10.0, leading=subspace.positions)
    (basis,) = separation._bases
    eliminated = np.flatnonzero(~separation.present & np.isfinite(basis.bound))
    assert eliminated.size > 40
    for column in eliminated.tolist():
        if column not in separation._projections:
            combination = separation.combination(column)
            assert combination is not None
            assert np.hypot(combination.missed, combination.paid) < 1.01 * basis.bound[column] + 1e-12


def test_a_class_without_a_gradient_is_absent_without_further_proof() -> None:
    case = make_update(positions=4, features=32, classes=90, seed=9, signed=True, bias=False)
    gradient = case.update.kernel_gradient.copy()
    silent = int(np.setdiff1d(np.arange(90), case.labels)[0])
    gradient[:, silent] = 0.0
    recovery = rlg(Update.from_arrays(gradient))
    (proof,) = [certificate for certificate in recovery.absences if certificate.label == silent]
    assert proof.others.size == 0
    assert proof.margin == np.inf


@pytest.mark.parametrize(
    ("distance", "present", "doubtful"),
    [(5e-4, True, 0), (2e-5, True, 0), (5e-6, False, 1), (2e-7, False, 0)],
)
def test_what_is_within_ten_times_the_border_is_called_doubtful(distance: float, present: bool, doubtful: int) -> None:
    points = np.array([[1.0, 1.0, 1.0, -distance]])
    separation = separate(points, np.full(4, 1e-7), deviations=10.0, least=10.0)  # tilt 1e-6
    assert separation.present.tolist() == [False, False, False, present]
    assert separation.doubtful.tolist() == [3] * doubtful


def test_beyond_its_own_tilt_a_class_is_named_and_called_doubtful() -> None:
    points = np.array([[1.0, 1.0, 1.0, -5e-6]])
    separation = separate(points, np.full(4, 1e-7), deviations=10.0)
    assert separation.present.tolist() == [False, False, False, True]
    assert separation.doubtful.tolist() == [3]


def test_a_direction_that_does_not_separate_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever finds the directions, each is checked against every column before its class is named."""
    from pytest_labelleak.attacks.rlg import separation as _cone

    case = make_update(positions=8, features=64, classes=120, seed=2, signed=True)
    truth = set(case.labels.tolist())
    record = _cone._Test._record
    misled = []

    def mislead(self: _cone._Test, column: int, direction: np.ndarray, margin: float) -> None:
        if not misled:
            misled.append(column)
            direction = np.roll(direction, 1)
        record(self, column, direction, margin)

    monkeypatch.setattr(_cone._Test, "_record", mislead)
    recovery = rlg(case.update)
    assert len(misled) == 1
    assert set(recovery.labels) < truth
    assert len(recovery.labels) == len(truth) - 1
    assert recovery.details["doubtful"] == 1
    assert "too close to call" in recovery.message


@pytest.mark.parametrize(
    ("positions", "features", "classes", "why"),
    [
        (40, 30, 60, "gap"),  # more label positions than features
        (60, 80, 20, "gap|rank"),  # more than classes
        (9, 40, 10, "rank 9 leaves no room"),
    ],
)
def test_a_batch_too_large_for_the_head_is_not_answered(positions: int, features: int, classes: int, why: str) -> None:
    case = make_update(positions=positions, features=features, classes=classes, signed=True, bias=False)
    recovery = rlg(case.update)
    if recovery.status == "recovered":
        # It may take leading directions for signal, but then it must not claim to know the number of positions.
        assert recovery.positions is None
    else:
        assert recovery.status == "not applicable"
        import re

        assert re.search(why, recovery.message)


def test_weights_of_zero_and_several_steps_count_as_they_should() -> None:
    """A sample of weight zero is in no sum; two local steps add their label positions up."""
    cases = [make_update(positions=8, features=128, classes=200, seed=seed, signed=True) for seed in (11, 12)]
    gradient = np.zeros((128, 200))
    labels: set[int] = set()
    for case in cases:
        error = case.probabilities.astype(np.float64)
        error[np.arange(8), case.labels] -= 1.0
        weights = np.array([0.0, 0.0, 1.0, 1.0, 3.0, 0.5, 1.0, 1e-3])
        gradient += case.features.T @ (weights[:, None] * error)
        labels |= set(case.labels[2:].tolist())
    update = Update.from_arrays(gradient.astype(np.float32))
    for steps in (1, 2):
        recovery = rlg(dataclasses.replace(update, steps=steps))
        assert recovery.positions == 12
        assert set(recovery.labels) == labels


def test_a_position_that_few_features_see_is_not_overlooked() -> None:
    """Most of the features are left out at first; here three of them alone fire for one of the samples."""
    case = make_update(positions=6, features=1600, classes=300, seed=4, signed=True, bias=False)
    features = case.features.copy()
    few = np.random.default_rng(1).permutation(1600)[-3:]
    alone = np.zeros(1600)
    alone[few] = features[0, few]
    features[0] = alone
    error = case.probabilities.astype(np.float64)
    error[np.arange(6), case.labels] -= 1.0
    recovery = rlg(Update.from_arrays((features.T @ error).astype(np.float32)))
    assert recovery.positions == 6
    assert set(recovery.labels) == set(case.labels.tolist())


def test_as_many_positions_as_features_that_fire_is_no_empty_answer() -> None:
    """An attack that names nothing counts as one that applied; this one has nothing to go by."""
    case = make_update(positions=2, features=3, classes=18, seed=722705385, confidence=0.9, bias=False, dtype="float64")
    assert np.count_nonzero(case.features.any(axis=0)) == 2
    recovery = rlg(case.update)
    assert recovery.status == "not applicable"
    assert "features that fire" in recovery.message


@functools.cache
def half_erased(seed: int, positions: int, features: int, classes: int) -> tuple[LabelledUpdate, Recovery]:
    """Make samples so sure that some probabilities round to one, and attack them; once for all tests: it takes long."""
    case = make_update(positions=positions, features=features, classes=classes, seed=seed, confidence=0.999995)
    assert np.count_nonzero(case.probabilities[np.arange(positions), case.labels] == 1.0) > 0
    return case, rlg(case.update)


@pytest.mark.slow
def test_more_classes_than_directions_are_never_named() -> None:
    """Where probabilities round to one, rows are erased, and many absent classes are at the rim of the cone."""
    case, recovery = half_erased(3002, 50, 512, 1000)
    p = case.probabilities[np.arange(50), case.labels]
    left = set(case.labels[p < 1.0].tolist())
    assert len(recovery.labels) <= 50
    assert left <= set(recovery.labels)
    assert recovery.details["doubtful"] > 0


@pytest.mark.parametrize(
    ("seed", "positions", "features", "classes"),
    [
        pytest.param(3002, 50, 512, 1000, marks=pytest.mark.slow),
        pytest.param(2, 50, 512, 1000, marks=pytest.mark.slow),
        (2, 30, 128, 100),
    ],
)
def test_a_row_whose_label_was_erased_names_nobody_else(seed: int, positions: int, features: int, classes: int) -> None:
    case, recovery = half_erased(seed, positions, features, classes)
    p = case.probabilities[np.arange(positions), case.labels]
    assert set(recovery.labels) == set(case.labels[p < 1.0].tolist())


@pytest.mark.parametrize("doubt", [1e-8, 1e-9])
def test_rows_far_below_double_precision_of_others_name_no_absent_class(doubt: float) -> None:
    rng = np.random.default_rng(0)
    positions, classes = 30, 400
    labels = rng.choice(classes, positions, replace=False)
    error = rng.dirichlet(np.full(classes, 0.3), size=positions)
    error[np.arange(positions), labels] = 0.0
    error /= error.sum(axis=1, keepdims=True)
    error *= np.geomspace(0.5, doubt, positions)[:, None]
    error[np.arange(positions), labels] = -error.sum(axis=1)
    gradient = np.abs(rng.normal(size=(positions, 200))).T @ error
    recovery = rlg(Update.from_arrays(gradient, compute_dtype="float64"))
    assert set(recovery.labels) <= set(labels.tolist())
    assert len(recovery.labels) >= positions - 3


def test_the_sign_of_a_gradient_has_no_rank() -> None:
    case = make_update(positions=10, features=128, classes=200, seed=4, signed=True)
    recovery = rlg(Sign()(case.update, rng=np.random.default_rng(0)))
    assert recovery.status == "not applicable"
    assert "reduced to its signs" in recovery.message


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Round to nearest even on the bfloat16 grid, and back to float32."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


# The last case has more weak directions than noise beside them: only their size tells the two apart.
@pytest.mark.parametrize(("positions", "confidence"), [(8, None), (30, 0.5), (60, 0.9)])
@pytest.mark.slow
def test_bfloat16_gradients_keep_rank_and_labels(positions: int, confidence: float | None) -> None:
    case = make_update(positions=positions, features=256, classes=400, seed=7, confidence=confidence)
    coarse = dataclasses.replace(
        case.update,
        gradients={name: to_bfloat16(array) for name, array in case.update.gradients.items()},
        compute_dtype="bfloat16",
    )
    recovery = rlg(coarse)
    assert recovery.positions == positions
    assert set(recovery.labels) == set(case.labels.tolist())


def test_weight_decay_is_subtracted() -> None:
    case = make_update(positions=6, features=32, classes=50, seed=8)
    weights = np.random.default_rng(0).normal(size=(32, 50)).astype(np.float32)
    penalty = np.float32(2e-3) * weights
    gradients = dict(case.update.gradients) | {"kernel": case.update.kernel_gradient + penalty}
    head = dataclasses.replace(case.update.head, kernel_penalty=penalty)
    assert recovered_set(dataclasses.replace(case.update, gradients=gradients, head=head)) == set(case.labels.tolist())


@pytest.mark.parametrize("relative", [1e-6, 1e-4])
def test_added_noise_hides_no_label_behind_features_of_different_size(relative: float) -> None:
    case = make_update(positions=10, features=128, classes=300, seed=2, signed=True, bias=False)
    sizes = 10.0 ** np.random.default_rng(0).uniform(-4, 0, (128, 1))
    gradient = case.update.kernel_gradient * sizes
    gradient += relative * np.sqrt(np.mean(gradient**2)) * np.random.default_rng(1).standard_normal(gradient.shape)
    update = Update.from_arrays(gradient.astype(np.float32))
    subspace = find_subspace(update)
    # Rows and columns of one size would have noise of all sizes, and a spectrum without a gap.
    assert subspace.positions == 10
    assert set(rlg(update).labels) == set(case.labels.tolist())


def test_noise_in_proportion_to_a_large_bias_gradient_is_no_position() -> None:
    case = make_update(positions=10, features=128, classes=300, seed=2, signed=True, confidence=0.5)
    assert case.update.bias_gradient is not None
    rng = np.random.default_rng(1)
    shared = []
    for gradient in (1e-3 * case.update.kernel_gradient, case.update.bias_gradient):
        noise = 1e-3 * np.sqrt(np.mean(gradient**2)) * rng.standard_normal(gradient.shape)
        shared.append((gradient + noise).astype(np.float32))
    subspace = find_subspace(Update.from_arrays(shared[0], bias_gradient=shared[1]))
    assert (subspace.positions, subspace.rank) == (10, 10)


def difference_of_weights(case: LabelledUpdate, *, steps: int, learning_rate: float) -> Update:
    """Let the weights take the case's gradient in equal steps, in float32, and share what they have moved by."""
    rng = np.random.default_rng(0)
    gradient = case.update.kernel_gradient
    before = rng.uniform(-0.1, 0.1, gradient.shape).astype(np.float32)
    after = before.copy()
    for _ in range(steps):
        after -= np.float32(learning_rate / steps) * gradient
    return Update.from_arrays((before - after) / np.float32(learning_rate), kernel=before)


@pytest.mark.parametrize(("steps", "rate"), [(1, 1.0), (4, 0.1)])
def test_the_rounding_of_weights_is_known_to_be_in_their_differences(steps: int, rate: float) -> None:
    case = make_update(positions=20, features=128, classes=400, seed=3, signed=True, confidence=0.5, bias=False)
    shared = difference_of_weights(case, steps=steps, learning_rate=rate)
    # Taken for a gradient it holds far more noise than a gradient can have.
    assert rlg(shared).positions != 20
    update = dataclasses.replace(shared, steps=steps, learning_rate=rate)
    recovery = rlg(update)
    assert set(recovery.labels) == set(case.labels.tolist())
    subspace = find_subspace(update)
    assert 0.3 < subspace.noise_ratio < 3.0


@pytest.mark.parametrize("seed", [3, 7])
def test_the_end_of_a_spectrum_of_noise_is_no_gap(seed: int) -> None:
    # A difference of weights that does not say so; its bias is exact, and so the smallest direction of all.
    case = make_update(positions=15, features=96, classes=300, seed=seed, signed=True, confidence=0.9)
    before = np.random.default_rng(seed).uniform(-0.1, 0.1, (96, 300)).astype(np.float32)
    shared = before - (before - case.update.kernel_gradient)
    recovery = rlg(Update.from_arrays(shared, bias_gradient=case.update.bias_gradient))
    assert recovery.positions != 96
    assert set(recovery.labels) <= set(case.labels.tolist())


def test_columns_without_any_noise_are_decided_all_the_same() -> None:
    """Exact arithmetic says that nothing is off; a cone without a tilt would divide by it."""
    error = np.full((3, 80), 0.01)
    error[np.arange(3), [4, 9, 30]] -= 0.8
    points = np.linalg.qr(error.T)[0].T
    points /= np.linalg.norm(points, axis=0)
    separation = separate(points, np.zeros(80), deviations=10.0)
    assert np.flatnonzero(separation.present).tolist() == [4, 9, 30]
    assert not np.isnan(separation.margin[[4, 9, 30]]).any()


def test_tests_beyond_those_allowed_are_not_made() -> None:
    """In noise most columns need a test of their own; the labels are among the first."""
    rng = np.random.default_rng(0)
    error = np.exp(2 * rng.normal(size=(6, 400)))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(6), [3, 3, 50, 50, 80, 120]] -= 1
    points = np.linalg.qr(error.T)[0].T
    points /= np.linalg.norm(points, axis=0)
    points += 1e-3 * rng.normal(size=points.shape)
    everything = separate(points, np.full(400, 1e-3), deviations=10.0)
    some = separate(points, np.full(400, 1e-3), deviations=10.0, most_tests=8)
    assert some.tested < 20 < 100 < everything.tested
    assert set(some.directions) == set(everything.directions) == {3, 50, 80, 120}


def test_a_representation_that_is_near_enough_bounds_the_distance_and_is_no_last_word():
    """Later a present class may be found so near that the bound no longer tells: the column then waits again."""
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(200), size=6)
    outputs[np.arange(6), np.arange(6)] -= 1.0
    points = outputs / np.linalg.norm(outputs, axis=0)
    state = _Test(points, np.full(200, 1e-6), 1.0, SeparationRules())
    state.directly(0, np.arange(200))
    assert state.border > 1e3 * state.price
    for column in range(50, 60):
        state.directly(column, np.arange(40, 50))
    near = np.flatnonzero(np.isfinite(state.bound[50:60]) & np.isnan(state.distance[50:60])) + 50
    assert near.size > 5
    state.distance[0] = 0.0  # a border that no bound is below
    for column in near.tolist():
        bound = state.bound[column]
        assert 0.0 < bound < 0.1
        state.directly(column, np.arange(40, 50))
        assert np.isfinite(state.distance[column])
        assert state.distance[column] <= bound
