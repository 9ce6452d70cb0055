"""Private values in every output besides failures, and in the failures that only some options show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import LEAKS
from .test_redaction import SECRET, SENTINEL

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def shown(result):
    return ESCAPES.sub("", result.stdout.str() + result.stderr.str())


@pytest.fixture
def secret(project):
    project.makepyfile(secret=SECRET)
    return project


def test_colours_do_not_part_a_label_from_its_digits(secret, run):
    secret.makepyfile(
        test_colours="""
        from secret import make

        def test_difference(labelleak):
            update, labels = make()
            labelleak.audit(update, labels, attacks="bias_sign")
            assert list(labels) == [int(labels[0]) + 1, 7]

        def test_names(labelleak):
            name = f"class_{make()[1][0]}"
            assert name == "class_1", name + chr(10) + repr(chr(10) + str(make()[1][0]))

        def test_tolerance(labelleak):
            from pytest import approx
            assert make()[1][0] == approx(5)

        def test_tolerance_of_the_label(labelleak):
            from pytest import approx
            assert 5 == approx(int(make()[1][0]))
        """
    )
    for arguments in (("-vv",), ("--tb=short",), ("--tb=native",)):
        result = run("--color=yes", *arguments)
        result.assert_outcomes(failed=4)
        text = shown(result)
        assert SENTINEL not in text
        assert "9173" not in text
        assert "1e-06" not in text


def test_results_of_this_package_are_private_without_its_fixture(secret, run):
    secret.makepyfile(
        helper="""
        from pytest_labelleak import attack

        def read(update):
            return attack("bias_sign", update)
        """,
        test_plain="""
        import numpy as np
        from secret import make

        def test_attack():
            from helper import read
            assert read(make()[0]).labels == ()

        def test_update():
            update = make()[0]
            assert int(np.argmin(update.bias_gradient)) == -1
        """,
        test_import="""
        from pytest_labelleak import attack
        from secret import make
        assert attack("bias_sign", make()[0]).labels == ()
        """,
    )
    result = run("-vv", "-l")
    result.assert_outcomes(errors=1)
    assert SENTINEL not in shown(result)
    result = run("-vv", "-l", "test_plain.py")
    result.assert_outcomes(failed=2)
    assert SENTINEL not in shown(result)
    assert SENTINEL in shown(run("-vv", "-l", "test_plain.py", "--labelleak-show-labels"))


def test_texts_and_decimals_of_fixtures_are_private(secret, run):
    secret.makepyfile(
        test_patients="""
        import pytest
        from secret import make
        from pytest_labelleak import audit

        @pytest.fixture
        def patient():
            return {"name": "Ada " + "Love" + "lace", "dose": 0.123 + 0.0004}

        @pytest.fixture(scope="module")
        def update():
            return make()[0]

        def test_name(patient, labelleak):
            assert patient["name"] == "nobody"

        def test_dose(patient, labelleak):
            assert patient["dose"] < 0.1

        def test_message(patient, labelleak):
            raise RuntimeError("no bed for " + patient["name"])

        def test_before_any_audit(patient):
            assert patient["dose"] == 0.5

        def test_figure(patient):
            result = audit(*make(), attacks="bias_sign")
            assert result.advantage < 0.25, result.outcome

        def test_session_update(update):
            assert update.bias_gradient.argmin() == 3
        """
    )
    result = run("-vv")
    result.assert_outcomes(failed=6)
    text = shown(result)
    for private in ("Lovelace", "0.1234", SENTINEL):
        assert private not in text
    assert "E       assert 1.0 < 0.25" in text or "AssertionError: leaked" in text
    assert "E       RuntimeError: no bed for ..." in text
    assert "assert # == 0.5" in text


def test_reasons_and_warnings_are_cleaned(secret, run):
    secret.makepyfile(
        test_reasons="""
        import warnings
        import pytest
        from secret import make

        def test_skips(labelleak):
            pytest.skip(f"label {make()[1][0]} is odd")

        def test_fails_as_expected(labelleak):
            pytest.xfail(f"label {make()[1][0]} is odd")

        @pytest.mark.skip(reason="needs CUDA 12")
        def test_marked(labelleak):
            pass

        def test_warns(labelleak):
            labelleak.audit(*make(), attacks="bias_sign")
            warnings.warn(f"label {make()[1][0]} is rare")
        """
    )
    for workers in (None, 1):
        result = run("-rA", "--junitxml=junit.xml", workers=workers, subprocess=True)
        result.assert_outcomes(passed=1, skipped=2, xfailed=1, warnings=1)
        text = shown(result) + Path(secret.path, "junit.xml").read_text("utf-8")
        assert SENTINEL not in text
        assert "label # is odd" in text
        assert "label # is rare" in text
        assert "needs CUDA 12" in text


def test_setup_show_hides_parameters(secret, run):
    secret.makepyfile(
        test_shown="""
        import pytest
        from secret import make

        @pytest.fixture(params=[make()[1].tolist()])
        def labels(request):
            return request.param

        @pytest.mark.parametrize("given", [make()[1]])
        def test_it(labels, given, labelleak):
            labelleak.audit(*make(), attacks="bias_sign")
        """
    )
    for option in ("--setup-show", "--setup-only"):
        text = shown(run(option))
        assert SENTINEL not in text
        assert "SETUP    F labels[...]" in text
    assert SENTINEL in shown(run("--setup-show", "--labelleak-show-labels"))


DEBUGGED = """
import numpy as np
import pytest
{imported}
@pytest.fixture
def labels():
    return np.array([int("9173") * 10 + 6])

@pytest.fixture
def mapping(labels):
    return {{"labels": labels}}

def test_it(labels, mapping{fixture}):
    assert list(labels) == []
