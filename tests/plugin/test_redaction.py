"""No label, and no other value of a test that deals in labels, in any output; unless asked for.

The inner project's labels contain one number that occurs nowhere else, neither in its source nor in
anything pytest prints by itself. It must not turn up.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from .conftest import LEAKS

SENTINEL = "91736"

# Held apart from the tests: pytest shows the source of what fails, and a literal in there is published already.
SECRET = """
import logging
from dataclasses import dataclass
import numpy as np
from scene import make as make_
from pytest_labelleak import Recovery, Update

SENTINEL = int("9173") * 10 + 6
C = 100_000

@dataclass
class Batch:
    labels: object

def make():
    rng = np.random.default_rng(0)
    labels = np.array([SENTINEL, 7])
    H = rng.uniform(0.1, 1.0, (2, 3))
    D = (np.full((2, C), 1 / C) - np.eye(1, C, labels[0]) * [[1], [0]] - np.eye(1, C, labels[1]) * [[0], [1]]) / 2
    return Update.from_arrays(H.T @ D, bias_gradient=D.sum(axis=0)), labels

class Isolates:
    # Claims all there is to claim about one sample, truly, or features that belong to none.

    name = "isolates"
    isolates = True

    def __init__(self, rows=1):
        self.features = np.full((rows, 3), SENTINEL + 0.5)

    def __call__(self, update, *, rng):
        softmax = np.full((1, C), SENTINEL + 0.25)
        return Recovery(attack=self.name, status="recovered", labels=(SENTINEL,), isolated=1,
                        sample_labels=(SENTINEL,), softmax=softmax, features=self.features)

class Framework(Exception):
    pass

def complain(labels):
    raise Framework(f"received a label value of {labels[0]} outside of [0, 10): {labels}")

class Adapter:
    name = "careless"
    def labels(self, model, batch, **options):
        complain(batch)
    def capture(self, model, batch, **options):
        complain(batch)
"""

CONFTEST = """
import pytest
from secret import Adapter, Batch, complain, make

@pytest.hookimpl(optionalhook=True)
def pytest_labelleak_adapter(model):
    return Adapter() if model == "careless" else None

@pytest.fixture
def labels():
    return make()[1]

@pytest.fixture
def batch(labels):
    return Batch(labels=labels)

@pytest.fixture
def broken_setup(labels):
    complain(labels)

@pytest.fixture
def broken_teardown(labels):
    yield
    complain(labels)

@pytest.fixture(params=[[make()[1]]])
def parametrized(request):
    return request.param
"""

TESTS = """
import logging
import unittest

import numpy as np
import pytest
from pytest_labelleak import Recovery, assert_labels_not_recoverable, assert_samples_not_isolated, attack, audit
from secret import Isolates, complain, make

pytestmark = pytest.mark.labelleak(attacks="bias_sign")

def test_leak(labels, batch, parametrized):
    local = {"labels": labels.tolist()}
    logging.getLogger().debug("before the audit")
    assert_labels_not_recoverable(*make())

def test_samples(labels):
    update, labels = make()
    features = np.full((2, 3), labels[0] + 0.5)
    assert_samples_not_isolated(update, {"y": labels, "features": features}, attacks=Isolates())

def test_samples_that_do_not_fit(labels):
    assert_samples_not_isolated(*make(), attacks=Isolates(rows=2))

def test_assertion_about_samples():
    update, labels = make()
    assert Isolates()(update, rng=None) == labels

@pytest.mark.parametrize("given", [{"labels": make()[1].tolist()}])
def test_assertion_about_the_outcome(given, batch):
    result = audit(*make())
    assert result.outcome == "held", result

def test_assertion_about_a_recovery():
    recovery = attack("bias_sign", make()[0])
    assert recovery == 1

def test_assertion_about_labels(labelleak, labels):
    assert list(labels) == []

def test_assertion_about_one_label(labels):
    assert labels[0] == 7, f"label {labels[0]}"

def test_key(labels):
    {}[labels[0]]

def test_careless_adapter(labels):
    assert_labels_not_recoverable("careless", labels)

def test_broken_setup(broken_setup):
    pass

def test_broken_teardown(broken_teardown):
    audit(*make())

def test_chain(labels):
    try:
        complain(labels)
    except Exception as error:
        raise RuntimeError(f"could not use {labels}") from error

def test_context(labels):
    try:
        complain(labels)
    except Exception:
        assert_labels_not_recoverable(*make())

def test_note(labels):
    error = ValueError("see the note")
    error.__notes__ = [f"Falsifying example: labels={labels.tolist()}"]
    raise error

