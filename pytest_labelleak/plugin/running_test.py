"""One running test: its scope, its audits, and the privacy of its failures."""

from __future__ import annotations

import json
import os
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

from ..core.errors import InconclusiveAudit, InvalidArgumentError, LabelLeak
from ..core.settings import Scope, Settings
from .baseline import Baseline
from .marker import marker_settings
from .redaction import Cleaner, family, hide_terms, is_ours, passed_through_package, texts_in

__all__ = ["STATE", "ItemState", "count_failed"]

_PROPERTY = "labelleak_"
_STANDARD_LIBRARY = os.path.dirname(threading.__file__) + os.sep
_INSTALLED = tuple(_STANDARD_LIBRARY + name + os.sep for name in ("site-packages", "dist-packages"))


class _Registered(Mapping[str, Any]):
    """Attacks or defences of hooks, by name; asked on first use, so that a run without audits asks nobody."""

    def __init__(self, kind: str, ask: Callable[[], Iterable[Any]]) -> None:
        self._kind = kind
        self._ask = ask
        self._found: dict[str, Any] | None = None

    def _members(self) -> dict[str, Any]:
        if self._found is None:
            hook = f"pytest_labelleak_{self._kind}s"
            found: dict[str, Any] = {}
            for result in self._ask():
                if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
                    raise InvalidArgumentError(
                        f"an implementation of {hook} returned a {type(result).__name__}. "
                        f"Expected a list of {self._kind}s."
                    )
                for member in result:
                    name = getattr(member, "name", None)
                    if not isinstance(name, str) or not name or not callable(member):
                        raise InvalidArgumentError(
                            f"an implementation of {hook} returned a {type(member).__name__} that is no {self._kind}. "
                            f"Expected a callable with a non-empty string 'name'."
                        )
                    if name in found:
                        raise InvalidArgumentError(
                            f"two implementations of {hook} return {name!r}. Give one of the two another name."
                        )
                    found[name] = member
            # Hooks answer in reverse order of registration, which may differ between processes.
            self._found = dict(sorted(found.items()))
        return self._found

    def __getitem__(self, name: str) -> Any:
        return self._members()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members())

    def __len__(self) -> int:
        return len(self._members())


