"""Checks that an attack, a defence, an adapter or a question keeps the rules of its protocol."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..attacks import COSTS, Attack
from ..attacks.registry import ask, prepare, run
from ..auditing.evidence.belonging import Match, belonging, sighting
from ..auditing.finding import Finding
from ..auditing.outcome import Bar, Decision, Outcome
from ..auditing.questions.pooling import pool
from ..auditing.questions.question import Evidence, Question
from ..auditing.verdict import Verdict
from ..core.errors import InvalidArgumentError, UnknownNameError, UnsupportedModelError
from ..core.recovery import NotApplicable, Recovery, Status
from ..core.truth import Truth
from ..core.update import Update
from .updates import make_update

__all__ = ["check_adapter", "check_attack", "check_defence", "check_question"]


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise AssertionError(rule)


def _global_random_state() -> tuple[Any, ...]:
    keys = np.random.get_state(legacy=False)  # noqa: NPY002 - it is the global state that is being watched
    return random.getstate(), str(keys)


def _named(thing: Any, kind: str) -> str:
    name = getattr(thing, "name", None)
    _require(isinstance(name, str) and bool(name), f"a {kind} must have a non-empty string 'name', got {name!r}")
    return str(name)


def _copies(update: Update) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in update.gradients.items()}


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        a.dtype == other[k].dtype and np.array_equal(a, other[k], equal_nan=True) for k, a in one.items()
    )


_SHAPES = ((1, 1, 2), (1, 4, 3), (3, 8, 10), (5, 3, 10), (12, 30, 6), (8, 40, 60))


def check_attack(attack: Attack) -> None:
    """Check that an attack keeps the rules of the protocol, on small updates of many shapes.

    Parameters
    ----------
    attack : attack
        The attack to check.

    Raises
    ------
    AssertionError
        Naming the broken rule: a name, a known cost class if any, a Recovery with a known status, sorted labels in
        range, counts of these labels, a reason where it does not apply, determinism, the same claim from `__call__` and
        from `read`, no change to the update, no use of global random state. Only an update is passed, so that an
        attack which needs anything else fails. Of an attack that can be prepared, the same answer after that.
    """
    name = _named(attack, "attack")
    cost = getattr(attack, "cost", None)
    _require(cost is None or cost in COSTS, f"attack {name!r} has cost {cost!r}, which is none of {', '.join(COSTS)}")
    reads = getattr(attack, "reads", ())
    _require(
        isinstance(reads, tuple) and {"kernel", "bias"}.issuperset(reads),
        f"attack {name!r} has reads {reads!r}. Expected a tuple of 'kernel' and 'bias': the gradients it reads",
    )
    for positions, features, classes in _SHAPES:
        for signed in (False, True):
            case = make_update(positions=positions, features=features, classes=classes, signed=signed, bias=not signed)
            where = f"attack {name!r} on {positions} positions, {features} features, {classes} classes"
            before, state = _copies(case.update), _global_random_state()
            recovery = ask(attack, case.update, rng=np.random.default_rng(1))
            # These checks come before the second run, which might undo a change of the first.
            _require(_same(before, _copies(case.update)), f"{where}: it changed the update")
            _require(state == _global_random_state(), f"{where}: it used global random state instead of rng")
            again = ask(attack, case.update, rng=np.random.default_rng(1))
            _require(isinstance(recovery, Recovery), f"{where}: it returned {type(recovery).__name__}, not a Recovery")
            _require(recovery.attack == name, f"{where}: the Recovery names {recovery.attack!r}")
            _require(
                recovery.status in {Status.RECOVERED, Status.NOT_APPLICABLE, Status.INCONCLUSIVE},
                f"{where}: unknown status {recovery.status!r}",
            )
            labels = recovery.labels
            _require(isinstance(labels, tuple), f"{where}: labels must be a tuple")
            _require(all(type(label) is int for label in labels), f"{where}: labels must be plain ints")
            _require(list(labels) == sorted(set(labels)), f"{where}: labels must be sorted and distinct")
            _require(all(0 <= label < classes for label in labels), f"{where}: a label is out of range")
            if recovery.status != Status.RECOVERED:
                _require(bool(recovery.reason), f"{where}: status {recovery.status!r} needs a reason")
                _require(
                    not recovery.reason.startswith(str(recovery.status)),
                    f"{where}: the reason repeats the status; expected the clause alone, without 'because'",
                )
                _require(not labels, f"{where}: status {recovery.status!r} must not name labels")
            _require(
                recovery.positions is None or type(recovery.positions) is int,
                f"{where}: positions must be a plain int or None",
            )
            counts = recovery.counts or {}
            _require(
                all(label in labels and type(count) is int and count > 0 for label, count in counts.items()),
                f"{where}: counts must give positive ints for classes among the labels",
            )
            _require(_claim(recovery) == _claim(again), f"{where}: two runs with the same rng differ")
            if hasattr(attack, "read"):
                _require(
                    _claim(_called(attack, case.update)) == _claim(recovery),
                    f"{where}: __call__ and read differ; let __call__ return self.read(Reading(update), rng=rng)",
                )

            if not hasattr(attack, "prepared"):
                continue
            ready = prepare(attack, case.update, seed=1)
            one, other = run(attack, case.update, seed=1), run(ready, case.update, seed=1)
            _require(_same(before, _copies(case.update)), f"{where}: it changed the update while it was prepared")
            _require(
                (one.labels, one.status, one.positions) == (other.labels, other.status, other.positions),
                f"{where}: prepared on the update, it gives another answer",
            )


def _claim(recovery: Recovery) -> tuple[Any, ...]:
    return recovery.labels, recovery.status, recovery.positions


def _called(attack: Attack, update: Update) -> Recovery:
    """Call an attack as a user does who has no reading."""
    try:
        return attack(update, rng=np.random.default_rng(1))
    except NotApplicable as refusal:
        return Recovery.not_applicable(attack.name, refusal.because)


def check_defence(defence: Callable[..., Update]) -> None:
    """Check that a defence keeps the rules of the protocol.

    Parameters
    ----------
    defence : defence
        The defence to check.

    Raises
    ------
    AssertionError
        Naming the broken rule: unique name, same variables, shapes, dtypes and head, its name recorded, determinism,
        no change to the update it is given, no use of global random state.
    """
    name = _named(defence, "defence")
    for positions, features, classes in _SHAPES:
        case = make_update(positions=positions, features=features, classes=classes)
        where = f"defence {name!r} on {features} features, {classes} classes"
        before, state = _copies(case.update), _global_random_state()
        shared = defence(case.update, rng=np.random.default_rng(1))
        _require(_same(before, _copies(case.update)), f"{where}: it changed the update it was given")
        _require(state == _global_random_state(), f"{where}: it used global random state instead of rng")
        again = defence(case.update, rng=np.random.default_rng(1))
        _require(isinstance(shared, Update), f"{where}: it returned {type(shared).__name__}, not an Update")
        _require(shared.head is case.update.head, f"{where}: it replaced the head's description")
        # A composition may record its parts: their names, joined, are its own name.
        _require(
            bool(shared.defences) and " + ".join(shared.defences) == name,
            f"{where}: it did not record its name in Update.defences",
        )
        after = _copies(shared)
        _require(before.keys() == after.keys(), f"{where}: it added or removed variables")
        for key, array in after.items():
            _require(array.shape == before[key].shape, f"{where}: it changed the shape of {key!r}")
            _require(array.dtype == before[key].dtype, f"{where}: it changed the dtype of {key!r}")
        _require(_same(after, _copies(again)), f"{where}: two runs with the same rng differ")


def check_adapter(adapter: Any, model: Any, batch: Any) -> None:
    """Check that an adapter keeps the rules of the protocol on one model and batch of yours.

    Parameters
    ----------
    adapter : adapter
        The adapter to check.
    model, batch : object
        A model that the adapter supports, and a batch with at least one label. A batch with eight labels of thirty
        classes or more shows a wrong sign or order of classes; few classes cannot.

    Raises
    ------
    AssertionError
        Naming the broken rule: a name, an Update with a usable gradient, a Truth over the head's classes, labels and
        update that belong together (sign, orientation, order of the classes), two captures alike (the model is
        unchanged), a refusal of a head that does not exist, no use of global random state.

    Notes
    -----
    Label positions of weight zero, class weights, and errors that quote no label are for tests of your own: their form
    is that of your batches.
    """
    name = _named(adapter, "adapter")
    where = f"adapter {name!r}"
    state = _global_random_state()
    truth = adapter.labels(model, batch, head=None, class_weight=None)
    update = adapter.capture(model, batch, head=None, training=True, class_weight=None)
    again = adapter.capture(model, batch, head=None, training=True, class_weight=None)
    _require(isinstance(truth, Truth), f"{where}: labels() returned {type(truth).__name__}, not a Truth")
    _require(isinstance(update, Update), f"{where}: capture() returned {type(update).__name__}, not an Update")
    _require(truth.labels.size > 0, f"{where}: labels() found no label in a batch that must have one")
    _require(
        truth.classes == update.label_classes,
        f"{where}: labels() speaks of {truth.classes} classes, the head tells {update.label_classes} apart",
    )
    _require(
        truth.features is None or truth.features.shape[1] == update.features,
        f"{where}: labels() gives features of another width than the {update.features} inputs of the head",
    )
    defect = update.defect()
    _require(defect is None, f"{where}: {defect}")
    _require(_same(_copies(update), _copies(again)), f"{where}: capturing twice gives different gradients")
    _require(state == _global_random_state(), f"{where}: it changed global random state")
    # Before any defence the gradient shows its labels to somebody who knows them.
    look = sighting(update.kernel_gradient, truth.labels, bias_gradient=update.bias_gradient, features=truth.features)
    together = belonging([[look]], rng=np.random.default_rng(0))
    _require(together.match is not Match.MISTAKEN, f"{where}: {together.sentence}")
    missing = "pytest_labelleak.testing: no head has this name"
    try:
        adapter.capture(model, batch, head=missing, training=True, class_weight=None)
    except (InvalidArgumentError, UnknownNameError, UnsupportedModelError):
        return
    _require(False, f"{where}: it ignored head={missing!r}. Expected an InvalidArgumentError: no such head exists")


#: Members of `Question`, read from the protocol so that no second list exists.
_MEMBERS = tuple(name for name in vars(Question) if not name.startswith("_"))


def check_question(question: Any, truth: Truth, *, right: Recovery, wrong: Recovery) -> None:
    """Check that a question keeps the rules of its protocol, on one truth and two claims of yours.

    Parameters
    ----------
    question : question
        The question to check.
    truth : Truth
        Labels of one batch that the question can be asked about, with classes that are absent.
    right, wrong : Recovery
        A claim that is entirely right about `truth`, and one that is worth nothing.

    Raises
    ------
    AssertionError
        Naming the broken rule: all members of the protocol, statistics that are declared, verdicts whose figure is
        that of their statistics, JSON types in the summary; "leaked" for the right claim, "held" for the wrong one
        where a defence stopped the right one, and "inconclusive" without a defence, without a positive control that
        succeeds, and where no attack applies or one could not decide.
    """
    name = _named(question, "question")
    where = f"question {name!r}"
    absent = [member for member in _MEMBERS if not hasattr(question, member)]
    _require(not absent, f"{where} has no {', '.join(absent)}. Expected the members of the protocol Question")
    named = {question.figure_statistic, *question.compared, *question.advice.columns.values()}
    unknown = sorted(named - {*question.declared, "upper_bound"})
    _require(not unknown, f"{where}: {unknown} shown or compared, and not declared")
    question.prepare(truth)
    claims = {"right": _scored(question, right, truth), "wrong": _scored(question, wrong, truth)}
    for which, verdict in claims.items():
        _require(verdict.figure is not None, f"{where}: the {which} claim has no figure")
    limit = 0.1
    _require(claims["right"].figure > limit, f"{where}: the right claim has the figure {claims['right'].figure}")  # type: ignore[operator]
    _require(claims["wrong"].figure <= limit, f"{where}: the wrong claim has the figure {claims['wrong'].figure}")  # type: ignore[operator]
    refused = _scored(question, Recovery.not_applicable(right.attack, "the head has no bias"), truth)
    undecided = _scored(question, Recovery.inconclusive(right.attack, "the solver did not converge"), truth)

    bar = Bar(limit=limit, threshold=limit)

    def outcome(of: Verdict, control: Verdict | None = None) -> Outcome:
        evidence = Evidence(control=None if control is None else [control], protected=control is not None)
        decision = question.decide([of], bar, evidence)
        _require(isinstance(decision, Decision), f"{where}: decide() returned {type(decision).__name__}")
        found: Outcome = decision.outcome
        return found

    rules: Sequence[tuple[str, Outcome, Outcome]] = (
        ("a right claim", outcome(claims["right"]), Outcome.LEAKED),
        ("a right claim with a defence", outcome(claims["right"], claims["right"]), Outcome.LEAKED),
        ("a wrong claim without a defence", outcome(claims["wrong"]), Outcome.INCONCLUSIVE),
        ("a wrong claim with a defence", outcome(claims["wrong"], claims["right"]), Outcome.HELD),
        ("a wrong claim with a failed control", outcome(claims["wrong"], claims["wrong"]), Outcome.INCONCLUSIVE),
        ("an attack that does not apply", outcome(refused), Outcome.INCONCLUSIVE),
        ("an attack that could not decide", outcome(undecided, claims["right"]), Outcome.INCONCLUSIVE),
    )
    for case, given, expected in rules:
        _require(given is expected, f"{where}: {case} gives {given}. Expected {expected}")
    _require(question.settled([], limit) is None, f"{where}: settled before any attack ran")
    _require(not question.shown_possible([], limit), f"{where}: shown possible before any attack ran")
    _require(question.exposes(claims["right"], limit), f"{where}: a right claim exposes nothing")
    json.dumps(question.summary(list(claims.values())))
    findings = question.findings(list(claims.values()))
    _require(all(isinstance(one, Finding) for one in findings), f"{where}: findings() returned something else")
    json.dumps([one.to_record() for one in findings])


def _scored(question: Question, recovery: Recovery, truth: Truth) -> Verdict:
    """Score a claim, and check the verdict by itself and pooled over two batches."""
    where = f"question {question.name!r} on a claim that is {recovery.status}"
    verdict = question.score(recovery, truth)
    _require(isinstance(verdict, Verdict), f"{where}: score() returned {type(verdict).__name__}, not a Verdict")
    _require(verdict.attack == recovery.attack, f"{where}: the verdict names {verdict.attack!r}")
    _require(verdict.status == recovery.status, f"{where}: the verdict is {verdict.status}")
    _require(set(verdict.declared) == set(question.declared), f"{where}: the verdict declares other statistics")
    if recovery.status == Status.RECOVERED:
        _require(verdict.figure == question.figure(verdict.stats), f"{where}: the figure is not that of its statistics")
        _require(
            verdict.figure is None or question.low <= verdict.figure <= 1.0,
            f"{where}: the figure is {verdict.figure}. Expected {question.low} to 1",
        )
    else:
        _require(verdict.figure is None, f"{where}: the verdict has the figure {verdict.figure}. Expected None")
    both = pool(question, [verdict, dataclasses.replace(verdict)])
    _require(both.figure == verdict.figure, f"{where}: two batches alike give another figure than one")
    json.dumps(verdict.to_record(show_labels=True))
    return verdict
