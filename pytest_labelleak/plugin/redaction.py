"""Output without private data: tracebacks free of values, messages free of possible labels and of sensitive terms.

pytest shows the arguments of a failing test, its local variables (``-l``) and the operands of its assertions, and
frameworks quote labels in their errors. Terminals, JUnit files and logs of a build would keep all of that. So the
failure of a test that deals in labels is rendered from a copy of its exceptions: types and places are the same,
messages are cleaned, and the frames of pytest and of this package are left out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import traceback
import types
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy
import pytest

from ..core import errors
from ..core.sensitive import SensitiveTerms

__all__ = [
    "HINT",
    "Cleaner",
    "family",
    "hide_terms",
    "is_ours",
    "passed_through_package",
    "render",
    "render_message",
    "texts_in",
]

HINT = "(numbers are hidden, since they may be labels; --labelleak-show-labels shows them)"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# The conformance checks work on made-up data, and their messages are their whole point.
_CHECKS = os.path.join(_PACKAGE, "testing", "")
_PYTEST = Path(pytest.__file__).parent.parent
_MACHINERY = tuple(
    str(folder) + os.sep for folder in (_PYTEST / "pytest", _PYTEST / "_pytest", Path(pluggy.__file__).parent)
)
_OURS = tuple(getattr(errors, name) for name in errors.__all__)

# Colours stand between digits, and between a word and its quotes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_COLLECTION = re.compile(r"\[[^\[\]]*(?:\]|\Z)")
_TEXTS = re.compile(
    r"""
    \[[^\[\]]*['"][^\[\]]*(?:\]|\Z)           # a collection with text in it
    | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*"  # text
    | (?<=^[ ]{2})[+?-][ ].*$ | ^[+?-][ ].*$    # a line of a comparison of two texts
    """,
    re.VERBOSE | re.MULTILINE,
)
_NUMBER = re.compile(
    r"""
    \b(?:u?int|b?float|complex|bool)(?:8|16|32|64|128)\b                              # the name of a type: kept
    | 0[xX][0-9a-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+
    | (?P<alone>(?<![\w.\\]))? \d+ (?:\.\d+)? (?:[eE][+-]?\d+)? (?P<ends>(?!\w|\.\d))?
    """,
    re.VERBOSE,
)
#: Tolerances and differences are computed from the values that were compared, and give them away.
_DERIVED = re.compile(r"±|[Dd]ifference")
_OWN_WORDS = frozenset({"", "held", "accepted", "leaked", "inconclusive", "recovered", "not_applicable", "not_run"})
# Private texts of fixtures: bounds on the search, beyond which quotes alone protect.
_MOST_TEXTS = 2000
_MOST_VISITS = 20_000
_DEEPEST = 6


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


def family(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything behind it: causes, contexts and members of groups, each one once.

    Parameters
    ----------
    error : BaseException
        Any exception.

    Yields
    ------
    BaseException
        The exception itself comes first.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        member = waiting.pop()
        if member is not None and id(member) not in seen:
            seen.add(id(member))
            yield member
            waiting += [member.__cause__, member.__context__, *_members(member)]


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
    for member in family(error):
        files = [entry.tb_frame.f_code.co_filename for entry in _entries(member.__traceback__)]
        if any(file.startswith(_PACKAGE) and not file.startswith(_CHECKS) for file in files):
            return True
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaner:
    """Hides everything in a message that may be private.

    Whole numbers are always hidden, also where letters adjoin them, and so are collections of numbers, and colours
    between digits. Decimals stay, since most are figures.

    Attributes
    ----------
    strict : bool
        Hide quoted text and decimals too: in a test that deals in words or has values of fixtures these are private.
    figures : set of float
        Decimals that stay all the same, as every report shows them.
    words : set of str
        Quoted texts that stay all the same.
    source : str or None
        Source of the failing statements, which is public; numbers and texts that are written in it stay.
    texts : tuple of str
        Texts to hide wherever they stand, quoted or not.

    Examples
    --------
    >>> print(Cleaner()("index 7 is out of bounds for axis 1"))
    index # is out of bounds for axis #
    (numbers are hidden, since they may be labels; --labelleak-show-labels shows them)
    >>> Cleaner()("assert 0.95 < 0.1")
    'assert 0.95 < 0.1'
    >>> Cleaner(strict=True)("assert 'cat' in ['the', 'dog']").splitlines()[0]
    "assert '...' in [...]"
    """

    strict: bool = False
    figures: Set[float] = frozenset()
    words: Set[str] = frozenset()
    source: str | None = None
    texts: tuple[str, ...] = field(default=(), repr=False)

    def __call__(self, text: str, *, hint: bool = True) -> str:
        """Return `text` with ``#`` for a number and ``...`` for a collection or a text.

        Parameters
        ----------
        text : str
            Message of an exception, a warning or a report.
        hint : bool, default True
            Whether to add a line that says why, if anything was hidden.

        Returns
        -------
        str
            The text; the same without escape sequences where nothing had to be hidden.
        """
        text = _ESCAPES.sub("", text)
        strict = self.strict or _DERIVED.search(text) is not None
        written = frozenset() if self.source is None else frozenset(m[0] for m in _NUMBER.finditer(self.source))

        def number(match: re.Match[str]) -> str:
            return match[0] if match[0] in written or self._stays(match, strict=strict) else "#"

        cleaned = text
        if self.texts:
            cleaned = re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, self.texts))})(?!\w)", "...", cleaned)
        if self.strict:
            cleaned = _TEXTS.sub(self._hidden_text, cleaned)
        cleaned = _COLLECTION.sub(lambda m: "[...]" if any(c.isdigit() for c in m[0]) else m[0], cleaned)
        cleaned = _NUMBER.sub(number, cleaned)
        return cleaned if cleaned == text or not hint else f"{cleaned}\n{HINT}"

    def _hidden_text(self, match: re.Match[str]) -> str:
        found = match[0]
        if found[0] not in "'\"":
            return "[...]"
        known = found[1:-1] in _OWN_WORDS or found[1:-1] in self.words
        return found if known or (self.source is not None and found in self.source) else "'...'"

    def _stays(self, match: re.Match[str], *, strict: bool) -> bool:
        number = match[0]
        if not number[0].isdigit():
            return True
        if match["alone"] is None or match["ends"] is None:
            return False
        # A rate of exactly 0.0 or 1.0 is common and tells nothing; labels are whole and written as such.
        if number in ("0.0", "1.0"):
            return True
        value = float(number)
        if not math.isfinite(value) or value.is_integer():
            return False
        return not strict or any(abs(value - abs(figure)) < 1e-6 for figure in self.figures)


def texts_in(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the texts of at least three characters in some values, the longest first.

    Parameters
    ----------
    values : iterable of object
        Values of fixtures. Lists, mappings, dataclasses and arrays of text are searched; no other object is asked
        for its attributes, since that may compute anything.

    Returns
    -------
    tuple of str
        At most 2000 texts.
    """
    found: set[str] = set()
    waiting = [(value, 0) for value in values]
    visits = 0
    while waiting and len(found) < _MOST_TEXTS and visits < _MOST_VISITS:
        value, depth = waiting.pop()
        visits += 1
        if isinstance(value, bytes):
            value = value.decode("utf-8", "ignore")
        if isinstance(value, str):
            if len(value.strip()) > 2:
                found.add(value.strip())
            continue
        if depth == _DEEPEST:
            continue
        inside: Iterable[Any] = ()
        if isinstance(value, dict):
            inside = itertools.chain.from_iterable(value.items())
        elif isinstance(value, (list, tuple, set, frozenset)):
            inside = value
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            inside = [getattr(value, part.name, None) for part in dataclasses.fields(value)]
        elif type(value).__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", None) in (
            "U",
            "S",
            "O",
        ):
            inside = value.ravel()[:_MOST_TEXTS].tolist()
        waiting += [(member, depth + 1) for member in itertools.islice(inside, _MOST_TEXTS)]
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def hide_terms(longrepr: Any, lists: Iterable[SensitiveTerms]) -> Any:
    """Replace every sensitive term in a failure's source lines and messages by its index.

    Parameters
    ----------
    longrepr : terminal representation
        As on a test report; changed in place.
    lists : iterable of SensitiveTerms
        The lists that the test used.

    Returns
    -------
    terminal representation
        The same object; a new text where it was text.
    """
    lists = list(lists)

    def hidden(text: str) -> str:
        for terms in lists:
            text = terms.hidden_in(text)
        return text

    if not lists:
        return longrepr
    if isinstance(longrepr, str):
        return hidden(longrepr)
    # Of a chain of exceptions, the last member is also there by itself.
    parts = [*getattr(longrepr, "chain", ()), (getattr(longrepr, "reprtraceback", None), longrepr.reprcrash)]
    for shown, crash, *_ in parts:
        for entry in getattr(shown, "reprentries", ()):
            entry.lines = [hidden(line) for line in entry.lines]
        if crash is not None:
            crash.message = hidden(crash.message)
    return longrepr


def render(
    item: pytest.Item | pytest.Collector,
    excinfo: pytest.ExceptionInfo[BaseException],
    *,
    clean: Cleaner | None,
) -> Any:
    """Represent a failure without arguments and local variables.

    Parameters
    ----------
    item : pytest.Item or pytest.Collector
        The test, or the module, that failed.
    excinfo : pytest.ExceptionInfo
        How it failed.
    clean : Cleaner or None
        Cleans the messages, but for those of our own exceptions, which never need it. None leaves them as they are.

    Returns
    -------
    terminal representation
        The ``longrepr`` of a test report, in the style that ``--tb`` asks for.
    """
    everything = bool(item.config.getoption("fulltrace", False))
    style = item.config.getoption("tbstyle", "auto")
    copy = _Copier(item=item, clean=clean, everything=everything).copy(excinfo.value)
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
        return render(item, pytest.ExceptionInfo.from_current(), clean=None)


class _Copier:
    """Copies exceptions with everything behind them, each one once."""

    def __init__(self, *, item: pytest.Item | pytest.Collector, clean: Cleaner | None, everything: bool) -> None:
        self._path = str(item.path)
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
        return text if self._clean is None or is_ours(error) else self._clean(text)

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


def _entries(first: types.TracebackType | None) -> Iterator[types.TracebackType]:
    while first is not None:
        yield first
        first = first.tb_next
