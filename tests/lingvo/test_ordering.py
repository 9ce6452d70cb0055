"""Transcripts of lingvo tasks put in order, in the published decoder and the unrolled one."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest

from pytest_labelleak import LabelLeak, assert_transcripts_not_recoverable
from pytest_labelleak.asr import Ordering, Replay, free_contexts
from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

if importlib.util.find_spec("lingvo") is None:
    pytest.skip("lingvo is not installed: run 'make test-lingvo'", allow_module_level=True)

ADAPTER = LingvoAdapter()


@pytest.fixture(scope="module")
def unskipped(make_params, _eager):
    """Return a task with the published decoder, penalty and clipping, that skips no step for its norm."""
    p = make_params(classes=90, unrolled=False)
    p.train.grad_norm_to_clip_to_zero = 0.0
    return _stirred(p.Instantiate())


@pytest.fixture(scope="module")
def plain(make_params, _eager):
    p = make_params(classes=90)
    p.train.Set(l2_regularizer_weight=None, clip_gradient_norm_to_value=0.0, grad_norm_to_clip_to_zero=0.0)
    return _stirred(p.Instantiate())


def _stirred(task):
    """Make weights of the size that trained ones have: with these few features fresh contexts are nearly the same."""
    rng = np.random.default_rng(5)
    for variable in task.vars.Flatten():
        if "enc" not in variable.name and "moving" not in variable.name:
            variable.assign_add(0.5 * rng.normal(size=variable.shape).astype(np.float32))
    return task


def said(batch):
    rows = zip(batch.tgt.labels, batch.tgt.weights, strict=True)
    return sorted(tuple(labels[weights > 0].tolist()) for labels, weights in rows)


def order(update):
    return Ordering().order(update, rng=np.random.default_rng(0))


def repeating(make_batch, utterances=1, positions=6, seed=0):
    batch = make_batch(utterances, positions, classes=90, seed=seed)
    batch.tgt.labels[:, 2] = batch.tgt.labels[:, 0]
    # The last one is a position shorter, and ends like the others.
    batch.tgt.labels[-1, -2] = 2
    batch.tgt.ids[:, 1:] = batch.tgt.labels[:, :-1]
    return batch


@pytest.mark.parametrize("utterances", [1, 2])
def test_rebuilds_transcripts_with_repeated_words(plain, make_batch, utterances):
    batch = repeating(make_batch, utterances)
    found = order(ADAPTER.capture(plain, batch))
    assert sorted(found.transcripts) == said(batch), found.message
    assert found.unique


def test_with_the_published_decoder_penalty_and_clipping(unskipped, make_batch):
    batch = repeating(make_batch)
    update = ADAPTER.capture(unskipped, batch)
    assert any("clip" in name for name in update.defences)
    assert sorted(update.penalties) == ["small/dec/rnn_cell/wm/var", "small/dec/rnn_cell_1/wm/var"]
    assert sorted(order(update).transcripts) == said(batch)


def test_penalties_are_those_of_the_weights(unskipped, make_batch):
    update = ADAPTER.capture(unskipped, repeating(make_batch))
    kernel = unskipped.decoder.rnn_cell[1].vars.wm
    penalty = update.penalties["small/dec/rnn_cell_1/wm/var"]
    scale = float(update.head.kernel_penalty.ravel() @ update.head.kernel_value.ravel())
    scale /= float(np.linalg.norm(update.head.kernel_value) ** 2)
    np.testing.assert_allclose(penalty, scale * kernel.numpy(), rtol=1e-4)
    # The rest has no more directions than the decoder took steps.
    rest = update.gradients["small/dec/rnn_cell_1/wm/var"] - penalty
    values = np.linalg.svd(rest, compute_uv=False)
    assert values[7] < 1e-5 * values[0]


@pytest.mark.parametrize("utterances", [1, 2])
def test_the_gradient_of_the_head_is_enough(plain, make_batch, utterances):
    batch = repeating(make_batch, utterances)
    update = ADAPTER.capture(plain, batch)
    head = {name: array for name, array in update.gradients.items() if "softmax" in name}
    update = dataclasses.replace(update, gradients=head, penalties={}, values={})
    found = Replay(decoder=free_contexts(plain)).order(update, rng=np.random.default_rng(0))
    assert sorted(found.transcripts) == said(batch), found.message
    assert found.unique


def test_the_head_is_enough_with_the_published_penalty_and_clipping(unskipped, make_batch):
    batch = repeating(make_batch)
    found = Replay(decoder=free_contexts(unskipped)).order(
        ADAPTER.capture(unskipped, batch), rng=np.random.default_rng(0)
    )
    assert sorted(found.transcripts) == said(batch)


def test_the_assertion(plain, make_batch):
    batch = repeating(make_batch, 2)
    with pytest.raises(LabelLeak, match=r"1\.00 > 0\.10") as leak:
        assert_transcripts_not_recoverable(plain, batch)
    assert {verdict.attack for verdict in leak.value.audit.verdicts} >= {"ordering", "replay"}
    with pytest.raises(LabelLeak, match="replay"):
        assert_transcripts_not_recoverable(plain, batch, attacks="replay")
    assert assert_transcripts_not_recoverable(plain, batch, defence="sign").outcome == "held"
