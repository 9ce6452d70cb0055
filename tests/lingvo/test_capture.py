"""The adapter for lingvo tasks against lingvo's own learner, and against gradients computed by hand."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pytest_labelleak as pl
from pytest_labelleak.capture import adapter_for, capture_update
from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter
from pytest_labelleak.capture.local_steps import LocalSteps
from pytest_labelleak.testing import check_adapter

if importlib.util.find_spec("lingvo") is None:
    pytest.skip("lingvo is not installed: run 'make test-lingvo'", allow_module_level=True)

ADAPTER = LingvoAdapter()


def state(task):
    import tensorflow as tf

    collections = tf.compat.v1.get_default_graph()._collections
    return {
        "weights": [variable.numpy().tobytes() for variable in task.vars.Flatten()],
        "step": int(task._global_step_var.numpy()),
        "random": (random.getstate(), np.random.get_state()[1].tobytes()),  # noqa: NPY002 - the state to keep
        "collections": {name: len(items) for name, items in collections.items()},
        "notes": (dict(task._eval_metrics), dict(task.learners[0]._eval_metrics)),
    }


def by_hand(task, batch):
    """Return the loss's gradient by a plain tape, without lingvo's learner."""
    import tensorflow as tf

    variables = [variable for variable in task.vars.Flatten() if variable.trainable]
    with tf.GradientTape() as tape:
        metrics, _ = task.FPropTower(task.theta, batch.Transform(tf.convert_to_tensor))
        loss = metrics["loss"][0]
    return {v.name[:-2]: g for v, g in zip(variables, tape.gradient(loss, variables), strict=True)}


@pytest.fixture(scope="module")
def captured(task, make_batch):
    before = state(task)
    batch = make_batch()
    return batch, ADAPTER.capture(task, batch), before


def test_recognises_a_task_and_leaves_it_untouched(task, captured):
    assert adapter_for(task).name == "lingvo"
    assert state(task) == captured[2]


def test_captures_the_gradient_of_the_loss(task, captured):
    batch, update, _ = captured
    expected = by_hand(task, batch)
    assert set(update.gradients) == set(expected)
    for name, gradient in expected.items():
        if hasattr(gradient, "indices"):
            dense = np.zeros(update.gradients[name].shape, np.float32)
            np.add.at(dense, gradient.indices.numpy(), gradient.values.numpy())
            gradient = dense
        np.testing.assert_allclose(update.gradients[name], gradient, rtol=1e-4, atol=1e-7)
    assert update.head.layer == "decoder.softmax"
    assert update.kernel_gradient.shape == (32, 40)
    assert update.defences == ()
    assert update.reduction == "mean"
    assert update.origin == "lingvo/eager"


def test_the_head_and_the_embedding_tell_the_labels(captured):
    batch, update, _ = captured
    counted = batch.tgt.weights > 0
    labels = np.unique(batch.tgt.labels[counted])
    recovery = pl.attack("rlg", update)
    assert recovery.labels == tuple(labels)
    assert recovery.positions == counted.sum() == 9  # the padded position is in neither
    # Unlike labels, inputs hold the start token and not what the last position says.
    assert pl.attack("embedding_rows", update).labels == tuple(np.unique(batch.tgt.ids[counted]))


def test_truth_leaves_out_padding_and_never_shows(task, captured):
    batch, update, _ = captured
    truth = ADAPTER.labels(task, batch)
    np.testing.assert_array_equal(truth.labels, batch.tgt.labels[batch.tgt.weights > 0])
    assert truth.lengths == (batch.tgt.weights > 0).sum(axis=1).tolist()
    without = batch.DeepCopy()
    del without.tgt.weights
    np.testing.assert_array_equal(ADAPTER.labels(task, without).labels, truth.labels)
    assert "labels" not in repr(truth)
    assert "9" not in repr(update).replace("e-09", "")  # not the number of positions either


def test_keeps_the_rules_of_adapters(task, captured):
    check_adapter(ADAPTER, task, captured[0])


def test_the_gate_fails_on_a_task(task, captured):
    with pytest.raises(pl.LabelLeak):
        pl.assert_labels_not_recoverable(task, captured[0])


def test_a_traced_step_gives_the_same(task, captured, make_batch):
    batch, update, _ = captured
    adapter = LingvoAdapter(compiled=True)
    for other in (make_batch(1, 3), make_batch(1, 4), batch):  # of other sizes and lengths
        traced = adapter.capture(task, other)
    assert traced.origin == "lingvo/tf.function"
    for name, gradient in update.gradients.items():
        np.testing.assert_allclose(traced.gradients[name], gradient, rtol=1e-4, atol=1e-7)


def test_local_steps_share_the_difference_of_the_weights(task, make_batch):
    before = state(task)
    first, second = make_batch(1, 4, seed=1), make_batch(1, 5, seed=2)
    steps = LocalSteps(batches=[first, second], learning_rate=0.25)
    update = ADAPTER.capture(task, steps)
    assert state(task) == before
    assert (update.steps, update.learning_rate) == (2, 0.25)
    # The same two steps by hand, each at the weights that the one before has left.
    variables = {v.name[:-2]: v for v in task.vars.Flatten() if v.trainable}
    kept = {name: variable.numpy() for name, variable in variables.items()}
    try:
        for batch in (first, second):
            for name, gradient in capture_update(task, batch).gradients.items():
                variables[name].assign_sub(0.25 * gradient)
        moved = variables[update.head.kernel].numpy()
    finally:
        for name, variable in variables.items():
            variable.assign(kept[name])
    before_moving = kept[update.head.kernel]
    np.testing.assert_allclose(update.kernel_gradient, (before_moving - moved) / 0.25, rtol=1e-3, atol=1e-6)
    truth = ADAPTER.labels(task, steps)
    assert truth.labels.size == sum(truth.lengths) == 3 + 4
    assert set(pl.attack("bias_sign", update).labels) == set(truth.labels.tolist())
    assert "batches" not in repr(steps)


def test_settings_act_before_sharing_and_are_named(published, make_batch):
    batch = make_batch()
    update = ADAPTER.capture(published, batch)
    assert update.defences == ("l2(weight=1e-06)", "clip_norm(norm=1)", "zero_above(norm=100)")
    raw = by_hand(published, batch)
    head = update.head
    weights = head.kernel_value.astype(np.float64)
    expected = raw[head.kernel].numpy() + 1e-6 * weights
    scale = float(np.vdot(update.kernel_gradient, expected) / np.vdot(expected, expected))
    np.testing.assert_allclose(update.kernel_gradient, scale * expected, rtol=1e-3, atol=1e-9)
    norm = np.sqrt(sum(float(np.linalg.norm(g)) ** 2 for g in update.gradients.values()))
    assert norm <= 1.0 + 1e-5
    # The penalty's part follows from what is shared, also if clipping has scaled it.
    np.testing.assert_allclose(head.kernel_penalty, scale * 1e-6 * weights, rtol=1e-3)
    assert pl.attack("rlg", update).labels == tuple(np.unique(batch.tgt.labels[batch.tgt.weights > 0]))
    result = pl.audit(published, batch, attacks="rlg")
    assert result.defence == "l2(weight=1e-06) + clip_norm(norm=1) + zero_above(norm=100)"
    result = pl.audit(published, batch, attacks="rlg", defence="sign")
    assert result.defence.endswith("zero_above(norm=100) + sign")


def test_clipping_scales_everything(make_params, make_batch):
    p = make_params()
    p.train.Set(l2_regularizer_weight=1e-3, clip_gradient_norm_to_value=0.01, grad_norm_to_clip_to_zero=0.0)
    task, batch = p.Instantiate(), make_batch()
    update = ADAPTER.capture(task, batch)
    norm = np.sqrt(sum(float(np.linalg.norm(g)) ** 2 for g in update.gradients.values()))
    assert norm == pytest.approx(0.01, rel=1e-4)
    assert update.reduction == "unknown"
    clean = update.kernel_gradient - update.head.kernel_penalty
    assert np.abs(clean.sum(axis=1)).max() < 1e-4 * np.abs(update.kernel_gradient.sum(axis=1)).max()
    assert pl.attack("rlg", update).labels == tuple(np.unique(batch.tgt.labels[batch.tgt.weights > 0]))


def test_the_scale_of_the_penalty_is_found_behind_a_large_gradient():
    from pytest_labelleak.capture.lingvo.settings import _scale_outside

    rng = np.random.default_rng(0)
    weights = rng.uniform(-0.1, 0.1, (96, 500)).astype(np.float32)
    errors = rng.normal(size=(20, 500)) * np.logspace(0, -4, 20)[:, None]
    gradient = (rng.normal(size=(96, 20)) @ (errors - errors.mean(axis=1, keepdims=True))).astype(np.float32)
    penalty = (1e-6 * weights).astype(np.float32)
    shared = np.float32(0.037) * (gradient + penalty)
    assert np.linalg.norm(gradient) > 1e7 * np.linalg.norm(penalty)
    assert _scale_outside(shared, penalty) == pytest.approx(0.037, rel=0.05)
    assert _scale_outside(np.float32(0.037) * (1e-3 * gradient + penalty), penalty) == pytest.approx(0.037, rel=1e-4)


def test_variational_noise_is_part_of_what_is_shared(make_params, make_batch):
    p = make_params()
    p.train.Set(vn_std=0.075, vn_start_step=20000)
    task, batch = p.Instantiate(), make_batch()
    quiet = ADAPTER.capture(task, batch)
    assert not any("variational" in name for name in quiet.defences)
    step = int(task._global_step_var.numpy())
    task._global_step_var.assign(20000)
    try:
        noisy = [ADAPTER.capture(task, batch) for _ in range(2)]
    finally:
        task._global_step_var.assign(step)
    assert noisy[0].defences[0] == "variational_noise(std=0.075)"
    assert not np.array_equal(noisy[0].kernel_gradient, noisy[1].kernel_gradient)
    assert not np.allclose(noisy[0].kernel_gradient, quiet.kernel_gradient, rtol=1e-3)
    for update in noisy:  # other weights, the same words
        assert pl.attack("rlg", update).labels == tuple(np.unique(batch.tgt.labels[batch.tgt.weights > 0]))


def test_shards_are_joined(make_params, make_batch, monkeypatch):
    from lingvo.core import layers

    monkeypatch.setattr(layers.EmbeddingLayer, "MIN_PARAMS_PER_SHARD", 60)
    p = make_params(classes=40)
    p.decoder.emb.max_num_shards = 3  # of 14 rows each: two of them belong to no token
    p.decoder.softmax.num_shards = 4
    p.train.Set(l2_regularizer_weight=None)
    task, batch = p.Instantiate(), make_batch()
    assert len(task.vars.decoder.emb.wm) == 3
    update = ADAPTER.capture(task, batch)
    assert update.gradients["small/dec/emb/wm"].shape == (40, 6)
    assert update.kernel_gradient.shape == update.head.kernel_value.shape == (32, 40)
    counted = batch.tgt.weights > 0
    assert pl.attack("embedding_rows", update).labels == tuple(np.unique(batch.tgt.ids[counted]))
    assert pl.attack("rlg", update).labels == tuple(np.unique(batch.tgt.labels[counted]))


def test_uniform_smoothing_is_known_and_other_smoothing_refused(make_params, make_batch):
    from lingvo.core import layers

    p = make_params()
    p.decoder.label_smoothing = layers.UniformLabelSmoother.Params().Set(uncertainty=0.1)
    update = ADAPTER.capture(p.Instantiate(), make_batch())
    assert update.head.label_smoothing == pytest.approx(0.1 * 40 / 39)
    p = make_params()
    p.decoder.label_smoothing = layers.LocalizedLabelSmoother.Params().Set(
        num_classes=40, offsets=[-1, 1], weights=[0.05, 0.05]
    )
    with pytest.raises(pl.UnsupportedModelError, match="LocalizedLabelSmoother"):
        ADAPTER.capture(p.Instantiate(), make_batch())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.tgt.pop("labels"), "no tgt.labels"),
        (lambda b: b.tgt.__setitem__("labels", b.tgt.labels.astype(np.float32)), "Expected integers of shape"),
        (lambda b: b.tgt.__setitem__("weights", b.tgt.weights[:, 1:]), "of the shape of tgt.labels"),
        (lambda b: b.tgt.labels.__setitem__((0, 0), 4711), "1 of 9 labels are out of range"),
        (lambda b: b.tgt.ids.__setitem__((0, 0), 4711), "1 of 10 tgt.ids are out of range"),
        (lambda b: b.tgt.weights.__setitem__(slice(None), 0.0), "no target position with a weight"),
        (lambda b: [b.tgt.pop("weights"), b.tgt.pop("paddings")], "neither tgt.weights nor tgt.paddings"),
    ],
)
def test_wrong_batches_get_one_error_that_quotes_nothing(task, make_batch, change, message):
    batch = make_batch()
    change(batch)
    with pytest.raises(pl.InvalidArgumentError, match=message) as caught:
        ADAPTER.capture(task, batch)
    assert "4711" not in str(caught.value)


def test_other_mistakes(task, make_batch):
    batch = make_batch()
    with pytest.raises(pl.InvalidArgumentError, match="batch is a ndarray"):
        ADAPTER.capture(task, np.zeros(3))
    with pytest.raises(pl.UnknownNameError, match=r"Expected one of decoder\.softmax"):
        ADAPTER.capture(task, batch, head="softmax")
    with pytest.raises(pl.InvalidArgumentError, match="class_weight="):
        ADAPTER.capture(task, batch, class_weight={1: 2.0})
    with pytest.raises(pl.InvalidArgumentError, match="learning_rate=0"):
        LocalSteps(batches=[batch], learning_rate=0)
    with pytest.raises(pl.InvalidArgumentError, match="Expected a list"):
        LocalSteps(batches=[], learning_rate=1.0)
    batch.src.src_inputs = batch.src.src_inputs[..., 0]
    with pytest.raises(pl.UnsupportedModelError, match=r"Given .*src\.src_inputs") as caught:
        ADAPTER.capture(task, batch)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_session_gives_what_eager_mode_gives():
    script = Path(__file__).with_name("in_a_session.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "ok"
