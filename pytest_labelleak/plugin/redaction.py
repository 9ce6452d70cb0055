"""Failure output without private data: tracebacks free of values, messages free of what may be a label.

pytest shows the arguments of a failing test, its local variables (``-l``) and the operands of its
assertions, and frameworks quote labels in their errors. All of that would end up in terminals, JUnit
files and logs of a build. So the failure of a test that deals in labels is rendered from a copy of its
exceptions instead: same types, same places, cleaned messages, and only the frames people care about.
"""

from __future__ import annotations

import math
import os
import re
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest

from ..core import errors

__all__ = ["HINT", "clean_message", "is_ours", "passed_through_package", "render", "render_message"]

HINT = "(numbers are hidden, since they may be labels; --labelleak-show-labels shows them)"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# The conformance checks work on made-up data, and their messages are their whole point.
_CHECKS = os.path.join(_PACKAGE, "testing", "")
_PYTEST = Path(pytest.__file__).parent.parent
_MACHINERY = tuple(
    str(folder) + os.sep for folder in (_PYTEST / "pytest", _PYTEST / "_pytest", Path(pluggy.__file__).parent)
)
_OURS = tuple(getattr(errors, name) for name in errors.__all__)

_COLLECTION = re.compile(r"\[[^\[\]]*(?:\]|\Z)")
_TEXTS = re.compile(
    r"""
    \[[^\[\]]*['"][^\[\]]*(?:\]|\Z)           # a collection with text in it
    | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*"  # text
    | (?<=^[ ]{2})[+?-][ ].*$ | ^[+?-][ ].*$    # a line of a comparison of two texts
    """,
    re.VERBOSE | re.MULTILINE,
)
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w)")


def is_ours(error: BaseException) -> bool:
    """Tell whether `error` is of a class of this package, whose messages never hold a label.

    Parameters
    ----------
    error : BaseException
        Any exception.

    Returns
    -------
    bool
        The answer; a user's subclass is not ours.
    """
    return type(error) in _OURS


def passed_through_package(error: BaseException) -> bool:
    """Tell whether `error`, or one behind it, was raised inside a call of this package.

    Parameters
    ----------
    error : BaseException
        Any exception.

    Returns
    -------
    bool
        The answer.
    """
    for member in _family(error):
        files = [entry.tb_frame.f_code.co_filename for entry in _entries(member.__traceback__)]
        if any(file.startswith(_PACKAGE) and not file.startswith(_CHECKS) for file in files):
            return True
    return False


def clean_message(text: str, *, words: bool = False) -> str:
    """Hide everything in `text` that may be a label: whole numbers, and collections of numbers.

    Parameters
    ----------
    text : str
        Message of an exception.
    words : bool, default False
        Hide what is quoted as well: in a test that deals in words it may be one, or a transcript.

    Returns
    -------
    str
        The same with ``#`` for a number and ``[...]`` for a collection. Figures such as 0.25 stay.

    Examples
    --------
    >>> print(clean_message("index 7 is out of bounds for axis 1"))
    index # is out of bounds for axis #
    (numbers are hidden, since they may be labels; --labelleak-show-labels shows them)
    >>> clean_message("assert 0.95 < 0.1")
    'assert 0.95 < 0.1'
    >>> clean_message("assert 'cat' in ['the', 'dog']", words=True).splitlines()[0]
    "assert '...' in [...]"
    """
    cleaned = _TEXTS.sub(lambda m: "'...'" if m[0][0] in "'\"" else "[...]", text) if words else text
    cleaned = _COLLECTION.sub(lambda m: "[...]" if any(c.isdigit() for c in m[0]) else m[0], cleaned)
    cleaned = _NUMBER.sub(_hide, cleaned)
    return text if cleaned == text else f"{cleaned}\n{HINT}"


def _hide(match: re.Match[str]) -> str:
    number = match[0]
    # A rate of exactly 0.0 or 1.0 is common and tells nothing; labels are whole and written as such.
    if number in ("0.0", "1.0"):
        return number
    value = float(number)
    return number if math.isfinite(value) and not value.is_integer() else "#"


