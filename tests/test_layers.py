"""Imports go down the layers and never up: read from the source, so that a lazy import counts too."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pytest_labelleak"

LAYER = {
    "": 0,  # the package itself: names only, loaded on use
    "atomic": 0,
    "baseline": 0,
    "errors": 0,
    "hookspecs": 0,
    "report": 0,
    "sensitive": 0,
    "settings": 0,
    "archive": 1,
    "counting": 1,
    "decision": 1,
    "explanation": 1,
    "interval": 1,
    "isolation": 1,
    "isolation_outcome": 1,
    "outcome": 1,
    "pooling": 1,
    "recovery": 1,
    "result": 1,
    "scoring": 1,
    "sensitive_outcome": 1,
    "solving_outcome": 1,
    "transcript_outcome": 1,
    "truth": 1,
    "update": 1,
    "verdict": 1,
    "asr": 2,
    "attacks": 2,
    "defences": 2,
    "capture": 3,
    "assertions": 4,
    "auditing": 4,
    "portfolio": 4,
    "fixture": 5,
    "hiding": 5,
    "itemstate": 5,
    "marker": 5,
    "options": 5,
    "plugin": 5,
    "redaction": 5,
    "session": 5,
    "testing": 5,
}

PYTEST_SIDE = {name for name, layer in LAYER.items() if layer == 5} - {"testing"}
FRAMEWORKS = {"tensorflow", "keras", "jax", "torch", "lingvo", "ml_dtypes"}

#: What each layer may import from outside, besides the standard library.
THIRD_PARTY = {
    0: set(),
    1: {"numpy"},
    2: {"numpy", "scipy"},
    3: {"numpy"} | FRAMEWORKS,
    4: {"numpy"},
    5: {"pytest", "pluggy"},
}
EXTRA = {"hookspecs": {"pluggy"}, "testing": {"numpy", "hypothesis"}, "asr": FRAMEWORKS | {"lingvo_patches"}}

#: Down the layers by number, and yet wrong: (importer, imported).
FORBIDDEN = {
    ("attacks", "truth"),
    ("attacks", "scoring"),
    ("attacks", "verdict"),
    ("attacks", "pooling"),
    ("attacks", "result"),
    ("attacks", "outcome"),
    ("attacks", "capture"),
    ("attacks", "interval"),
    ("defences", "truth"),
    ("defences", "verdict"),
    ("defences", "recovery"),
    ("capture", "attacks"),
    ("capture", "defences"),
    ("capture", "asr"),
    ("capture", "recovery"),
}

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def home(dotted):
    """Return the top-level module inside the package that a dotted name belongs to."""
    return dotted.split(".")[1] if "." in dotted else ""


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_in(package):
    return {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}


def imports_of(path):
    """Yield every imported module as (dotted name, at type checking only)."""
    tree = ast.parse(path.read_text("utf-8"))
    for_types = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for_types |= {id(inner) for inner in ast.walk(node)}
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        typing_only = id(node) in for_types
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, typing_only
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            if source == PACKAGE.name:
                for alias in node.names:
                    is_module = alias.name in names_in(source)
                    yield (f"{source}.{alias.name}" if is_module else source), typing_only
            else:
                yield source, typing_only


def test_every_module_has_a_layer():
    assert {home(module_name(path)) for path in MODULES} == set(LAYER)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_respect_the_layers(path):
    here = home(module_name(path))
    for imported, typing_only in imports_of(path):
        root = imported.split(".")[0]
        if root == PACKAGE.name:
            there = home(imported)
            if there == here or typing_only:
                continue
            assert there not in PYTEST_SIDE or here in PYTEST_SIDE, (
                f"{here} imports {there}: nothing imports the plugin"
            )
            assert LAYER[there] <= LAYER[here], f"{here} imports {there}, which is above it"
            assert (here, there) not in FORBIDDEN, f"{here} imports {there}"
        elif root not in sys.stdlib_module_names:
            allowed = THIRD_PARTY[LAYER[here]] | EXTRA.get(here, set())
            assert root in allowed, f"{here} imports {root}"


def test_only_the_plugin_knows_pytest():
    knowing = {home(module_name(path)) for path in MODULES if "pytest" in {name for name, _ in imports_of(path)}}
    assert knowing <= PYTEST_SIDE | {"testing"}


def test_the_plugin_imports_no_layer_above_0_at_import():
    loaded_on_use = {"assertions", "auditing", "capture"}
    for name in PYTEST_SIDE:
        tree = ast.parse((PACKAGE / f"{name}.py").read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.level:
                modules = [node.module] if node.module else [alias.name for alias in node.names]
                for module in modules:
                    root = module.split(".")[0]
                    assert LAYER[root] in (0, 5), f"{name} imports {root} at import"
                    assert root not in loaded_on_use


def test_the_package_has_no_asserts_prints_or_pickles():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path.name}:{node.lineno}: pytest rewrites asserts in plugins"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "dill", "marshal"}


def test_the_check_can_fail(tmp_path, monkeypatch):
    folder = tmp_path / "pytest_labelleak"
    folder.mkdir()
    for name, source in (
        ("attacks", "def f():\n    from .verdict import score"),
        ("capture", "from . import attacks"),
        ("update", "from pytest_labelleak.plugin import labelleak"),
        ("errors", "import numpy.linalg"),
        ("verdict", "import pytest"),
    ):
        path = folder / f"{name}.py"
        path.write_text(source, "utf-8")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", folder)
    for path in sorted(folder.iterdir()):
        with pytest.raises(AssertionError, match=f"{path.stem} imports"):
            test_imports_respect_the_layers(path)
