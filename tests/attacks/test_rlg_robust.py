"""Robust RLG on defended gradients: what strict RLG cannot read any more."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise, Quantise, RandomDrop, Recovery, Sign, Update
from pytest_labelleak.attacks.gradient.intervals import find_intervals
from pytest_labelleak.attacks.registry import ask
from pytest_labelleak.attacks.rlg.attack import RLG
from pytest_labelleak.attacks.robust.attack import RobustRLG
from pytest_labelleak.testing import LabelledUpdate, check_attack, make_update

RNG = np.random.default_rng


def dropped(update: Update, fraction: float) -> Update:
    def drop(array: np.ndarray) -> np.ndarray:
        magnitude = np.abs(array)
        return np.where(magnitude >= np.quantile(magnitude, fraction), array, 0)

    return update.map(drop, defence="drop")


def rounded(update: Update, bits: int) -> Update:
    def quantise(array: np.ndarray) -> np.ndarray:
        step = np.abs(array).max() / (2 ** (bits - 1) - 1)
        return np.round(array / step) * step

    return update.map(quantise, defence="quantise")


DEFENDED = {
    "sign": lambda update: Sign()(update, rng=RNG(0)),
    "drop 50 %": lambda update: dropped(update, 0.5),
    "drop 90 %": lambda update: dropped(update, 0.9),
    "drop 99 %": lambda update: dropped(update, 0.99),
    "8 bits": lambda update: rounded(update, 8),
    "4 bits": lambda update: rounded(update, 4),
    "noise 1e-4": lambda update: GaussianNoise(relative=1e-4)(update, rng=RNG(0)),
    "noise 1e-1": lambda update: GaussianNoise(relative=1e-1)(update, rng=RNG(0)),
}


def both(update: Update) -> tuple[Recovery, Recovery]:
    return ask(RLG(), update, rng=RNG(0)), ask(RobustRLG(), update, rng=RNG(0))


@pytest.mark.parametrize("name", DEFENDED)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.slow
def test_names_exactly_the_labels_behind_a_defended_gradient(name: str, signed: bool) -> None:
    case = make_update(positions=12, features=192, classes=300, seed=2, signed=signed, bias=False)
    strict, robust = both(DEFENDED[name](case.update))
    assert robust.status == "recovered", robust.message
    assert set(robust.labels) == set(case.labels.tolist())
    assert robust.positions is None
    if name.startswith(("sign", "drop")):
        assert strict.status == "not applicable"


COARSE = {name: DEFENDED[name] for name in ("drop 50 %", "drop 90 %", "drop 99 %", "8 bits", "4 bits")}


def visible(case: LabelledUpdate, update: Update) -> set[int]:
    """Return the labels of whose columns anything is left: of the others nobody can know."""
    return {int(label) for label in case.labels if np.any(update.kernel_gradient[:, label])}


@pytest.mark.parametrize("name", COARSE)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("confidence", [0.5, 0.97])
@pytest.mark.slow
def test_names_what_is_left_of_a_trained_head(name: str, signed: bool, confidence: float) -> None:
    case = make_update(
        positions=12, features=192, classes=300, seed=2, signed=signed, bias=False, confidence=confidence
    )
    update = COARSE[name](case.update)
    named = set(ask(RobustRLG(), update, rng=RNG(0)).labels)
    left = visible(case, update)
    assert named <= left, "no class without a label is named"
    # A label may hang by a few entries that chance explains.
    assert len(named) >= len(left) - 1


def test_stochastic_rounding_is_not_mistaken_for_labels() -> None:
    case = make_update(positions=12, features=192, classes=300, seed=2, bias=False)
    update = Quantise(bits=8, stochastic=True)(case.update, rng=RNG(0))
    assert set(ask(RobustRLG(), update, rng=RNG(0)).labels) == set(case.labels.tolist())


def test_intervals_are_in_the_units_of_what_is_left() -> None:
    case = make_update(positions=4, features=32, classes=50, seed=1, signed=True)
    gradient = case.update.kernel_gradient
    for name, edge in (("drop 90 %", None), ("8 bits", np.abs(gradient).max() / 254)):
        update = DEFENDED[name](case.update)
        intervals = find_intervals(update)
        assert intervals is not None
        left = np.abs(update.kernel_gradient)
        assert intervals.unit == pytest.approx(left[left > 0].min() if edge is None else edge, rel=1e-3)
        centre, width = intervals.of(update, intervals.columns)
        truth = gradient[np.ix_(intervals.rows, intervals.columns)] / intervals.unit
        inside = np.abs(truth - centre[: intervals.rows.size]) <= width[: intervals.rows.size] * 1.001 + 1e-3
        assert inside.all()


def test_entries_dropped_at_random_have_no_intervals() -> None:
    case = make_update(positions=4, features=64, classes=100, seed=1, signed=True)
    assert find_intervals(RandomDrop(fraction=0.5)(case.update, rng=RNG(0))) is None
    assert find_intervals(case.update) is None


@pytest.mark.parametrize("name", COARSE)
@pytest.mark.slow
def test_defended_noise_names_next_to_nothing(name: str) -> None:
    noise = Update.from_arrays(RNG(5).normal(size=(96, 150)).astype(np.float32))
    assert len(ask(RobustRLG(), COARSE[name](noise), rng=RNG(0)).labels) <= 5


@pytest.mark.parametrize("name", ["drop 90 %", "8 bits"])
def test_certificates_descend_on_their_label(name: str) -> None:
    case = make_update(positions=12, features=192, classes=300, seed=2, signed=True, bias=False)
    update = DEFENDED[name](case.update)
    certificates = ask(RobustRLG(), update, rng=RNG(0)).certificates
    assert certificates
    for certificate in certificates:
        values = certificate.direction @ update.kernel_gradient.astype(np.float64)
        assert int(np.argmin(values)) == certificate.label


def test_leaves_exact_gradients_to_strict_rlg() -> None:
    case = make_update(positions=12, features=192, classes=300, seed=2, confidence=0.9)
    strict, robust = both(case.update)
    assert strict.status == "recovered"
    assert robust.status == "not applicable"
    assert "rounding alone" in robust.message


def test_pure_noise_names_next_to_nothing() -> None:
    noise = RNG(5).normal(size=(192, 300))
    recovery = ask(RobustRLG(), Update.from_arrays(noise), rng=RNG(0))
    assert len(recovery.labels) <= 3


def test_certificates_point_down_at_their_label_more_than_anywhere_else() -> None:
    case = make_update(positions=12, features=192, classes=300, seed=2, signed=True, bias=False)
    update = DEFENDED["noise 1e-1"](case.update)
    for certificate in ask(RobustRLG(), update, rng=RNG(0)).certificates:
        values = certificate.direction @ update.kernel_gradient.astype(np.float64)
        assert int(np.argmin(values)) == certificate.label


def test_conforms() -> None:
    check_attack(RobustRLG())


def test_inactive_features_are_not_mistaken_for_dropping() -> None:
    case = make_update(positions=5, features=64, classes=100, seed=3)
    gradient = case.update.kernel_gradient.copy()
    gradient[::2] = 0  # half of the features never fire
    recovery = ask(RLG(), Update.from_arrays(gradient), rng=RNG(0))
    assert set(recovery.labels) == set(case.labels.tolist())


def test_float16_underflow_is_not_mistaken_for_dropping() -> None:
    case = make_update(positions=5, features=64, classes=100, seed=3)
    gradient = case.update.kernel_gradient.copy()
    smallest = np.quantile(np.abs(gradient), 0.03)
    underflowed = {"kernel": np.where(np.abs(gradient) < smallest, 0, gradient)}
    head = dataclasses.replace(case.update.head, bias=None)
    update = dataclasses.replace(case.update, gradients=underflowed, head=head)
    assert "dropped or rounded" in ask(RLG(), update, rng=RNG(0)).message
    as_half = dataclasses.replace(update, compute_dtype="float16")
    assert "dropped or rounded" not in ask(RLG(), as_half, rng=RNG(0)).message


def crowded(positions: int, classes: int, features: int, present: int, seed: int, scale: float) -> LabelledUpdate:
    """More label positions than the classes have room for, with signed features, and labels of some classes only."""
    rng = RNG(seed)
    inputs = np.tanh(rng.normal(size=(positions, features)))
    logits = inputs @ rng.normal(size=(features, classes)) * scale / np.sqrt(features)
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    labels = rng.choice(present, positions)
    probabilities = error.copy()
    error[np.arange(positions), labels] -= 1
    return LabelledUpdate(
        update=Update.from_arrays((inputs.T @ error / positions).astype(np.float32)),
        labels=labels,
        features=inputs,
        probabilities=probabilities,
        weights=np.full(positions, 1 / positions),
    )


@pytest.mark.parametrize(
    ("positions", "classes", "features", "present", "least"),
    [(80, 50, 64, 25, 0.75), (128, 100, 256, 30, 0.0), (64, 20, 128, 8, 0.95)],
)
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.slow
def test_a_clean_crowded_update_is_read_as_well_as_one_with_a_little_noise(
    positions: int, classes: int, features: int, present: int, least: float, scale: float
) -> None:
    case = crowded(positions, classes, features, present, seed=0, scale=scale)
    noisy = GaussianNoise(relative=1e-4)(case.update, rng=RNG(1))
    clean, blurred = (ask(RobustRLG(), update, rng=RNG(0)) for update in (case.update, noisy))
    assert clean.status == "recovered", clean.message
    assert clean.labels == blurred.labels
    truth, named = set(case.labels.tolist()), set(clean.labels)
    assert len(named & truth) / len(truth) - len(named - truth) / (classes - len(truth)) >= least
