"""The common part of all assertions: run the pipeline, and raise unless the audit held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...core.settings import Settings
from ..questions.question import Question
from ..result import Audit
from ..run import capture_arguments, run
from .explanation import raise_for

__all__ = ["asserted"]


def asserted(
    model: Any,
    batch: Any,
    ask: Callable[[Settings], Question],
    *,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
    ignore_class: int | None = None,
    **settings: Any,
) -> Audit:
    """Audit a model's updates, and raise unless the audit held.

    Parameters
    ----------
    model, batch : object
        As for `run`.
    ask : callable
        From the settings of this audit to the question.
    head, training, class_weight, ignore_class : optional
        Arguments of the adapter.
    **settings
        Settings as given by the caller; None for those that were not given.

    Returns
    -------
    Audit
        With outcome "held".

    Raises
    ------
    LabelLeak
        If it leaked.
    InconclusiveAudit
        If it could not decide.
    """
    __tracebackhide__ = True
    capture_options = capture_arguments(
        head=head, training=training, class_weight=class_weight, ignore_class=ignore_class
    )
    result = run(model, batch, ask, capture_options=capture_options, arguments=settings, asserted=True)
    raise_for(result)
    return result
