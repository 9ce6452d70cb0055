"""Every softmax head of an update is found, and no layer inside is taken for one."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from pytest_labelleak import Update, attack, audit
from pytest_labelleak.attacks.gradient.heads import HeadRules, softmax_heads
from pytest_labelleak.auditing.outcome import Outcome
from pytest_labelleak.testing import make_head_update


def two_heads(*, bias: bool = True, seed: int = 0) -> tuple[Update, list[int]]:
    """Make an update with a second head on other features and the same labels."""
    first = make_head_update(positions=6, features=32, classes=50, seed=seed, bias=bias)
    second = make_head_update(positions=9, features=40, classes=50, seed=seed + 1, bias=bias)
    rng = np.random.default_rng(seed)
    others = {"side": second.update.kernel_gradient, "inside": rng.normal(size=(20, 32)), "gain": rng.normal(size=50)}
    if second.update.bias_gradient is not None:
        others["side bias"] = second.update.bias_gradient
    update = dataclasses.replace(
        first.update,
        gradients={**first.update.gradients, **others},
        values={"side": second.update.head.kernel_value, "inside": rng.normal(size=(20, 32))}
        | ({"side bias": second.update.head.bias_value} if bias else {}),
    )
    return update, sorted(set(second.labels.tolist()))


@pytest.mark.parametrize("bias", [True, False])
def test_another_head_is_found_with_its_bias_and_weights_and_read(bias: bool) -> None:
    for seed in range(3):
        update, labels = two_heads(bias=bias, seed=seed)
        first, second = softmax_heads(update)
        assert first is update
        assert (second.head.kernel, second.head.bias) == ("side", "side bias" if bias else None)
        assert second.head.kernel_value is update.values["side"]
        assert set(second.values) == {"inside"}
        for name in ("rlg", "disaggregate"):
            found = attack(name, second)
            assert list(found.labels) == labels
        assert "side" in attack("rlg", second).variables


def test_noise_signs_and_transposed_matrices_are_no_heads() -> None:
    update, _ = two_heads()
    side = update.gradients["side"]
    rng = np.random.default_rng(0)
    for name, array in {
        "noisy": side + 1e-3 * np.abs(side).max() * rng.normal(size=side.shape).astype(side.dtype),
        "signs": np.sign(side),
        "zero": np.zeros_like(side),
        "transposed": np.ascontiguousarray(side.T),
        "broken": np.where(rng.random(side.shape) < 0.01, np.nan, side),
    }.items():
        changed = dataclasses.replace(update, gradients={**update.gradients, "side": array}, values={})
        assert [found.head.kernel for found in softmax_heads(changed)] == [update.head.kernel], name


def test_two_biases_of_one_length_are_not_guessed_between() -> None:
    update, _ = two_heads()
    twice = dataclasses.replace(
        update, gradients={**update.gradients, "another bias": -2.0 * update.gradients["side bias"]}
    )
    assert softmax_heads(twice)[1].head.bias is None


def test_a_keras_model_of_two_outputs_shows_both_heads() -> None:
    keras = pytest.importorskip("keras")
    from pytest_labelleak.capture.keras.adapter import KerasAdapter

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    inputs = keras.Input((12,))
    hidden = keras.layers.Dense(32, activation="relu", name="hidden")(inputs)
    outputs = {
        name: keras.layers.Dense(20, activation="softmax", name=name)(hidden if name == "one" else inputs)
        for name in ("one", "two")
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", dict.fromkeys(outputs, "sparse_categorical_crossentropy"))
    x, y = rng.normal(size=(5, 12)).astype("float32"), rng.integers(0, 20, 5)
    update = KerasAdapter().capture(model, (x, {"one": y, "two": y}), head="one")
    first, second = softmax_heads(update)
    assert "one" in first.head.kernel
    assert "two" in second.head.kernel
    assert second.head.bias is not None
    assert "two" in second.head.bias
    assert set(attack("bias_sign", second).labels) == set(y.tolist())


def test_a_defence_of_one_head_does_not_hide_what_another_shows() -> None:
    update, labels = two_heads(seed=3)
    rng = np.random.default_rng(0)
    kernel = update.kernel_gradient
    noisy = kernel + (100.0 * kernel.std() * rng.normal(size=kernel.shape)).astype(kernel.dtype)
    defended = dataclasses.replace(update, gradients={**update.gradients, update.head.kernel: noisy})
    found = attack("rlg", defended)
    assert list(found.labels) == labels
    assert set(found.variables) == {"side", "side bias"}
    assert "another head" in found.reason
    measured = audit(defended, labels, attacks=["rlg"])
    assert (measured.outcome, measured.figure) == (Outcome.LEAKED, 1.0)


def test_another_head_is_not_asked_while_the_own_one_is_read_nor_over_other_classes() -> None:
    update, _ = two_heads(seed=3)
    assert set(attack("rlg", update).variables) == {update.head.kernel, update.head.bias}
    fewer = make_head_update(positions=4, features=40, classes=30, seed=1, bias=False).update.kernel_gradient
    zero = np.full_like(update.kernel_gradient, 1e-3)
    other = dataclasses.replace(
        update, gradients={**update.gradients, "side": fewer, update.head.kernel: zero}, values={}
    )
    assert not attack("rlg", other).labels


@pytest.mark.parametrize("seed", range(5))
def test_a_layer_in_front_of_a_normalisation_names_no_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.normal(size=(6, 50))
    errors -= errors.mean(axis=1, keepdims=True)
    inside = (rng.normal(size=(6, 30)).T @ errors).astype("float32")
    update = Update.from_arrays(rng.normal(size=(32, 50)).astype("float32"), gradients={"inside": inside})
    assert [found.head.kernel for found in softmax_heads(update)] == ["kernel", "inside"]
    assert not attack("rlg", update).labels


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Round as a network of this compute dtype does, whose sums are float32."""
    values = np.asarray(values, dtype=np.float32)
    if dtype == "float16":
        return values.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        return ((bits + ((bits >> 16) & 1) + 0x7FFF) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return values


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("edge", HeadRules.__dataclass_fields__["roundings"].metadata["plateau"])
@pytest.mark.slow
def test_sums_are_told_from_zero_at_both_ends_of_the_plateau(edge: float, dtype: str) -> None:
    rules = HeadRules(roundings=edge)
    for positions, classes, sure in itertools.product((8, 64, 512), (30, 100, 1000), (0.0, 5.0)):
        rng = np.random.default_rng(positions + classes)
        labels = rng.integers(0, classes, positions)
        logits = rng.normal(size=(positions, classes))
        logits[np.arange(positions), labels] += sure
        powers = rounded(np.exp(rounded(logits, dtype)), dtype)
        errors = rounded(powers / rounded(powers.sum(axis=1, keepdims=True), dtype), dtype)
        errors[np.arange(positions), labels] -= 1.0
        features = rounded(np.abs(rng.normal(size=(64, positions))), dtype)
        update = Update.from_arrays(
            rng.normal(size=(64, classes)).astype(np.float32),
            gradients={
                "head": rounded(features @ rounded(errors / positions, dtype), dtype),
                "inside": rounded(features @ rng.normal(size=(positions, classes)).astype(np.float32), dtype),
            },
            compute_dtype=dtype,
        )
        assert [found.head.kernel for found in softmax_heads(update, rules)[1:]] == ["head"], (positions, classes)
