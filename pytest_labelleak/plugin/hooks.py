"""The pytest plugin: wiring of hooks, marker and fixture; what they do is in the modules it imports."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ..core.errors import InconclusiveAudit
from ..core.settings import Scope, activate, active_scope
from . import hookspecs
from .baseline import Baseline
from .fixture import LabelLeakFixture
from .hiding import hide_terms
from .marker import MARKER
from .options import Options, add_options
from .running_test import STATE, ItemState
from .session import RECORDS, LabelLeakSession

_OPTIONS = pytest.StashKey[Options]()
_BASELINE = pytest.StashKey[Baseline]()

_WORKER_INPUT = "labelleak_baseline"

_VACUOUS = (
    "inconclusive: no audit ran in this test, though it is marked with pytest.mark.labelleak. Call "
    "assert_labels_not_recoverable, assert_words_not_recoverable, assert_transcripts_not_recoverable, "
    "assert_samples_not_isolated or audit in the test or in a fixture of function scope, or remove the marker."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini twins."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Validate everything the user said, before anything runs."""
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
    with activate(state.scope):
        return (yield)


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
    if records:
        setattr(report, RECORDS, records)
    if call.when == "call" and report.outcome == "passed" and state.is_vacuous:
        from .redaction import render_message

        report.outcome = "failed"
        report.longrepr = render_message(item, InconclusiveAudit(_VACUOUS))
    elif call.excinfo is not None and hasattr(report.longrepr, "reprtraceback"):
        from .redaction import render

        level = state.privacy(item, call.excinfo.value)
        if level is not None:
            clean, words = level == "messages", state.scope.deals_in_words
            report.longrepr = state.hide(render(item, call.excinfo, clean=clean, words=words))
    return report


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
    from .redaction import is_ours, passed_through_package, render

    shown = collector.config.stash[_OPTIONS].settings.show_labels
    if not shown and (is_ours(excinfo.value) or passed_through_package(excinfo.value)):
        longrepr = render(collector, excinfo, clean=True, words=scope.deals_in_words)
        report.longrepr = hide_terms(longrepr, scope.private_terms)
    return report


@pytest.fixture
def labelleak() -> LabelLeakFixture:
    """Audits of label leakage with this test's settings: audit, capture, assert_labels_not_recoverable and others."""
    return LabelLeakFixture(active_scope().settings)
