"""Embedding rows: the tokens that a lookup table gives away, and variables that merely look like one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_labelleak import DropSmallest, GaussianNoise, Head, Quantise, RoundTo, Sign, Update, attack
from pytest_labelleak.attacks import EmbeddingRows
from pytest_labelleak.attacks.energy.embedding_rows import EmbeddingRules

CLASSES, WIDTH, UNITS = 60, 12, 16


def token_update(name: str = "decoder/embedding", *, seed: int = 0, bias: bool = True) -> tuple[Update, set[int]]:
    """Make the update of a next-token model: embedding, tanh layer, softmax; and the tokens it was fed."""
    rng = np.random.default_rng(seed)
    table, inner = rng.normal(size=(CLASSES, WIDTH)), rng.normal(size=(WIDTH, UNITS)) / 4
    kernel = rng.normal(size=(UNITS, CLASSES)) / 4
    tokens = rng.integers(1, CLASSES, 10)
    fed, said = tokens[:-1], tokens[1:]
    hidden = np.tanh(table[fed] @ inner)
    error = np.exp(hidden @ kernel)
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(said.size), said] -= 1.0
    error /= said.size
    back = (error @ kernel.T) * (1 - hidden**2)
    gradient = np.zeros_like(table)
    np.add.at(gradient, fed, back @ inner.T)
    gradients = {name: gradient, "dense": table[fed].T @ back, "kernel": hidden.T @ error}
    if bias:
        gradients["bias"] = error.sum(axis=0)
    gradients = {k: v.astype(np.float32) for k, v in gradients.items()}
    return Update(gradients=gradients, head=Head(bias="bias" if bias else None)), set(fed.tolist())


def with_gradients(update: Update, **gradients: Any) -> Update:
    """Return the update with other variables than the head's."""
    own = {k: v for k, v in update.gradients.items() if k in ("kernel", "bias")}
    return Update(gradients={**own, **gradients}, head=update.head)


@pytest.mark.parametrize("name", ["decoder/embedding", "emb/wm_0", "table"])
@pytest.mark.parametrize("seed", range(3))
def test_names_exactly_the_tokens_that_were_fed(name: str, seed: int) -> None:
    update, tokens = token_update(name, seed=seed)
    recovery = attack("embedding_rows", update)
    assert recovery.status == "recovered", recovery.message
    assert set(recovery.labels) == tokens
    assert recovery.variables == (name,)
    assert recovery.details == {"rows": len(tokens)}
    assert name in recovery.message


@pytest.mark.parametrize("defence", [Sign(), Quantise(bits=8), DropSmallest(fraction=0.05), RoundTo(dtype="bfloat16")])
def test_zeros_survive_defences_without_noise(defence: Any) -> None:
    update, tokens = token_update()
    assert set(attack("embedding_rows", defence(update, rng=np.random.default_rng(0))).labels) == tokens


def reason(update: Update) -> str:
    recovery = attack("embedding_rows", update)
    assert recovery.status == "not applicable"
    return recovery.message


def test_noise_hides_the_rows() -> None:
    update, _ = token_update()
    noisy = GaussianNoise(absolute=0.1)(update, rng=np.random.default_rng(0))
    assert "has a gradient in 60 of 60 rows: it is no lookup table, or noise was added" in reason(noisy)


@pytest.mark.parametrize("seed", range(3))
def test_rows_stand_out_of_little_noise_and_of_a_weight_penalty(seed: int) -> None:
    update, tokens = token_update(seed=seed)
    table = update.gradients["decoder/embedding"]
    weights = np.random.default_rng(seed).normal(size=table.shape).astype(np.float32)
    noisy = GaussianNoise(absolute=1e-5)(update, rng=np.random.default_rng(0))
    for shared in (noisy, with_gradients(update, embedding=table + np.float32(1e-5) * weights)):
        recovery = attack("embedding_rows", shared)
        assert set(recovery.labels) == tokens
        assert "above all the rows of the batch's tokens move" in recovery.message
    # The name alone says so; a variable of another name would need more evidence.
    assert "it is no lookup table" in reason(with_gradients(update, dense=table + np.float32(1e-5) * weights))


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_named_in_noise_near_their_own_size_and_noise_alone_names_none(seed: int) -> None:
    update, tokens = token_update(seed=seed)
    table = update.gradients["decoder/embedding"]
    moved = np.linalg.norm(table, axis=1)
    rng = np.random.default_rng(seed)
    noise = (0.15 * np.median(moved[moved > 0]) / np.sqrt(WIDTH) * rng.normal(size=table.shape)).astype(np.float32)
    named = set(attack("embedding_rows", with_gradients(update, embedding=table + noise)).labels)
    assert named <= tokens
    assert len(named) > len(tokens) / 2
    for _ in range(20):
        noise = rng.normal(size=table.shape).astype(np.float32)
        assert "or noise was added" in reason(with_gradients(update, embedding=noise))


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_rows_stand_out_of_noise_at_any_scale_of_the_loss(scale: float) -> None:
    update, tokens = token_update()
    table = update.gradients["decoder/embedding"].astype(np.float64)
    noise = 1e-5 * np.random.default_rng(0).normal(size=table.shape)
    assert set(attack("embedding_rows", with_gradients(update, embedding=scale * (table + noise))).labels) == tokens


