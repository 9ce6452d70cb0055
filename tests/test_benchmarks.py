"""The benchmark scripts start, and the quick ones give tables that are right where the truth is known."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_labelleak.testing import make_update

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("bench_*.py"))


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    # The scripts set defaults for the libraries they start; other tests should not inherit them.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    return importlib.import_module


def rows(path):
    """Cells of all rows of all tables in a file, without the headers."""
    lines = path.read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row, after in zip(cells, [*cells[1:], None], strict=True) if not row[0].startswith("---")][1:]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_explains_itself(name, load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        load(name).main()
    assert stopped.value.code == 0
    assert "--output" in capsys.readouterr().out


def test_accuracy_counts_exact_sets(load, tmp_path, capsys):
    output = tmp_path / "accuracy.md"
    command = ["--parts", "synthetic", "--batches", "2", "--sizes", "3", "--output", str(output)]
    assert load("bench_accuracy").main(command) == 0
    found = rows(output)
    assert [row[0] for row in found] == ["3, untrained", "3, 0.1", "3, 0.5", "3, 0.9", "3, 0.97"]
    assert {(row[3], row[4]) for row in found} == {("2 of 2", "2 of 2")}
    assert output.read_text("utf-8") in capsys.readouterr().out


def test_a_stopped_benchmark_goes_on(load, tmp_path, monkeypatch):
    output = tmp_path / "accuracy.md"
    accuracy = load("bench_accuracy")
    command = ["--parts", "heads", "--batches", "1", "--sizes", "2", "--output", str(output)]
    accuracy.main(command)
    whole = output.read_text("utf-8")
    output.write_text("".join(whole.splitlines(keepends=True)[:-2]), encoding="utf-8")
    attacked = []
    attack = accuracy.attack
    monkeypatch.setattr(accuracy, "attack", lambda *arguments: (attacked.append(1), attack(*arguments))[1])
    accuracy.main([*command, "--resume"])
    assert output.read_text("utf-8") == whole
    assert len(attacked) == 2


def test_typical_confidence_gives_the_mean(load):
    typical = load("bench_accuracy").typical
    own = []
    for seed in range(40):
        case = make_update(positions=50, features=2, classes=100, seed=seed, confidence=typical(0.9))
        own.append(case.probabilities[np.arange(50), case.labels])
    assert np.mean(own) == pytest.approx(0.9, abs=0.01)


def test_the_linear_program_separates_labels_and_not_others(load):
    is_separable = load("bench_accuracy").is_separable
    case = make_update(positions=5, features=2, classes=40, seed=1, confidence=0.5, dtype="float64")
    found = {label for label in range(40) if is_separable(case.labels, case.probabilities, label)}
    assert found == set(case.labels.tolist())


def test_defended_measures_recall_precision_and_exactness(load, tmp_path):
    output = tmp_path / "defended.md"
    command = ["--parts", "synthetic", "--batches", "1", "--positions", "3", "--defences", "none", "sign-SGD"]
    assert load("bench_defended").main([*command, "--attacks", "bias_sign", "rlg", "--output", str(output)]) == 0
    found = {row[0]: row[1:] for row in rows(output) if row[0] != "defence, head"}
    assert found["none, bias"] == ["", *["1.00 / 1.00 / 1.00"] * 3]
    assert found["none, no bias"] == ["", "1.00 / 1.00 / 1.00", "-", "1.00 / 1.00 / 1.00"]
    assert found["sign-SGD, no bias"] == ["exact .104", "-", "-", "-"]


def test_rivals_tells_who_wins(load, tmp_path):
    output = tmp_path / "rivals.md"
    command = ["--sizes", "1x512x1000", "--batches", "1", "--attacks", "idlg", "bias_counts", "--output", str(output)]
    assert load("bench_rivals").main(command) == 0
    assert rows(output)[0] == [
        "1, 512, 1000, non-negative, untrained", "1 of 1", "", "1.00 1.00", "1.00 1.00; 1.00 1.00"
    ]  # fmt: skip
    said = output.read_text("utf-8")
    assert "Best for sets: idlg = bias_counts at (1, 512, 1000, non-negative, untrained)" in said
    assert "Best for counts: bias_counts at (1, 512, 1000, non-negative, untrained)" in said


@pytest.mark.parametrize(
    ("place", "cells", "won"),
    [
        (0, {"a": "0.50 0.90", "b": "1.00 1.00; 0.00 0.10", "c": "-"}, ("b",)),
        (0, {"a": "0.50 0.90", "b": "0.50 0.90"}, ("a", "b")),
        (0, {"a": "0.00 0.00", "b": "none; 1.00 1.00"}, ()),
        (1, {"a": "1.00 1.00", "b": "none; 0.00 0.10"}, ("b",)),
    ],
)
def test_winners_compare_exactness_first(load, place, cells, won):
    assert load("bench_rivals").winners(cells, place) == won


@pytest.mark.parametrize(
    ("counts", "share"),
    [({0: 2, 3: 1}, 1.0), ({0: 3, 3: 1}, 0.75), ({0: 1}, 1 / 3), ({1: 3}, 0.0), ({}, 0.0)],
)
def test_counts_explain_their_overlap(load, counts, share):
    assert load("bench_rivals").explained(counts, np.array([0, 3, 0]), 5) == pytest.approx(share)


def test_growth_fits_slopes_and_draws(load, tmp_path):
    growth = load("bench_growth")
    assert growth.slope([10, 100, 1000], [1.0, 100.0, 10000.0]) == pytest.approx(2.0)
    output = tmp_path / "growth.md"
    command = ["--classes", "20", "40", "--positions", "2", "3", "--repeat", "1", "--output", str(output)]
    assert growth.main(command) == 0
    assert [row[0] for row in rows(output) if row[0].isdigit()] == ["20", "40", "2", "3"]
    pytest.importorskip("matplotlib")
    one, two = (tmp_path / name for name in ("one.svg", "two.svg"))
    for path in (one, two):
        growth.plot(path, {"C": ([20, 40], {"rlg": [0.1, 0.2]})})
    assert one.read_bytes() == two.read_bytes()
    assert b"<svg" in one.read_bytes()
