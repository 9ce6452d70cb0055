"""The command of the paper's first experiment: its file, its terminal output, and its answers to wrong arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
Image = pytest.importorskip("PIL.Image")

# Arguments and averages do not depend on the backend, and every command compiles a network.
ONCE = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough: it takes half a minute")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "keras_applications"


def command(*arguments):
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1")
    line = [sys.executable, str(EXAMPLE / "run.py"), *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def errors(done):
    """Return the command's own lines on stderr; frameworks write theirs there too."""
    return [line for line in done.stderr.splitlines() if line.startswith("run.py") or "Traceback" in line]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in (3, 14, 159, 265):
        (tmp_path / "images" / str(index)).mkdir(parents=True)
        pixels = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / str(index) / "one.png")
    return tmp_path / "images"


SMALL = ("--model", "MobileNetV2", "--image-size", "64", "--batch-size", "4", "--num-batches", "1")


def test_writes_the_recovered_and_the_true_sets(folder, tmp_path):
    output = tmp_path / "result.json"
    done = command(*SMALL, "--images", folder, "--output", output)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())

    (batch,) = result["batches"]
    assert batch["true"] == [3, 14, 159, 265]
    assert batch["attacks"]["rlg"] == {
        "status": "recovered",
        "message": "",
        "recovered": [3, 14, 159, 265],
        "exact": True,
    }
    pooled = {row["attack"]: row for row in result["pooled"]}
    assert pooled["rlg"]["exact_match"] == pooled["rlg"]["precision"] == pooled["rlg"]["f1"] == 1.0
    # An attack that does not apply counts with zeros, not by its absence.
    assert batch["attacks"]["idlg"]["status"] == "not applicable"
    assert pooled["idlg"]["exact_match"] == pooled["idlg"]["recall"] == 0.0

    assert "the subfolders' names are the class indices" in done.stdout
    assert "it holds the labels of every batch" in done.stdout
    assert "265" not in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


@ONCE
def test_averages_over_batches_include_empty_recoveries(tmp_path):
    output = tmp_path / "result.json"
    done = command(*SMALL[:-1], "2", "--defence", "sign", "--no-training", "--seed", "1", "--output", output)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())

    assert "defence: sign" in done.stdout
    for row in result["pooled"]:
        exact = [batch["attacks"][row["attack"]]["exact"] for batch in result["batches"]]
        assert row["batches"] == 2
        assert row["exact_match"] == np.mean(exact)
        recalls = []
        for batch in result["batches"]:
            hits = set(batch["attacks"][row["attack"]]["recovered"]) & set(batch["true"])
            recalls.append(len(hits) / len(batch["true"]))
        assert row["recall"] == pytest.approx(np.mean(recalls), abs=1e-6)


@ONCE
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "required: --model"),
        (["--model", "VGG16", "--batch-size", "0"], "--batch-size: '0' given. Expected an integer of at least 1."),
        (["--model", "VGG16", "--seed", "-1"], "Expected an integer of at least 0."),
        (["--model", "VGG16", "--defence", "clip"], "Expected sign, or noise:REL with REL > 0"),
        (["--model", "VGG16", "--defence", "noise:nan"], "Expected sign, or noise:REL with REL > 0"),
        (["--model", "VGG16", "--images", "/no/such/folder"], "is no folder"),
        (["--model", "VGG16", "--weights", "/no/such/file"], "is no file. Expected none, imagenet"),
        (["--model", "VGG16", "--output", "/no/such/folder/x.json"], "Create the folder first"),
        (["--model", "VGG16", "--dtype-policy", "float8"], "invalid choice: 'float8'"),
        (["--model", "VGG16", "--attacks", ","], "--attacks is empty"),
        (["--modle", "VGG16"], "required: --model"),
        (["--model", "ResNet5"], "Did you mean ResNet152, ResNet50, ResNet50V2?"),
        (["--model", "MobileNetV2", "--attacks", "magic"], "unknown attack 'magic'"),
        (["--model", "MobileNetV2", "--image-size", "8"], "MobileNetV2 cannot be built like this"),
        ([*SMALL, "--weights", __file__], "does not fit MobileNetV2"),
        ([*SMALL, "--images", str(EXAMPLE)], "holds no images"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments, expected):
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = errors(done)
    assert line.startswith("run.py: error: ")
    assert expected in line


@ONCE
def test_images_without_classes_need_random_labels(folder):
    (folder / "3" / "one.png").rename(folder / "loose.png")
    (line,) = errors(command(*SMALL, "--images", folder))
    assert "add --random-labels" in line
    assert command(*SMALL, "--images", folder, "--random-labels", "--attacks", "rlg").returncode == 0


@ONCE
def test_too_few_images_and_too_many_classes(folder):
    (line,) = errors(command(*SMALL[:4], "--batch-size", "5", "--images", folder))
    assert "holds 4 images. Expected at least --batch-size 5" in line
    (folder / "3").rename(folder / "1000")
    (line,) = errors(command(*SMALL, "--images", folder))
    assert "class indices up to 1000. Expected at most 999" in line
