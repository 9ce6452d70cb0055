"""The hooks of the pytest plugin: each asks a module of this folder, and decides nothing by itself."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ..core.errors import InconclusiveAudit
from ..core.settings import Scope, activate, active_scope
from . import hookspecs
from .baseline import Baseline
from .fixture import LabelLeakFixture
from .marker import MARKER
from .options import Options, add_options
from .redaction import Cleaner, hide_terms, is_ours, passed_through_package, render, render_message
from .running_test import STATE, ItemState, count_failed
from .session import RECORDS, LabelLeakSession
from .side_channels import SideChannels, package_is_used

_OPTIONS = pytest.StashKey[Options]()
_BASELINE = pytest.StashKey[Baseline]()

_RUNNING = pytest.StashKey[tuple[pytest.Item, ItemState]]()

_STRAY = pytest.StashKey[int]()

_WORKER_INPUT = "labelleak_baseline"
_WORKER_OUTPUT = "labelleak_stray"

_VACUOUS = (
    "inconclusive: no audit ran in this test, though it is marked with pytest.mark.labelleak. Call "
    "assert_labels_not_recoverable, assert_words_not_recoverable, assert_transcripts_not_recoverable, "
    "assert_samples_not_isolated, assert_label_counts_not_recoverable or audit in the test or in a fixture of function "
    "scope, or remove the marker."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini twins."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Validate every option, ini value and file, before any test runs."""
    config.addinivalue_line("markers", MARKER)
    options = Options.from_config(config)
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        # The controller has checked all files, and a remote worker may not even have them.
        entries = worker_input.get(_WORKER_INPUT, {})
        baseline = Baseline(entries={nodeid: tuple(figures) for nodeid, figures in entries.items()})
    else:
        baseline = options.check_files()
        config.pluginmanager.register(LabelLeakSession(config, options, baseline), "labelleak-session")
    config.stash[_OPTIONS] = options
    config.stash[_BASELINE] = baseline
    channels = SideChannels(
        config, is_private=lambda: _may_be_private(config), clean_running=lambda text: _clean_warning(config, text)
    )
    config.pluginmanager.register(channels, "labelleak-side-channels")


def _may_be_private(config: pytest.Config) -> bool:
    """Tell whether values of the session may be labels: somebody uses this package, and nobody asked to see them."""
    if config.stash[_OPTIONS].settings.show_labels:
        return False
    running = config.stash.get(_RUNNING, None)
    return package_is_used() or (running is not None and running[1].is_declared)


def _clean_warning(config: pytest.Config, text: str) -> str:
    running = config.stash.get(_RUNNING, None)
    if running is None or running[1].last_cleaner is None:
        return text
    return str(running[1].hide(running[1].last_cleaner(text, hint=False)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a pytest-xdist worker the baseline."""
    entries = node.config.stash[_BASELINE].entries
    node.workerinput[_WORKER_INPUT] = {nodeid: list(figures) for nodeid, figures in entries.items()}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Make the test's settings those of every audit in it, in its fixtures too."""
    config = item.config
    state = item.stash[STATE] = ItemState(item, config.stash[_OPTIONS].settings, config.stash[_BASELINE])
    config.stash[_RUNNING] = (item, state)
    with activate(state.scope):
        result = yield
    config.stash[_STRAY] += state.count_late()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Collect audits that run between tests, such as those of a thread that outlives its test."""
    config = session.config
    config.stash[_STRAY] = 0
    with activate(Scope(settings=config.stash[_OPTIONS].settings)) as scope:
        result = yield
    stray = config.stash[_STRAY] + count_failed(scope.records) + len(scope.running)
    if stray and not config.getoption("collectonly"):
        output = getattr(config, "workeroutput", None)
        if output is not None:
            output[_WORKER_OUTPUT] = stray
        else:
            _controller(config).note_stray(stray)
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive from a pytest-xdist worker the number of audits that ran between its tests."""
    stray = getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT, 0)
    if stray:
        _controller(node.config).note_stray(stray)


def _controller(config: pytest.Config) -> LabelLeakSession:
    session: LabelLeakSession = config.pluginmanager.get_plugin("labelleak-session")  # type: ignore[assignment]
    return session


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start, or start again; refuse a marker that makes no sense."""
    state = item.stash.get(STATE, None)
    if state is None:  # run by a plugin with a test protocol of its own
        return
    state.begin(item)
    if state.problem is not None:
        raise state.problem


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Note that the test function ran to its end: sub-tests report before that."""
    # After pytest's own implementation and not around it: a wrapper would be in every traceback.
    state = item.stash.get(STATE, None)
    if state is not None:
        state.called = True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put audits on the report, keep private values off it, and fail a marked test without an audit."""
    state = item.stash.get(STATE, None)
    if state is None:
        return (yield)
    records = state.take_new(item)  # before the report is made, which copies the JUnit properties
    report = yield
    # Of a unittest.TestCase, the exception comes with the report.
    error = None if call.excinfo is None else call.excinfo.value
    state.note_escaped(records, error)
    if call.when == "call" and _may_be_private(item.config):
        state.remember_cleaner(item)
    if records:
        setattr(report, RECORDS, records)
    if report.outcome == "passed" and call.when in ("call", "teardown"):
        finding = state.unheard(ended=call.when == "teardown")
        if finding is None and call.when == "call" and state.is_vacuous:
            finding = InconclusiveAudit(_VACUOUS)
        if finding is not None:
            report.outcome = "failed"
            report.longrepr = render_message(item, finding)
            return report
    if call.excinfo is None or error is None:
        return report
    level = state.privacy(item, error)
    if level is None:
        return report
    clean = state.cleaner(item, level, call.excinfo, when=call.when)
    if hasattr(report.longrepr, "reprtraceback"):
        report.longrepr = state.hide(render(item, call.excinfo, clean=clean))
    elif clean is not None and isinstance(report.longrepr, tuple) and not _by_marker(error):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, state.hide(clean(str(reason), hint=False)))
    if clean is not None and isinstance(error, pytest.xfail.Exception) and not _by_marker(error):
        report.wasxfail = state.hide(clean(str(report.wasxfail), hint=False))
    return report


def _by_marker(error: BaseException) -> bool:
    """Tell whether a reason to skip comes from a marker, so that it was written before the test had values."""
    return bool(getattr(error, "_use_item_location", False)) or str(error).startswith("[NOTRUN]")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Keep private values off the report where an audit runs, and fails, while a module is imported."""
    with activate(Scope()) as scope:
        report = yield
    excinfo = getattr(getattr(report, "call", None), "excinfo", None)
    if excinfo is None or not hasattr(report.longrepr, "reprtraceback"):
        return report
    shown = collector.config.stash[_OPTIONS].settings.show_labels
    if not shown and (scope.deals_in_labels or is_ours(excinfo.value) or passed_through_package(excinfo.value)):
        longrepr = render(collector, excinfo, clean=Cleaner(strict=scope.deals_in_words))
        report.longrepr = hide_terms(longrepr, scope.private_terms)
    return report


@pytest.fixture
def labelleak() -> LabelLeakFixture:
    """Audits of label leakage with this test's settings: audit, capture, assert_labels_not_recoverable and others."""
    return LabelLeakFixture(active_scope().settings)
