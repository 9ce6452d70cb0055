"""Checks of the parameters of defences, and the names made from the parameters."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

from ..core.errors import InvalidArgumentError, quoted

__all__ = ["choice", "flag", "full_name", "one_of_two", "real", "whole"]


def full_name(defence: Any, kind: str) -> str:
    """Return the name of a defence with its parameters, in the notation of settings.

    Parameters
    ----------
    defence : dataclass instance
        Its fields are the parameters.
    kind : str
        Name without the parameters.

    Returns
    -------
    str
        E.g. ``quantise(bits=4)``. Parameters that have their default are left out.
    """
    given = [
        f"{field.name}={getattr(defence, field.name)!r}"
        for field in dataclasses.fields(defence)
        if field.default is dataclasses.MISSING or getattr(defence, field.name) != field.default
    ]
    return f"{kind}({', '.join(given)})"


def _refuse(defence: Any, name: str, value: Any, expected: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{type(defence).__name__} got {name}={quoted(value)}. Expected {expected}.")


def real(defence: Any, name: str, accept: Callable[[float], bool], expected: str) -> None:
    """Check a parameter that is a number, and store it as a float.

    Parameters
    ----------
    defence : dataclass instance
        A defence under construction.
    name : str
        Name of the parameter.
    accept : callable
        Returns True for the finite values that are allowed.
    expected : str
        Description of the allowed values, for the message.

    Raises
    ------
    InvalidArgumentError
        If the value is no finite number, or is not accepted.
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
    """Check a parameter that is a whole number in a range, and store it as an int.

    Parameters
    ----------
    defence : dataclass instance
        A defence under construction.
    name : str
        Name of the parameter.
    low, high : int, int or None
        The range, both ends included.
    expected : str
        Description of the allowed values, for the message.

    Raises
    ------
    InvalidArgumentError
        If the value is no whole number in the range.
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
        A defence under construction.
    name : str
        Name of the parameter.

    Raises
    ------
    InvalidArgumentError
        If the value is neither True nor False.
    """
    value = getattr(defence, name)
    if not isinstance(value, bool):
        raise _refuse(defence, name, value, "True or False")


def choice(defence: Any, name: str, options: tuple[str, ...]) -> None:
    """Check a parameter that is one of a few words.

    Parameters
    ----------
    defence : dataclass instance
        A defence under construction.
    name : str
        Name of the parameter.
    options : tuple of str
        The allowed words.

    Raises
    ------
    InvalidArgumentError
        If the value is another.
    """
    value = getattr(defence, name)
    if not isinstance(value, str) or value not in options:
        raise _refuse(defence, name, value, f"one of {', '.join(map(repr, options))}")


def one_of_two(defence: Any, first: str, second: str, example: str) -> str:
    """Return the name of the one of two parameters that is given.

    Parameters
    ----------
    defence : dataclass instance
        A defence under construction.
    first, second : str
        Names of the parameters; the value None means "not given".
    example : str
        A correct call, for the message.

    Returns
    -------
    str
        `first` or `second`.

    Raises
    ------
    InvalidArgumentError
        If both parameters or neither are given.
    """
    values = getattr(defence, first), getattr(defence, second)
    if (values[0] is None) == (values[1] is None):
        raise InvalidArgumentError(
            f"{type(defence).__name__} got {first}={quoted(values[0])} and {second}={quoted(values[1])}. "
            f"Expected exactly one of the two, e.g. {example}."
        )
    return first if values[0] is not None else second