@pytest.mark.xfail
def test_expected_to_fail(labels):
    assert list(labels) == []

def test_recursion(labels):
    def again(labels):
        again(labels)
    again(labels)

class TestCase(unittest.TestCase):
    def test_unittest(self):
        labels = make()[1].tolist()
        self.assertEqual(labels, [])
"""

# Where pytest has them, and where Python has them.
SUBTESTS = """
def test_subtests(subtests, labels):
    with subtests.test("one"):
        assert list(labels) == []
    audit(*make())
"""

GROUP = """
def test_group(labels):
    raise ExceptionGroup(f"with {labels}", [KeyError(labels[0]), ValueError(f"{labels}")])
"""


@pytest.fixture
def secrets(project):
    tests = TESTS + SUBTESTS * (pytest.version_tuple >= (9, 0)) + GROUP * (sys.version_info >= (3, 11))
    project.makepyfile(secret=SECRET, test_secret=tests)
    project.makeconftest(CONFTEST)
    return project


EVERYTHING = (
    "--labelleak",
    "-ra",
    "--junitxml=junit.xml",
    "-ojunit_logging=all",
    "--log-level=DEBUG",
    "--log-file=captured.log",
    "-olog_file_level=DEBUG",
    "--labelleak-report=report.json",
    "--labelleak-report=report.md",
    "--labelleak-report=report.html",
)
FILES = ("junit.xml", "captured.log", "report.json", "report.md", "report.html", "summary.md")


def outputs(project, result):
    written = {name: Path(project.path, name).read_text("utf-8") for name in FILES}
    return {"terminal": result.stdout.str(), "errors": result.stderr.str(), **written}


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [
        (("-l", "-vv", "--tb=long"), None),
        (("-l", "--tb=auto", "--xfail-tb"), None),
        (("-l", "--tb=short"), None),
        (("--tb=native", "-v"), None),
        (("-l", "--tb=line"), None),
        (("-l", "-vvv", "--full-trace", "-k", "not recursion"), None),
        (("-l", "-vv"), 2),
    ],
)
def test_no_output_holds_a_label(secrets, run, monkeypatch, arguments, workers):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(secrets.path / "summary.md"))
    result = run(*arguments, *EVERYTHING, workers=workers)
    assert result.ret == 1
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] >= 14
    assert (outcomes["errors"], outcomes["xfailed"]) == (2, 1)
    for name, text in outputs(secrets, result).items():
        if name == "captured.log":
            assert "before the audit" in text
        assert SENTINEL not in text, f"the sentinel is in {name}: {text[text.index(SENTINEL) - 300 :][:400]}"


def test_labels_are_shown_on_request(secrets, run, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(secrets.path / "summary.md"))
    result = run("-l", "-k", "test_leak", *EVERYTHING, "--labelleak-show-labels")
    shown = outputs(secrets, result)
    assert f"recovered: [[7, {SENTINEL}]]" in shown["terminal"]
    assert "labels     = array([" in shown["terminal"]
    assert SENTINEL in shown["report.json"]
    assert SENTINEL in shown["junit.xml"]
    # Tables of figures have no place for labels in any case.
    assert SENTINEL not in shown["report.md"] + shown["report.html"] + shown["summary.md"]


def test_samples_are_reported_as_shares_and_never_by_themselves(secrets, run, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(secrets.path / "summary.md"))
    arguments = ("-l", "-k", "test_samples", *EVERYTHING)
    line = "50 % of the samples were isolated, with their features"
    hidden = outputs(secrets, run(*arguments))
    for name in ("terminal", "report.md", "report.html", "summary.md"):
        assert line in hidden[name]
    assert "gives features that are no table of its isolated samples" in hidden["terminal"]
    assert '"feature_error": 0.0' in hidden["report.json"]
    # On request the labels of the samples are shown as all labels are; their features and softmax outputs are not.
    shown = outputs(secrets, run(*arguments, "--labelleak-show-labels"))
    assert SENTINEL in shown["report.json"]
    for name in ("report.json", "report.md", "report.html", "summary.md"):
        assert f"{SENTINEL}.5" not in shown[name]
        assert f"{SENTINEL}.25" not in shown[name]


def test_a_failure_still_says_what_and_where(secrets, run):
    text = run("-l", "-k", "test_careless_adapter or test_chain or about_a_recovery").stdout.str()
    # Our own frames are left out, and numbers in others' messages; types, places and words are not.
    assert '>       assert_labels_not_recoverable("careless", labels)' in text
    assert "E       secret.Framework: received a label value of # outside of [#, #): [...]" in text
    assert "secret.py:" in text
    assert "labels.py" not in text
    assert "measure.py" not in text
    assert "run.py" not in text
    assert "The above exception was the direct cause of the following exception:" in text
    assert "assert Recovery(attack='bias_sign', status=<Status.RECOVERED: 'recovered'>, reason=''" in text
    assert "--labelleak-show-labels shows them" in text


def test_short_summary_begins_with_the_verdict(project, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    project.makepyfile(test_l=LEAKS)
    result = run("-ra", "--labelleak-attack=rlg")
    result.stdout.fnmatch_lines(["FAILED *::test_leaks - LabelLeak: leaked: advantage 1.00 > 0.10 (rlg)"])
    tail = [line for line in run("--tb=line", "--labelleak-attack=rlg").outlines if "LabelLeak" in line]
    assert tail[0].endswith("LabelLeak: leaked: advantage 1.00 > 0.10 (rlg)")


def test_fixture_values_are_hidden_before_any_audit(project, run):
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import assert_labels_not_recoverable

        @pytest.fixture
        def labels():
            return [int("9173") * 10 + 6]

        def test_fails_early(labels):
            copy = list(labels)
            assert 3 == 4
        """
    )
    text = run("-l", "-vv").stdout.str()
    assert SENTINEL not in text
    assert "assert 3 == 4" in text


