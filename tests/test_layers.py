"""Folders say in which order they are read, and imports follow that order; no circle, whatever it is hidden by."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pytest_labelleak"
MOST_FOLDERS = 8
MOST_MODULES = 13

FRAMEWORKS = {"tensorflow", "keras", "jax", "torch", "lingvo", "ml_dtypes"}

#: Folders by what they may import besides the standard library; the longest name that fits decides.
THIRD_PARTY = {
    "": set(),
    "core": {"numpy"},
    "defences": {"numpy"},
    "attacks": {"numpy", "scipy"},
    "asr": {"numpy", "scipy"},
    "asr.decoders": {"numpy", "lingvo_patches", *FRAMEWORKS},
    "capture": {"numpy", *FRAMEWORKS},
    "auditing": {"numpy"},
    "auditing.evidence": {"numpy", "scipy"},
    "plugin": {"pytest", "pluggy"},
    "plugin.report": set(),
    "testing": {"numpy", "hypothesis"},
}

#: Modules that the plugin may import when pytest starts: they need the standard library alone.
LIGHT = {"core", "core.errors", "core.figures", "core.files", "core.sensitive", "core.settings", "core.version"}

#: The truth never reaches an attack, and a defence knows no attack: (importer, imported), with all they hold.
FORBIDDEN = (
    ("attacks", "core.truth"),
    ("asr.matching", "core.truth"),
    ("asr.ordering", "core.truth"),
    ("asr.replay", "core.truth"),
    ("defences", "core.truth"),
    ("defences", "core.recovery"),
    ("capture", "core.recovery"),
)

_ENTRY = re.compile(r"^    (\w+)  +\S", re.MULTILINE)


def reading_order(folder):
    """Return the names in the "Reading order" of a folder's docstring."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")), clean=True) or ""
    _, found, after = text.partition("Reading order::\n")
    assert found, f"{folder.name}/__init__.py gives no reading order"
    return _ENTRY.findall(after)


