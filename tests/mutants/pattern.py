"""Code as a pattern: finding and replacing one place of a syntax tree.

A pattern is Python source. It is compared as a syntax tree, so that neither formatting nor comments matter.

=====================  ====================================================================================
in a pattern           matches
=====================  ====================================================================================
``any_x``              any expression; the same one wherever the name stands again, also in the replacement
``*any_x``, last       all further elements or arguments
``**any_x``            all further keyword arguments
``if c: ...``          an ``if`` with this condition, whatever its branches; likewise ``while`` and ``for``
=====================  ====================================================================================

A pattern that is one expression is looked for among expressions, any other among statements.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Iterator
from typing import Any

__all__ = ["PlaceError", "replaced"]

_WILD = "any_"
_BRANCHES = ("body", "orelse")


class PlaceError(Exception):
    """A place that is not there, or there more than once; or a replacement that cannot run."""


def replaced(source: str, where: str, find: str, put: str) -> str:
    """Return a module's source with one place replaced.

    Parameters
    ----------
    source : str
        Source of the module.
    where : str
        Qualified name of the function or class that holds the place, such as ``"_Test.directly"``; empty for
        statements of the module itself.
    find : str
        The pattern.
    put : str
        The replacement; one statement can become several.

    Returns
    -------
    str
        Source generated from the changed tree, without comments.

    Raises
    ------
    PlaceError
        If the place is not found exactly once, or if the replacement uses a name that the module does not have: such
        a mutant would fail by its own fault, and its tests would prove nothing.
    """
    tree = ast.parse(source)
    scope = _scope(tree, where)
    pattern = _parsed(find)
    found = []
    for candidate in _inside(scope):
        bound: dict[str, Any] = {}
        if _matches(pattern, candidate, bound):
            found.append((candidate, bound))
    if len(found) != 1:
        raise PlaceError(f"found {len(found)} times in {where or 'the module'}: {find!r}. Expected once.")
    ((node, bound),) = found
    new = [_filled(statement, bound) for statement in ast.parse(put).body]
    if isinstance(pattern, ast.expr):
        if len(new) != 1 or not isinstance(new[0], ast.Expr):
            raise PlaceError(f"put={put!r} is no expression, but find={find!r} is one.")
        new = [new[0].value]
    _check_names(tree, new)
    _swap(scope, node, new)
    return ast.unparse(ast.fix_missing_locations(tree))


def _parsed(source: str) -> ast.AST:
    """Parse a pattern: an expression if it is one, otherwise one statement."""
    (statement,) = ast.parse(source).body
    return statement.value if isinstance(statement, ast.Expr) else statement


def _scope(tree: ast.Module, where: str) -> ast.AST:
    """Return the function or class of a qualified name."""
    scope: ast.AST = tree
    for name in where.split(".") if where else ():
        inner = [
            node
            for node in _inside(scope)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == name
        ]
        if len(inner) != 1:
            raise PlaceError(f"{where!r}: {name!r} is defined {len(inner)} times. Expected once.")
        (scope,) = inner
    return scope


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope: of a function all; of a module or class those outside of its functions."""
    whole = isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef))
    stack = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        yield node
        if whole or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))


def _wild(node: object) -> str | None:
    """Return the name of a wildcard, or None."""
    return node.id if isinstance(node, ast.Name) and node.id.startswith(_WILD) else None


def _ends_in_ellipsis(body: list[ast.stmt]) -> bool:
    """Tell whether a branch is left open."""
    return len(body) == 1 and isinstance(body[0], ast.Expr) and getattr(body[0].value, "value", None) is Ellipsis


