"""Gate mode: the table, the exit code, and the rule that a gate must have checked something."""

from __future__ import annotations

import pytest

from .conftest import HOLDS, LEAKS, PLAIN


def test_a_leak_fails_with_and_without_gate_mode(project, run):
    project.makepyfile(test_leaks=LEAKS)
    for arguments in ((), ("--labelleak",)):
        result = run(*arguments)
        assert result.ret == 1
        result.assert_outcomes(failed=1)


def test_held_audit_passes_the_gate(project, run):
    project.makepyfile(test_holds=HOLDS)
    result = run("--labelleak")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["labelleak: threshold 0.1, attacks auto", "*= labelleak =*", "outcome *test", "held *::test_holds"]
    )
    result.stdout.fnmatch_lines(["1 audit: 1 held, 0 leaked, 0 inconclusive"])


def test_nothing_is_printed_without_being_asked(project, run):
    project.makepyfile(test_holds=HOLDS, test_plain=PLAIN)
    assert "labelleak" not in run("test_plain.py", "-q").stdout.str()
    assert "= labelleak" not in run("test_holds.py").stdout.str()


def test_failures_come_first(project, run):
    project.makepyfile(test_a=HOLDS, test_b=LEAKS)
    lines = [line for line in run("--labelleak").outlines if "::test_" in line and line[:4] in ("held", "leak")]
    assert [line.split()[0] for line in lines] == ["leaked", "held"]


def test_expected_leak_is_shown_as_such(project, run):
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import LabelLeak, assert_labels_not_recoverable, audit
        from scene import make

        def test_expected():
            with pytest.raises(LabelLeak):
                assert_labels_not_recoverable(*make())

        @pytest.mark.xfail(raises=LabelLeak, strict=True)
        def test_known():
            assert_labels_not_recoverable(*make())

        def test_measured():
            assert audit(*make()).outcome == "leaked"
        """
    )
    result = run("--labelleak")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "leaked, as the test expects *::test_expected",
            "leaked, as the test expects *::test_known",
            "leaked, only measured *::test_measured",
            "3 audits: 0 held, 3 leaked, 0 inconclusive",
        ]
    )


def test_inconclusive_audit_fails_and_says_why(project, run):
    project.makepyfile(
        """
        from pytest_labelleak import assert_labels_not_recoverable
        from scene import make

        def test_everything_present():
            assert_labels_not_recoverable(*make(S=4, C=4))
        """
    )
    result = run("--labelleak", "-ra")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["inconclusive *::test_everything_present", "  inconclusive: *every one of the 4 *"])


@pytest.mark.parametrize("workers", [None, 2])
def test_gate_without_an_audit_fails(project, run, workers):
    project.makepyfile(test_plain=PLAIN)
    result = run("--labelleak", workers=workers)
    assert result.ret == 1
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["ERROR: no label-leakage audit ran, so this gate checked nothing.*"])


def test_gate_with_an_audit_passes_under_xdist(project, run):
    project.makepyfile(test_holds=HOLDS, test_plain=PLAIN)
    result = run("--labelleak", workers=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["held *::test_holds"])


def test_no_audit_rule_leaves_other_exit_codes_alone(project, run):
    project.makepyfile(test_plain=PLAIN)
    assert run("--labelleak", "--collect-only").ret == 0
    assert run("--labelleak", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert run("--labelleak", "missing.py").ret == pytest.ExitCode.USAGE_ERROR
    project.makepyfile(test_stop="def test_stop(): raise KeyboardInterrupt")
    assert run("--labelleak", "test_stop.py", subprocess=True).ret == pytest.ExitCode.INTERRUPTED


def test_gate_in_the_ini_file(project, run):
    project.makepyfile(test_plain=PLAIN)
    project.makeini("[pytest]\nlabelleak = true\n")
    assert run().ret == 1
    assert run("-o", "labelleak=false").ret == 0


class TestStepSummary:
    def test_is_appended_to(self, project, run, monkeypatch):
        project.makepyfile(test_holds=HOLDS)
        target = project.path / "summary.md"
        target.write_text("# before\n", "utf-8")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
        assert run().ret == 0
        assert target.read_text("utf-8") == "# before\n"
        assert run("--labelleak").ret == 0
        assert target.read_text("utf-8").startswith("# before\n## Label leakage\n")

    def test_stays_below_the_limit(self, project, run, monkeypatch):
        project.makepyfile(test_holds=HOLDS)
        target = project.path / "summary.md"
        target.write_text("x" * (1024 * 1024 - 100), "utf-8")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
        result = run("--labelleak")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["the step summary is full*"])
        assert target.stat().st_size == 1024 * 1024 - 100

    def test_not_writable_is_no_failure(self, project, run, monkeypatch):
        project.makepyfile(test_holds=HOLDS)
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "missing" / "summary.md"))
        result = run("--labelleak")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["cannot append to GITHUB_STEP_SUMMARY: No such file or directory"])
