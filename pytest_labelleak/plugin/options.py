"""Command-line options and their ini twins: read and validated before any test runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..core.errors import BaselineError, InvalidArgumentError
from ..core.files import obstacle
from ..core.sensitive import SensitiveTerms, sensitive_terms
from ..core.settings import DEFAULTS, Settings
from .baseline import Baseline

__all__ = ["Options", "add_options"]

_SUFFIXES = (".json", ".md", ".html")


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin.

    Parameters
    ----------
    parser : pytest.Parser
        As given to ``pytest_addoption``.
    """
    group = parser.getgroup("labelleak", "label leakage of training gradients")

    def declare(flag: str, ini: str, kind: Any, text: str, default: Any = None, **how: Any) -> None:
        # Options stay text here and are converted below, where the error can say more than argparse's.
        group.addoption(flag, help=text, **how)
        parser.addini(ini, f"{text} Twin of {flag}.", type=kind, default=default)

    declare(
        *("--labelleak", "labelleak", "bool"),
        "Gate mode: print a summary table, and fail if no label-leakage audit ran at all.",
        default=False,
        action="store_true",
    )
    declare(
        *("--labelleak-threshold", "labelleak_threshold", "float"),
        "Highest tolerated advantage of the attacker, in [0, 1] (default: 0.1).",
        metavar="NUMBER",
    )
    declare(
        *("--labelleak-confidence", "labelleak_confidence", "float"),
        "Confidence in (0, 1), one-sided over batches, that a passing test must reach (default: none is asked for).",
        metavar="NUMBER",
    )
    declare(
        *("--labelleak-attack", "labelleak_attacks", "args"),
        "Attack to run, by name; repeatable and comma separated (default: auto, all that are registered).",
        default=[],
        metavar="NAME",
        action="append",
    )
    declare(
        *("--labelleak-report", "labelleak_reports", "paths"),
        f"File to write a report to, in the format its suffix says: {', '.join(_SUFFIXES)}; repeatable.",
        default=[],
        metavar="PATH",
        action="append",
    )
    declare(
        *("--labelleak-baseline", "labelleak_baseline", "string"),
        "File of recorded advantages, which tests may not exceed.",
        metavar="PATH",
    )
    declare(
        *("--labelleak-update-baseline", "labelleak_update_baseline", "bool"),
        "Record what the tests of this run leak in the baseline; refused where the environment has CI set.",
        default=False,
        action="store_true",
    )
    declare(
        *("--labelleak-seed", "labelleak_seed", "int"),
        "Seed of every random choice of attacks and defences (default: 0).",
        metavar="INTEGER",
    )
    declare(
        *("--labelleak-time-budget", "labelleak_time_budget", "float"),
        "Seconds that one audit may take before it is inconclusive (default: 900).",
        metavar="SECONDS",
    )
    declare(
        *("--labelleak-require", "labelleak_require", "string"),
        "With 'proof', tests hold only where no attack at all can exceed the threshold (default: nothing is required).",
        metavar="NAME",
    )
    declare(
        *("--labelleak-sensitive", "labelleak_sensitive", "string"),
        "File of terms, one per line, that assertions on words must not find recoverable where one was said.",
        metavar="PATH",
    )
    declare(
        *("--labelleak-show-labels", "labelleak_show_labels", "bool"),
        "Show recovered labels and test values in failures and reports. Private data: off by default.",
        default=False,
        action="store_true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The wishes of the user for a session.

    Attributes
    ----------
    gate : bool
        Whether the session is a gate: it prints a table, and must audit something.
    settings : Settings
        Defaults < ini < command line.
    reports : tuple of pathlib.Path
        Files to write.
    baseline_path : pathlib.Path or None
        The baseline.
    update_baseline : bool
        Whether to write it.
    """

    gate: bool = False
    settings: Settings = DEFAULTS
    reports: tuple[Path, ...] = ()
    baseline_path: Path | None = None
    update_baseline: bool = False

    @classmethod
    def from_config(cls, config: pytest.Config) -> Options:
        """Read and validate options and ini file.

        Parameters
        ----------
        config : pytest.Config
            The session's configuration.

        Returns
        -------
        Options
            The wishes.

        Raises
        ------
        pytest.UsageError
            Naming the option, its value and the expected values.
        """
        here = config.invocation_params.dir
        beside_ini = config.inipath.parent if config.inipath is not None else here

        settings = DEFAULTS
        for field, flag, ini, convert in (
            ("threshold", "--labelleak-threshold", "labelleak_threshold", float),
            ("confidence", "--labelleak-confidence", "labelleak_confidence", float),
            ("attacks", "--labelleak-attack", "labelleak_attacks", _names),
            ("seed", "--labelleak-seed", "labelleak_seed", int),
            ("time_budget", "--labelleak-time-budget", "labelleak_time_budget", float),
            ("require", "--labelleak-require", "labelleak_require", str),
        ):
            for where, given in ((f"ini option {ini}", _ini(config, ini)), (flag, config.getoption(flag))):
                if given is not None and given != []:
                    settings = _override(settings, where, field, given, convert)
        if terms := config.getoption("--labelleak-sensitive"):
            settings = settings.override(sensitive=_terms("--labelleak-sensitive", here, terms))
        elif terms := _ini(config, "labelleak_sensitive"):
            settings = settings.override(sensitive=_terms("ini option labelleak_sensitive", beside_ini, terms))
        if _switched(config, "labelleak_show_labels"):
            settings = settings.override(show_labels=True)

        from_ini = [beside_ini / path for path in _ini(config, "labelleak_reports")]
        given_here = [here / Path(path).expanduser() for path in config.getoption("--labelleak-report") or ()]
        # The command line replaces the ini file's list, as for every other option.
        reports = tuple(dict.fromkeys(given_here or from_ini))

        baseline_path = None
        if baseline := config.getoption("--labelleak-baseline"):
            baseline_path = here / Path(baseline).expanduser()
        elif baseline := _ini(config, "labelleak_baseline"):
            baseline_path = beside_ini / Path(baseline).expanduser()

        return cls(
            gate=_switched(config, "labelleak"),
            settings=settings,
            reports=reports,
            baseline_path=baseline_path,
            update_baseline=_switched(config, "labelleak_update_baseline"),
        )

    def check_files(self) -> Baseline:
        """Check every file to be read or written, and read the baseline.

        Returns
        -------
        Baseline
            The recorded figures; empty without a baseline.

        Raises
        ------
        pytest.UsageError
            If a file cannot be used as asked.
        """
        for path in self.reports:
            if path.suffix.lower() not in _SUFFIXES:
                raise pytest.UsageError(
                    f"--labelleak-report: {str(path)!r} ends in {path.suffix or 'no suffix'!r}. "
                    f"Expected a file name ending in one of {', '.join(_SUFFIXES)}."
                )
            _refuse_if_blocked("--labelleak-report", path)
        if self.baseline_path in self.reports:
            raise pytest.UsageError(
                f"--labelleak-report and --labelleak-baseline are both {str(self.baseline_path)!r}. "
                "Expected two different files."
            )
        if self.update_baseline:
            return self._check_update()
        return Baseline() if self.baseline_path is None else _load(self.baseline_path)

    def _check_update(self) -> Baseline:
        if self.baseline_path is None:
            raise pytest.UsageError("--labelleak-update-baseline needs --labelleak-baseline PATH: the file to write.")
        if os.environ.get("CI", "").strip().lower() not in ("", "0", "false"):
            raise pytest.UsageError(
                f"--labelleak-update-baseline is refused, because the environment has CI={os.environ['CI']!r}: a build "
                "that rewrites its own limits checks nothing. Update the baseline on your own machine and commit it."
            )
        _refuse_if_blocked("--labelleak-baseline", self.baseline_path)
        return _load(self.baseline_path) if self.baseline_path.exists() else Baseline()


def _override(settings: Settings, where: str, field: str, given: Any, convert: Callable[[Any], Any]) -> Settings:
    try:
        value = convert(given)
    except (TypeError, ValueError):
        value = given  # the validator refuses it, and names the expected values
    try:
        return settings.override(**{field: value})
    except InvalidArgumentError as error:
        raise pytest.UsageError(f"{where}: {error}") from None


def _terms(where: str, folder: Path, given: str) -> SensitiveTerms:
    try:
        # A whole project's list: most tests' transcripts hold none of it.
        return sensitive_terms(folder / Path(given).expanduser(), must_occur=False)
    except InvalidArgumentError as error:
        raise pytest.UsageError(f"{where}: {error}") from None


def _names(given: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for text in given for name in text.split(",") if name.strip())


def _ini(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(name)
    except (TypeError, ValueError, pytest.UsageError) as error:  # names the fault, but hardly ever the place
        raise pytest.UsageError(f"ini option {name}: {error}") from None


def _switched(config: pytest.Config, name: str) -> bool:
    return bool(config.getoption(name)) or bool(_ini(config, name))


def _refuse_if_blocked(flag: str, path: Path) -> None:
    reason = obstacle(path)
    if reason is not None:
        raise pytest.UsageError(f"{flag}: {str(path)!r} cannot be written: {reason}. Expected a writable file path.")


def _load(path: Path) -> Baseline:
    try:
        return Baseline.load(path)
    except BaselineError as error:
        raise pytest.UsageError(f"--labelleak-baseline: {error}") from None
