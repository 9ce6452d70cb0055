"""The pipeline of every audit: capture, defend, attack, score, decide, record."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .. import attacks as attacks_
from .. import defences as defences_
from ..core.errors import InvalidArgumentError
from ..core.figures import round_up
from ..core.settings import Settings, active_scope
from ..core.truth import Truth
from ..core.update import Update
from .draws import Trial
from .evidence.coverage import Coverage
from .evidence.proving import Captured, prove
from .evidence.swaps import Proof
from .finding import bracket, read_from, uncovered
from .outcome import Bar, Decision, Outcome, strongest
from .portfolio import Clock
from .questions.question import Question
from .result import Audit

__all__ = ["capture_arguments", "run"]


def capture_arguments(*, ignore_class: int | None = None, **options: Any) -> dict[str, Any]:
    """Return the arguments of an adapter.

    Parameters
    ----------
    ignore_class : int, optional
        Passed on only if given: adapters of hooks need not know it.
    **options
        "head", "training" and "class_weight".

    Returns
    -------
    dict
        For `run`.
    """
    return options if ignore_class is None else {**options, "ignore_class": ignore_class}


def _counted(function: Callable[..., Audit]) -> Callable[..., Audit]:
    """Count a call as a running audit of the test, in whatever thread it runs."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Audit:
        with active_scope().auditing():
            return function(*args, **kwargs)

    return call


@_counted
def run(
    model: Any,
    batch: Any,
    ask: Callable[[Settings], Question],
    *,
    capture_options: Mapping[str, Any],
    arguments: Mapping[str, Any],
    asserted: bool,
) -> Audit:
    """Audit a model's updates: everything that `audit` and the assertions share, but to raise on a leak.

    Parameters
    ----------
    model, batch : object
        As for `audit`.
    ask : callable
        From the settings of this audit to the question.
    capture_options : mapping
        Arguments of the adapter: "head", "training" and "class_weight".
    arguments : mapping
        Settings as given by the caller; None for those that were not given.
    asserted : bool
        Whether the outcome decides about a test. Then a baseline's figure takes the place of the threshold, and
        attacks are left out that can change nothing.

    Returns
    -------
    Audit
        Noted in the records of the running test, too.
    """
    scope = active_scope()
    settings = scope.settings.override(**arguments)
    members = attacks_.resolve(settings.attacks)
    defence = defences_.resolve(settings.defence)
    question = ask(settings)
    recorded = scope.next_limit() if asserted else None
    limit = settings.threshold if recorded is None else recorded
    bar = Bar(limit=limit, threshold=settings.threshold, confidence=settings.confidence)

    clock = Clock(settings.time_budget)
    trial = Trial(
        question,
        members,
        defence,
        bar,
        seed=settings.seed,
        # Nothing is left out of a measurement, nor where the attacks to run were spelled out.
        thrifty=asserted and settings.attacks == ("auto",),
        clock=clock,
    )
    seen = _Seen(limit=limit, threshold=settings.threshold)
    # Not enumerate(), which holds on to its last item: one update is let go before the next is captured.
    for update, captured in _captures(model, batch, capture_options):
        question.prepare(captured.truth)
        seen.add(update, captured, defence, keep=settings.require is not None)
        trial.add(update, captured.truth)
        del update

    verdicts, controls, evidence, draws = trial.verdicts()
    coverage = trial.coverage(verdicts, controls)
    decision, proof = seen.reason(), None
    if decision is None:
        proof = prove(
            seen.again,
            defence,
            question=question.name,
            provable=getattr(question, "provable", False),
            required=settings.require is not None,
            seed=settings.seed,
            spent=lambda: clock.spent,
        )
        decision = question.decide(verdicts, bar, dataclasses.replace(evidence, proof=proof))
        decision = seen.kept(decision, coverage)
    if settings.require is not None:
        decision = _proved(decision, proof, bar)
    best = strongest(verdicts)
    figure = 0.0 if best is None or best.figure is None else best.figure
    read = [verdict for verdict in verdicts if question.exposes(verdict, limit)]
    findings = [
        *(question.findings(verdicts) if seen.batches else ()),
        read_from(read) if decision.outcome == Outcome.LEAKED else None,
        bracket(figure, question.figure_name, proof),
        uncovered(coverage),
    ]
    result = Audit(
        outcome=decision.outcome,
        message=decision.message,
        question=question,
        figure=figure,
        limit=limit,
        limit_source="threshold" if recorded is None else "baseline",
        threshold=settings.threshold,
        confidence=settings.confidence,
        verdicts=verdicts,
        control=controls,
        stats=question.summary(verdicts),
        findings=tuple(finding for finding in findings if finding is not None),
        batches=seen.batches,
        draws=draws,
        proof=proof,
        coverage=coverage,
        **{"defence": None if defence is None else defence.name, **seen.context},
    )
    # The ceiling is recorded in baselines: this very audit might be above the rounded figure.
    figures = {"asserted": asserted, "figure_ceiling": round_up(result.figure)}
    scope.note(result, {**figures, **result.to_record(show_labels=settings.show_labels)})
    return result


