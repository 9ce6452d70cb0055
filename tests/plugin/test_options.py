"""Options and ini twins: precedence, and one clear error before any test runs."""

from __future__ import annotations

import pytest

from .conftest import HOLDS, PLAIN

SHOW = """
import pytest

def test_show(labelleak):
    settings = labelleak.settings
    print(f"<{settings.threshold} {','.join(settings.attacks)} {settings.seed}>")
    print(f"confidence {settings.confidence}.")
"""


def usage_error(result):
    """Return the one line of a usage error."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stderr.str()
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    return line


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.1", "1.1", "much", "", "1e999"])
@pytest.mark.parametrize("how", ["command line", "ini"])
def test_bad_threshold(project, run, how, value):
    project.makepyfile(PLAIN)
    if how == "ini":
        project.makeini(f"[pytest]\nlabelleak_threshold = {value}\n")
        line = usage_error(run())
        assert "labelleak_threshold" in line
    else:
        line = usage_error(run(f"--labelleak-threshold={value}"))
        assert line.startswith("ERROR: --labelleak-threshold: threshold=")
        assert (value if value != "1e999" else "inf") in line
        assert "Expected a number in [0, 1]" in line


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--labelleak-seed=-1", "ERROR: --labelleak-seed: seed=-1. Expected a non-negative integer."),
        ("--labelleak-seed=1.5", "ERROR: --labelleak-seed: seed='1.5'. Expected a non-negative integer."),
        (
            "--labelleak-confidence=1",
            "ERROR: --labelleak-confidence: confidence=1.0 is out of range. Expected a",
        ),
        ("--labelleak-time-budget=0", "ERROR: --labelleak-time-budget: time_budget=0.0. Expected a finite number"),
        ("--labelleak-confidence=nan", "ERROR: --labelleak-confidence: confidence=nan is out of range."),
        ("--labelleak-confidence=high", "ERROR: --labelleak-confidence: confidence='high' is a str."),
        ("--labelleak-require=luck", "ERROR: --labelleak-require: require='luck'. Expected 'proof'"),
        ("--labelleak-attack=,", "ERROR: --labelleak-attack: attacks is empty"),
    ],
)
def test_other_bad_values(project, run, option, expected):
    project.makepyfile(PLAIN)
    assert usage_error(run(option)).startswith(expected)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("report.txt", "ends in '.txt'. Expected a file name ending in one of .json, .md, .html."),
        ("report", "ends in 'no suffix'"),
        ("missing/report.json", "does not exist"),
        ("folder.json", "it is a directory"),
        ("/proc/report.json", "cannot be written"),
    ],
)
def test_bad_report_path(project, run, path, reason):
    project.makepyfile(PLAIN)
    (project.path / "folder.json").mkdir()
    line = usage_error(run(f"--labelleak-report={path}"))
    assert line.startswith("ERROR: --labelleak-report: ")
    assert path in line
    assert reason in line


def test_report_on_top_of_the_baseline(project, run):
    project.makepyfile(PLAIN)
    both = ("--labelleak-report=x.json", "--labelleak-baseline=x.json", "--labelleak-update-baseline")
    assert "Expected two different files" in usage_error(run(*both))
    assert not (project.path / "x.json").exists()


def test_unknown_attack_fails_the_audit(project, run):
    project.makepyfile(test_holds=HOLDS)
    result = run("--labelleak-attack=rlg,rgl", "-ra")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E       UnknownNameError: unknown attack 'rgl'. Expected 'auto' or one of *rlg*"])


def test_precedence(project, run):
    project.makepyfile(
        test_show=SHOW
        + """
@pytest.mark.labelleak(threshold=0.4, seed=4)
class TestMarked:
    @pytest.mark.labelleak(threshold=0.5)
    def test_show(self, labelleak):
        test_show(labelleak)
        labelleak.audit(*__import__("scene").make(S=2, C=9))
