"""Other ways to run tests: strict settings, unittest, sub-tests, doctests, and no plugin at all."""

from __future__ import annotations

import pytest

from .conftest import HOLDS, LEAKS


@pytest.mark.parametrize("workers", [None, 2])
def test_strict_and_warnings_as_errors(project, run, workers):
    strict = "strict = true" if pytest.version_tuple >= (9, 0) else "xfail_strict = true"
    project.makeini(
        f"""
        [pytest]
        {strict}
        filterwarnings = error
        addopts = --strict-markers --strict-config
        labelleak_threshold = 0.5
        """
    )
    project.makepyfile(test_holds=HOLDS.replace("def test", "import pytest\n@pytest.mark.labelleak(seed=1)\ndef test"))
    result = run("--labelleak", "--labelleak-report=report.json", "--junitxml=junit.xml", workers=workers)
    assert result.ret == 0
    assert "warnings summary" not in result.stdout.str()


def test_unittest(project, run, report):
    project.makepyfile(
        """
        import unittest
        import pytest
        from pytest_labelleak import LabelLeak, assert_labels_not_recoverable
        from scene import NOISE, make

        class TestModel(unittest.TestCase):
            def test_leaks(self):
                assert_labels_not_recoverable(*make())

            def test_expected(self):
                with self.assertRaises(LabelLeak):
                    assert_labels_not_recoverable(*make())

            @pytest.mark.labelleak(threshold=0.5)
            def test_holds(self):
                assert_labels_not_recoverable(*make(), defence=NOISE)
        """
    )
    result = run("-ra", "--labelleak-report=report.json")
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["FAILED *::test_leaks - LabelLeak: leaked: advantage 1.00 > 0.10*"])
    assert report()["summary"]["audits"] == 3


def test_sub_tests(project, run, report):
    pytest.importorskip("_pytest.subtests")
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import assert_labels_not_recoverable
        from scene import NOISE, make

        @pytest.mark.labelleak(threshold=0.5)
        def test_it(subtests):
            with subtests.test("before any audit"):
                pass
            for defence in (None, NOISE):
                with subtests.test("audit"):
                    assert_labels_not_recoverable(*make(), defence=defence)
        """
    )
    result = run("--labelleak-report=report.json")
    assert result.ret == 1
    assert "no audit ran" not in result.stdout.str()
    audits = report()["audits"]
    assert [(audit["index"], audit["outcome"]) for audit in audits] == [(0, "leaked"), (1, "held")]
    assert {audit["test_outcome"] for audit in audits} == {"failed"}


def test_doctest(project, run, report):
    project.makepyfile(
        '''
        """
        >>> from pytest_labelleak import audit
        >>> from scene import make
        >>> str(audit(*make()).outcome)
        'leaked'
        """
        '''
    )
    assert run("--doctest-modules", "--labelleak", "--labelleak-report=report.json").ret == 0
    assert report()["summary"]["audits"] == 1


def test_without_the_plugin_assertions_still_assert(project, run):
    project.makepyfile(test_leaks=LEAKS, test_holds=HOLDS)
    result = run("-p", "no:labelleak")
    result.assert_outcomes(failed=1, passed=1)


def test_audit_in_a_thread_belongs_to_its_test(project, run, report):
    project.makepyfile(
        """
        from concurrent.futures import ThreadPoolExecutor
        from pytest_labelleak import audit
        from scene import make

        def test_it():
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(audit, *make()).result().outcome == "leaked"
        """
    )
    assert run("--labelleak-report=report.json").ret == 0
    assert report()["summary"]["audits"] == 1


def test_audit_at_import_has_the_defaults(project, run):
    project.makepyfile(
        """
        from pytest_labelleak import audit
        from scene import make

        RESULT = audit(*make())

        def test_it():
            assert RESULT.limit == 0.1
        """
    )
    assert run("--labelleak-threshold=0.9").ret == 0


def test_plans_and_shows_of_set_up(project, run):
    project.makepyfile(test_holds=HOLDS)
    assert run("--labelleak", "--setup-plan").ret == 0
    assert run("--labelleak", "--setup-show").ret == 0