def test_other_tests_look_as_ever(project, run):
    project.makepyfile(
        """
        import pytest

        @pytest.fixture
        def value():
            return [int("9173") * 10 + 6]

        def test_fails(value):
            copy = list(value)
            assert value == []
        """
    )

    def body(*arguments):
        lines = run("-l", "-vv", *arguments).outlines
        return lines[next(i for i, line in enumerate(lines) if "FAILURES" in line) : -1]

    assert body() == body("-p", "no:labelleak")
    assert SENTINEL in "".join(body())


def test_junit_has_the_figures(project, run):
    project.makepyfile(test_leaks=LEAKS)
    run("--junitxml=junit.xml", "--labelleak-attack=bias_sign")
    tree = xml.etree.ElementTree.parse(project.path / "junit.xml")
    properties = {p.get("name"): p.get("value") for p in tree.iter("property")}
    assert properties == {
        "labelleak_outcome": "leaked",
        "labelleak_figure": "1.0",
        "labelleak_limit": "0.1",
        "labelleak_attack": "bias_sign",
    }


def test_audit_while_a_module_is_imported(secrets, run):
    secrets.makepyfile(
        test_import="""
        from pytest_labelleak import assert_labels_not_recoverable
        from secret import make

        UPDATE, LABELS = make()
        assert_labels_not_recoverable(UPDATE, LABELS, attacks="bias_sign")
        """
    )
    result = run("-l", "-vv", "test_import.py")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["E   LabelLeak: leaked: advantage 1.00 > 0.10 (bias_sign)"])
    assert SENTINEL not in result.stdout.str()
    assert SENTINEL in run("-l", "-vv", "test_import.py", "--labelleak-show-labels").stdout.str()


def test_failure_inside_the_package_is_private_whoever_called_it(secrets, run):
    secrets.makepyfile(
        helper="""
        import pytest_labelleak
        from secret import make

        def check(model):
            pytest_labelleak.audit(model, make()[1])
        """,
        test_helper="""
        from helper import check

        def test_it(labels):
            copy = labels.tolist()
            check("careless")
        """,
    )
    text = run("-l", "-vv", "test_helper.py").stdout.str()
    assert SENTINEL not in text
    assert "E       secret.Framework: received a label value of #" in text
    assert SENTINEL in run("-l", "-vv", "test_helper.py", "-p", "no:labelleak").stdout.str()


def test_odd_exceptions_are_rendered_too(project, run):
    project.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.labelleak

        class Odd(Exception):
            def __str__(self):
                raise ValueError

        def test_str():
            raise Odd

        def test_syntax():
            compile("1 +", "given.py", "exec")

        def test_exit():
            raise SystemExit(3)

        def test_no_traceback():
            pytest.fail("only words", pytrace=False)

        def test_moved(tmp_path, monkeypatch):
            monkeypatch.chdir(tmp_path)
            raise OSError("moved")

        def test_circle():
            first, second = KeyError("a"), KeyError("b")
            first.__cause__, second.__cause__ = second, first
            raise first
        """
    )
    for style in ("auto", "native", "line", "short"):
        result = run(f"--tb={style}", "-ra")
        result.assert_outcomes(failed=6)
        text = result.stdout.str()
        for expected in ("Odd: <no message: its __str__ failed>", "SyntaxError: ", "SystemExit", "only words", "moved"):
            assert expected in text
