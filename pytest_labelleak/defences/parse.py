"""Defences written as text, in an ini file or on a command line: ``drop_smallest(fraction=0.9) + sign``."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

from ..core.errors import InvalidArgumentError, UnknownNameError, quoted

__all__ = ["parse"]


def parse(text: str, known: Mapping[str, Any], families: Mapping[str, tuple[Any, str]]) -> list[Any]:
    """Return the defences that `text` names. The text is read and never executed.

    Parameters
    ----------
    text : str
        Names and calls with literal keyword arguments, joined by plus signs.
    known : mapping of str to defence
        Defences without parameters, by name.
    families : mapping of str to (class, str)
        Classes of defences with parameters, by name; each with an example of a call, for messages.

    Returns
    -------
    list of defence
        At least one, in the order written.

    Raises
    ------
    UnknownNameError
        For a name that is in neither mapping.
    InvalidArgumentError
        For parameters that do not fit.
    """
    # The whole text is looked up first: a hook may register a name that is no Python expression.
    if text in known:
        return [known[text]]
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unknown(text, known, families) from None
    terms = []
    # The syntax tree of a sum has its last term at the top: the loop goes from the last term to the first.
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        terms.append(tree.right)
        tree = tree.left
    return [_term(node, known, families) for node in (tree, *reversed(terms))]


def _term(node: ast.expr, known: Mapping[str, Any], families: Mapping[str, tuple[Any, str]]) -> Any:
    written = ast.unparse(node)
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name) or called.id not in families:
        raise _unknown(written, known, families)
    family, example = families[called.id]
    accepted = [field.name for field in dataclasses.fields(family)]
    expected = f"Expected keyword arguments among {', '.join(accepted)}, e.g. {example!r}."
    if not isinstance(node, ast.Call) or (not node.args and not node.keywords):
        raise InvalidArgumentError(f"defence {quoted(written)} has no parameters. {expected}")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise InvalidArgumentError(f"defence {quoted(written)} has a parameter without a name. {expected}")
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        name = str(keyword.arg)
        if name not in accepted or name in arguments:
            raise InvalidArgumentError(
                f"defence {quoted(written)} has an unknown or repeated parameter {quoted(name)}. {expected}"
            )
        try:
            arguments[name] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise InvalidArgumentError(
                f"defence {quoted(written)} has a parameter {quoted(name)} that is no literal value. {expected}"
            ) from None
    try:
        return family(**arguments)
    except TypeError:  # a parameter without a default was left out
        raise InvalidArgumentError(f"defence {quoted(written)} lacks a parameter. {expected}") from None


def _unknown(text: str, known: Mapping[str, Any], families: Mapping[str, tuple[Any, str]]) -> UnknownNameError:
    calls = ", ".join(example for _, example in families.values())
    return UnknownNameError(
        f"unknown defence {quoted(text)}. Expected one of {', '.join(known)}, a call such as {calls}, several of these "
        "joined by ' + ', or a defence object such as GaussianNoise(relative=1.0)."
    )
