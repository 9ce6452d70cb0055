"""The ratchet: recorded figures may only get better, and are written only on request."""

from __future__ import annotations

import json
import os

import pytest

from .conftest import HOLDS, LEAKS, PLAIN
from .test_options import usage_error

BASELINE = "--labelleak-baseline=base.json"
UPDATE = "--labelleak-update-baseline"


@pytest.fixture
def base(project):
    """Write the entries of the baseline, or read them."""
    path = project.path / "base.json"

    def base_(entries=None):
        if entries is not None:
            document = {"format": "pytest-labelleak-baseline", "version": 1, "entries": entries}
            path.write_text(json.dumps(document), "utf-8")
        return json.loads(path.read_text("utf-8"))["entries"]

    return base_


@pytest.mark.parametrize("workers", [None, 2])
def test_record_and_compare(project, run, base, workers):
    project.makepyfile(test_a=LEAKS, test_b=HOLDS, test_c=PLAIN)
    # What leaks now is beyond the threshold, and fails in the run that records it.
    first = run(BASELINE, UPDATE, workers=workers)
    assert first.ret == 1
    first.assert_outcomes(failed=1, passed=2)
    first.stdout.fnmatch_lines(["baseline written to base.json: 2 test(s), 0 figure(s) lower, 2 higher or new"])
    entries = base()
    assert list(entries) == ["test_a.py::test_leaks", "test_b.py::test_holds"]
    assert entries["test_a.py::test_leaks"] == [1.0]
    text = (project.path / "base.json").read_bytes()

    second = run(BASELINE, "--labelleak", workers=workers)
    assert second.ret == 0
    second.stdout.fnmatch_lines(
        ["accepted * 1.00 (baseline) *::test_leaks", "2 audits: 1 held, 1 accepted, 0 leaked, 0 inconclusive"]
    )
    assert "tighten" not in second.stdout.str()

    third = run(BASELINE, UPDATE, workers=workers)
    assert third.ret == 0
    assert (project.path / "base.json").read_bytes() == text


def test_worse_than_recorded_fails_below_the_threshold_too(project, run, base):
    project.makepyfile(test_a=LEAKS)
    base({"test_a.py::test_leaks": [0.5]})
    for threshold in ("0.1", "1.0"):
        result = run(BASELINE, f"--labelleak-threshold={threshold}", "--labelleak")
        assert result.ret == 1
        result.stdout.fnmatch_lines(["*LabelLeak: leaked: advantage 1.00 > 0.50 (*", "leaked * 0.50 (baseline) *"])


def test_better_than_recorded_passes_and_says_how_to_tighten(project, run, base):
    project.makepyfile(test_b=HOLDS)
    base({"test_b.py::test_holds": [0.9]})
    result = run(BASELINE)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["1 assertion(s) leak less than the baseline allows; tighten it with --labelleak-upd*"])
    assert base() == {"test_b.py::test_holds": [0.9]}
    run(BASELINE, UPDATE).stdout.fnmatch_lines(["*1 test(s), 1 figure(s) lower, 0 higher or new"])
    assert base()["test_b.py::test_holds"][0] < 0.5


CONFIDENT = """
import numpy as np
from pytest_labelleak import Recovery, Truth, Update, assert_labels_not_recoverable

class Adapter:
    name = "given"
    def capture(self, model, batch, **options):
        return Update.from_arrays(np.ones((2, 41)))
    def labels(self, model, batch, **options):
        return Truth(labels=np.array([*batch]), classes=41)

class First:
    name = "first"
    def __call__(self, update, *, rng):
        return Recovery(attack=self.name, status="recovered", labels=(0,))

def test_mean():
    # Names one label of 40 in a share of the batches: advantages of 1 and -1/40.
    assert_labels_not_recoverable("given", [(0 if i < HITS else 1,) for i in range(BATCHES)], attacks=First())
"""


