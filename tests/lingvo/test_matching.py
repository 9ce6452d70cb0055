"""Gradient matching on lingvo's own decoder: free contexts against the stock decoder, and the whole search."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import lingvo_patches

if importlib.util.find_spec("lingvo") is None:
    pytest.skip("lingvo is not installed: run 'make test-lingvo'", allow_module_level=True)

from pytest_labelleak.asr import GradientMatching, free_contexts
from pytest_labelleak.asr.matching.objectives import Distance
from pytest_labelleak.asr.matching.observed import observe
from pytest_labelleak.asr.matching.unknowns import Unknowns
from pytest_labelleak.core.errors import UnsupportedModelError
from pytest_labelleak.core.update import Head, Update

U, C, WIDTH = 5, 40, 16


@pytest.fixture(scope="module")
def stock(task):
    """Run the stock decoder on encoder outputs of ordinary size; return everything about the run."""
    import tensorflow as tf
    from lingvo.core import py_utils

    decoder, theta = task.decoder, task.decoder.theta
    rng = np.random.default_rng(3)
    labels = np.append(rng.permutation(np.arange(3, C))[: U - 1], 2).astype(np.int32)
    targets = py_utils.NestedMap(
        ids=tf.constant([[1, *labels[:-1]]]),
        labels=tf.constant(labels[None]),
        paddings=tf.zeros((1, U)),
        weights=tf.ones((1, U)),
    )
    encoder = py_utils.NestedMap(
        encoded=tf.constant(rng.normal(size=(9, 1, WIDTH)), tf.float32),
        padding=tf.zeros((9, 1)),
        state=py_utils.NestedMap(),
    )
    contexts = [decoder.BaseZeroState(theta, encoder, 1, py_utils.NestedMap())[1].numpy()[0]]
    inner = decoder._ComputeAttention

    def listen(*arguments, **options):
        result = inner(*arguments, **options)
        contexts.append(result[0])
        return result

    variables = [variable for variable in decoder.vars.Flatten() if variable.trainable]
    with tf.GradientTape() as tape:
        predictions = decoder.ComputePredictions(theta, encoder, targets)
        loss = decoder.ComputeLoss(theta, predictions, targets)[0]["loss"][0]
    gradients = {
        variable.name[:-2]: tf.convert_to_tensor(gradient).numpy()
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True)
    }
    # Once more in eager steps, only to hear what the attention answers.
    object.__setattr__(decoder, "_ComputeAttention", listen)
    try:
        decoder.ComputePredictions(theta, encoder, targets)
    finally:
        object.__delattr__(decoder, "_ComputeAttention")
    heard = np.stack([np.ravel(context) for context in contexts])
    return labels, heard, predictions.logits.numpy()[0], gradients


@pytest.fixture(scope="module")
def speller(task):
    return free_contexts(task)


@pytest.fixture(scope="module")
def update(stock):
    gradients = stock[3]
    (kernel,) = (key for key in gradients if "softmax/weight" in key)
    (bias,) = (key for key in gradients if "softmax/bias" in key)
    return Update(gradients=gradients, head=Head(kernel=kernel, bias=bias), reduction="mean")


def test_logits_agree_with_the_stock_decoder(task, stock):
    labels, contexts, logits, _ = stock
    free = lingvo_patches.FreeContexts(task)
    assert contexts.shape == (U + 1, WIDTH)
    found = free.logits(contexts.astype(np.float32), np.eye(C, dtype=np.float32)[labels]).numpy()
    np.testing.assert_allclose(found, logits, atol=1e-6)
    assert np.abs(logits).max() > 0.01
    moved = contexts.astype(np.float32)
    moved[0] += 1.0  # the initial context counts, too
    assert np.abs(free.logits(moved, np.eye(C, dtype=np.float32)[labels]).numpy() - logits).max() > 1e-4
    assert "_ComputeAttention" not in vars(task.decoder)


def test_what_the_head_takes_is_that_of_the_stock_decoder(task, stock, speller):
    import tensorflow as tf

    labels, contexts, logits, _ = stock
    other = contexts + 1.0
    seen = speller.head_inputs(np.stack([contexts, other]), np.stack([labels, labels]))
    assert seen.shape == (2, U, seen.shape[2])
    np.testing.assert_allclose(seen[0][:, speller.context_rows], contexts[1:], atol=1e-6)
    made = task.decoder._ComputeLogits(task.decoder.theta, tf.constant(seen[0], tf.float32)).numpy()
    np.testing.assert_allclose(made, logits, atol=1e-6)
    assert np.abs(seen[1] - seen[0]).max() > 0.01


def test_steps_that_are_the_same_may_be_taken_once(stock, speller):
    labels, contexts, _, _ = stock
    last, early = contexts.copy(), contexts.copy()
    last[-1] += 1.0
    early[1] += 1.0
    alone = [speller.head_inputs(one[None], labels[None])[0] for one in (contexts, last, early)]
    np.testing.assert_allclose(
        speller.head_inputs(np.stack([contexts, last]), np.stack([labels, labels])), alone[:2], atol=1e-6
    )
    np.testing.assert_allclose(
        speller.head_inputs(np.stack([contexts, early]), np.stack([labels, labels])), alone[::2], atol=1e-6
    )


def test_gradients_agree_above_the_attention(stock, speller):
    labels, contexts, _, gradients = stock
    assert (speller.classes, speller.context_width, speller.initial, speller.end) == (C, WIDTH, 1, 2)
    every = speller.keys(every=True)
    found = dict(zip(every, speller.gradients(contexts, np.eye(C)[labels], every), strict=True))
    explained = set(speller.keys())
    assert {key.split("/")[2] for key in explained} == {"rnn_cell_1", "softmax"}
    assert {key.split("/")[2] for key in set(every) - explained} == {"rnn_cell", "emb"}
    for key in every:
        size = np.linalg.norm(gradients[key])
        apart = np.linalg.norm(found[key] - gradients[key]) / size
        assert (apart < 1e-5) if key in explained else (0.05 < apart < 2.0), (key, apart)


def test_an_embedding_in_shards_is_one_table(make_params, monkeypatch):
    from lingvo.core import layers

    monkeypatch.setattr(layers.EmbeddingLayer, "MIN_PARAMS_PER_SHARD", 60)
    p = make_params()
    p.decoder.emb.max_num_shards = 3
    p.decoder.softmax.num_shards = 4
    task = p.Instantiate()
    free = lingvo_patches.FreeContexts(task)
    assert len(task.decoder.emb.vars.wm) == 3
    ids = np.arange(C, dtype=np.int32)
    looked_up = task.decoder.emb.EmbLookup(task.decoder.theta.emb, ids).numpy()
    np.testing.assert_array_equal(free.table().numpy(), looked_up)
    shards = {len(part.variables): part.key.rpartition("/")[2] for part in free.parts[:1] + free.parts[-2:-1]}
    assert shards == {3: "wm", 4: "weight"}
    kernel = free.gradients(np.ones((3, WIDTH), np.float32), np.eye(C, dtype=np.float32)[:2], free.parts[-2:-1])[0]
    assert kernel.shape == (2 * WIDTH, C)
    np.testing.assert_allclose(kernel.numpy().sum(axis=1), 0.0, atol=1e-6)


@pytest.mark.parametrize("labels", ["softmax", "free"])
def test_second_derivatives_agree_with_finite_differences(stock, speller, labels):
    truth, _, _, gradients = stock
    keys = speller.keys(every=True)
    problem = Unknowns(
        decoder=speller,
        distance=Distance(kind="normalised", targets=[observe(np.asarray(gradients[key], np.float64)) for key in keys]),
        keys=keys,
        positions=U,
        bag=np.unique(truth),
        soft_labels=labels,
        last=None,
    )
    vector = problem.start(np.random.default_rng(1), context_scale=0.5)
    gradient = problem(vector)[1]
    assert vector.size == (U + 1) * WIDTH + U * U
    size = np.linalg.norm(gradient)
    for part in (slice(None), slice(0, WIDTH), slice((U + 1) * WIDTH, None)):  # all; the initial context; the labels
        direction = np.zeros_like(vector)
        direction[part] = gradient[part]
        step = 1e-2 * direction / np.linalg.norm(direction)  # of single precision
        difference = problem(vector + step)[0] - problem(vector - step)[0]
        assert difference == pytest.approx(2.0 * float(gradient @ step), rel=2e-2, abs=1e-4 * size)


def test_the_transcript_comes_out(stock, speller, update):
    found = GradientMatching()(update, speller, rng=np.random.default_rng(0))
    assert found.status == "recovered", found.message
    assert found.tokens == tuple(stock[0])
    np.testing.assert_allclose(found.contexts[1:], stock[1][1:], atol=0.05)


def test_decoders_that_are_not_understood_are_refused(make_params):
    p = make_params(dropout_prob=0.1)
    with pytest.raises(UnsupportedModelError, match=r"dropout_prob=0\.1"):
        free_contexts(p.Instantiate())
    p = make_params(min_ground_truth_prob=0.5)
    with pytest.raises(UnsupportedModelError, match="scheduled sampling"):
        free_contexts(p.Instantiate())
