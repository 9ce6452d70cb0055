"""What the plugin costs where it is installed and not used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "scipy", "tensorflow", "keras", "jax", "torch", "hypothesis", "html", "jsonschema", "asyncio")

PROBE = """
import json
import sys
from pathlib import Path

def pytest_unconfigure():
    Path("modules.json").write_text(json.dumps(sorted(sys.modules)), "utf-8")
"""

CONTROL = ("-p", "no:xdist", "-p", "no:hypothesispytest", "-p", "no:pytest_cov")


def test_unused_plugin_imports_nothing_heavy(pytester):
    pytester.makeconftest(PROBE)
    pytester.makepyfile("import unittest\n\ndef test_plain(): pass")

    def modules(*arguments):
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *CONTROL, *arguments)
        assert result.ret == 0
        text = (pytester.path / "modules.json").read_text("utf-8")
        return set(__import__("json").loads(text))

    added = modules() - modules("-p", "no:labelleak")
    ours = {name for name in added if name.split(".")[0] == "pytest_labelleak"}
    assert "pytest_labelleak.plugin.hooks" in ours
    assert not ours & {f"pytest_labelleak.{name}" for name in ("attacks", "auditing", "capture", "update", "verdict")}
    roots = {name.split(".")[0] for name in added}
    assert not roots & set(HEAVY)
    # A handful of small standard modules is all the rest.
    assert len(added - ours) < 10, sorted(added - ours)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, pytest_labelleak, pytest_labelleak.core.errors; print(*{n.split('.')[0] for n in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & set(HEAVY)