def render(
    item: pytest.Item | pytest.Collector,
    excinfo: pytest.ExceptionInfo[BaseException],
    *,
    clean: bool,
    words: bool = False,
) -> Any:
    """Represent a failure without arguments and local variables.

    Parameters
    ----------
    item : pytest.Item or pytest.Collector
        The test, or the module, that failed.
    excinfo : pytest.ExceptionInfo
        How it failed.
    clean : bool
        Whether messages are cleaned too. Those of our own exceptions never need it.
    words : bool, default False
        Whether quoted text may be private as well; see `clean_message`.

    Returns
    -------
    terminal representation
        What a test report takes as ``longrepr``, in the style that ``--tb`` asks for.
    """
    everything = bool(item.config.getoption("fulltrace", False))
    style = item.config.getoption("tbstyle", "auto")
    copy = _Copier(item=item, clean=clean, words=words, everything=everything).copy(excinfo.value)
    location = None
    if getattr(excinfo.value, "pytrace", True) is False:
        style = "value"
    if copy.__traceback__ is None:
        # No line of the user's is to blame, as for the plugin's own findings about a test: the message alone.
        copy.__traceback__ = excinfo.tb
        style, location = "line", getattr(item, "location", None)

    def frames(info: Any) -> Any:
        shown = info.traceback
        if style != "auto" or len(shown) <= 2:
            return shown
        # As pytest does for functions: in full only where it starts and where it ends.
        return type(shown)([shown[0], *(entry.with_repr_style("short") for entry in shown[1:-1]), shown[-1]])

    try:
        moved = Path.cwd() != item.config.invocation_params.dir
    except OSError:
        moved = True
    longrepr = pytest.ExceptionInfo.from_exception(copy).getrepr(
        funcargs=False,
        showlocals=False,
        style="long" if style == "auto" or everything else style,
        abspath=moved,
        tbfilter=frames,
    )
    if location is not None and longrepr.reprcrash is not None:
        longrepr.reprcrash.path = location[0]
        longrepr.reprcrash.lineno = (location[1] or 0) + 1
    return longrepr


def render_message(item: pytest.Item, error: BaseException) -> Any:
    """Represent a finding of the plugin itself about a test.

    Parameters
    ----------
    item : pytest.Item
        The test.
    error : BaseException
        The finding.

    Returns
    -------
    terminal representation
        Without a traceback.
    """
    try:
        raise error
    except type(error):
        return render(item, pytest.ExceptionInfo.from_current(), clean=False)


class _Copier:
    """Copies exceptions with everything behind them, each one once."""

    def __init__(self, *, item: pytest.Item | pytest.Collector, clean: bool, words: bool, everything: bool) -> None:
        self._path = str(item.path)
        self._words = words
        self._clean = clean
        self._everything = everything
        self._copies: dict[int, BaseException] = {}

    def copy(self, error: BaseException) -> BaseException:
        if id(error) in self._copies:
            return self._copies[id(error)]
        members = _members(error)
        copy: BaseException
        if members:
            group = next(cls for cls in type(error).__mro__ if cls.__name__ == "BaseExceptionGroup")
            message = str(getattr(error, "message", ""))
            copy = _namesake(type(error), group)(self._text(error, message), [self.copy(m) for m in members])
        else:
            # These two are the ones that pytest looks at the class of.
            bases = (AssertionError, RecursionError, Exception, BaseException)
            base = next(cls for cls in bases if isinstance(error, cls))
            copy = _namesake(type(error), base)(self._text(error, _message(error)))
        self._copies[id(error)] = copy
        copy.__traceback__ = self._visible(error.__traceback__)
        if error.__cause__ is not None:
            copy.__cause__ = self.copy(error.__cause__)
        if error.__context__ is not None:
            copy.__context__ = self.copy(error.__context__)
        copy.__suppress_context__ = error.__suppress_context__
        return copy

    def _text(self, error: BaseException, text: str) -> str:
        return clean_message(text, words=self._words) if self._clean and not is_ours(error) else text

    def _visible(self, first: types.TracebackType | None) -> types.TracebackType | None:
        entries = list(_entries(first))
        if not self._everything:
            start = next((i for i, e in enumerate(entries) if e.tb_frame.f_code.co_filename == self._path), 0)
            entries = [entry for entry in entries[start:] if not _is_hidden(entry.tb_frame)]
        result = None
        for entry in reversed(entries):
            result = types.TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        return result


def _is_hidden(frame: types.FrameType) -> bool:
    file = frame.f_code.co_filename
    if file.startswith((_PACKAGE, "<frozen ", *_MACHINERY)) and not file.startswith(_CHECKS):
        return True
    hidden = frame.f_locals.get("__tracebackhide__") or frame.f_globals.get("__tracebackhide__")
    return bool(hidden) or "__unittest" in frame.f_globals


def _namesake(original: type[BaseException], base: type[BaseException]) -> type[BaseException]:
    # Our own are shown by their bare name: the short summary has room for about 45 characters.
    module = "builtins" if original in _OURS else original.__module__
    return type(original.__name__, (base,), {"__module__": module, "__qualname__": original.__qualname__})


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "<no message: its __str__ failed>"
    notes = getattr(error, "__notes__", None)
    if isinstance(error, SyntaxError):
        text = "".join(traceback.format_exception_only(type(error), error)).strip()
        notes = None
    return "\n".join([text, *map(str, notes)]) if isinstance(notes, list) else text


def _members(error: BaseException) -> tuple[BaseException, ...]:
    members = getattr(error, "exceptions", ())
    is_group = any(cls.__name__ == "BaseExceptionGroup" for cls in type(error).__mro__)
    return members if is_group else ()


def _family(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        member = waiting.pop()
        if member is not None and id(member) not in seen:
            seen.add(id(member))
            yield member
            waiting += [member.__cause__, member.__context__, *_members(member)]


def _entries(first: types.TracebackType | None) -> Iterator[types.TracebackType]:
    while first is not None:
        yield first
        first = first.tb_next
