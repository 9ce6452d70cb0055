"""Label counts: how often each class occurs in the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..questions.label_counts import LabelCounts
from ..result import Audit
from .asserting import asserted

__all__ = ["assert_label_counts_not_recoverable"]


def assert_label_counts_not_recoverable(
    model: Any,
    batch: Any,
    *,
    threshold: float | None = None,
    confidence: float | None = None,
    attacks: Any = None,
    defence: Any = None,
    seed: int | None = None,
    time_budget: float | None = None,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
    ignore_class: int | None = None,
    expected: Any = None,
) -> Audit:
    """Fail if the shares of the classes in `batch` can be read from the update that `model` would share.

    The question for models with few classes, of which every one is in the batch: which classes are present is then no
    secret, and how often each occurs is one. The figure is one minus the distance of the claimed shares from the true
    ones (total variation: the share of the label positions in the wrong class) over the distance of the best guess
    that does not look at the update. Attacks are not told the number of label positions.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model; an `Update`, with its labels as `batch`; or anything an adapter knows.
    batch : tuple, dict or iterable of these
        ``(x, y)`` or ``(x, y, sample_weight)``. Several batches are pooled.
    threshold : float, optional
        Tolerated advantage in [0, 1]; default 0.1.
    confidence : float, optional
        In (0, 1). Then the audit holds only if an upper bound of the advantage, one-sided, exact, with the batch
        as the unit, is within the threshold too. By default the mean over the batches is compared.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered, cheapest first. Once everything has been read
        exactly in every batch, "auto" leaves the rest out: its outcome and its figures are those of all.
    defence : str or defence, optional
        The change applied to the update before it is shared.
    seed : int, optional
        Seeds attacks and defence; default 0.
    time_budget : float, optional
        Seconds that the audit may take; default 900. When they are spent, the audit is inconclusive.
    head : str, optional
        Name of the classification head's layer or output, where the model has several.
    training : bool, default True
        Whether the model runs in training mode.
    class_weight : mapping of int to float, optional
        As in Keras' ``fit``.
    ignore_class : int, optional
        Label that the loss leaves out, where the loss does not say so itself.
    expected : sequence of float, optional
        Shares by class that anyone may expect beforehand, such as those of the population, adding up to 1. The best
        uninformed guess is the better one of these and even shares; by default it is even shares.

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
        If an argument or the model cannot be used; the message says why and names the fix.
    """
    __tracebackhide__ = True
    question = LabelCounts(expected=expected)
    return asserted(
        model,
        batch,
        lambda settings: question,
        head=head,
        training=training,
        class_weight=class_weight,
        ignore_class=ignore_class,
        threshold=threshold,
        confidence=confidence,
        attacks=attacks,
        defence=defence,
        seed=seed,
        time_budget=time_budget,
    )
