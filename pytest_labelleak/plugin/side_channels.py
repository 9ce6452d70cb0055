"""Private values in output other than failures: ``--debug`` files, ``--setup-show``, interrupts and warnings."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from .redaction import Cleaner

__all__ = ["SideChannels", "package_is_used"]

# The hooks of which every argument is public: a test's id and its place.
_HOOK_CALL = re.compile(r"\s*(?P<call>(?:finish )?pytest_(?!runtest_logstart\b|runtest_logfinish\b)\w+)")


class SideChannels:
    """Hooks that keep private values out of output which pytest writes besides its reports.

    Parameters
    ----------
    config : pytest.Config
        The session's configuration.
    is_private : callable
        ``is_private()`` tells whether values may be labels at this moment.
    clean_running : callable
        ``clean_running(text)`` returns the text of a warning without the private values of the running test.
    """

    def __init__(
        self, config: pytest.Config, *, is_private: Callable[[], bool], clean_running: Callable[[str], str]
    ) -> None:
        self._is_private = is_private
        self._clean_running = clean_running
        if config.getoption("debug", None):
            self._filter_trace(config)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, object, object]:
        """Keep parameters out of the lines of ``--setup-show`` and ``--setup-only``."""
        shown = request.config.getoption("setupshow", False) and hasattr(request, "param")
        if not shown or not self._is_private():
            return (yield)
        with _without_parameter(fixturedef):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keep arguments and messages out of the traceback that ``--full-trace`` shows after an interrupt."""
        if not self._is_private():
            return
        clean, error = Cleaner(strict=True), excinfo.value
        # The exception that the interrupt came upon is shown with its arguments too.
        error.__cause__ = error.__context__ = None
        error.args = tuple(clean(str(part), hint=False) for part in error.args)
        if isinstance(getattr(error, "msg", None), str):
            error.msg = clean(error.msg, hint=False)  # type: ignore[attr-defined]
        # Lines in the short style have no arguments.
        entries = [entry.with_repr_style("short") for entry in excinfo.traceback]
        excinfo.traceback = type(excinfo.traceback)(entries)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: Any, when: str) -> None:
        """Keep possible labels out of the summary of warnings."""
        if when == "runtest":
            text = str(warning_message.message)
            cleaned = self._clean_running(text)
            if cleaned != text:
                warning_message.message = cleaned

    def _filter_trace(self, config: pytest.Config) -> None:
        """Write calls of hooks to the file of ``--debug`` without their arguments and results."""
        tracer = config.trace.root
        write = getattr(tracer, "_writer", None)

        def write_public(message: str) -> None:
            call = _HOOK_CALL.match(message)
            if write is not None:
                write(message if call is None or not self._is_private() else f"{message[: call.end()]} [hook]\n")

        tracer.setwriter(write_public)


def package_is_used() -> bool:
    """Tell whether some code of this process asked for more of this package than its plugin."""
    return "pytest_labelleak.core.update" in sys.modules


class _Hidden:
    def __repr__(self) -> str:
        return "..."


@contextlib.contextmanager
def _without_parameter(fixturedef: Any) -> Iterator[None]:
    """Give the parameter of a fixture an id that says nothing, which is shown in the parameter's place."""
    before = fixturedef.ids
    fixturedef.ids = lambda parameter: _Hidden()
    try:
        yield
    finally:
        fixturedef.ids = before
