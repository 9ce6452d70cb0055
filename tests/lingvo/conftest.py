"""Small lingvo tasks in eager mode."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import lingvo_patches

# Without lingvo every test module here skips itself, which a conftest cannot do.
if importlib.util.find_spec("lingvo") is not None:
    lingvo_patches.install()

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            # lingvo and TensorFlow, not this project.
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"))


@pytest.fixture(scope="session", autouse=True)
def _eager():
    from absl import logging
    from lingvo.core import py_utils

    logging.set_verbosity(logging.ERROR)
    py_utils.SetEagerMode(True)


def small_params(classes=40, *, unrolled=True, **decoder):
    """Return the parameters of a recogniser of 8 features, 16 cells and two layers."""
    from lingvo import model_registry

    p = model_registry.GetParams("asr.librispeech.Librispeech960Wpm", "Train").task
    p.name, p.input, p.random_seed = "small", None, 3
    p.encoder.Set(
        input_shape=[None, None, 8, 1],
        lstm_cell_size=8,
        num_lstm_layers=1,
        conv_filter_shapes=[(3, 3, 1, 4), (3, 3, 4, 4)],
        conv_filter_strides=[(2, 2), (2, 2)],
    )
    p.decoder.Set(rnn_cell_dim=16, source_dim=16, emb_dim=6, use_while_loop_based_unrolling=unrolled, **decoder)
    p.decoder.emb.vocab_size = p.decoder.softmax.num_classes = classes
    p.train.vn_std = 0.0
    return p


@pytest.fixture(scope="session")
def make_params():
    return small_params


@pytest.fixture(scope="session")
def make_batch():
    """Make a batch of random features and labels, the last utterance one position shorter."""

    def make(utterances=2, positions=5, classes=40, seed=0):
        from lingvo.core import py_utils

        rng = np.random.default_rng(seed)
        labels = rng.integers(3, classes, (utterances, positions)).astype(np.int32)
        labels[:, -1] = 2
        ids = np.concatenate([np.ones((utterances, 1), np.int32), labels[:, :-1]], axis=1)
        paddings = np.zeros((utterances, positions), np.float32)
        paddings[-1, -1] = 1.0
        sources = rng.normal(size=(utterances, 24, 8, 1)).astype(np.float32)
        return py_utils.NestedMap(
            src=py_utils.NestedMap(src_inputs=sources, paddings=np.zeros((utterances, 24), np.float32)),
            tgt=py_utils.NestedMap(ids=ids, labels=labels, paddings=paddings, weights=1.0 - paddings),
        )

    return make


@pytest.fixture(scope="session")
def task(_eager):
    """Return a task with the decoder unrolled by a loop, and without penalty or clipping."""
    p = small_params()
    p.train.Set(l2_regularizer_weight=None, clip_gradient_norm_to_value=0.0, grad_norm_to_clip_to_zero=0.0)
    return p.Instantiate()


@pytest.fixture(scope="session")
def published(_eager):
    """Return a task with the published decoder mode and training settings."""
    return small_params(unrolled=False).Instantiate()