class ItemState:
    """One test, from before its setup until after its teardown."""

    def __init__(self, item: pytest.Item, settings: Settings, baseline: Baseline) -> None:
        self.problem: InvalidArgumentError | None = None
        self.marked = item.get_closest_marker("labelleak") is not None
        self._has_fixture = "labelleak" in getattr(item, "fixturenames", ())
        try:
            settings = marker_settings(item, settings)
        except InvalidArgumentError as error:
            self.problem = error
        self._terms = settings.sensitive
        nodeid = item.nodeid
        hook = item.ihook  # as opposed to config.hook: with the conftest files of this item's folder
        self.scope = Scope(
            settings=settings,
            attacks=_Registered("attack", lambda: hook.pytest_labelleak_attacks()),
            defences=_Registered("defence", lambda: hook.pytest_labelleak_defences()),
            adapter=lambda model: hook.pytest_labelleak_adapter(model=model),
            recorded_limit=lambda index: baseline.limit(nodeid, index),
        )
        self.begin(item)

    def begin(self, item: pytest.Item) -> None:
        """Forget everything from an earlier attempt: plugins that run a test again reuse the item."""
        for collected in (self.scope.records, self.scope.audits, self.scope.raised_elsewhere):
            collected.clear()
        self.scope.deals_in_labels = self.scope.deals_in_words = False
        self.scope.private_terms[:] = [] if self._terms is None else [self._terms]
        self.called = False
        self._sent = 0
        self._told = False
        self.last_cleaner: Cleaner | None = None
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith(_PROPERTY)]

    @property
    def is_vacuous(self) -> bool:
        """Whether a test that was marked for an audit finished without one."""
        return self.marked and self.called and not self.scope.records

    @property
    def is_declared(self) -> bool:
        """Whether the test says by marker or fixture that it audits, before it does."""
        return self.marked or self._has_fixture

    def hide(self, longrepr: Any) -> Any:
        """Return how a failure is shown, without the test's sensitive terms, unless they may be shown."""
        if self.scope.settings.show_labels:
            return longrepr
        return hide_terms(longrepr, self.scope.private_terms)

    def take_new(self, item: pytest.Item) -> list[dict[str, Any]]:
        """Return the records since the last call, as plain data, and note them for JUnit.

        Parameters
        ----------
        item : pytest.Item
            The test.

        Returns
        -------
        list of dict
            Each with its index, and with "in_order": whether it ran in the test's own thread, so that its place among
            the assertions is the same in every run.
        """
        first, self._sent = self._sent, len(self.scope.records)
        fresh = []
        for index, record in enumerate(self.scope.records[first : self._sent], start=first):
            _, thread = self.scope.audits[index]
            # To JSON and back: xdist silently loses results that hold, say, a numpy string.
            plain = json.loads(json.dumps(record, default=str))
            fresh.append({"index": index, **plain, "in_order": thread == self.scope.thread})
            suffix = f"_{index + 1}" if index else ""
            for name, key in (
                ("outcome", "outcome"),
                ("figure", "figure"),
                ("limit", "limit"),
                ("attack", "strongest_attack"),
            ):
                value = plain[key]
                item.user_properties.append((f"{_PROPERTY}{name}{suffix}", "none" if value is None else value))
            for finding in plain["findings"]:
                for name, value in finding["properties"].items():
                    item.user_properties.append((f"{_PROPERTY}{name}{suffix}", value))
        return fresh

    def note_escaped(self, records: Iterable[dict[str, Any]], error: BaseException | None) -> None:
        """Note in each record whether the error of its audit ended a phase of the test.

        Parameters
        ----------
        records : iterable of dict
            From `take_new`; they get an entry "escaped".
        error : BaseException or None
            The exception that ended the phase.
        """
        ended = [] if error is None else [getattr(member, "audit", None) for member in family(error)]
        for record in records:
            audit, _ = self.scope.audits[record["index"]]
            record["escaped"] = any(member is audit for member in ended)

    def count_late(self) -> int:
        """Count the assertions that failed after the last report of the test, on which they are missing."""
        return count_failed(self.scope.records[self._sent :])

    def remember_cleaner(self, item: pytest.Item) -> None:
        """Keep the cleaner of the test's output for warnings, which are reported when its fixtures are gone."""
        level = self.privacy(item, None)
        self.last_cleaner = None if level is None else self.cleaner(item, level, None)

    def unheard(self, *, ended: bool) -> BaseException | None:
        """Return an error for an audit in another thread of which the test has not heard, once.

        Parameters
        ----------
        ended : bool
            Whether the test and its fixtures have ended, so that no audit may still be running.

        Returns
        -------
        LabelLeak or InconclusiveAudit or None
            None where every audit has ended, and every error has reached code of the user.
        """
        scope = self.scope
        if self._told:
            return None
        raised = list(scope.raised_elsewhere)
        lost = [error for error in raised if _is_lost(error)]
        for (audit, thread), record in zip(scope.audits, scope.records, strict=False):
            heard = any(getattr(error, "audit", None) is audit for error in raised)
            if count_failed([record]) and thread != scope.thread and not heard:
                lost.append(LabelLeak(audit.message, audit=audit))
        self._told = bool(lost) or (ended and bool(scope.running))
        leaks = [error for error in lost if isinstance(error, LabelLeak)]
        for error in (leaks or lost)[:1]:
            kind = LabelLeak if isinstance(error, LabelLeak) else InconclusiveAudit
            audit = getattr(error, "audit", None)
            reason = f"inconclusive: {type(error).__name__}" if audit is None else audit.message
            return kind(f"{reason}; in a thread whose error the test did not receive. {_RECEIVE}", audit=audit)
        if ended and scope.running:
            return InconclusiveAudit(f"inconclusive: an audit of this test still runs in a thread. {_RECEIVE}")
        return None

    def privacy(self, item: pytest.Item, error: BaseException | None) -> str | None:
        """Say how much of a failure may be shown.

        Parameters
        ----------
        item : pytest.Item
            The test.
        error : BaseException or None
            Its exception; None for other output of the test, such as a warning.

        Returns
        -------
        str or None
            "messages": neither values nor numbers in messages; "values": no arguments and locals, and of the values
            of fixtures only those that the source shows; None: the failure is private in no way.
        """
        if self.scope.settings.show_labels:
            return None
        if self.is_declared or self.scope.records or self.scope.deals_in_labels:
            return "messages"
        if error is not None and (is_ours(error) or passed_through_package(error)):
            return "messages"
        if any(type(value).__module__.startswith("pytest_labelleak.") for value in _fixture_values(item)):
            return "messages"
        return "values" if _uses_package(item) else None

    def cleaner(
        self, item: pytest.Item, level: str, excinfo: pytest.ExceptionInfo[BaseException] | None, *, when: str = "call"
    ) -> Cleaner | None:
        """Return the cleaner for messages of a test, or None where they may be shown as they are.

        Parameters
        ----------
        item : pytest.Item
            The test.
        level : str
            Of its `privacy`.
        excinfo : pytest.ExceptionInfo or None
            The failure.
        when : str, default "call"
            The phase of the test. A fixture that fails has values which the test has not yet.

        Returns
        -------
        Cleaner or None
        """
        values = _fixture_values(item)
        strict = self.scope.deals_in_words or bool(values) or when != "call"
        if level == "values":
            if not strict:
                return None
            statements = "" if excinfo is None else "\n".join(str(entry.statement) for entry in excinfo.traceback)
            return Cleaner(strict=True, source=statements, texts=texts_in(values))
        figures: set[float] = set()
        words: set[str] = set()
        for record in list(self.scope.records):
            _collect(record, figures, words)
        return Cleaner(strict=strict, figures=figures, words=words, texts=texts_in(values))


