"""A copy of the project, one mutant at a time, and its tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Copy", "copied"]

ROOT = Path(__file__).parents[2]

#: Seconds that the tests of one mutant may take; a loop that no longer ends is noticed, too.
_PATIENCE = 900

_LEFT_OUT = (".venv*", ".git", ".cache", "*_cache", ".hypothesis", "__pycache__", "build", "dist", "site")


class Copy:
    """A copy of the project that tests run on."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._sound: set[str] = set()

    def notices(self, module: str, source: str, tests: str) -> bool:
        """Tell whether tests fail on a module with another source; the module is put back."""
        self._check_sound(tests)
        path = self.tree / "pytest_labelleak" / module
        original = path.read_text(encoding="utf-8")
        path.write_text(source, encoding="utf-8")
        try:
            return not self._pass(tests)
        finally:
            path.write_text(original, encoding="utf-8")

    def _check_sound(self, tests: str) -> None:
        """Stop if tests fail on the project as it is: they would "notice" everything."""
        if tests not in self._sound:
            if not self._pass(tests):
                sys.exit(f"These tests fail without any mutant: {tests}. Mend them first.")
            self._sound.add(tests)

    def _pass(self, tests: str) -> bool:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
        environment = {**os.environ, "PYTHONPATH": str(self.tree), "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, cwd=self.tree, env=environment, capture_output=True, text=True, check=False, timeout=_PATIENCE
            )
        except subprocess.TimeoutExpired:
            return False
        # 2: a module that no longer imports, which tests notice as they are collected.
        if done.returncode not in (0, 1, 2):
            sys.exit(f"pytest ended with {done.returncode} on {tests}:\n{done.stdout}{done.stderr}")
        return done.returncode == 0


@contextlib.contextmanager
def copied() -> Iterator[Copy]:
    """Copy the project into a folder for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        yield Copy(tree)