"""
    )

    def shown(*arguments):
        result = run("-s", *arguments)
        assert result.ret == 0
        return [line[line.index("<") + 1 : line.index(">")] for line in result.outlines if "<" in line]

    assert shown() == ["0.1 auto 0", "0.5 auto 4"]
    project.makeini("[pytest]\nlabelleak_threshold = 0.2\nlabelleak_attacks = rlg, yin llg\nlabelleak_seed = 2\n")
    assert shown() == ["0.2 rlg,yin,llg 2", "0.5 rlg,yin,llg 4"]
    options = ("--labelleak-threshold=0.3", "--labelleak-attack=idlg,yin", "--labelleak-attack=rlg")
    assert shown(*options, "--labelleak-seed=3") == ["0.3 idlg,yin,rlg 3", "0.5 idlg,yin,rlg 4"]
    # 0 is a value, not a missing one.
    assert shown("--labelleak-threshold=0", "--labelleak-seed=0")[0] == "0.0 rlg,yin,llg 0"


def test_confidence_has_every_route(project, run):
    project.makepyfile(
        test_show=SHOW
        + """
    assert_inconclusive(labelleak, settings.confidence)

def assert_inconclusive(labelleak, expected, **arguments):
    result = labelleak.audit(*__import__("scene").make(), attacks="yin", threshold=1.0, **arguments)
    assert result.confidence == expected

@pytest.mark.labelleak(confidence=0.8)
def test_marked(labelleak):
    test_show(labelleak)
    assert_inconclusive(labelleak, 0.7, confidence=0.7)
"""
    )

    def shown(*arguments):
        result = run("-s", "--labelleak", *arguments)
        assert result.ret == 0
        header = next(line for line in result.outlines if line.startswith("labelleak: "))
        values = [line.partition("confidence ")[2].rstrip(".") for line in result.outlines if line[-1:] == "."]
        return header, [value for value in values if value]

    assert shown() == ("labelleak: threshold 0.1, attacks auto", ["None", "0.8"])
    project.makeini("[pytest]\nlabelleak_confidence = 0.9\n")
    assert shown() == ("labelleak: threshold 0.1, confidence 0.9, attacks auto", ["0.9", "0.8"])
    assert shown("--labelleak-confidence=0.95")[1] == ["0.95", "0.8"]
    project.makeini("[pytest]\nlabelleak_confidence = 1.5\n")
    assert usage_error(run()).startswith("ERROR: ini option labelleak_confidence: confidence=1.5 is out of range.")


def test_call_beats_marker(project, run):
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import assert_labels_not_recoverable
        from scene import make

        @pytest.mark.labelleak(threshold=0.0)
        def test_call():
            assert assert_labels_not_recoverable(*make(), threshold=1.0).limit == 1.0
        """
    )
    assert run().ret == 0


def test_native_toml_types(project, run):
    project.makepyfile(test_show=SHOW)
    # pytest >= 9 reads typed values here, older ones ignore the table.
    project.makefile(
        ".toml",
        pyproject="""
        [tool.pytest]
        labelleak_threshold = 0.25
        labelleak_attacks = ["rlg", "yin"]
        labelleak_seed = 5
        labelleak_reports = ["out.json"]
        """,
    )
    result = run("-s")
    if pytest.version_tuple >= (9, 0):
        result.stdout.fnmatch_lines(["*<0.25 rlg,yin 5>*"])
        assert (project.path / "out.json").exists()


def test_paths_in_the_ini_file_are_relative_to_it(project, run, monkeypatch):
    project.makepyfile(test_holds=HOLDS)
    project.makeini("[pytest]\npythonpath = .\nlabelleak_reports = one.json two.md\nlabelleak_baseline = base.json\n")
    folder = project.mkdir("elsewhere")
    monkeypatch.chdir(folder)
    assert run("..", "--rootdir=..", "-c", "../tox.ini", "--labelleak-update-baseline").ret == 0
    assert {p.name for p in project.path.glob("*.*")} >= {"one.json", "two.md", "base.json"}
    assert run("..", "--rootdir=..", "-c", "../tox.ini", "--labelleak-report=three.html").ret == 0
    assert [p.name for p in folder.iterdir()] == ["three.html"]


def test_help_lists_every_option_and_twin(run):
    text = run("--help").stdout.str()
    for name in ("threshold", "confidence", "attack", "report", "baseline", "update-baseline", "seed", "show-labels"):
        assert f"--labelleak-{name}" in text
    for name in ("threshold", "confidence", "attacks", "reports", "baseline", "update_baseline", "seed", "show_labels"):
        assert f"labelleak_{name} (" in text
