"""Mutants of any module, by kinds of nodes.

==============  =======================================================================
kind            change
==============  =======================================================================
``comparison``  the opposite: ``<`` and ``>=``, ``>`` and ``<=``, ``==`` and ``!=``
``sign``        ``+`` and ``-``; a sign in front of an expression is dropped
``not``         dropped
``rule``        a number of a class of rules, ten times as large, and a tenth
``refusal``     ``raise NotApplicable(...)`` does nothing
==============  =======================================================================

Messages and annotations are left alone. Some of these mutants change nothing that can be seen (a comparison of floats
that are never equal), so that not every survivor is a hole in the tests.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KINDS", "SUITES", "Place", "changed", "places_of", "suite_for"]

KINDS = ("comparison", "sign", "not", "rule", "refusal")

#: Folders and modules below the package, each with the tests that should notice its mutants; the longest name decides.
SUITES = {
    "attacks/gradient": "tests/attacks/test_rlg.py tests/attacks/test_rlg_robust.py tests/attacks/test_tied.py",
    "attacks/rules": "tests/attacks/test_rules.py tests/attacks/test_embedding_rows.py",
    "attacks/counting": "tests/attacks/test_counts.py",
    "attacks/rlg": "tests/attacks/test_rlg.py tests/attacks/test_extreme.py tests/attacks/test_properties.py",
    "attacks/robust": "tests/attacks/test_rlg_robust.py",
    "attacks/disaggregate": "tests/attacks/test_disaggregate.py",
    "attacks/energy": "tests/attacks/test_energy.py",
    "attacks/shadow": "tests/attacks/test_shadow.py",
    "asr/ordering": "tests/asr/test_ordering.py tests/asr/test_paths.py",
    "asr/replay": "tests/asr/test_replay.py",
    "asr/scoring": (
        "tests/auditing/test_word_decisions.py tests/asr/test_report.py tests/test_words.py tests/test_transcripts.py"
    ),
    "auditing/evidence": (
        "tests/evidence/test_significance.py tests/evidence/test_joint_luck.py tests/evidence/test_sequential.py "
        "tests/evidence/test_hindsight.py tests/evidence/test_belonging.py tests/evidence/test_proof.py"
    ),
    # The quick ones first: the first failure ends a run.
    "auditing": (
        "tests/auditing/test_decisions.py tests/auditing/test_word_decisions.py tests/auditing/test_draws.py "
        "tests/auditing/test_pipeline.py tests/test_counting.py tests/test_verdict.py tests/test_auditing.py "
        "tests/test_portfolio.py tests/test_samples.py tests/test_words.py tests/test_transcripts.py"
    ),
    "defences": "tests/test_defences.py",
    "core": "tests/test_update.py tests/test_settings.py tests/test_verdict.py tests/test_words.py",
}

_OPPOSITE = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One node of a module that can be changed: the number that it has among all nodes of its tree."""

    module: str
    kind: str
    line: int
    node: int
    factor: float = 1.0


def suite_for(module: str) -> str | None:
    """Return the tests of a module, such as ``"attacks/rlg/attack.py"``, or None if none are known."""
    names = [name for name in SUITES if module.startswith(f"{name}/")]
    return SUITES[max(names, key=len)] if names else None


def places_of(package: Path) -> list[Place]:
    """List all places of all modules that have tests."""
    modules = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return [
        place
        for module in modules
        if suite_for(module)
        for place in _places(module, ast.parse((package / module).read_text("utf-8")))
    ]


def _places(module: str, tree: ast.Module) -> Iterator[Place]:
    aside = _aside(tree)
    rules = _numbers_of_rules(tree)
    for number, node in enumerate(ast.walk(tree)):
        line = getattr(node, "lineno", 0)
        if id(node) in rules:
            for factor in (10.0, 0.1):
                yield Place(module=module, kind="rule", line=line, node=number, factor=factor)
        elif id(node) not in aside and (kind := _kind(node)):
            yield Place(module=module, kind=kind, line=line, node=number)


def _aside(tree: ast.Module) -> set[int]:
    """Return the nodes that no test should depend on: annotations, messages, what stands there for type checkers."""
    found: set[int] = set()
    for node in ast.walk(tree):
        inner: list[ast.AST | None] = []
        if isinstance(node, ast.Raise):
            inner = [node.exc, node.cause]
        elif isinstance(node, (ast.AnnAssign, ast.arg)):
            inner = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            inner = [node.returns, *([node] if node.name == "__repr__" else [])]
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            inner = [node]
        found |= {id(part) for top in inner if top is not None for part in ast.walk(top)}
    return found


def _numbers_of_rules(tree: ast.Module) -> set[int]:
    """Return the default numbers of classes whose name ends in "Rules"."""
    found: set[int] = set()
    for owner in ast.walk(tree):
        if not (isinstance(owner, ast.ClassDef) and owner.name.endswith("Rules")):
            continue
        for statement in owner.body:
            if not isinstance(statement, ast.AnnAssign):
                continue
            value: ast.AST | None = statement.value
            if isinstance(value, ast.Call):
                value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
            if isinstance(value, ast.Constant) and type(value.value) in (int, float):
                found.add(id(value))
    return found


def _kind(node: ast.AST) -> str | None:
    """Return the kind of change that a node admits."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPPOSITE:
        return "comparison"
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        texts = (
            isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str) for side in _sides(node)
        )
        return None if any(texts) else "sign"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        return "sign"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return "not"
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "NotApplicable":
        return "refusal"
    return None


def _sides(node: ast.BinOp) -> tuple[ast.expr, ast.expr]:
    return node.left, node.right


def changed(source: str, place: Place) -> tuple[str, str, str]:
    """Return a module's source with one place changed, and the place before and after."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[place.node]
    if place.kind == "rule" and isinstance(node, ast.Constant):
        value = node.value * place.factor
        new: ast.AST = ast.Constant(type(node.value)(value) if value >= 1 else value)
    elif isinstance(node, ast.Compare):
        new = ast.Compare(node.left, [_OPPOSITE[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.BinOp):
        new = ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
    elif isinstance(node, ast.UnaryOp):
        new = node.operand
    else:
        new = ast.Pass()
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, new)
            elif isinstance(value, list):
                setattr(parent, field, [new if item is node else item for item in value])
    return ast.unparse(ast.fix_missing_locations(tree)), ast.unparse(node), ast.unparse(new)
