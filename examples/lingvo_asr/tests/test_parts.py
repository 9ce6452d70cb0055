"""Vocabularies and the three commands."""

from __future__ import annotations

import json

import pytest
from lingvo_asr.__main__ import _score, main
from lingvo_asr.vocabulary import END, START, UNKNOWN, Graphemes


def test_graphemes():
    units = Graphemes()
    ids = units.ids("It's é")
    assert units.units(ids) == ["i", "t", "'", "s", " ", "<unk>"]
    assert min(i for i in ids if i) > max(UNKNOWN, START, END)
    assert max(units.ids("abcdefghijklmnopqrstuvwxyz' ")) < units.size


def test_scores_count_failures():
    nothing = _score({"ids": [], "length": None}, [5, 5, 7])
    assert nothing == {"exact": 0.0, "precision": 0.0, "recall": 0.0}
    half = _score({"ids": [5, 9], "length": 2}, [5, 5, 7])
    assert half == {"exact": 0.0, "precision": 0.5, "recall": 0.5, "length_error": 1.0}


def test_export_infer_report(tmp_path, capsys, task):
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("good evening\nthank you\nhello\nnever again\n")
    folder = tmp_path / "updates"
    common = ["--units", "graphemes"]
    arguments = ["export", *common, "--sentences", str(sentences), "--group", "2", "--speed", "400", str(folder)]
    assert main(arguments) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "0000.truth.json", "0000.update.npz", "0001.truth.json", "0001.update.npz",
    ]  # fmt: skip
    assert main(["infer", "--attacks", "rlg,bias_sign", str(folder)]) == 0
    words = json.loads((folder / "0000.words.json").read_text())["attacks"]
    truth = json.loads((folder / "0000.truth.json").read_text())["ids"]
    assert words["rlg"]["ids"] == sorted(set(truth))
    assert words["rlg"]["length"] == len(truth) == len("good evening") + len("thank you") + 2
    capsys.readouterr()
    assert main(["report", str(folder)]) == 0
    output = capsys.readouterr().out
    assert output.splitlines()[2].split()[:3] == ["rlg", "2", "1.000"]
    assert main(["report", *common, "--show-words", str(folder)]) == 0
    assert "rlg: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infer", "nowhere"], "holds no *.update.npz"),
        (["report", "nowhere"], "holds no *.words.json"),
        (["export", "x"], "--sentences"),
        (["export", "--sentences", "nowhere.txt", "x"], "nowhere.txt"),
        (["export", "--sentences", "nowhere.txt", "--steps", "0", "x"], "Expected at least 1"),
        (["infer", "--attacks", "magic", "nowhere"], "unknown attack 'magic'"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("lingvo_asr: error: ")
    assert message in line
