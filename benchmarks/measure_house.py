"""Figures of the source tree itself: rooms, arrows between them, circles, long functions, prose.

Run ``python benchmarks/measure_house.py [CHECKOUT]``. The script reads the sources of the package in a checkout of this
repository, an older one too, and prints one Markdown table. Nothing of the package is imported.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from pathlib import Path

QUESTIONS = re.compile(r"\b(?:samples|words|transcripts|counts|labels)\b")


def sources(package: Path) -> dict[str, Path]:
    """Return the modules of a package by their names below it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path, modules: dict[str, Path]) -> dict[str, set[str]]:
    """Return the modules that each module imports, also inside functions and for type checking."""
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        here = name.split(".") if name else []
        here = here if path.name == "__init__.py" else here[:-1]
        edges[name] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").startswith(package.name)):
                continue
            inner = [part for part in (node.module or "").split(".") if part]
            base = [*here[: len(here) - node.level + 1], *inner] if node.level else inner[1:]
            for alias in node.names:
                deeper = ".".join([*base, alias.name])
                edges[name].add(deeper if deeper in modules else ".".join(base))
        edges[name] &= set(modules)
        edges[name] -= {name}
    return edges


def circles(edges: dict[str, set[str]]) -> int:
    """Return the number of groups of nodes that import themselves in the end."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        stack = [start]
        while stack:
            for there in edges.get(stack.pop(), ()):
                if there not in seen:
                    seen.add(there)
                    stack.append(there)
        reach[start] = seen
    return len({frozenset(n for n in reach[node] if node in reach[n]) for node in edges if node in reach[node]})


def floors(edges: dict[str, set[str]]) -> int:
    """Return the number of floors: one more than the longest chain of imports. Circles count once."""
    depth: dict[str, int] = {}

    def of(node: str, above: frozenset[str]) -> int:
        if node not in depth:
            below = [of(there, above | {node}) for there in edges[node] if there not in above]
            depth[node] = 1 + max(below, default=0)
        return depth[node]

    return max(of(node, frozenset()) for node in edges)


def prose(modules: dict[str, Path]) -> float:
    """Return how often the word "what" stands among 1000 words of docstrings and comments."""
    words = []
    for path in modules.values():
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                words += re.findall(r"[a-z']+", (ast.get_docstring(node) or "").lower())
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                words += re.findall(r"[a-z']+", token.string.lower())
    return 1000.0 * words.count("what") / len(words)


def function(path: Path, name: str) -> ast.FunctionDef:
    """Return a function of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)


def figures(root: Path) -> dict[str, str]:
    """Return the rows of the table."""
    package = root / "pytest_labelleak"
    modules = sources(package)
    edges = imports(package, modules)
    rooms = {name.split(".")[0] for name in modules if name}
    between = {room: set() for room in rooms}
    for name, imported in edges.items():
        for there in imported:
            mine, theirs = name.split(".")[0], there.split(".")[0]
            if mine and theirs and mine != theirs:
                between[mine].add(theirs)
    inner = {name: {there for there in imported if there} for name, imported in edges.items() if name}
    lengths = []
    for path in modules.values():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body:
                    lengths.append((body[-1].end_lineno or 0) - body[0].lineno + 1)
    pipeline = package / "auditing" / "run.py"
    run = function(pipeline, "run") if pipeline.is_file() else function(package / "auditing.py", "run_audit")
    verdict = package / "auditing" / "verdict.py"
    tree = ast.parse((verdict if verdict.is_file() else package / "verdict.py").read_text("utf-8"))
    fields = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Verdict")
    return {
        "rooms at the top level of the package": str(len(rooms)),
        "loose modules among them": str(sum((package / f"{room}.py").is_file() for room in rooms)),
        "floors of rooms": str(floors(between)),
        "arrows between rooms": str(sum(map(len, between.values()))),
        "circles of modules": str(circles(inner)),
        "most modules in a folder": str(max(len(list(f.glob("*.py"))) for f in {p.parent for p in modules.values()})),
        "longest function, lines of its body": str(max(lengths)),
        "lines of the pipeline's body": str((run.body[-1].end_lineno or 0) - run.body[1].lineno + 1),
        "parameters of the pipeline": str(len(run.args.args) + len(run.args.kwonlyargs)),
        "names of questions in the pipeline": str(
            sum(len(QUESTIONS.findall(ast.unparse(statement))) for statement in run.body[1:])
        ),
        "fields of Verdict": str(sum(isinstance(node, ast.AnnAssign) for node in fields.body)),
        "words of README": str(len((root / "README.md").read_text("utf-8").split())),
        "'what' per 1000 words of docstrings and comments": f"{prose(modules):.2f}",
    }


def main() -> None:
    """Print the table of a checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[1])
    print("| figure | value |\n|---|---|")
    for name, value in figures(parser.parse_args().checkout).items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
