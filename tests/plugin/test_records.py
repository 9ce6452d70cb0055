"""Audits on their way from a test to the report files, with and without xdist."""

from __future__ import annotations

import jsonschema
import pytest

from pytest_labelleak.plugin.report.json_report import schema

from .conftest import HOLDS, LEAKS

SUITE = (
    LEAKS
    + HOLDS.replace("from pytest_labelleak import", "import pytest\nfrom pytest_labelleak import audit,")
    + """
@pytest.mark.parametrize("seed", range(6))
def test_many(seed, labelleak):
    for extra in range(seed % 3):
        labelleak.audit(*make(seed), defence=NOISE, attacks="bias_sign")

@pytest.fixture
def after():
    yield
    audit(*make(), attacks="yin")

def test_in_teardown(after):
    pass

@pytest.mark.xfail
def test_known():
    assert_labels_not_recoverable(*make())

def test_skipped():
    audit(*make())
    pytest.skip("enough")

def test_several_batches():
    from pytest_labelleak import Update
    audit(*make(S=3, C=3))
"""
)


def test_report_is_the_same_with_and_without_xdist(project, run, report):
    project.makepyfile(test_suite=SUITE)
    written = []
    for index, workers in enumerate((None, 2, None)):
        names = [f"{index}{suffix}" for suffix in (".json", ".md", ".html")]
        result = run(*(f"--labelleak-report={name}" for name in names), "--labelleak", workers=workers)
        assert result.ret == 1
        written.append([(project.path / name).read_bytes() for name in names])
    assert written[0] == written[1] == written[2]

    document = report("0.json")
    jsonschema.validate(document, schema())
    summary = document["summary"]
    assert summary["audits"] == len(document["audits"]) == 12
    assert [summary[name] for name in ("held", "leaked", "inconclusive")] == [5, 4, 3]
    keys = [(audit["test"], audit["index"]) for audit in document["audits"]]
    assert keys == sorted(keys)
    outcomes = {audit["test"].split("::")[1]: audit["test_outcome"] for audit in document["audits"]}
    assert outcomes["test_leaks"] == "failed"
    assert outcomes["test_holds"] == outcomes["test_in_teardown"] == "passed"
    assert outcomes["test_known"] == "xfailed"
    assert outcomes["test_skipped"] == "skipped"
    # Nothing that differs from run to run or from machine to machine.
    text = written[0][0].decode()
    for word in ("duration", "time", "hostname", str(project.path)):
        assert word not in text


def test_seed_changes_the_report(project, run, report):
    project.makepyfile(test_holds=HOLDS)
    for seed in (0, 1):
        run(f"--labelleak-seed={seed}", f"--labelleak-report={seed}.json")
    assert report("0.json") != report("1.json")


def test_rerun_replaces(project, run, report):
    project.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            # What plugins that repeat failed tests do.
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for attempt in range(2):
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
                for report in reports:
                    item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            return True
        """
    )
    project.makepyfile(
        """
        from pytest_labelleak import assert_labels_not_recoverable, audit
        from scene import NOISE, make

        attempts = []

        def test_flaky():
            attempts.append(1)
            if len(attempts) == 1:
                audit(*make())
            assert_labels_not_recoverable(*make(), defence=NOISE if len(attempts) > 1 else None, threshold=0.5)
        """
    )
    run("--labelleak-report=report.json", "--junitxml=junit.xml")
    # Of the two audits of the first attempt, the second attempt's entry knows nothing.
    assert (project.path / "junit.xml").read_text("utf-8").count("labelleak_outcome_2") == 1
    (audit,) = report()["audits"]
    assert (audit["outcome"], audit["test_outcome"], audit["index"]) == ("held", "passed", 0)


def test_existing_report_survives_a_failure_to_write(project, run):
    project.makepyfile(test_holds=HOLDS)
    project.makeconftest(
        """
        import os
        import pytest

        def refuse(source, target):
            raise OSError(28, "No space left on device")

        @pytest.hookimpl(wrapper=True)
        def pytest_sessionfinish():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "replace", refuse)
                return (yield)
        """
    )
    target = project.path / "report.json"
    target.write_text("before", "utf-8")
    before = sorted(path.name for path in project.path.iterdir())
    result = run("--labelleak-report=report.json", "-p", "no:cacheprovider")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: cannot write *report.json': No space left on device"])
    assert target.read_text("utf-8") == "before"
    after = sorted(path.name for path in project.path.iterdir() if path.name != "__pycache__")
    assert after == before


@pytest.mark.parametrize("workers", [None, 2])
def test_report_without_audits(project, run, report, workers):
    project.makepyfile("def test_plain(): pass")
    assert run("--labelleak-report=report.json", workers=workers).ret == 0
    jsonschema.validate(report(), schema())
    assert report()["summary"]["audits"] == 0


def test_values_that_only_look_like_text_cross_to_the_controller(project, run, report):
    project.makepyfile(
        """
        import numpy as np
        from pytest_labelleak import Recovery, audit
        from scene import make

        class Attack:
            name = np.str_("numpy")
            def __call__(self, update, *, rng):
                return Recovery(attack=self.name, status="recovered", labels=(np.int64(1),), reason=np.str_("x"))

        def test_it():
            audit(*make(), attacks=Attack())
        """
    )
    assert run("--labelleak-report=report.json", "--junitxml=junit.xml", workers=2).ret == 0
    assert report()["audits"][0]["strongest_attack"] == "numpy"