"""


@pytest.mark.parametrize(
    ("imported", "fixture", "private"),
    [("from pytest_labelleak import Update", "", True), ("", ", labelleak", True), ("", "", False)],
)
def test_debug_files_hold_no_value(project, run, imported, fixture, private):
    project.makepyfile(test_debug=DEBUGGED.format(imported=imported, fixture=fixture))
    run("--debug", subprocess=True).assert_outcomes(failed=1)
    text = Path(project.path, "pytestdebug.log").read_text("utf-8")
    assert "pytest_fixture_setup [hook]" in text
    assert "nodeid: test_debug.py::test_it" in text
    assert (SENTINEL not in text) == private


def test_interrupts_show_no_argument(secret, run):
    secret.makepyfile(
        test_interrupt="""
        from pytest_labelleak import Update
        from secret import make

        def train(labels):
            try:
                raise KeyError(labels[0])
            except KeyError:
                raise KeyboardInterrupt(f"at {labels}")

        def test_it():
            train(make()[1])
        """,
        test_exit="""
        import pytest
        from secret import make

        def test_it(labelleak):
            pytest.exit(f"bad label {make()[1][0]}")
        """,
    )
    result = run("--full-trace", "test_interrupt.py", subprocess=True)
    assert result.ret == 2
    assert SENTINEL not in shown(result)
    assert "KeyboardInterrupt" in shown(result)
    assert "train(make()[1])" in shown(result)
    assert SENTINEL in shown(run("--full-trace", "test_interrupt.py", "--labelleak-show-labels", subprocess=True))
    result = run("test_exit.py", subprocess=True)
    assert SENTINEL not in shown(result)
    assert "Exit: bad label #" in shown(result)


THREADS = """
import threading
import time
from concurrent.futures import ThreadPoolExecutor
import pytest
from pytest_labelleak import InconclusiveAudit, LabelLeak, assert_labels_not_recoverable
from scene import NOISE, make

def check(**options):
    return assert_labels_not_recoverable(*make(), attacks="bias_sign", **options)
"""


@pytest.mark.parametrize("workers", [None, 1])
def test_a_leak_in_a_thread_counts_for_its_test(project, run, report, workers):
    project.makepyfile(
        test_threads=THREADS
        + """
def test_thread():
    thread = threading.Thread(target=check)
    thread.start()
    thread.join()

def test_forgotten_future():
    with ThreadPoolExecutor() as pool:
        pool.submit(check)

def test_broken():
    with ThreadPoolExecutor() as pool:
        pool.submit(assert_labels_not_recoverable, "no model", [1])

def test_future():
    with ThreadPoolExecutor() as pool:
        pool.submit(check).result()

def test_expected():
    with ThreadPoolExecutor() as pool, pytest.raises(LabelLeak):
        pool.submit(check).result()

def test_handled():
    caught = []
    def work():
        try:
            check()
        except LabelLeak as error:
            caught.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught

def test_held():
    thread = threading.Thread(target=check, kwargs={"defence": NOISE, "threshold": 0.5})
    thread.start()
    thread.join()
"""
    )
    result = run("--labelleak", "--labelleak-report=report.json", "-rf", workers=workers, subprocess=True)
    result.assert_outcomes(failed=4, passed=3, warnings=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines_random(
        [
            "FAILED *::test_thread - LabelLeak: leaked: *in a thread whose error the test did not receive*",
            "FAILED *::test_forgotten_future - LabelLeak: leaked: *",
            "FAILED *::test_broken - InconclusiveAudit: inconclusive: *in a thread whose error*",
            "FAILED *::test_future - LabelLeak: leaked: advantage 1.00 > 0.10 (bias_sign)",
        ]
    )
    rows = {row["test"].partition("::")[2]: row["test_outcome"] for row in report()["audits"]}
    assert rows["test_thread"] == "failed"
    assert rows["test_expected"] == "passed"


SLOW = """
class Slow:
    name = "slow"
    def __call__(self, update, *, rng):
        from pytest_labelleak import Recovery
        begun.set()
        finish.wait(20)
        return Recovery(attack=self.name, status="recovered", labels=())

begun, finish = threading.Event(), threading.Event()

@pytest.fixture(scope="session", autouse=True)
def last():
    yield
    finish.set()

def slow():
    check_slow()

def check_slow():
    assert_labels_not_recoverable(*make(), attacks=Slow(), threshold=1.0)

def test_does_not_wait():
    threading.Thread(target=slow).start()
    begun.wait(20)
"""


def test_an_audit_that_outlives_its_test_fails_it(project, run):
    project.makepyfile(test_slow=THREADS + SLOW + "\ndef test_other():\n    pass\n")
    result = run("-rE", "-k", "test_slow")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["ERROR *::test_does_not_wait - InconclusiveAudit: inconclusive: an audit of this test still runs*"]
    )


def test_a_fixture_may_wait_for_the_audit(project, run):
    project.makepyfile(
        test_slow=THREADS
        + """
@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool

def test_it(pool):
    pool.submit(check, defence=NOISE, threshold=0.5)
"""
    )
    run("--labelleak").assert_outcomes(passed=1)


@pytest.mark.parametrize("workers", [None, 1])
def test_an_audit_between_tests_fails_the_session(project, run, workers):
    project.makepyfile(test_plain="def test_it():\n    pass\n", check=THREADS)
    project.makeconftest(
        """
        def pytest_runtest_logfinish(nodeid):
            import threading, sys
            from pytest_labelleak import LabelLeak
            from check import check
            try:
                check()
            except LabelLeak:
                pass
        """
    )
    result = run(workers=workers)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: 1 audit(s) ran outside of every test*"])


def test_an_ordinary_leak_is_told_once(project, run):
    project.makepyfile(test_l=LEAKS)
    run().assert_outcomes(failed=1)
