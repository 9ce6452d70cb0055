"""The marker and the fixture."""

from __future__ import annotations

import pytest

from .conftest import HOLDS


def test_marker_is_registered(run):
    run("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.labelleak(*threshold, confidence, attacks, defence, seed, sensitive, time_budget, require): *"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("0.5", "pytest.mark.labelleak got 1 positional argument(s). Expected only keywords among threshold,"),
        ("treshold=0.5", "pytest.mark.labelleak got an unknown keyword 'treshold'. Expected only keywords among"),
        ("threshold=2", "pytest.mark.labelleak: threshold=2 is out of range. Expected a number in [0, 1]"),
        ("threshold=float('nan')", "pytest.mark.labelleak: threshold=nan is out of range."),
        ("threshold='0.5'", "pytest.mark.labelleak: threshold='0.5' is a str."),
        ("confidence=95", "pytest.mark.labelleak: confidence=95 is out of range. Expected a number between 0 and 1"),
        ("attacks=[]", "pytest.mark.labelleak: attacks is empty"),
        ("attacks=[3]", "pytest.mark.labelleak: attacks holds a int."),
        ("defence=3", "pytest.mark.labelleak: defence is a int."),
        ("require='evidence'", "pytest.mark.labelleak: require='evidence'. Expected 'proof'"),
        ("seed=-1", "pytest.mark.labelleak: seed=-1. Expected a non-negative integer."),
        ("show_labels=True", "pytest.mark.labelleak got an unknown keyword 'show_labels'."),
    ],
)
def test_bad_marker_fails_its_test_at_setup(project, run, arguments, message):
    project.makepyfile(
        f"import pytest\n@pytest.mark.labelleak({arguments})\ndef test_it(): pass\ndef test_other(): pass"
    )
    result = run("-ra", "-l")
    assert result.ret == 1
    result.assert_outcomes(errors=1, passed=1)
    assert message in result.stdout.str()
    result.stdout.fnmatch_lines(["ERROR *::test_it - InvalidArgumentError: pytest.mark.labelleak*"])
    # The message is all there is to say: no frames of ours or of pytest.
    assert "itemstate" not in result.stdout.str()


@pytest.mark.parametrize("workers", [None, 2])
def test_marked_test_without_an_audit_fails(project, run, workers):
    project.makepyfile(
        """
        import unittest
        import pytest

        pytestmark = pytest.mark.labelleak

        def test_vacuous():
            pass

        def test_skipped():
            pytest.skip("not today")

        def test_failed():
            raise OSError("something else")

        @pytest.mark.xfail(strict=False)
        def test_hidden_behind_xfail():
            pass

        class TestCase(unittest.TestCase):
            def test_unittest(self):
                pass
        """
    )
    result = run("-ra", workers=workers)
    result.assert_outcomes(failed=4, skipped=1)
    for name in ("test_vacuous", "test_hidden_behind_xfail", "test_unittest"):
        result.stdout.fnmatch_lines([f"FAILED *::{name} - InconclusiveAudit: inconclusive: no audit ran*"])
    result.stdout.fnmatch_lines(
        ["E * InconclusiveAudit: inconclusive: no audit ran in this test, *Call assert_labels_not_recoverable*"]
    )
    result.stdout.fnmatch_lines(["FAILED *::test_failed - OSError: something else"])


def test_audit_in_a_fixture_counts(project, run):
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import audit
        from scene import make

        @pytest.fixture
        def audited():
            return audit(*make())

        @pytest.mark.labelleak(threshold=0.7)
        def test_it(audited):
            assert audited.limit == 0.7
        """
    )
    assert run().ret == 0


def test_markers_combine_with_the_closest_first(project, run):
    project.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.labelleak(threshold=0.2, seed=2, attacks="yin")

        def check(labelleak, *expected):
            settings = labelleak.settings
            assert (settings.threshold, settings.seed, settings.attacks) == expected
            labelleak.audit(*__import__("scene").make())

        @pytest.mark.labelleak(seed=3)
        class TestIt:
            @pytest.mark.labelleak(threshold=0.4, attacks=None)
            def test_method(self, labelleak):
                check(labelleak, 0.4, 3, ("yin",))

        def test_function(labelleak):
            check(labelleak, 0.2, 2, ("yin",))
        """
    )
    assert run().ret == 0


def test_defence_and_attack_objects_in_the_marker(project, run):
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import assert_labels_not_recoverable
        from pytest_labelleak.attacks import BiasSign
        from scene import NOISE, make

        @pytest.mark.labelleak(defence=NOISE, attacks=BiasSign(), threshold=0.5)
        def test_it():
            result = assert_labels_not_recoverable(*make())
            assert result.defence == "gaussian_noise(relative=100.0)"
            assert [v.attack for v in result.verdicts] == ["bias_sign"]
        """
    )
    assert run().ret == 0


def test_fixture_has_the_same_calls(project, run):
    project.makepyfile(
        """
        import pytest
        import pytest_labelleak
        from scene import NOISE, make

        def test_calls(labelleak):
            update, labels = make()
            assert labelleak.capture(update, labels) is update
            assert labelleak.audit(update, labels).outcome == "leaked"
            with pytest.raises(pytest_labelleak.LabelLeak):
                labelleak.assert_labels_not_recoverable(update, labels)
            held = labelleak.assert_labels_not_recoverable(update, labels, defence=NOISE, threshold=0.5, seed=1)
            assert held.outcome == "held"
            with pytest.raises(pytest_labelleak.InconclusiveAudit):  # the weights of the head are not known
                labelleak.assert_samples_not_isolated(update, labels, defence=NOISE, threshold=0.5, seed=1)

        def test_every_assertion_is_there(labelleak):
            names = [name for name in pytest_labelleak.__all__ if name.startswith("assert_")]
            assert len(names) >= 4
            for name in [*names, "audit"]:
                assert getattr(labelleak, name) is getattr(pytest_labelleak, name)
            assert labelleak.capture is pytest_labelleak.capture_update

        @pytest.mark.labelleak(threshold=0.123)
        def test_repr(labelleak):
            labelleak.audit(*make())
            assert repr(labelleak) == "<labelleak fixture>"
            assert labelleak.settings.threshold == 0.123
        """
    )
    run().assert_outcomes(passed=3)


def test_scope_ends_with_the_test(project, run):
    project.makepyfile(test_holds=HOLDS)
    from pytest_labelleak.core.settings import active_scope

    before = active_scope()
    run("--labelleak-threshold=0.9")
    assert active_scope().settings == before.settings
