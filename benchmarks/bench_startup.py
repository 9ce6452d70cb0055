"""The cost of an installed but unused pytest-labelleak: seconds at the start of pytest, and imported modules.

Two runs of the same one-test project alternate, one with the plugin and one with ``-p no:labelleak``, so
that a busy machine slows both alike. Every other installed plugin is disabled in both.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAVY = ("numpy", "scipy", "tensorflow", "keras", "jax", "torch", "hypothesis")

# Runs pytest in a process of its own and prints the imported modules.
_PROBE = """
import json, sys, pytest
status = pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]])
modules = sorted({name.partition(".")[0] for name in sys.modules})
json.dump({"status": int(status), "modules": modules}, open(sys.argv[1], "w"))
"""


def _imported(folder: Path, options: list[str]) -> set[str]:
    report = folder / "modules.json"
    subprocess.run([sys.executable, "-c", _PROBE, str(report), *options], cwd=folder, check=True, capture_output=True)
    found = json.loads(report.read_text())
    if found["status"] != 0:
        raise SystemExit(f"the probe's pytest run ended with status {found['status']}. Expected 0.")
    return set(found["modules"])


def _timed(folder: Path, options: list[str]) -> tuple[float, float]:
    """Return wall and processor seconds of one pytest run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(runs: int) -> str:
    """Time `runs` pairs of pytest runs and return a Markdown table.

    Parameters
    ----------
    runs : int
        Number of runs with and without the plugin.

    Returns
    -------
    str
        The table, and the heavy modules found.
    """
    others = {entry.name for entry in importlib.metadata.entry_points(group="pytest11")} - {"labelleak"}
    alone = [f"-pno:{name}" for name in sorted(others)]
    without = [*alone, "-pno:labelleak"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        (folder / "pytest.ini").write_text("[pytest]\n")
        loaded, base = _imported(folder, alone), _imported(folder, without)
        if "pytest_labelleak" not in loaded or "pytest_labelleak" in base:
            raise SystemExit("the plugin is not installed in this Python, or -p no:labelleak does not disable it.")
        _timed(folder, alone)  # fills the byte-code caches
        _timed(folder, without)
        pairs = [(_timed(folder, alone), _timed(folder, without)) for _ in range(runs)]
    lines = [
        f"pytest start-up, {runs} alternating runs, Python {sys.version.split()[0]}, {os.cpu_count()} cores",
        "",
        "| seconds, median | plugin unused | `-p no:labelleak` | ratio | median difference |",
        "|---|---|---|---|---|",
    ]
    for number, name in enumerate(("wall", "processor")):
        used = statistics.median(pair[0][number] for pair in pairs)
        unused = statistics.median(pair[1][number] for pair in pairs)
        apart = statistics.median(pair[0][number] - pair[1][number] for pair in pairs)
        lines.append(f"| {name} | {used:.3f} | {unused:.3f} | {used / unused:.3f} | {1000 * apart:.1f} ms |")
    heavy = sorted(set(HEAVY) & loaded)
    lines += ["", f"Heavy modules imported, of {', '.join(HEAVY)}: {', '.join(heavy) or 'none'}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="pairs of runs (default 20)")
    parser.add_argument("--output", metavar="PATH", help="also write the table to this file")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs} given. Expected at least 1.")
    table = measure(arguments.runs)
    print(table, end="")
    if arguments.output:
        Path(arguments.output).write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
