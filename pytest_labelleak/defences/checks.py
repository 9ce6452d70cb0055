"""The checks of defences' hyper-parameters, and the names made of them."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

from ..core.errors import InvalidArgumentError

__all__ = ["choice", "flag", "full_name", "one_of_two", "real", "whole"]


def full_name(defence: Any, kind: str) -> str:
    """Return the name of a defence with its parameters, as it can be written in settings.

    Parameters
    ----------
    defence : dataclass instance
        Its fields are the parameters.
    kind : str
        What the family of defences is called.

    Returns
    -------
    str
        E.g. ``quantise(bits=4)``. Parameters at their default are left out.
    """
    given = [
        f"{field.name}={getattr(defence, field.name)!r}"
        for field in dataclasses.fields(defence)
        if field.default is dataclasses.MISSING or getattr(defence, field.name) != field.default
    ]
    return f"{kind}({', '.join(given)})"


def _refuse(defence: Any, name: str, value: Any, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{type(defence).__name__} got {name}={value!r}. Expected {expected}.")


def real(defence: Any, name: str, accept: Callable[[float], bool], expected: str) -> None:
    """Check a parameter that is a number and keep it as a float, whatever type it came in.

    Parameters
    ----------
    defence : dataclass instance
        Under construction.
    name : str
        The parameter.
    accept : callable
        Tells which finite values will do.
    expected : str
        What to say about all others.

    Raises
    ------
    InvalidArgumentError
        If it is no finite number, or not accepted.
    """
    value = getattr(defence, name)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _refuse(defence, name, value, expected)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the largest float
        raise _refuse(defence, name, value, expected) from None
    if not math.isfinite(number) or not accept(number):
        raise _refuse(defence, name, value, expected)
    object.__setattr__(defence, name, number)


def whole(defence: Any, name: str, low: int, high: int | None, expected: str) -> None:
    """Check a parameter that is a whole number in a range, and keep it as an int.

    Parameters
    ----------
    defence : dataclass instance
        Under construction.
    name : str
        The parameter.
    low, high : int, int or None
        The range, both ends included.
    expected : str
        What to say about all others.

    Raises
    ------
    InvalidArgumentError
        If it is none.
    """
    value = getattr(defence, name)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise _refuse(defence, name, value, expected)
    number = int(value)
    if number < low or (high is not None and number > high):
        raise _refuse(defence, name, value, expected)
    object.__setattr__(defence, name, number)


def flag(defence: Any, name: str) -> None:
    """Check a parameter that is True or False.

    Parameters
    ----------
    defence : dataclass instance
        Under construction.
    name : str
        The parameter.

    Raises
    ------
    InvalidArgumentError
        If it is neither.
    """
    value = getattr(defence, name)
    if not isinstance(value, bool):
        raise _refuse(defence, name, value, "True or False")


def choice(defence: Any, name: str, options: tuple[str, ...]) -> None:
    """Check a parameter that is one of a few words.

    Parameters
    ----------
    defence : dataclass instance
        Under construction.
    name : str
        The parameter.
    options : tuple of str
        The words.

    Raises
    ------
    InvalidArgumentError
        If it is none of them.
    """
    value = getattr(defence, name)
    if not isinstance(value, str) or value not in options:
        raise _refuse(defence, name, value, f"one of {', '.join(map(repr, options))}")


def one_of_two(defence: Any, first: str, second: str, example: str) -> str:
    """Return which of two parameters is given.

    Parameters
    ----------
    defence : dataclass instance
        Under construction.
    first, second : str
        The parameters; None stands for "not given".
    example : str
        A call that is right.

    Returns
    -------
    str
        One of the two names.

    Raises
    ------
    InvalidArgumentError
        If both or neither are given.
    """
    values = getattr(defence, first), getattr(defence, second)
    if (values[0] is None) == (values[1] is None):
        raise InvalidArgumentError(
            f"{type(defence).__name__} got {first}={values[0]!r} and {second}={values[1]!r}. "
            f"Expected exactly one of the two, e.g. {example}."
        )
    return first if values[0] is not None else second
