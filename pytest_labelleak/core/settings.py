"""Settings of an audit, frozen and validated, and the scope of the running test."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidArgumentError, quoted
from .sensitive import SensitiveTerms, sensitive_terms

__all__ = ["DEFAULTS", "Scope", "Settings", "activate", "active_scope", "note_private_values"]


def _threshold(value: Any) -> float:
    expected = "Expected a number in [0, 1]: the attacker's advantage (TPR - FPR) above which a test fails."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"threshold={quoted(value)} is a {type(value).__name__}. {expected}")
    if not 0.0 <= value <= 1.0:  # false for NaN; defined for an integer beyond the largest float
        raise InvalidArgumentError(f"threshold={quoted(value)} is out of range. {expected}")
    return float(value)


def _confidence(value: Any) -> float | None:
    if value is None or value is False:
        return None
    expected = "Expected a number between 0 and 1, such as 0.95, or False to compare the mean alone."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"confidence={quoted(value)} is a {type(value).__name__}. {expected}")
    if not 0.0 < value < 1.0:  # false for NaN
        raise InvalidArgumentError(f"confidence={quoted(value)} is out of range. {expected}")
    return float(value)


def _attacks(value: Any) -> tuple[Any, ...]:
    # People type a lone name or give a lone attack; any other value must be a sequence of names and attacks.
    items = (value,) if isinstance(value, str) or callable(value) else value
    try:
        names = tuple(items)
    except TypeError:
        raise InvalidArgumentError(
            f"attacks is a {type(value).__name__}. Expected 'auto', an attack's name, an attack, or a sequence of them."
        ) from None
    if not names:
        raise InvalidArgumentError("attacks is empty: an audit without an attack proves nothing. Use 'auto' for all.")
    for item in names:
        if not isinstance(item, str) and not callable(item):
            raise InvalidArgumentError(
                f"attacks holds a {type(item).__name__}. Expected names and callables attack(update, rng=...)."
            )
    return names


def _defence(value: Any) -> Any:
    if value is None or isinstance(value, str) or callable(value):
        return value
    raise InvalidArgumentError(
        f"defence is a {type(value).__name__}. Expected None, a registered defence's name, "
        "or a callable defence(update, rng=...)."
    )


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidArgumentError(f"seed={quoted(value)}. Expected a non-negative integer.")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"show_labels is a {type(value).__name__}. Expected True or False.")
    return value


def _time_budget(value: Any) -> float:
    expected = "Expected a finite number of seconds above 0."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"time_budget is a {type(value).__name__}. {expected}")
    if not (math.isfinite(value) and value > 0.0):
        raise InvalidArgumentError(f"time_budget={quoted(value)}. {expected}")
    return float(value)


def _require(value: Any) -> str | None:
    if value is None or value is False:
        return None
    if value != "proof":
        raise InvalidArgumentError(
            f"require={quoted(value)}. Expected 'proof', so that an audit holds only where no attack at all can exceed "
            "the threshold, or False."
        )
    return "proof"


def _sensitive(value: Any) -> SensitiveTerms | None:
    return None if value is None or value is False else sensitive_terms(value)


_VALIDATORS: Mapping[str, Callable[[Any], Any]] = {
    "threshold": _threshold,
    "confidence": _confidence,
    "attacks": _attacks,
    "defence": _defence,
    "seed": _seed,
    "sensitive": _sensitive,
    "show_labels": _flag,
    "time_budget": _time_budget,
    "require": _require,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The attacks, the defence and the limits of an audit.

    Attributes
    ----------
    threshold : float
        Largest tolerated advantage, in [0, 1]. Advantage is the true-positive rate minus the false-positive rate of an
        attack's claims, over the classes; a larger advantage is a leak.
    confidence : float or None
        None compares the mean advantage over the batches with the threshold. A number in (0, 1) demands in addition
        that a one-sided confidence bound of this level, with the batch as the unit, lies within the threshold. False
        is stored as None; `override` takes it as the wish for None.
    attacks : tuple of (str or attack)
        Names of registered attacks, or attacks; ``("auto",)`` runs every registered attack.
    defence : None, str or defence
        The defence that the participant applies to the update before sharing it.
    seed : int
        Seed of every random choice of attacks and defences.
    sensitive : None, path, sequence of str or SensitiveTerms
        Terms that no attack may recover from a transcript. False is stored as None; `override` takes it as the wish
        for None. Private.
    show_labels : bool
        Whether messages and reports show recovered labels. Off unless the user asks.
    time_budget : float
        Seconds that one audit may take.
    require : {"proof", None}
        With "proof" an audit holds only if a bound on every attack is within the threshold. False is stored as None;
        `override` takes it as the wish for None.

    Raises
    ------
    InvalidArgumentError
        If a value is of another type or out of range.
    """

    threshold: float = 0.1
    confidence: float | None = None
    attacks: tuple[Any, ...] = ("auto",)
    defence: Any = None
    seed: int = 0
    sensitive: Any = None
    show_labels: bool = False
    time_budget: float = 900.0
    require: str | None = None

    def __post_init__(self) -> None:
        """Validate every field once, for all code that reads it later."""
        for name, validate in _VALIDATORS.items():
            object.__setattr__(self, name, validate(getattr(self, name)))

    def override(self, **values: Any) -> Settings:
        """Return a copy in which each given value replaces that of the field.

        Parameters
        ----------
        **values
            Values by field name; None means "not given".

        Returns
        -------
        Settings
            The validated copy.

        Raises
        ------
        InvalidArgumentError
            For an unknown field or a value that does not fit it.
        """
        unknown = sorted(set(values) - set(_VALIDATORS))
        if unknown:
            raise InvalidArgumentError(
                f"unknown setting {quoted(unknown[0])}. Expected one of {', '.join(_VALIDATORS)}."
            )
        return dataclasses.replace(self, **{k: v for k, v in values.items() if v is not None})


