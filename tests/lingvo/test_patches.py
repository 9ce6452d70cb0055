"""The overrides: what loads, what is registered, and what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import lingvo_patches
from lingvo_patches import SecondDerivativeError, command_line, models, native_ops, require_second_derivatives

if importlib.util.find_spec("lingvo") is None:
    pytest.skip("lingvo is not installed: run 'make test-lingvo'", allow_module_level=True)

REPORT = lingvo_patches.install()

ROOT = Path(__file__).resolve().parents[2]
#: The published configuration, field by field, where it differs from lingvo's defaults.
PUBLISHED = {
    "encoder.input_shape": [None, None, 80, 1],
    "encoder.lstm_cell_size": 1024,
    "encoder.num_lstm_layers": 4,
    "encoder.conv_filter_shapes": [(3, 3, 1, 32), (3, 3, 32, 32)],
    "encoder.conv_filter_strides": [(2, 2), (2, 2)],
    "encoder.num_conv_lstm_layers": 0,
    "decoder.rnn_cell_dim": 1024,
    "decoder.rnn_layers": 2,
    "decoder.source_dim": 2048,
    "decoder.use_while_loop_based_unrolling": False,
    "decoder.label_smoothing": None,
    "train.learning_rate": 2.5e-4,
    "train.l2_regularizer_weight": 1e-6,
    "train.clip_gradient_norm_to_value": 1.0,
    "train.grad_norm_to_clip_to_zero": 100.0,
    "train.vn_std": 0.075,
    "train.vn_start_step": 20000,
    "train.lr_schedule.start_step": 50000,
    "train.lr_schedule.half_life_steps": 100000,
    "train.lr_schedule.min": 0.01,
    "vn.global_vn": True,
    "eval.samples_per_summary": 5000,
    "eval.decoder_samples_per_summary": 0,
}
PER_MODEL = {
    "Wpm": {"target_seq_len": 140, "emb_dim": 96, "emb.vocab_size": 16328, "softmax.num_classes": 16328},
    "Grapheme": {"target_seq_len": 620, "emb_dim": 76, "emb.vocab_size": 76, "softmax.num_classes": 76},
}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_the_compiled_operations_are_used_where_they_load():
    from lingvo.core import ops

    if REPORT.ops == "native":
        assert not isinstance(ops.gen_x_ops, native_ops._StandIn)
        return
    assert REPORT.ops_reason
    with pytest.raises(NotImplementedError, match="'beam_search_step'") as caught:
        ops.gen_x_ops.beam_search_step()
    assert REPORT.ops_reason in str(caught.value)
    assert not hasattr(ops.gen_x_ops, "__wrapped__")
    assert lingvo_patches.install() == REPORT


def test_flags_of_the_program_are_kept():
    from absl import flags

    values = flags.FLAGS
    assert values.is_parsed()
    before = values.flag_values_dict()
    command_line.ensure_parsed()
    assert values.flag_values_dict() == before


@pytest.mark.parametrize("name", ["Wpm", "Grapheme"])
def test_the_papers_models_have_the_published_configuration(name):
    from lingvo import model_registry

    params = model_registry.GetParams(f"asr.librispeech.Librispeech960{name}", "Train")
    task = params.task
    for path, value in PUBLISHED.items():
        assert task.Get(path) == value, path
    for path, value in PER_MODEL[name].items():
        assert task.decoder.Get(path) == value, path
    assert task.encoder.cnn_tpl.params_init.method == "gaussian"
    assert task.encoder.cnn_tpl.params_init.scale == 0.001
    assert params.input.tokenizer.vocab_size == PER_MODEL[name]["softmax.num_classes"]
    assert params.input.target_max_length == PER_MODEL[name]["target_seq_len"]
    assert params.input.bucket_upper_bound == [639, 1062, 1275, 1377, 1449, 1506, 1563, 1710]
    assert params.input.frame_size == 80
    test = model_registry.GetParams(f"asr.librispeech.Librispeech960{name}", "Testother").input
    assert (test.num_samples, test.source_max_length, test.bucket_upper_bound[-1]) == (2939, 3600, 3600)


def test_embeddings_are_sharded_as_published():
    from lingvo import model_registry
    from lingvo.core import layers

    p = model_registry.GetParams("asr.librispeech.Librispeech960Wpm", "Train").task.decoder
    assert p.emb.max_num_shards == 8
    emb = p.emb.Copy().Set(name="emb", embedding_dim=p.emb_dim)
    assert layers.EmbeddingLayer(emb)._actual_shards == 6


def test_a_model_that_the_user_has_registered_is_kept():
    lines = run(
        "import lingvo_patches; lingvo_patches.install()\n"
        "from lingvo import model_registry\n"
        "from lingvo.core import base_model_params\n"
        "from lingvo.tasks.asr import model\n"
        "import sys, types\n"
        "class Librispeech960Wpm(base_model_params.SingleTaskModelParams):\n"
        "    def Train(self):\n"
        "        return None\n"
        "    def Task(self):\n"
        "        return model.AsrModel.Params().Set(name='mine')\n"
        "helper = model_registry._ModelRegistryHelper\n"
        "helper._MODEL_PARAMS['asr.librispeech.Librispeech960Wpm'] = Librispeech960Wpm\n"
        "for which in ('Wpm', 'Grapheme'):\n"
        "    p = model_registry.GetParams('asr.librispeech.Librispeech960' + which, 'Train')\n"
        "    print((p.task if 'task' in p else p).name)\n"
    )
    assert lines[-2:] == ["mine", "librispeech"]


def test_a_source_checkout_is_found_before_ours(tmp_path):
    package = tmp_path / "params"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "librispeech.py").write_text("WHOSE = 'the checkout'\n")
    lines = run(
        "import lingvo_patches; lingvo_patches.install()\n"
        "import lingvo.tasks.asr as asr\n"
        f"asr.__path__.append({str(tmp_path)!r})\n"
        "import lingvo.tasks.asr.params.librispeech as found\n"
        "print(found.WHOSE)\n"
    )
    assert lines[-1] == "the checkout"


def test_only_declared_modules_are_offered():
    finder = models._LastResort()
    assert finder.find_spec("lingvo.tasks.asr.params.wsj", None) is None
    assert finder.find_spec("asr.librispeech", None) is None


def twice(task, batch):
    """Differentiate a function of the decoder's gradient with respect to the encoder's outputs; return both."""
    import tensorflow as tf
    from lingvo.core import py_utils

    rng = np.random.default_rng(1)
    encoded = tf.constant(rng.normal(size=(6, 1, 16)).astype(np.float32))
    targets = batch.tgt.Transform(tf.convert_to_tensor)
    cell = task.decoder.vars.rnn_cell[1].wm  # inside the loop; the softmax is not, and is right in either mode
    theta = task.theta.decoder

    def objective(outputs):
        with tf.GradientTape() as tape:
            encoder = py_utils.NestedMap(encoded=outputs, padding=tf.zeros((6, 1)), state=py_utils.NestedMap())
            predictions = task.decoder.ComputePredictions(theta, encoder, targets)
            loss = task.decoder.ComputeLoss(theta, predictions, targets)[0]["loss"][0]
        return 1e3 * tf.reduce_sum(tape.gradient(loss, cell) ** 2)

    with tf.GradientTape() as outer:
        outer.watch(encoded)
        value = objective(encoded)
    return encoded, objective, outer.gradient(value, encoded)


def test_the_unrolled_decoder_has_right_second_derivatives(task, make_batch):
    import tensorflow as tf

    require_second_derivatives(task)
    encoded, objective, gradient = twice(task, make_batch(1, 3))
    direction = gradient / tf.norm(gradient)
    step = 1e-2
    difference = (objective(encoded + step * direction) - objective(encoded - step * direction)) / (2 * step)
    assert float(difference) == pytest.approx(float(tf.norm(gradient)), rel=2e-2)


def test_the_functional_decoder_is_refused(published, make_batch):
    with pytest.raises(SecondDerivativeError, match="use_while_loop_based_unrolling = True"):
        require_second_derivatives(published)
    with pytest.raises(SecondDerivativeError, match="functional loops"):
        twice(published, make_batch(1, 3))


def test_an_unknown_decoder_is_refused():
    layer = types.SimpleNamespace(params=types.SimpleNamespace(name="odd"))
    with pytest.raises(SecondDerivativeError, match="'odd'"):
        require_second_derivatives(layer)


def test_tensorflow_before_install_is_reported():
    lines = run(
        "import os, warnings; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None)\n"
        "import tensorflow\n"
        "import lingvo_patches\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    lingvo_patches.install()\n"
        "print([str(w.message) for w in caught if w.category is RuntimeWarning])\n"
    )
    assert "Call install() first" in lines[-1]
