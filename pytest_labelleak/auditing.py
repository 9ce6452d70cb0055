"""audit() and the assertions: capture, defend, attack, score, decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import attacks as attacks_
from . import defences as defences_
from .baseline import round_up
from .errors import InconclusiveAudit, InvalidArgumentError, LabelLeak
from .outcome import HELD, LEAKED, Audit, outcome_of, strongest
from .recovery import INCONCLUSIVE, Recovery
from .settings import Settings, active_scope
from .update import Update
from .verdict import Truth, Verdict, pool, score

__all__ = ["assert_labels_not_recoverable", "audit"]


def audit(
    model: Any,
    batch: Any,
    *,
    threshold: float | None = None,
    attacks: Any = None,
    defence: Any = None,
    seed: int | None = None,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
) -> Audit:
    """Attack the update that `model` would share for `batch`, and measure what comes out.

    Never raises on a leak: read ``audit.outcome``. Inside a test run with the plugin, arguments that
    are None come from the marker, the command line and the ini file, and the result is reported.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model; an `Update`, with its labels as `batch`; or anything an adapter knows.
    batch : tuple, dict or iterable of these
        ``(x, y)`` or ``(x, y, sample_weight)``. Several batches are pooled.
    threshold : float, optional
        Tolerated advantage in [0, 1]; default 0.1.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered.
    defence : str or defence, optional
        What is applied to the update before it is shared.
    seed : int, optional
        Seeds attacks and defence; default 0.
    head : str, optional
        Name of the classification head's layer or output, where the model has several.
    training : bool, default True
        Whether the model runs in training mode.
    class_weight : mapping of int to float, optional
        As in Keras' ``fit``.

    Returns
    -------
    Audit
        Outcome "held", "leaked" or "inconclusive", and every attack's verdict.

    Raises
    ------
    InvalidArgumentError, UnknownNameError, UnsupportedModelError
        If an argument or the model is not what is expected.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_labelleak import Update, audit
    >>> probabilities = np.array([[0.2, 0.5, 0.2, 0.1]])
    >>> error = probabilities - np.array([[0.0, 0.0, 1.0, 0.0]])
    >>> update = Update.from_arrays(np.array([[1.0], [2.0]]) @ error)
    >>> audit(update, np.array([2])).outcome
    'leaked'
    """
    capture_options = {"head": head, "training": training, "class_weight": class_weight}
    return _audit(
        model, batch, capture_options, asserted=False, threshold=threshold, attacks=attacks, defence=defence, seed=seed
    )


def assert_labels_not_recoverable(
    model: Any,
    batch: Any,
    *,
    threshold: float | None = None,
    attacks: Any = None,
    defence: Any = None,
    seed: int | None = None,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
) -> Audit:
    """Fail if the labels of `batch` can be read from the update that `model` would share.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model; an `Update`, with its labels as `batch`; or anything an adapter knows.
    batch : tuple, dict or iterable of these
        ``(x, y)`` or ``(x, y, sample_weight)``. Several batches are pooled.
    threshold : float, optional
        Tolerated advantage in [0, 1]; default 0.1.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered.
    defence : str or defence, optional
        What is applied to the update before it is shared.
    seed : int, optional
        Seeds attacks and defence; default 0.
    head : str, optional
        Name of the classification head's layer or output, where the model has several.
    training : bool, default True
        Whether the model runs in training mode.
    class_weight : mapping of int to float, optional
        As in Keras' ``fit``.

    Returns
    -------
    Audit
        With outcome "held".

    Raises
    ------
    LabelLeak
        If an attack's advantage is above the threshold (or above the baseline's figure for this test).
    InconclusiveAudit
        If the audit could not decide. That is never a pass.
    InvalidArgumentError, UnknownNameError, UnsupportedModelError
        If an argument or the model is not what is expected.
    """
    __tracebackhide__ = True
    capture_options = {"head": head, "training": training, "class_weight": class_weight}
    result = _audit(
        model, batch, capture_options, asserted=True, threshold=threshold, attacks=attacks, defence=defence, seed=seed
    )
    _raise_for(result)
    return result


def _raise_for(result: Audit) -> None:
    __tracebackhide__ = True
    show_labels = active_scope().settings.show_labels
    if result.outcome == LEAKED:
        raise LabelLeak(_explain(result, show_labels=show_labels), audit=result)
    if result.outcome != HELD:
        raise InconclusiveAudit(_explain(result, show_labels=False), audit=result)


def _audit(model: Any, batch: Any, capture_options: Mapping[str, Any], *, asserted: bool, **arguments: Any) -> Audit:
    scope = active_scope()
    settings = scope.settings.override(**arguments)
    portfolio = attacks_.resolve(settings.attacks)
    defence = defences_.resolve(settings.defence)
    recorded = None
    if asserted:
        recorded = scope.recorded_limit(sum(1 for record in scope.records if record["asserted"]))

    rows: list[tuple[Verdict, ...]] = []
    controls: list[tuple[Verdict, ...]] = []
    first: Update | None = None
    for index, (update, truth) in enumerate(_captures(model, batch, capture_options)):
        if update is None:
            nothing = (score(Recovery.inconclusive(member.name, "the batch is empty"), truth) for member in portfolio)
            rows.append(tuple(nothing))
            controls.append(rows[-1])
            continue
        first = first or update
        if truth.classes != update.classes:
            raise InvalidArgumentError(
                f"the adapter gives labels over {truth.classes} classes, the head has {update.classes} outputs."
            )
        shared = update
        if defence is not None:
            shared = defence(update, rng=np.random.default_rng([settings.seed, index, *b"defence"]))
            controls.append(_attack_all(portfolio, update, truth, settings, index))
        rows.append(_attack_all(portfolio, shared, truth, settings, index))

    limit = settings.threshold if recorded is None else recorded
    common: dict[str, Any] = {
        "limit": limit,
        "limit_source": "threshold" if recorded is None else "baseline",
        "threshold": settings.threshold,
        "defence": None if defence is None else defence.name,
        "batches": len(rows),
    }
    if not rows:
        message = "inconclusive: the iterable of batches is empty; pass at least one batch"
        result = Audit(outcome=INCONCLUSIVE, message=message, advantage=0.0, verdicts=(), **common)
    else:
        verdicts = tuple(pool(column) for column in zip(*rows, strict=True))
        control = tuple(pool(column) for column in zip(*controls, strict=True)) if defence is not None else ()
        outcome, message = outcome_of(verdicts, limit)
        if defence is not None and outcome == HELD:
            outcome, message = _with_control(outcome, message, control, settings.threshold)
        best = strongest(verdicts)
        result = Audit(
            outcome=outcome,
            message=message,
            advantage=0.0 if best is None else best.advantage,
            verdicts=verdicts,
            control=control,
            **common,
        )
    if first is not None:
        # What the training itself does to an update, such as clipping, acts before the defence.
        applied = (*first.defences, *(() if defence is None else (defence.name,)))
        result = dataclasses.replace(
            result,
            defence=" + ".join(applied) or None,
            classes=first.classes,
            origin=first.origin,
            device=first.device,
            compute_dtype=first.compute_dtype,
            head=first.head.layer,
        )
    # The ceiling is what a baseline records: of the rounded figures below, this very audit might be above.
    figures = {"asserted": asserted, "advantage_ceiling": round_up(result.advantage)}
    record = {**figures, **result.to_record(show_labels=settings.show_labels)}
    scope.records.append(record)
    return result


def _captures(model: Any, batch: Any, capture_options: Mapping[str, Any]) -> Iterator[tuple[Update | None, Truth]]:
    # Imported on first use: everything above works on plain arrays without any adapter.
    from .capture import adapter_for, iter_batches

    adapter = adapter_for(model)
    truth_options = {k: v for k, v in capture_options.items() if k != "training"}
    for item in iter_batches(batch):
        # The labels are checked first: frameworks quote an out-of-range label in their own errors.
        truth: Truth = adapter.labels(model, item, **truth_options)
        # Frameworks fail on empty batches in their own ways; without a label there is nothing to capture.
        yield (adapter.capture(model, item, **capture_options) if truth.labels.size else None), truth


def _attack_all(
    portfolio: Sequence[attacks_.Attack], update: Update, truth: Truth, settings: Settings, index: int
) -> tuple[Verdict, ...]:
    return tuple(score(attacks_.run(member, update, seed=settings.seed, batch=index), truth) for member in portfolio)


def _with_control(outcome: str, message: str, control: Sequence[Verdict], threshold: float) -> tuple[str, str]:
    """Turn a pass into "inconclusive" if the same attacks fail without the defence too."""
    undefended, reason = outcome_of(control, threshold)
    if undefended == LEAKED:
        return outcome, message
    return INCONCLUSIVE, (
        f"inconclusive: the positive control failed, the attacks find nothing without the defence either ({reason}); "
        "use a batch or a model on which they succeed undefended"
    )


def _explain(result: Audit, *, show_labels: bool) -> str:
    lines = [result.message]
    if result.outcome == INCONCLUSIVE and len({verdict.message for verdict in result.verdicts}) <= 1:
        return lines[0]  # one reason for all: a table would only repeat it
    where = f"head {result.head!r}, {result.classes} classes, {result.batches} batch(es)"
    lines.append(f"  {where}, defence: {result.defence or 'none'}, limit {result.limit:g} ({result.limit_source})")
    lines.append(f"  {'attack':<15} {'advantage':>9} {'precision':>9} {'recall':>7} {'exact':>6}")
    for verdict in result.verdicts:
        if verdict.status == "recovered":
            lines.append(
                f"  {verdict.attack:<15} {verdict.advantage:>9.2f} {verdict.precision:>9.2f} "
                f"{verdict.recall:>7.2f} {verdict.exact_match:>6.2f}"
            )
        else:
            lines.append(f"  {verdict.attack:<15} {verdict.message}")
        if show_labels and verdict.recovered:
            lines.append(f"  {'':<15} recovered: {[list(labels) for labels in verdict.recovered]}")
    if result.outcome == LEAKED:
        lines.append(
            "  Whoever receives this update can name these labels. Share a protected update (defence=...) and assert "
            "on that, aggregate more samples before sharing, or record what is accepted with --labelleak-baseline."
        )
    return "\n".join(lines)