def count_failed(records: Iterable[Mapping[str, Any]]) -> int:
    """Count the assertions that did not hold.

    Parameters
    ----------
    records : iterable of mapping
        Records of audits.

    Returns
    -------
    int
        The number of records that an assertion left, and that leaked or were inconclusive.
    """
    return sum(record["asserted"] and record["outcome"] in ("leaked", "inconclusive") for record in records)


_RECEIVE = (
    "Wait for the thread in the test, and hand its exception on, as result() of a concurrent.futures.Future does."
)


def _is_lost(error: BaseException) -> bool:
    """Tell whether the error was caught by the machinery of threads, and not by code of the user.

    The first entry of a traceback is the frame that caught the error. If the test asked for the result of a future,
    that is the test's own frame.
    """
    first = error.__traceback__
    if first is None:
        return False
    file = first.tb_frame.f_code.co_filename
    return file.startswith(_STANDARD_LIBRARY) and not file.startswith(_INSTALLED)


def _fixture_values(item: pytest.Item) -> list[Any]:
    """Return the values that the user's fixtures gave to a test; those of pytest's own fixtures are public."""
    given = list(getattr(item, "funcargs", {}).values())
    instance = getattr(item, "instance", None)
    if instance is not None:
        given += [value for name, value in getattr(instance, "__dict__", {}).items() if not name.startswith("_")]
    public = ("_pytest.", "pathlib", "pytest_labelleak.plugin.")
    return [value for value in given if value is not None and not type(value).__module__.startswith(public)]


def _collect(value: Any, figures: set[float], words: set[str]) -> None:
    """Collect the figures and the names in a record."""
    if isinstance(value, float):
        figures.add(value)
    elif isinstance(value, str):
        words.add(value)
    elif isinstance(value, dict):
        for member in value.values():
            _collect(member, figures, words)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _collect(member, figures, words)


def _uses_package(item: pytest.Item) -> bool:
    """Tell whether the test's module imports this package: then its fixtures hold batches, audited or not yet."""
    package = "pytest_labelleak"
    module = getattr(item, "module", None)
    for value in list(vars(module).values()) if isinstance(module, types.ModuleType) else ():
        # No other objects are asked for attributes: proxies may import or compute whole worlds on that.
        if isinstance(value, types.ModuleType):
            name = value.__name__
        elif isinstance(value, (types.FunctionType, type)):
            name = value.__module__
        else:
            continue
        if name == package or name.startswith(package + "."):
            return True
    return False


STATE = pytest.StashKey[ItemState]()