DEFAULTS = Settings()


@dataclass(slots=True, kw_only=True)
class Scope:
    """The running test as its audits see it: their settings and extensions, and the place for their results.

    Attributes
    ----------
    settings : Settings
        Settings of the test. In rising order of precedence: defaults, ini file, command line, marker.
    attacks, defences : mapping of str to object
        Attacks and defences that hooks registered, by name.
    adapter : callable
        ``adapter(model)`` returns the adapter of a hook, or None.
    recorded_limit : callable
        ``recorded_limit(index)`` returns the baseline's figure for the index-th assertion of the test, or None.
    deals_in_labels : bool
        Whether the test made an update, a truth or a claim, so that labels may stand in any message.
    deals_in_words : bool
        Whether an audit has a vocabulary. Text in messages may then be as private as numbers.
    private_terms : list of SensitiveTerms
        Lists of sensitive terms of the test's audits; a failure must not show the terms.
    records : list of dict
        Results of the audits in order, one plain dictionary each (JSON types only).
    audits : list of (Audit, int)
        The same audits as objects, each with the thread that it ran in.
    thread : int
        The thread of the test. Only its audits have a fixed order, and so figures in a baseline.
    running : list of int
        One thread for each audit that began and has not ended.
    raised_elsewhere : list of BaseException
        Errors of audits and assertions in other threads, which the test may never hear of.
    """

    settings: Settings = DEFAULTS
    attacks: Mapping[str, Any] = field(default_factory=dict)
    defences: Mapping[str, Any] = field(default_factory=dict)
    adapter: Callable[[Any], Any] = field(default=lambda model: None)
    recorded_limit: Callable[[int], float | None] = field(default=lambda index: None)
    deals_in_labels: bool = False
    deals_in_words: bool = False
    private_terms: list[SensitiveTerms] = field(default_factory=list, repr=False)
    records: list[dict[str, Any]] = field(default_factory=list)
    audits: list[tuple[Any, int]] = field(default_factory=list, repr=False)
    thread: int = field(default_factory=threading.get_ident)
    running: list[int] = field(default_factory=list)
    raised_elsewhere: list[BaseException] = field(default_factory=list, repr=False)

    def next_limit(self) -> float | None:
        """Return the baseline's figure for the assertion that is about to run, or None."""
        if threading.get_ident() != self.thread:
            return None
        done = zip(self.records, self.audits, strict=False)
        return self.recorded_limit(
            sum(1 for record, (_, thread) in done if record["asserted"] and thread == self.thread)
        )

    def note(self, audit: Any, record: dict[str, Any]) -> None:
        """Add an audit that ended."""
        with _noting:
            self.audits.append((audit, threading.get_ident()))
            self.records.append(record)

    def note_raised(self, error: BaseException) -> None:
        """Add an error that is about to be raised, if it is raised in another thread than the test's."""
        if threading.get_ident() != self.thread:
            self.raised_elsewhere.append(error)

    @contextlib.contextmanager
    def auditing(self) -> Iterator[None]:
        """Count an audit as running during the ``with`` block."""
        thread = threading.get_ident()
        self.running.append(thread)
        try:
            yield
        except BaseException as error:
            self.note_raised(error)
            raise
        finally:
            self.running.remove(thread)


# A module global and not a ContextVar: a test may audit from a thread of its own, and a process runs one test at a
# time.
_scope: Scope | None = None
_noting = threading.Lock()


def active_scope() -> Scope:
    """Return the scope of the running test, or a fresh default scope outside of pytest."""
    return _scope if _scope is not None else Scope()


def note_private_values() -> None:
    """Note in the running test's scope that it holds values which no output may show."""
    if _scope is not None:
        _scope.deals_in_labels = True


@contextlib.contextmanager
def activate(scope: Scope) -> Iterator[Scope]:
    """Make `scope` the active scope for the duration of a ``with`` block."""
    global _scope
    previous, _scope = _scope, scope
    try:
        yield scope
    finally:
        _scope = previous