def _matches(pattern: Any, node: Any, bound: dict[str, Any]) -> bool:
    """Compare a pattern with a node; fill `bound` with the expressions that wildcards stand for."""
    if (name := _wild(pattern)) and isinstance(node, ast.expr):
        if name in bound:
            return ast.dump(_loaded(bound[name])) == ast.dump(_loaded(node))
        bound[name] = node
        return True
    if isinstance(pattern, list):
        return isinstance(node, list) and _match_lists(pattern, node, bound)
    if not isinstance(pattern, ast.AST):
        return type(pattern) is type(node) and bool(pattern == node)
    if type(pattern) is not type(node):
        return False
    fields = [field for field in pattern._fields if field not in ("ctx", "type_comment", "kind")]
    if isinstance(pattern, (ast.If, ast.While, ast.For)) and _ends_in_ellipsis(pattern.body):
        fields = [field for field in fields if field not in _BRANCHES]
        bound["..."] = {field: getattr(node, field) for field in _BRANCHES}
    return all(_matches(getattr(pattern, field), getattr(node, field), bound) for field in fields)


def _match_lists(pattern: list[Any], node: list[Any], bound: dict[str, Any]) -> bool:
    """Compare elements one by one; a last wildcard with stars takes the rest."""
    last = pattern[-1] if pattern else None
    rest = _wild(getattr(last, "value", None)) if _is_starred(last) else None
    if rest is None:
        return len(pattern) == len(node) and all(_matches(p, n, bound) for p, n in zip(pattern, node, strict=True))
    fixed = len(pattern) - 1
    if isinstance(last, ast.keyword):
        # Keyword arguments have no order.
        named = {keyword.arg: keyword for keyword in node}
        wanted = [keyword.arg for keyword in pattern[:-1]]
        bound[f"**{rest}"] = [keyword for keyword in node if keyword.arg not in wanted]
        return all(p.arg in named and _matches(p.value, named[p.arg].value, bound) for p in pattern[:-1])
    bound[f"*{rest}"] = node[fixed:]
    return len(node) >= fixed and all(_matches(p, n, bound) for p, n in zip(pattern[:-1], node[:fixed], strict=True))


def _is_starred(node: object) -> bool:
    return isinstance(node, ast.Starred) or (isinstance(node, ast.keyword) and node.arg is None)


def _loaded(node: ast.AST) -> ast.AST:
    """Return a copy in which every name is read, so that a target equals an operand."""
    node = copy.deepcopy(node)
    for inner in ast.walk(node):
        if hasattr(inner, "ctx"):
            inner.ctx = ast.Load()
    return node


class _Fill(ast.NodeTransformer):
    """Put the bound expressions into a replacement."""

    def __init__(self, bound: dict[str, Any]) -> None:
        self.bound = bound

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if _wild(node):
            if node.id not in self.bound:
                raise PlaceError(f"the replacement holds {node.id!r}, which the pattern does not.")
            return copy.deepcopy(self.bound[node.id])
        return node

    def visit_Starred(self, node: ast.Starred) -> Any:
        rest = self.bound.get(f"*{_wild(node.value)}")
        return copy.deepcopy(rest) if rest is not None else self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> Any:
        rest = self.bound.get(f"**{_wild(node.value)}") if node.arg is None else None
        return copy.deepcopy(rest) if rest is not None else self.generic_visit(node)

    def visit_If(self, node: Any) -> Any:
        if _ends_in_ellipsis(node.body) and "..." in self.bound:
            for field, branch in self.bound["..."].items():
                setattr(node, field, branch)
            node.test = self.visit(node.test)
            return node
        return self.generic_visit(node)

    visit_While = visit_If  # noqa: N815


def _filled(template: ast.AST, bound: dict[str, Any]) -> Any:
    return _Fill(bound).visit(copy.deepcopy(template))


def _check_names(tree: ast.AST, new: list[Any]) -> None:
    """Refuse names that nothing in the module defines or uses."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} | set(dir(builtins))
    for statement in new:
        names |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id not in names:
                raise PlaceError(f"the replacement uses {node.id!r}, which the module does not have.")


def _swap(scope: ast.AST, old: ast.AST, new: list[Any]) -> None:
    """Replace a node of a scope."""
    for parent in ast.walk(scope):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new[0])
                return
            if isinstance(value, list) and any(item is old for item in value):
                at = next(index for index, item in enumerate(value) if item is old)
                value[at : at + 1] = new
                return
    raise PlaceError("the place has no parent.")