def test_the_ratchet_compares_the_mean_and_confidence_the_threshold(project, run, base):
    project.makeconftest(
        "def pytest_labelleak_adapter(model):\n    from test_mean import Adapter\n    return Adapter()"
    )

    def outcome(hits, batches, recorded):
        source = CONFIDENT.replace("HITS", str(hits)).replace("BATCHES", str(batches))
        project.makepyfile(test_mean=source)
        base({"test_mean.py::test_mean": [recorded]})
        result = run(BASELINE, "--labelleak", "--labelleak-confidence=0.9")
        return next(line.split()[0] for line in result.outlines if line.endswith("test_mean.py::test_mean"))

    # Recorded beyond the threshold: that leak is accepted, only its figure may not grow.
    assert outcome(5, 10, recorded=0.5) == "accepted"
    assert outcome(5, 10, recorded=0.4) == "leaked"
    # Recorded within the threshold: nothing was accepted, and undefended nothing holds.
    assert outcome(0, 100, recorded=0.0) == "inconclusive"
    assert outcome(1, 100, recorded=0.0) == "inconclusive"
    assert outcome(6, 100, recorded=0.01) == "inconclusive"  # luck hits six of a hundred now and then
    assert outcome(16, 100, recorded=0.01) == "leaked"


def test_the_ratchet_holds_the_share_of_samples_too(project, run, base):
    project.makepyfile(
        test_samples="""
        import numpy as np
        from pytest_labelleak import Recovery, assert_samples_not_isolated
        from scene import make

        UPDATE, LABELS = make(S=8)

        class Some:
            name = "some"
            isolates = True
            found = 4
            def __call__(self, update, *, rng):
                found = tuple(int(label) for label in LABELS[: self.found])
                return Recovery(attack=self.name, status="recovered", isolated=len(found), sample_labels=found)

        def test_samples():
            assert_samples_not_isolated(UPDATE, LABELS, attacks=Some())
        """
    )
    assert run(BASELINE, UPDATE).ret == 1
    # The attack names no class as present: an advantage would be 0.
    assert base() == {"test_samples.py::test_samples": [0.5]}
    result = run(BASELINE, "--labelleak")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["accepted * 0.50 (share of samples isolated) * 0.50 (baseline) *::test_samples"])
    base({"test_samples.py::test_samples": [0.4]})
    result = run(BASELINE)
    result.stdout.fnmatch_lines(["*LabelLeak: leaked: share of samples isolated 0.50 > 0.40 (some)"])


