"""The example repository passes as a user runs it, and its table holds the right figures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "image_classifier"


def gate(folder, *options):
    # Only our own plugin: others installed beside it are not part of the example.
    environment = dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    environment.setdefault("LABELLEAK_CACHE", str(EXAMPLE.parents[1] / ".cache" / "pytest-labelleak"))
    for name in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-p", "labelleak", "-p", "no:cacheprovider", "--labelleak", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_whole_suite_passes_and_shows_leaks_and_a_held_gate(tmp_path):
    report = tmp_path / "report.json"
    # A step of this network takes JAX ten seconds of processor time: three audits show its capture in both modes.
    some = ("-k", "inference or overwhelming") if keras.backend.backend() == "jax" else ()
    done = gate(EXAMPLE, "--labelleak-report", str(report), *some)
    audits = 3 if some else 7

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{audits} passed" in done.stdout
    assert f"{audits} audits: 1 held, {audits - 1} leaked, 0 inconclusive" in done.stdout
    assert re.search(r"leaked, as the test expects +1\.00 .*test_undefended_gradient_leaks", done.stdout)
    assert re.search(r"held .*test_overwhelming_noise_holds", done.stdout)
    assert report.is_file()


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="a minute for a line of the README; other backends suffice"
)
def test_the_three_lines_of_the_readme_fail_the_build(tmp_path):
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    copy = tmp_path / "repository"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".cache", ".pytest_cache"))
    (copy / "tests" / "test_label_leak.py").write_text(lines, encoding="utf-8")
    done = gate(copy, "--no-header")  # the version in the header may hold any digits

    assert done.returncode == 1, done.stdout + done.stderr
    assert "LabelLeak: leaked: advantage 1.00 > 0.10" in done.stdout
    assert "243" not in done.stdout  # a label of the first photo


def test_the_workflow_runs_the_gate():
    workflow = (EXAMPLE / ".github" / "workflows" / "label-leak.yml").read_text(encoding="utf-8")
    assert "pytest --labelleak" in workflow
