"""Third-party attacks, defences, adapters and reports, each from a conftest.py."""

from __future__ import annotations

from .conftest import HOLDS, LEAKS, PLAIN

ATTACK = """
import numpy as np
import pytest
from pytest_labelleak import Recovery

class MostNegative:
    '''Names the class whose column sums to the lowest value: it descends the most.'''
    name = "most_negative"

    def __call__(self, update, *, rng):
        totals = update.kernel_gradient.sum(axis=0)
        return Recovery(attack=self.name, status="recovered", labels=(int(np.argmin(totals)),))

@pytest.hookimpl(optionalhook=True)
def pytest_labelleak_attacks():
    return [MostNegative()]
"""

DEFENCE = """
import numpy as np
import pytest

class Shuffle:
    '''Permutes the classes of the head, which keeps every figure of the gradient and none of its labels.'''
    name = "shuffle"

    def __call__(self, update, *, rng):
        order = rng.permutation(update.classes)
        return update.map(lambda array: array[..., order], defence=self.name)

@pytest.hookimpl(optionalhook=True)
def pytest_labelleak_defences():
    return [Shuffle()]
"""

ADAPTER = """
import numpy as np
import pytest
from pytest_labelleak import Truth, Update

class SoftmaxRegression:
    def __init__(self, weights):
        self.weights = weights

class SoftmaxRegressionAdapter:
    name = "softmax-regression"

    def capture(self, model, batch, *, head=None, training=True, class_weight=None):
        x, y = batch
        logits = np.exp(x @ model.weights)
        error = logits / logits.sum(axis=1, keepdims=True) - np.eye(model.weights.shape[1])[y]
        return Update.from_arrays(x.T @ error / len(y), kernel=model.weights)

    def labels(self, model, batch, *, head=None, class_weight=None):
        return Truth(labels=batch[1], classes=model.weights.shape[1])

@pytest.hookimpl(optionalhook=True)
def pytest_labelleak_adapter(model):
    return SoftmaxRegressionAdapter() if isinstance(model, SoftmaxRegression) else None

@pytest.fixture
def model():
    return SoftmaxRegression(np.random.default_rng(0).normal(0.0, 0.1, (6, 12)))
"""


