"""The steps of an optimizer against those of Keras, and updates that name one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_labelleak import InvalidArgumentError, Optimizer, Update
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.core.optimizer import OptimizerState
from pytest_labelleak.core.softmax import softmax

KERAS = {
    "sgd": lambda keras: keras.optimizers.SGD(0.1),
    "momentum": lambda keras: keras.optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda keras: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda keras: keras.optimizers.Adam(0.1),
    "adamw": lambda keras: keras.optimizers.AdamW(0.1),
    "rmsprop": lambda keras: keras.optimizers.RMSprop(0.1),
    "adagrad": lambda keras: keras.optimizers.Adagrad(0.1),
}


@pytest.mark.framework
@pytest.mark.parametrize("name", KERAS)
def test_steps_are_those_of_keras(name: str) -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4)).astype(np.float32)
    variable = keras.Variable(start)
    optimizer = KERAS[name](keras)
    optimizer.build([variable])
    state, weights = OptimizerState(Optimizer.named(name)), start.astype(np.float64)
    for _ in range(5):
        gradient = rng.standard_normal((3, 4)).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        weights = weights - 0.1 * state.step({"w": gradient.astype(np.float64)}, {"w": weights})["w"]
        np.testing.assert_allclose(variable.numpy(), weights, rtol=2e-5, atol=2e-6)


def test_an_update_names_its_optimizer_and_keeps_it_on_disk(tmp_path: Path) -> None:
    gradient = np.array([[0.5, -0.75, 0.25], [1.0, -1.5, 0.5]])
    update = Update.from_arrays(gradient, optimizer="adamw", steps=3)
    assert update.optimizer == Optimizer(kind="adam", weight_decay=0.004)
    update.save(tmp_path / "update.npz")
    assert Update.load(tmp_path / "update.npz").optimizer == update.optimizer
    assert Update.from_arrays(gradient).optimizer is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("adan", "optimizer='adan'. Expected one of sgd, momentum"),
        (3, "optimizer=3. Expected one of sgd"),
        ({"kind": "adam", "beta_3": 0.1}, "Expected one of sgd"),
        ({"kind": "lion"}, "kind='lion'. Expected one of sgd, adam"),
        ({"momentum": 1.0}, r"momentum=1.0. Expected a number in \[0, 1\)"),
        ({"momentum": "0.9"}, r"momentum='0.9'. Expected a number"),
        ({"epsilon": -1.0}, "epsilon=-1.0. Expected a finite number"),
        ({"weight_decay": float("nan")}, "weight_decay=nan. Expected a finite number"),
        ({"nesterov": 1}, "nesterov=1. Expected True or False"),
    ],
)
def test_unknown_optimizers_are_refused(given: object, expected: str) -> None:
    with pytest.raises(InvalidArgumentError, match=expected):
        Update.from_arrays(np.array([[0.5, -0.75, 0.25]]), optimizer=given)  # type: ignore[arg-type]


def trained(
    optimizer: Optimizer,
    *,
    steps: int,
    seed: int,
    features: int = 48,
    classes: int = 200,
    size: int = 4,
    rate: float = 1e-3,
) -> tuple[Update, set[int]]:
    """Train a head on tanh features for some steps, and return the difference of its weights."""
    rng = np.random.default_rng(seed)
    weights = {"kernel": rng.standard_normal((features, classes)) / np.sqrt(features), "bias": np.zeros(classes)}
    start, state, seen = dict(weights), OptimizerState(optimizer), set()
    for _ in range(steps):
        labels = rng.integers(0, classes, size)
        seen |= set(labels.tolist())
        inputs = np.tanh(rng.standard_normal((size, features)) + 0.3 * start["kernel"].T[labels])
        errors = softmax(inputs @ weights["kernel"] + weights["bias"])
        errors[np.arange(size), labels] -= 1.0
        gradients = {"kernel": inputs.T @ errors / size, "bias": errors.mean(axis=0)}
        changes = state.step(gradients, weights)
        weights = {name: weights[name] - rate * changes[name] for name in weights}
    changed = {name: (start[name] - weights[name]) / rate for name in weights}
    update = Update.from_arrays(
        changed["kernel"],
        bias_gradient=changed["bias"],
        kernel=start["kernel"],
        bias=start["bias"],
        compute_dtype="float64",
        steps=steps,
        learning_rate=rate,
        optimizer=optimizer,
    )
    return update, seen


def advantage(named: set[int], seen: set[int], classes: int) -> float:
    return len(named & seen) / len(seen) - len(named - seen) / (classes - len(seen))


@pytest.mark.slow
def test_the_shadow_attack_reads_updates_of_adam_that_it_simulates() -> None:
    figures = []
    for seed in range(3):
        update, seen = trained(Optimizer.named("adam"), steps=16, seed=seed)
        found = run(builtin_attacks()["shadow"], update, seed=0)
        figures.append(advantage(set(found.labels), seen, update.classes))
    assert np.mean(figures) > 0.7


def test_decay_of_the_weights_is_subtracted() -> None:
    decayed = Optimizer(kind="sgd", weight_decay=5.0)
    update, seen = trained(decayed, steps=1, seed=0)
    assert set(run(builtin_attacks()["rlg"], update, seed=0).labels) == seen
    unknown, _ = trained(decayed, steps=1, seed=0)
    hidden = Update.from_arrays(unknown.kernel_gradient, bias_gradient=unknown.bias_gradient, compute_dtype="float64")
    assert set(run(builtin_attacks()["rlg"], hidden, seed=0).labels) != seen