def test_rows_that_the_head_does_not_know_are_no_tokens() -> None:
    """Without a bias and with signed features, the sum of a column says nothing."""
    update, _ = token_update(bias=False)
    rng = np.random.default_rng(0)
    for _ in range(20):
        table = np.zeros((CLASSES, WIDTH), np.float32)
        table[rng.choice(CLASSES, 10, replace=False)] = rng.normal(size=(10, WIDTH))
        assert "does not raise the classes" in reason(with_gradients(update, dense=table))


def test_a_tied_or_frozen_embedding_does_not_apply() -> None:
    update, _ = token_update()
    assert "no variable besides the head's kernel has one row for each of the 60 classes" in reason(
        with_gradients(update)
    )


def test_the_head_itself_is_no_embedding() -> None:
    """As many features as classes, most of them dead."""
    gradient = np.zeros((20, 20), np.float32)
    gradient[3] = np.linspace(-1, 1, 20)
    assert "no variable besides" in reason(Update.from_arrays(gradient))


def test_other_ways_of_not_being_one() -> None:
    update, _ = token_update()
    poisoned = np.zeros((CLASSES, 4), np.float32)
    assert "'embedding' has no gradient" in reason(with_gradients(update, embedding=poisoned))
    poisoned[3, 1] = np.nan
    assert "not finite" in reason(with_gradients(update, embedding=poisoned))
    vector = np.zeros(CLASSES, np.float32)
    assert "no variable besides" in reason(with_gradients(update, embedding=vector))


@pytest.mark.parametrize("samples", [1, 3])
def test_a_dense_layer_with_dead_inputs_is_told_apart_by_its_rank(samples: int) -> None:
    update, _ = token_update()
    rng = np.random.default_rng(0)
    inputs = np.zeros((samples, CLASSES))
    inputs[:, rng.choice(CLASSES, 20, replace=False)] = rng.random((samples, 20))
    kernel = (inputs.T @ rng.normal(size=(samples, WIDTH))).astype(np.float32)
    message = reason(with_gradients(update, dense=kernel))
    assert f"'dense' has 20 rows with a gradient, of rank {samples}, as a dense layer with dead inputs would" in message


@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_layer_of_many_samples_is_told_apart_by_the_head(bias: bool) -> None:
    update, _ = token_update(bias=bias)
    # Classes that the head lowers, or, without a bias, those that it moves least.
    evidence = update.bias_gradient if bias else -np.linalg.norm(update.kernel_gradient, axis=0)
    assert evidence is not None
    alive = np.argsort(evidence)[::-1][:8]
    kernel = np.zeros((CLASSES, WIDTH), np.float32)
    kernel[alive] = np.random.default_rng(0).normal(size=(8, WIDTH))
    assert "the head does not raise the classes of their numbers" in reason(with_gradients(update, dense=kernel))


def test_of_two_tables_the_one_that_fits_the_head_is_taken() -> None:
    update, tokens = token_update()
    rng = np.random.default_rng(5)
    source = np.zeros((CLASSES, WIDTH), np.float32)
    source[rng.choice(CLASSES, 9, replace=False)] = rng.normal(size=(9, WIDTH))
    for order in (("source_embedding", "target_embedding"), ("target_embedding", "source_embedding")):
        tables = {"source_embedding": source, "target_embedding": update.gradients["decoder/embedding"]}
        recovery = attack("embedding_rows", with_gradients(update, **{key: tables[key] for key in order}))
        assert recovery.variables == ("target_embedding",)
        assert set(recovery.labels) == tokens


@pytest.mark.parametrize(
    ("name", "noise", "changed", "reason"),
    [
        ("embedding", 1e-5, {"level": 1e-300}, "or noise was added"),
        ("table", 0.0, {"moving": 0.01}, "it is no lookup table"),
        ("table", 0.0, {"roundings": 1e9}, "as a dense layer with dead inputs would"),
        ("table", 0.0, {"level": 1e-300}, "does not raise the classes"),
    ],
)
def test_a_changed_rule_changes_the_answer(name: str, noise: float, changed: dict[str, float], reason: str) -> None:
    update, _ = token_update(name)
    if noise:
        update = GaussianNoise(absolute=noise)(update, rng=np.random.default_rng(0))
    assert attack("embedding_rows", update).status == "recovered"
    assert reason in attack(EmbeddingRows(rules=EmbeddingRules(**changed)), update).message


def test_messages_hold_no_token() -> None:
    update, _ = token_update()
    recovery = attack("embedding_rows", update)
    assert "labels" not in repr(recovery)


@pytest.mark.framework
def test_a_keras_language_model_gives_its_text_away() -> None:
    keras = pytest.importorskip("keras")
    from pytest_labelleak import audit

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Embedding(200, 8), keras.layers.GRU(16, return_sequences=True), keras.layers.Dense(200)]
    )
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    text = np.random.default_rng(0).integers(1, 200, (2, 13))
    result = audit(model, (text[:, :-1], text[:, 1:]), attacks="embedding_rows")
    (verdict,) = result.verdicts
    assert verdict.recall >= 0.9  # all but the last token of each text
    assert verdict.precision >= 0.9  # all but the first
