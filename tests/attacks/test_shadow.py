"""The shadow attack: what it learns to read, what it refuses, and what it says that it assumed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_labelleak import GaussianNoise, Recovery, Sign, Update, attack, audit
from pytest_labelleak.attacks.registry import prepare, run
from pytest_labelleak.attacks.shadow.attack import Shadow
from pytest_labelleak.attacks.shadow.regression import best_threshold, fit, scores
from pytest_labelleak.attacks.shadow.simulation import norm_beneath, simulate, undefended
from pytest_labelleak.attacks.shadow.statistics import read_statistics
from pytest_labelleak.core.errors import InvalidArgumentError
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.testing import LabelledUpdate, check_attack, make_head_update

quick = hypothesis.settings(max_examples=6, deadline=None)
SMALL = Shadow(simulations=12, sizes=(4, 16, 40))


def advantage(recovery: Recovery, case: LabelledUpdate) -> float:
    present, claimed, classes = set(case.labels.tolist()), set(recovery.labels), case.update.classes
    return len(claimed & present) / len(present) - len(claimed - present) / (classes - len(present))


def made(seed: int, *, signed: bool = True, positions: int = 12, weights: bool = True) -> LabelledUpdate:
    case = make_head_update(positions=positions, features=64, classes=150, seed=seed, signed=signed, bias=False)
    head = case.update.head if weights else dataclasses.replace(case.update.head, kernel_value=None)
    return dataclasses.replace(case, update=dataclasses.replace(case.update, head=head))


def defended(case: LabelledUpdate, defence: object, seed: int = 1) -> LabelledUpdate:
    return dataclasses.replace(case, update=defence(case.update, rng=np.random.default_rng(seed)))  # type: ignore[operator]


@pytest.mark.slow
def test_it_conforms() -> None:
    check_attack(Shadow(simulations=4, sizes=(1, 2)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("defence", [None, Sign(), GaussianNoise(relative=1.0)], ids=str)
@pytest.mark.slow
def test_it_reads_what_it_can_simulate(signed: bool, defence: object) -> None:
    for seed in range(2):
        case = made(seed, signed=signed)
        case = case if defence is None else defended(case, defence)
        assert advantage(attack(SMALL, case.update), case) >= 0.7


@dataclass(frozen=True)
class Ranks:
    """A defence without inverse or name in the registry: every entry becomes the rank of its size in its column."""

    name: str = "ranks of squares"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        return update.map(
            lambda a: np.asarray(np.argsort(np.argsort(a**2, axis=-1), axis=-1), dtype=a.dtype), defence=self.name
        )


def test_it_adapts_to_a_defence_of_ones_own() -> None:
    case = defended(made(3, positions=8), Ranks())
    refused = attack(SMALL, case.update)
    assert refused.status is Status.NOT_APPLICABLE
    assert "pass Shadow(defence=...)" in refused.reason
    recovery = attack(dataclasses.replace(SMALL, defence=Ranks()), case.update)
    assert advantage(recovery, case) >= 0.8


def test_an_absolute_strength_meets_a_gradient_of_the_right_scale() -> None:
    """The update is 1000 times smaller than a simulated one; the noise is that of the defence, not 1000 times it."""
    case = made(4)
    kernel = case.update.kernel_gradient * np.float32(1e-3)
    noise = GaussianNoise(absolute=float(np.sqrt(np.mean(kernel.astype(float) ** 2))))
    small = noise(dataclasses.replace(case.update, gradients={"kernel": kernel}), rng=np.random.default_rng(0))
    recovery = attack(SMALL, small)
    assert advantage(recovery, case) >= 0.7
    rng = np.random.default_rng(5)
    norm = norm_beneath(small, noise, undefended(small, 40, "signed", rng), rng)
    assert norm == pytest.approx(np.linalg.norm(kernel), rel=0.1)
    alike = simulate(small, noise, 12, "signed", rng, norm=norm).update
    assert np.linalg.norm(alike.kernel_gradient) == pytest.approx(np.linalg.norm(small.kernel_gradient), rel=0.05)


def test_noise_that_hides_everything_is_refused_with_its_power() -> None:
    case = defended(made(5), GaussianNoise(relative=1e5))
    recovery = attack(SMALL, case.update)
    assert recovery.status is Status.NOT_APPLICABLE
    assert "features and gaussian_noise(relative=100000.0) are read with an advantage of" in recovery.reason
    assert recovery.details["power"] < 0.1


def test_noise_without_a_recorded_defence_is_not_named() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        recovery = attack(SMALL, Update.from_arrays(rng.normal(size=(40, 100))))
        assert recovery.status is Status.NOT_APPLICABLE
        assert "resembles none of those simulated" in recovery.reason


def test_it_states_what_it_assumed() -> None:
    case = defended(made(6, signed=False), Sign())
    recovery = attack(SMALL, case.update)
    assert recovery.reason == "learned on updates simulated with non-negative features and sign"
    given_kind = attack(dataclasses.replace(SMALL, features="signed"), case.update)
    assert given_kind.details["assumed"] == "signed features and sign"


def test_a_head_in_which_every_class_is_present_needs_smaller_batches() -> None:
    case = make_head_update(positions=6, features=16, classes=4, seed=0)
    recovery = attack(Shadow(simulations=8, sizes=(64,)), case.update)
    assert recovery.status is Status.NOT_APPLICABLE
    assert "pass Shadow(sizes=...)" in recovery.reason


@pytest.mark.parametrize(
    "arguments", [{"features": "odd"}, {"simulations": 1}, {"simulations": 2.5}, {"sizes": ()}, {"sizes": (0,)}]
)
def test_wrong_parameters_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        Shadow(**arguments)  # type: ignore[arg-type]


@given(seed=st.integers(0, 1000), exponent=st.sampled_from([-600, -3, 600]))
@quick
@pytest.mark.slow
def test_scale_changes_nothing(seed: int, exponent: int) -> None:
    case = made(seed)
    scaled = dataclasses.replace(
        case.update, gradients={"kernel": np.ldexp(case.update.kernel_gradient.astype(np.float64), exponent)}
    )
    wide = dataclasses.replace(case.update, gradients={"kernel": case.update.kernel_gradient.astype(np.float64)})
    assert attack(SMALL, scaled).labels == attack(SMALL, wide).labels


@given(seed=st.integers(0, 1000))
@quick
def test_statistics_belong_to_their_class(seed: int) -> None:
    case = made(seed)
    order = np.random.default_rng(seed).permutation(150)
    head = dataclasses.replace(case.update.head, kernel_value=case.update.head.kernel_value[:, order])
    renamed = dataclasses.replace(case.update, gradients={"kernel": case.update.kernel_gradient[:, order]}, head=head)
    one, other = read_statistics(case.update).columns[order], read_statistics(renamed).columns
    # Directions are found from a fixed sketch: they alone depend on the order, and hardly.
    assert np.median(np.abs(one - other)) < 1e-9
    assert np.quantile(np.abs(one - other), 0.9) < 0.5


@given(seed=st.integers(0, 1000))
@quick
def test_signs_of_features_change_no_answer_by_much(seed: int) -> None:
    case = made(seed, weights=False)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], 64).astype(np.float32)
    turned = dataclasses.replace(case.update, gradients={"kernel": case.update.kernel_gradient * signs[:, None]})
    assert advantage(attack(SMALL, turned), case) >= 0.8


def test_the_regression_finds_the_direction_and_the_threshold() -> None:
    rng = np.random.default_rng(0)
    truths = [rng.random(300) < 0.1 for _ in range(4)]
    tables = [rng.normal(size=(300, 3)) + 3.0 * truth[:, None] * np.array([1.0, 0.0, 0.0]) for truth in truths]
    coefficients = fit(tables, truths, 1e-3)
    assert coefficients[0] > 5 * np.abs(coefficients[1:3]).max()
    threshold, advantages = best_threshold([scores(coefficients, table) for table in tables], truths)
    assert advantages.shape == (4,)
    assert advantages.mean() > 0.8
    assert abs(threshold) < 2
    assert best_threshold([np.arange(4.0)], [np.array([False, False, True, True])])[1].tolist() == [1.0]


class Counted:
    """Noise that counts how often it was called."""

    name = "gaussian_noise(relative=1.0)"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        self.calls += 1
        return GaussianNoise(relative=1.0)(update, rng=rng)


def test_lessons_are_learned_once_for_all_draws_of_a_defence() -> None:
    counted = Counted()
    shadow = dataclasses.replace(SMALL, defence=counted)
    draws = [defended(made(7), GaussianNoise(relative=1.0), seed) for seed in range(4)]
    ready = prepare(shadow, draws[0].update, seed=0)
    assert counted.calls >= 2 * SMALL.simulations
    before = counted.calls
    answers = [run(ready, case.update, seed=0) for case in draws]
    assert counted.calls == before
    assert all(advantage(answer, case) >= 0.7 for answer, case in zip(answers, draws, strict=True))
    own = run(shadow, draws[0].update, seed=0)
    assert (own.labels, own.reason, own.details) == (answers[0].labels, answers[0].reason, answers[0].details)
    assert len({answer.labels for answer in answers}) > 1, "every draw is read by its own entries"


def test_lessons_serve_further_batches_of_the_same_head() -> None:
    first = defended(made(7), GaussianNoise(relative=1.0))
    ready = SMALL.prepared(first.update, rng=np.random.default_rng(0))
    again = dataclasses.replace(first.update, head=dataclasses.replace(first.update.head))
    moved = dataclasses.replace(again.head, kernel_value=again.head.kernel_value + np.float32(0.1))
    assert ready.serves(again)
    assert not ready.serves(dataclasses.replace(again, head=moved)), "other weights"
    assert not ready.serves(dataclasses.replace(again, head=dataclasses.replace(moved, kernel_value=None)))
    assert not ready.serves(dataclasses.replace(again, steps=2))
    assert not ready.serves(dataclasses.replace(again, defences=()))
    absolute = defended(made(7), GaussianNoise(absolute=1.0))
    scaled = SMALL.prepared(absolute.update, rng=np.random.default_rng(0))
    assert not scaled.serves(absolute.update), "its lessons hold for one norm"


def test_a_kind_of_features_that_reads_nothing_does_not_stand_in_for_one_that_reads() -> None:
    """Where noise hides the kind, the likelier one may be the one whose labels it hides as well."""
    case = defended(made(7, signed=False), GaussianNoise(relative=1.0))
    ready = dataclasses.replace(SMALL, features="non-negative").prepared(case.update, rng=np.random.default_rng(0))
    (reading,) = ready.lessons.values()
    rng = np.random.default_rng(1)
    # Scores that tell a little more than nothing, and features that the update resembles far more.
    guessed = tuple(rng.normal(size=truth.size) + 0.1 * truth for truth in reading.present)
    blind = dataclasses.replace(reading, held_out=guessed, sides=np.tile(read_statistics(case.update).sides, (12, 1)))
    unlikely = dataclasses.replace(reading, sides=blind.sides + 0.0385)
    both = dataclasses.replace(ready, lessons={"signed": blind, "non-negative": unlikely})
    found = read_statistics(case.update)
    logs = [lesson.likelihood(found.sides) for lesson in (blind, unlikely)]
    powers = [lesson.applied(found.columns).power for lesson in (blind, unlikely)]
    assert both.rules.likely < 1.0 / (1.0 + np.exp(logs[0] - logs[1])) < powers[0] / powers[1] / 2.0
    answer = run(both, case.update, seed=0)
    assert answer.details["assumed"].startswith("non-negative")
    assert advantage(answer, case) >= 0.7


def test_an_audit_of_several_batches_learns_once() -> None:
    counted = Counted()
    shadow = dataclasses.replace(SMALL, defence=counted)
    case = made(7)
    calls = []
    for batches in (1, 3):
        before = counted.calls
        audit([case.update] * batches, [case.labels] * batches, attacks=[shadow], seed=0)
        calls.append(counted.calls - before)
    assert calls[0] == calls[1] > 0


def test_prepared_for_one_head_it_reads_no_other() -> None:
    ready = SMALL.prepared(made(8).update, rng=np.random.default_rng(0))
    other = make_head_update(positions=4, features=32, classes=150, seed=0).update
    with pytest.raises(InvalidArgumentError, match=r"32 features and 150 classes\. Expected 64 and 150"):
        ready(other, rng=np.random.default_rng(0))


def test_a_refused_preparation_is_refused_for_every_draw_without_another_simulation() -> None:
    case = make_head_update(positions=6, features=16, classes=4, seed=0)
    counted = Counted()
    ready = prepare(Shadow(simulations=8, sizes=(64,), defence=counted), case.update, seed=0)
    before = counted.calls
    recovery = run(ready, case.update, seed=0)
    assert recovery.status is Status.NOT_APPLICABLE
    assert "pass Shadow(sizes=...)" in recovery.reason
    assert counted.calls == before > 0
