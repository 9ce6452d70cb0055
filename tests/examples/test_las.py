"""The Listen-Attend-Spell example: features, training, and the leaks that its README claims."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("espeakng_loader")

from las import batches, network, sentences, train, weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "las"


@pytest.fixture(scope="module")
def model():
    return weights.load_trained()


def test_sentences_are_many_and_the_held_out_ones_are_not_trained_on():
    heard, kept = sentences.training(500), sentences.held_out(200)
    assert len(set(heard)) == 500
    assert not set(heard) & set(kept)
    assert sentences.training(20) == heard[:20]
    assert {word for text in sentences.training(2000) for word in text.split()} == set(sentences.WORDS)
    words = sentences.Words()
    assert [words.decode(words.encode(text)) for text in heard] == heard
    with pytest.raises(ValueError, match="1 word") as caught:
        words.encode("the nurse lost a zeppelin")
    assert "zeppelin" not in str(caught.value)


def test_batches_are_shifted_by_one_and_padded():
    inputs, targets = batches.batch_of(["call the doctor", "key"], [np.ones((9, 40)), np.ones((5, 40))])
    assert inputs["frames"].shape == (2, 9, 40)
    assert not inputs["frames"][1, 5:].any()
    np.testing.assert_array_equal(inputs["tokens"][:, 0], sentences.START)
    np.testing.assert_array_equal(inputs["tokens"][0, 1:], targets[0, :-1])
    assert targets[0, -1] == sentences.END
    assert targets[1].tolist() == [*sentences.Words().encode("key"), sentences.END, 0, 0]


def test_the_trained_network_understands_sentences_that_it_never_heard(model):
    assert train.heard_right(model, sentences.held_out(20)) >= 0.7


def test_training_lowers_the_loss():
    _, losses = train.train(sentences.training(32), epochs=16, report=False)
    assert losses[-1] < 0.85 * losses[0]


def test_weights_survive_the_file(tmp_path):
    fresh = network.build(classes=12, cells=4, context=6, embedding=3)
    network.save(fresh, tmp_path / "weights.npz")
    again = network.load(tmp_path / "weights.npz", classes=12, cells=4, context=6, embedding=3)
    for one, other in zip(fresh.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    assert weights.CHECKPOINT.stat().st_size < 300_000


def gate(folder):
    environment = dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-p", "labelleak", "-p", "no:cacheprovider", "--labelleak", "-rA"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough: it takes half a minute")
def test_the_whole_suite_passes_and_prints_no_sentence():
    done = gate(EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    text = next(text for text in sentences.held_out(50) if len(set(text.split())) == len(text.split()) == 8)
    assert text not in done.stdout


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough")
def test_the_three_lines_of_the_readme_fail_the_build(tmp_path):
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    copy = tmp_path / "las"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    shutil.copytree(EXAMPLE.parent / "synthetic_speech", tmp_path / "synthetic_speech")
    (copy / "tests" / "test_transcript_leak.py").write_text(lines, encoding="utf-8")
    done = gate(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "LabelLeak: leaked: advantage 1.00 > 0.10" in done.stdout
