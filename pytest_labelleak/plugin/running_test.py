"""What the plugin knows about one running test: its scope, its audits, and whether its failures are private."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest

from ..core.errors import InvalidArgumentError
from ..core.settings import Scope, Settings
from .baseline import Baseline
from .hiding import hide_terms
from .marker import marker_settings

__all__ = ["STATE", "ItemState"]

_PROPERTY = "labelleak_"


class _Registered(Mapping[str, Any]):
    """What a hook registers, by name; asked on first use, so that a run without audits asks nobody."""

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
        self.scope.records.clear()
        self.scope.deals_in_words = False
        self.scope.private_terms[:] = [] if self._terms is None else [self._terms]
        self.called = False
        self._sent = 0
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith(_PROPERTY)]

    @property
    def is_vacuous(self) -> bool:
        """Whether a test that was marked for an audit finished without one."""
        return self.marked and self.called and not self.scope.records

    def hide(self, longrepr: Any) -> Any:
        """Return how a failure is shown, without the test's sensitive terms, unless they may be shown."""
        if self.scope.settings.show_labels:
            return longrepr
        return hide_terms(longrepr, self.scope.private_terms)

    def take_new(self, item: pytest.Item) -> list[dict[str, Any]]:
        """Return the records since the last call, as plain data, and note them for JUnit."""
        first, self._sent = self._sent, len(self.scope.records)
        fresh = []
        for index, record in enumerate(self.scope.records[first:], start=first):
            # To JSON and back: xdist silently loses results that hold, say, a numpy string.
            plain = json.loads(json.dumps(record, default=str))
            fresh.append({"index": index, **plain})
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

    def privacy(self, item: pytest.Item, error: BaseException) -> str | None:
        """Say how much of a failure may be shown.

        Parameters
        ----------
        item : pytest.Item
            The test.
        error : BaseException
            Its exception.

        Returns
        -------
        str or None
            "messages": neither values nor numbers in messages; "values": no arguments and locals;
            None: the failure is none of our business.
        """
        from .redaction import is_ours, passed_through_package

        if self.scope.settings.show_labels:
            return None
        if self.marked or self.scope.records or "labelleak" in getattr(item, "fixturenames", ()):
            return "messages"
        if is_ours(error) or passed_through_package(error):
            return "messages"
        return "values" if _uses_package(item) else None


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
