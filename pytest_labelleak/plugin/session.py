"""A whole session, on the process that controls it: collects audits, writes files, decides about the exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..core.errors import BaselineError
from ..core.files import exclusive, open_to_append, write_text
from .baseline import Baseline
from .options import Options

__all__ = ["RECORDS", "LabelLeakSession"]

#: Name of the attribute of a test report that carries the audits of its phase, also between processes.
RECORDS = "labelleak_audits"

#: GitHub refuses a step summary of 1 MiB and more.
_STEP_SUMMARY_BYTES = 1024 * 1024 - 1

_MARKUP: Mapping[str, Mapping[str, bool]] = {
    "header": {"bold": True},
    "failure": {"red": True},
    "notice": {"yellow": True},
    "held": {"green": True},
    "accepted": {"cyan": True},
}


class LabelLeakSession:
    """Receives every test report of a session and draws the conclusions at its end."""

    def __init__(self, config: pytest.Config, options: Options, baseline: Baseline) -> None:
        self.options = options
        self.baseline = baseline
        self._config = config
        self._audits: dict[str, dict[int, dict[str, Any]]] = {}
        self._outcomes: dict[str, str] = {}
        self._report: dict[str, Any] | None = None
        self._errors: list[str] = []
        self._notes: list[str] = []

    def note_stray(self, count: int) -> None:
        """Fail the session for audits that ran outside of every test, so that no test could fail.

        Parameters
        ----------
        count : int
            Assertions that did not hold, and audits that have not ended.
        """
        self._errors.append(
            f"{count} audit(s) ran outside of every test, and did not hold or did not end. Wait in a test for every "
            "thread that it starts."
        )

    def pytest_report_header(self) -> str | None:
        """Describe the gate in one line."""
        options = self.options
        if not options.gate:
            return None
        attacks = ", ".join(a if isinstance(a, str) else type(a).__name__ for a in options.settings.attacks)
        parts = [f"threshold {options.settings.threshold:g}", f"attacks {attacks}"]
        if options.settings.confidence is not None:
            parts.insert(1, f"confidence {options.settings.confidence:g}")
        if options.baseline_path is not None:
            parts.append(f"baseline {_shown(options.baseline_path)}")
        parts += [f"report {_shown(path)}" for path in options.reports]
        return f"labelleak: {', '.join(parts)}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the audits of one phase of one test."""
        nodeid = report.nodeid
        if report.when == "setup":  # of a first run, or of one that replaces it
            self._audits.pop(nodeid, None)
            self._outcomes[nodeid] = "passed"
        if report.failed:
            self._outcomes[nodeid] = "failed"
        elif self._outcomes.get(nodeid) != "failed":
            expected_to_fail = hasattr(report, "wasxfail")
            if report.skipped:
                self._outcomes[nodeid] = "xfailed" if expected_to_fail else "skipped"
            elif expected_to_fail:
                self._outcomes[nodeid] = "xpassed"
        for record in getattr(report, RECORDS, ()):
            self._audits.setdefault(nodeid, {})[record["index"]] = record

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write reports and baseline; fail a gate that checked nothing."""
        if self._config.getoption("collectonly"):
            return
        from .report.rows import build

        self._report = report = build(
            {"test": nodeid, "test_outcome": self._outcomes[nodeid], **record}
            for nodeid, records in self._audits.items()
            for record in records.values()
        )
        # Not a report's business, only the baseline's.
        private = [
            {name: row.pop(name) for name in ("figure_ceiling", "escaped", "in_order")} for row in report["audits"]
        ]
        self._write_reports(report)
        if self.options.baseline_path is not None:
            self._compare_with_baseline(report, private)
        try:
            self._config.hook.pytest_labelleak_report(report=report, config=self._config)
        except Exception as error:  # a third party's hook, and the files are written already
            self._errors.append(f"a pytest_labelleak_report hook failed: {type(error).__name__}")
        if self.options.gate:
            self._append_step_summary(report)
            if not report["audits"] and not self._config.getoption("setuponly", False):
                self._errors.append(
                    "no label-leakage audit ran, so this gate checked nothing. Call assert_labels_not_recoverable, "
                    "assert_words_not_recoverable, assert_transcripts_not_recoverable, "
                    "assert_samples_not_isolated or assert_label_counts_not_recoverable in a test, check what -k, -m "
                    "and the paths select, or run without --labelleak."
                )
        if self._errors and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table of a gate, notes and errors."""
        report = self._report
        if report is None:
            return
        if not self.options.gate and not self._errors and not self._notes:
            return
        terminalreporter.write_sep("=", "labelleak")
        if self.options.gate and report["audits"]:
            from .report import terminal

            for line, kind in terminal.lines(report):
                terminalreporter.write_line(line, **_MARKUP[kind])
            terminalreporter.write_line(terminal.totals(report))
        for note in self._notes:
            terminalreporter.write_line(note)
        for error in self._errors:
            terminalreporter.write_line(f"ERROR: {error}", red=True, bold=True)

    def _write_reports(self, report: Mapping[str, Any]) -> None:
        if not self.options.reports:
            return
        from .report import html, json_report, markdown

        renderers: dict[str, Callable[[Mapping[str, Any]], str]] = {
            ".json": json_report.render,
            ".md": markdown.render,
            ".html": html.render,
        }
        for path in self.options.reports:
            text = renderers[path.suffix.lower()](report)
            if self._write(path, partial(write_text, path, text)):
                self._notes.append(f"report written to {_shown(path)}")

    def _compare_with_baseline(self, report: Mapping[str, Any], notes: list[dict[str, Any]]) -> None:
        path = self.options.baseline_path
        if path is None:
            return
        pairs = [
            (row, note)
            for row, note in zip(report["audits"], notes, strict=True)
            if row["asserted"] and note["in_order"]
        ]
        if not self.options.update_baseline:
            better = sum(
                row["limit_source"] == "baseline"
                and row["outcome"] in ("held", "accepted")
                and note["figure_ceiling"] < row["limit"]
                for row, note in pairs
            )
            if better:
                self._notes.append(
                    f"{better} assertion(s) leak less than the baseline allows; tighten it with "
                    f"--labelleak-update-baseline (and commit {_shown(path)})"
                )
            return
        measured: dict[str, list[float | None]] = {}
        expected: set[tuple[str, int]] = set()
        for row, note in pairs:
            figures = measured.setdefault(row["test"], [])
            # A leak that ended no failing test is one that the test expects: accepted, it would not be raised again.
            if row["outcome"] == "leaked" and not (row["test_outcome"] == "failed" and note["escaped"]):
                expected.add((row["test"], len(figures)))
            figures.append(None if row["outcome"] == "inconclusive" else note["figure_ceiling"])
        complete = {nodeid for nodeid, outcome in self._outcomes.items() if outcome == "passed"}

        def write() -> None:
            with exclusive(path):
                # Read again: another run may have recorded other tests since this one began.
                before = Baseline.load(path) if path.exists() else Baseline()
                updated = before.updated(measured, complete=complete, expected=expected)
                updated.save(path)
            lower, higher = before.changes(updated)
            self._notes.append(
                f"baseline written to {_shown(path)}: {len(updated.entries)} test(s), "
                f"{lower} figure(s) lower, {higher} higher or new"
            )

        try:
            self._write(path, write)
        except BaselineError as error:
            self._errors.append(str(error))

    def _append_step_summary(self, report: Mapping[str, Any]) -> None:
        target = os.environ.get("GITHUB_STEP_SUMMARY")
        if not target:
            return
        from .report import markdown

        try:
            used = os.path.getsize(target) if os.path.exists(target) else 0
            text = markdown.render(report, max_bytes=_STEP_SUMMARY_BYTES - used)
            encoded = text.encode("utf-8", "backslashreplace")
            if used + len(encoded) > _STEP_SUMMARY_BYTES:
                self._notes.append("the step summary is full: nothing was added to it")
                return
            with open_to_append(target) as handle:
                handle.write(encoded)
        except OSError as error:
            # The build's verdict does not depend on its summary page: said, but no failure.
            self._notes.append(f"cannot append to GITHUB_STEP_SUMMARY: {error.strerror or error}")

    def _write(self, path: Path, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self._errors.append(f"cannot write {str(path)!r}: {error.strerror or error}")
            return False
        return True


def _shown(path: Path) -> str:
    try:
        return os.path.relpath(path)
    except ValueError:  # on another drive
        return str(path)