class _Seen:
    """Everything about the batches of an audit but their updates: context, captures for a proof, and mistakes.

    Parameters
    ----------
    limit, threshold : float
        Highest figure that is tolerated, and the threshold behind it.
    """

    def __init__(self, *, limit: float, threshold: float) -> None:
        self.batches = 0
        self.again: list[Captured] = []
        self.context: dict[str, Any] = {}
        # A baseline accepts a leak, and a threshold of one tolerates every figure.
        self._strict = limit <= threshold < 1.0
        self._foreign: str | None = None
        self._turned = False

    def add(self, update: Update | None, captured: Captured, defence: defences_.Defence | None, *, keep: bool) -> None:
        """Look at the next batch, and keep its capture where a proof may capture it again."""
        self.batches += 1
        if keep or isinstance(captured.model, Update):
            self.again.append(captured)
        if update is None:
            return
        self.context = self.context or _context(update, defence)
        if update.belongs is False:
            self._foreign = self._foreign or update.belongs_reason
        self._turned |= not update.oriented

    def reason(self) -> Decision | None:
        """Return the decision where no attack can have a say; None where they can."""
        if not self.batches:
            reason = "the iterable of batches is empty; pass at least one batch"
        elif self._foreign is not None:
            reason = (
                f"the labels of the batch are not those on which the model trains: {self._foreign}. Pass the labels as "
                "the loss uses them"
            )
        else:
            return None
        return Decision(outcome=Outcome.INCONCLUSIVE, reason=reason)

    def kept(self, decision: Decision, coverage: Coverage) -> Decision:
        """Let a pass stand only where the classes' axis is known and no head or embedding is left open."""
        if decision.outcome != Outcome.HELD or not self._strict:
            return decision
        gap = coverage.gap
        if self._turned:
            gap = (
                "nothing in the kernel's gradient shows which of its axes are the classes; pass it as (d, C), features "
                "by classes, together with its bias gradient"
            )
        if gap is None:
            return decision
        return Decision(outcome=Outcome.INCONCLUSIVE, reason=f"{decision.reason}, but {gap}")


def _proved(decision: Decision, proof: Proof | None, bar: Bar) -> Decision:
    """Let a pass stand only with a proof that no attack can exceed the limit."""
    limit = max(bar.limit, bar.threshold)
    if decision.outcome != Outcome.HELD or (proof is not None and proof.within(limit)):
        return decision
    if proof is None or proof.bound is None:
        why = "" if proof is None else f": {proof.because}"
        return Decision(outcome=Outcome.INCONCLUSIVE, reason=f"{decision.reason}, but there is no proof{why}")
    return Decision(
        outcome=Outcome.INCONCLUSIVE,
        reason=f"{decision.reason}, but an attack that nobody knows may reach {proof.shown} > {limit:.2f}: use a "
        "stronger defence, or ask for no proof",
    )


def _captures(model: Any, batch: Any, capture_options: Mapping[str, Any]) -> Iterator[tuple[Update | None, Captured]]:
    # Imported on first use: everything above works on plain arrays without any adapter.
    from ..capture import iter_captures

    truth_options = {k: v for k, v in capture_options.items() if k != "training"}
    for adapter, owner, item in iter_captures(model, batch):
        # The labels are checked first: frameworks quote an out-of-range label in their own errors.
        truth: Truth = adapter.labels(owner, item, **truth_options)
        # Frameworks fail on empty batches in their own ways; without a label there is nothing to capture.
        update = adapter.capture(owner, item, **capture_options) if truth.labels.size else None
        if update is not None:
            _check_agreement(update, truth)
        yield update, Captured(adapter=adapter, model=owner, batch=item, options=capture_options, truth=truth)
        del update


def _check_agreement(update: Update, truth: Truth) -> None:
    if truth.classes != update.label_classes:
        raise InvalidArgumentError(
            f"the adapter gives labels over {truth.classes} classes, the head tells {update.label_classes} apart."
        )
    if truth.features is not None and truth.features.shape[1] != update.features:
        raise InvalidArgumentError(
            f"the adapter gives {truth.features.shape[1]} features for each label, the head has {update.features} "
            "inputs."
        )


def _context(update: Update, defence: defences_.Defence | None) -> dict[str, Any]:
    # Changes that the training itself makes to an update, such as clipping, act before the defence.
    applied = (*update.defences, *(() if defence is None else (defence.name,)))
    return {
        "defence": " + ".join(applied) or None,
        "classes": update.label_classes,
        "origin": update.origin,
        "device": update.device,
        "compute_dtype": update.compute_dtype,
        "head": update.head.layer,
    }