def test_third_party_attack(project, run, report):
    project.makeconftest(ATTACK)
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import LabelLeak, assert_labels_not_recoverable, attack, audit
        from scene import make

        def test_by_name():
            update, labels = make(S=1)
            with pytest.raises(LabelLeak, match="most_negative"):
                assert_labels_not_recoverable(update, labels, attacks="most_negative")
            assert attack("most_negative", update).labels == tuple(labels)

        def test_auto_runs_it_too():
            names = [verdict.attack for verdict in audit(*make()).verdicts]
            assert names[-1] == "most_negative" and "rlg" in names
        """
    )
    assert run("--labelleak-report=report.json").ret == 0
    assert report()["audits"][1]["strongest_attack"] == "most_negative"


def test_third_party_defence(project, run):
    project.makeconftest(DEFENCE)
    project.makepyfile(
        """
        import pytest
        from pytest_labelleak import assert_labels_not_recoverable
        from scene import make

        @pytest.mark.labelleak(defence="shuffle")
        def test_it():
            result = assert_labels_not_recoverable(*make(S=2))
            assert result.defence == "shuffle"
            assert max(verdict.advantage for verdict in result.control) == 1.0
        """
    )
    assert run().ret == 0


def test_third_party_adapter(project, run):
    project.makeconftest(ADAPTER)
    project.makepyfile(
        """
        import numpy as np
        from pytest_labelleak import audit

        def test_it(labelleak, model):
            batch = np.random.default_rng(1).uniform(0.1, 1.0, (2, 6)), np.array([3, 7])
            assert labelleak.capture(model, batch).classes == 12
            result = audit(model, batch)
            assert (result.outcome, result.advantage) == ("leaked", 1.0)
            pooled = audit(model, [batch, batch])
            assert (pooled.batches, pooled.outcome) == (2, "leaked")
        """
    )
    assert run().ret == 0


def test_conftest_applies_to_its_own_folder(project, run):
    source = """
        from pytest_labelleak import audit
        from scene import make

        def test_it():
            assert ("most_negative" in [v.attack for v in audit(*make()).verdicts]) is {expected}
        """
    for folder, expected in (("inside", True), ("outside", False)):
        project.mkdir(folder)
        project.makepyfile(**{f"{folder}/test_{folder}": source.format(expected=expected)})
    (project.path / "inside" / "conftest.py").write_text(ATTACK, "utf-8")
    project.makeini("[pytest]\npythonpath = .\n")
    run().assert_outcomes(passed=2)


def test_order_of_registration_does_not_matter(project, run):
    names = """
        import pytest
        from pytest_labelleak import Recovery

        class Silent:
            def __init__(self, name):
                self.name = name
            def __call__(self, update, *, rng):
                return Recovery.not_applicable(self.name, "it never is")

        def pytest_labelleak_attacks():
            return [Silent(name) for name in {}]
        """
    project.makepyfile(extra=names.format(("b", "d")))
    project.makeconftest(names.format(("c", "a")))
    project.makepyfile(
        """
        from pytest_labelleak import audit
        from scene import make

        def test_it():
            assert [v.attack for v in audit(*make()).verdicts][-4:] == ["a", "b", "c", "d"]
        """
    )
    project.makeini("[pytest]\npythonpath = .\n")
    assert run("-p", "extra").ret == 0


def check_refusal(project, run, hook, result, message):
    project.makeconftest(
        f"""
        class Thing:
            def __init__(self, name):
                self.name = name
            def __call__(self, update, *, rng):
                raise NotImplementedError

        def pytest_labelleak_{hook}():
            return {result}
        """
    )
    defence = ", defence='x'" if hook == "defences" else ""
    project.makepyfile(test_leaks=LEAKS.replace("*make()", f"*make(){defence}"), test_plain=PLAIN)
    outcome = run()
    # Only where an audit asks; a session without one never asks.
    outcome.assert_outcomes(failed=1, passed=1)
    outcome.stdout.fnmatch_lines([f"E       InvalidArgumentError: {message}*"])


def test_bad_hook_results_are_refused(project, run):
    for hook, kind in (("attacks", "attack"), ("defences", "defence")):
        here = f"implementation* of pytest_labelleak_{hook}"
        check_refusal(project, run, hook, "[Thing('x'), Thing('x')]", f"two {here} return 'x'")
        check_refusal(project, run, hook, "[Thing('')]", f"an {here} returned a Thing that is no {kind}")
        check_refusal(project, run, hook, "[len]", f"an {here} returned a builtin_function_or_method that is no")
        check_refusal(project, run, hook, "Thing('x')", f"an {here} returned a Thing. Expected a list of {kind}s")
    check_refusal(
        project, run, "attacks", "[Thing('rlg')]", "a hook registers an attack named 'rlg', which is built in"
    )


def test_report_hook_gets_what_the_json_report_holds(project, run, report):
    project.makeconftest(
        """
        import json
        def pytest_labelleak_report(report, config):
            path = config.rootpath / "hook.json"
            path.write_text(json.dumps(report), "utf-8")
        """
    )
    project.makepyfile(test_holds=HOLDS)
    assert run("--labelleak-report=report.json").ret == 0
    assert report("hook.json") == report("report.json")
    (project.path / "hook.json").unlink()
    assert run("--labelleak-report=report.json", workers=2).ret == 0
    assert report("hook.json") == report("report.json")


def test_failing_report_hook_fails_the_session(project, run):
    project.makeconftest("def pytest_labelleak_report(report): 1 / 0")
    project.makepyfile(test_holds=HOLDS)
    result = run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: a pytest_labelleak_report hook failed: ZeroDivisionError"])