def test_missing_entry_means_the_threshold(project, run, base):
    project.makepyfile(test_a=LEAKS)
    base({"test_b.py::test_other": [1.0]})
    result = run(BASELINE)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*LabelLeak: leaked: advantage 1.00 > 0.10 (*"])


def test_entries_are_per_assertion_and_measurements_do_not_count(project, run, base):
    project.makepyfile(
        test_a="""
        from pytest_labelleak import assert_labels_not_recoverable, audit
        from scene import NOISE, make

        def test_two():
            audit(*make())
            assert_labels_not_recoverable(*make(), defence=NOISE, threshold=0.5)
            audit(*make())
            assert_labels_not_recoverable(*make(), threshold=0.0)
        """
    )
    assert run(BASELINE, UPDATE).ret == 1
    held, leaked = base()["test_a.py::test_two"]
    assert held < 0.5
    assert leaked == 1.0


CONTROL = """
import pytest
from pytest_labelleak import LabelLeak, assert_labels_not_recoverable
from scene import NOISE, make

def check(**options):
    assert_labels_not_recoverable(*make(), attacks="bias_sign", **options)

def test_control():
    with pytest.raises(LabelLeak):
        check()

@pytest.mark.xfail(raises=LabelLeak, strict=True)
def test_known_leak():
    check()

def test_all_kinds():
    check(defence=NOISE, threshold=0.5)
    with pytest.raises(LabelLeak):
        check()
    check(defence=NOISE, threshold=0.5)

def test_leaks_beside_a_control():
    with pytest.raises(LabelLeak):
        check()
    check()

@pytest.fixture
def broken():
    yield
    check()

def test_leaks_in_teardown(broken):
    pass

def test_fails_for_another_reason():
    with pytest.raises(LabelLeak):
        check()
    raise RuntimeError
"""


@pytest.mark.parametrize("workers", [None, 1])
def test_leaks_that_a_test_expects_are_not_recorded(project, run, base, workers):
    project.makepyfile(test_a=CONTROL)
    run(BASELINE, UPDATE, workers=workers).assert_outcomes(passed=3, xfailed=1, failed=2, errors=1)
    entries = {name.partition("::")[2]: figures for name, figures in base().items()}
    ((first, expected, last),) = [entries.pop("test_all_kinds")]
    assert first == last < 0.5
    assert expected is None
    assert entries == {"test_leaks_beside_a_control": [None, 1.0], "test_leaks_in_teardown": [1.0]}
    # With that baseline, controls are as they were, and the other leaks are accepted.
    run(BASELINE, "--labelleak", workers=workers).assert_outcomes(passed=4, xfailed=1, failed=1)


def test_an_expected_leak_that_was_recorded_once_is_dropped(project, run, base):
    project.makepyfile(test_a=CONTROL)
    base({"test_a.py::test_control": [0.5], "test_a.py::test_all_kinds": [0.9, 0.5, 0.9]})
    run(BASELINE, UPDATE, "-k", "test_control or test_all_kinds").assert_outcomes(passed=2)
    ((name, figures),) = base().items()
    assert name == "test_a.py::test_all_kinds"
    assert figures[1] is None


def test_an_accepted_leak_is_called_so_in_every_report(project, run, base, report):
    project.makepyfile(test_a=LEAKS, test_b=HOLDS)
    base({"test_a.py::test_leaks": [1.0], "test_b.py::test_holds": [0.9]})
    names = [f"--labelleak-report=report.{suffix}" for suffix in ("json", "md", "html")]
    result = run(BASELINE, "--labelleak", "--color=yes", "--junitxml=junit.xml", *names)
    assert result.ret == 0
    leak, held = report()["audits"]
    assert (leak["outcome"], leak["accepted"]) == ("accepted", True)
    assert leak["message"].startswith("accepted by the baseline: advantage 1.00 <= 1.00 (")
    # Recorded above its threshold, and yet below: nothing was accepted.
    assert (held["outcome"], held["accepted"]) == ("held", False)
    counts = {"audits": 2, "held": 1, "accepted": 1, "leaked": 0, "inconclusive": 0}
    assert report()["summary"] == counts
    (line,) = [line for line in result.outlines if "test_leaks" in line and "accepted" in line]
    assert "\x1b[36m" in line
    assert "| ⚠️ accepted |" in (project.path / "report.md").read_text("utf-8")
    assert '<tr class="accepted">' in (project.path / "report.html").read_text("utf-8")
    assert 'name="labelleak_outcome" value="accepted"' in (project.path / "junit.xml").read_text("utf-8")


def test_runs_at_the_same_time_merge_their_entries(project, run, base):
    other = """
    def test_other():
        # Another run ends, and writes, while this one goes on.
        import json
        from pathlib import Path
        document = json.loads(Path("base.json").read_text("utf-8"))
        document["entries"]["test_z.py::test_elsewhere"] = [0.75]
        document["entries"]["test_a.py::test_leaks"] = [0.5]
        Path("base.json").write_text(json.dumps(document), "utf-8")
    """
    project.makepyfile(test_a=LEAKS, test_b=other)
    base({"test_y.py::test_gone": [0.25]})
    assert run(BASELINE, UPDATE).ret == 1
    assert base() == {
        "test_a.py::test_leaks": [1.0],
        "test_y.py::test_gone": [0.25],
        "test_z.py::test_elsewhere": [0.75],
    }


def test_a_baseline_that_was_damaged_meanwhile_is_not_replaced(project, run):
    damage = "def test_other():\n    open('base.json', 'w').write('<<<<<<< conflict')\n"
    project.makepyfile(test_a=LEAKS, test_b=damage)
    result = run(BASELINE, UPDATE)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: baseline *base.json' is not valid JSON*"])
    assert (project.path / "base.json").read_text("utf-8") == "<<<<<<< conflict"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_nobody_waits_for_a_pipe(project, run, monkeypatch):
    project.makepyfile(test_b=HOLDS)
    for name in ("base.json", "report.md", "terms.txt", "summary.md"):
        os.mkfifo(project.path / name)
    for arguments in ((BASELINE,), (BASELINE, UPDATE), ("--labelleak-report=report.md",)):
        assert "it is no regular file but a pipe" in usage_error(run(*arguments))
    assert "cannot be read" in usage_error(run("--labelleak-sensitive=terms.txt"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    result = run("--labelleak")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["cannot append to GITHUB_STEP_SUMMARY: *"])


def test_update_keeps_what_did_not_run(project, run, base):
    project.makepyfile(test_a=LEAKS, test_b=HOLDS)
    base({"test_z.py::test_gone": [0.3], "test_a.py::test_leaks": [0.2, 0.4], "test_b.py::test_holds": [0.9, 0.9]})
    assert run(BASELINE, UPDATE).ret == 1
    entries = base()
    assert entries["test_z.py::test_gone"] == [0.3]
    # The failure hid the second assertion of the first; the other ran to its end and has only one.
    assert entries["test_a.py::test_leaks"] == [1.0, 0.4]
    assert len(entries["test_b.py::test_holds"]) == 1


def test_inconclusive_is_never_recorded(project, run, base):
    project.makepyfile(test_a=LEAKS.replace("make())", "make(S=4, C=4))"))
    base({"test_a.py::test_leaks": [0.3]})
    assert run(BASELINE, UPDATE).ret == 1
    assert base() == {"test_a.py::test_leaks": [0.3]}
    base({})
    assert run(BASELINE, UPDATE).ret == 1
    assert base() == {}


@pytest.mark.parametrize("value", ["true", "1", "woodpecker"])
def test_update_is_refused_in_a_build(project, run, monkeypatch, value):
    project.makepyfile(test_b=HOLDS)
    monkeypatch.setenv("CI", value)
    line = usage_error(run(BASELINE, UPDATE))
    assert f"refused, because the environment has CI={value!r}" in line
    assert not (project.path / "base.json").exists()


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_update_is_not_refused_elsewhere(project, run, monkeypatch, value):
    project.makepyfile(test_b=HOLDS)
    monkeypatch.setenv("CI", value)
    assert run(BASELINE, UPDATE).ret == 0


def test_usage_errors(project, run):
    project.makepyfile(test_b=HOLDS)
    assert "needs --labelleak-baseline PATH" in usage_error(run(UPDATE))
    missing = usage_error(run(BASELINE))
    assert "base.json' does not exist. Create it with --labelleak-update-baseline" in missing
    assert "does not exist" in usage_error(run("--labelleak-baseline=missing/base.json", UPDATE))
    (project.path / "base.json").write_text('{"format": "pytest-labelleak-baseline", "version": 2}', "utf-8")
    newer = "is in format version 2; this release reads version 1. Upgrade pytest-labelleak."
    for arguments in ((BASELINE,), (BASELINE, UPDATE)):
        assert newer in usage_error(run(*arguments))
    assert "version 1" in usage_error(run(BASELINE, "-n2", workers=2))


def test_interrupted_update_writes_what_is_known(project, run, base):
    project.makepyfile(test_b=HOLDS, test_c="def test_stop(): raise KeyboardInterrupt")
    assert run(BASELINE, UPDATE, subprocess=True).ret == 2
    assert list(base()) == ["test_b.py::test_holds"]