def members_of(folder):
    """Return the names of the modules and packages in a folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return modules | {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}


def folders_of(package):
    return sorted(path.parent for path in package.rglob("__init__.py"))


def dotted(path, package):
    """Return a module's name below the package; "" for the package itself."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path, package):
    """Yield every import, also inside functions and for type checking: (name below the package or None, name)."""
    own = dotted(path, package)
    here = own.split(".") if own else []
    if path.name != "__init__.py":
        here = here[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root, _, rest = alias.name.partition(".")
                yield (rest if root == package.name else None), alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = here[: len(here) - node.level + 1]
            elif (node.module or "").split(".")[0] == package.name:
                base = []
            else:
                yield None, node.module
                continue
            inner = [part for part in (node.module or "").split(".") if part]
            base = [*base, *(inner if node.level else inner[1:])]
            folder = package.joinpath(*base)
            for alias in node.names:
                module = alias.name if folder.is_dir() and alias.name in members_of(folder) else None
                yield ".".join([*base, module] if module else base), package.name


def all_imports(package):
    return {
        dotted(path, package): [inside for inside, _ in imports_of(path, package) if inside is not None]
        for path in sorted(package.rglob("*.py"))
    }


def circles(package):
    """Return the modules that import themselves in the end, a list for each circle."""
    # A package stands above what it holds and is no part of a circle by being imported on the way to it.
    edges = {module: set(imported) - {module} for module, imported in all_imports(package).items()}
    reachable = {}
    for module in edges:
        seen, stack = set(), [module]
        while stack:
            for there in edges.get(stack.pop(), ()):
                if there not in seen:
                    seen.add(there)
                    stack.append(there)
        reachable[module] = seen
    found = {
        frozenset(m for m in seen if module in reachable[m]) for module, seen in reachable.items() if module in seen
    }
    return [sorted(circle) for circle in found]


def check_order(package):
    """Raise if an import goes to a module or folder that is read later."""
    orders = {dotted(folder / "__init__.py", package): reading_order(folder) for folder in folders_of(package)}
    for module, imported in all_imports(package).items():
        for there in imported:
            mine, theirs = module.split("."), there.split(".")
            shared = 0
            while shared < min(len(mine), len(theirs)) and mine[shared] == theirs[shared]:
                shared += 1
            if shared in (len(mine), len(theirs)) or not module or not there:
                continue  # a package and what it holds
            order = orders[".".join(mine[:shared])]
            assert order.index(theirs[shared]) < order.index(mine[shared]), f"{module} imports {there}, read later"


def allowed_for(module):
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in THIRD_PARTY:
            return THIRD_PARTY[name]
    return THIRD_PARTY[""]


def check_third_parties(package):
    for path in sorted(package.rglob("*.py")):
        module = dotted(path, package)
        for inside, name in imports_of(path, package):
            root = (name or "").split(".")[0]
            if inside is None and root not in sys.stdlib_module_names:
                assert root in allowed_for(module), f"{module} imports {root}"


def check_forbidden(package):
    for module, imported in all_imports(package).items():
        for there in imported:
            for importer, banned in FORBIDDEN:
                inside = module == importer or module.startswith(importer + ".")
                assert not (inside and (there + ".").startswith(banned + ".")), f"{module} imports {there}"


@pytest.mark.parametrize(
    "folder", folders_of(PACKAGE), ids=lambda folder: dotted(folder / "__init__.py", PACKAGE) or "package"
)
def test_every_folder_gives_the_reading_order_of_all_it_holds(folder):
    assert sorted(reading_order(folder)) == sorted(members_of(folder))


@pytest.mark.parametrize(
    "folder", folders_of(PACKAGE), ids=lambda folder: dotted(folder / "__init__.py", PACKAGE) or "package"
)
def test_a_folder_is_a_room_and_no_heap(folder):
    most = MOST_FOLDERS if folder == PACKAGE else MOST_MODULES
    assert len(members_of(folder)) <= most


def test_imports_follow_the_reading_order():
    check_order(PACKAGE)


def test_no_module_imports_itself_in_the_end():
    assert circles(PACKAGE) == []


def test_folders_import_what_their_readers_have_installed():
    check_third_parties(PACKAGE)


def test_the_truth_reaches_no_attack():
    check_forbidden(PACKAGE)


def test_the_plugin_starts_without_anything_heavy():
    for path in sorted((PACKAGE / "plugin").glob("*.py")):
        source = ast.parse(path.read_text("utf-8"))
        source.body = [node for node in source.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        for node in source.body:
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                for alias in node.names:
                    name = f"{node.module or ''}.{alias.name}".strip(".")
                    assert {name, node.module or ""} & LIGHT, f"{path.stem} imports {node.module} at start-up"


def test_the_package_has_no_asserts_prints_or_pickles():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path.name}:{node.lineno}: pytest rewrites asserts in plugins"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "dill", "marshal"}


def _package(tmp_path, **sources):
    """Write a package of two folders, with the modules given as folder__module=source."""
    package = tmp_path / "pytest_labelleak"
    given = {name.replace("__", "/"): source for name, source in sources.items()}
    folders = sorted({name.split("/")[0] for name in given})
    for folder in ("", *folders):
        (package / folder).mkdir(parents=True, exist_ok=True)
        names = (
            [n for n in ("core", "attacks") if n in folders]
            if not folder
            else [n.split("/")[1] for n in given if n.startswith(f"{folder}/")]
        )
        entries = "\n".join(f"    {name}  one" for name in names)
        (package / folder / "__init__.py").write_text(f'"""A folder.\n\nReading order::\n\n{entries}\n"""\n', "utf-8")
    for name, source in given.items():
        (package / f"{name}.py").write_text(source, "utf-8")
    return package


def test_the_checks_pass_on_a_package_in_order(tmp_path):
    package = _package(tmp_path, core__a="import numpy", core__b="from .a import x", attacks__c="from ..core import a")
    check_order(package)
    check_third_parties(package)
    check_forbidden(package)
    assert circles(package) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"core__a": "from ..attacks.c import x", "attacks__c": ""},
        {"core__a": "def f():\n    from ..attacks import c", "attacks__c": ""},
        {"core__a": "from .b import x", "core__b": ""},
        {"core__a": "from pytest_labelleak.core.b import x", "core__b": ""},
        {"core__a": "if TYPE_CHECKING:\n    from .b import x", "core__b": ""},
    ],
)
def test_an_import_against_the_order_is_found(tmp_path, sources):
    with pytest.raises(AssertionError, match=r"core\.a imports"):
        check_order(_package(tmp_path, **sources))


@pytest.mark.parametrize(
    "hidden", ["from .a import x", "def f():\n    from . import a", "if TYPE_CHECKING:\n    from . import a"]
)
def test_a_circle_is_found(tmp_path, hidden):
    package = _package(tmp_path, core__a="from . import b", core__b=hidden)
    assert circles(package) == [["core.a", "core.b"]]


def test_a_framework_in_the_wrong_folder_is_found(tmp_path):
    with pytest.raises(AssertionError, match=r"attacks\.c imports keras"):
        check_third_parties(_package(tmp_path, attacks__c="import keras.ops"))


def test_the_truth_in_an_attack_is_found(tmp_path):
    package = _package(tmp_path, core__truth="", attacks__c="def f():\n    from ..core.truth import Truth")
    with pytest.raises(AssertionError, match=r"attacks\.c imports core\.truth"):
        check_forbidden(package)
