"""Samples: whether the batch comes apart into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..questions.samples import Samples
from ..result import Audit
from .asserting import asserted

__all__ = ["assert_samples_not_isolated"]


def assert_samples_not_isolated(
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
) -> Audit:
    """Fail if samples of `batch` can be isolated from the update that `model` would share.

    Whoever has the weights of the model, as its sender does, can separate an averaged gradient into its samples:
    each one's label, softmax output and features, the input of the head. The figure compared with the threshold is
    the share of the label positions that an attack isolates with the right label. It does not depend on classes
    that are absent, so a batch in which every class is present is audited like any other.

    An attack that cannot solve for a sample makes no claim. So without a defence, no attack that applies is
    "inconclusive", for example where the weights are unknown. With one, the attacks are run on the undefended update
    of the same batch too. If they isolate more than the threshold there, they are able on this very batch, and
    the audit holds when with the defence no attack isolates any.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model; an `Update` with the head's weights, and its labels as `batch`; or anything an
        adapter knows.
    batch : tuple, dict or iterable of these
        ``(x, y)`` or ``(x, y, sample_weight)``. Several batches are pooled. For an `Update`, labels or
        ``{"y": labels, "features": inputs of the head}``, with which the error of recovered features is
        reported.
    threshold : float, optional
        Tolerated share in [0, 1]; default 0.1.
    confidence : float, optional
        In (0, 1). Then the audit holds only if an upper bound of the share, one-sided, exact, with the batch
        as the unit, is within the threshold too. By default the mean over the batches is compared.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered, cheapest first. Those that do not isolate
        samples only add their findings.
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

    Returns
    -------
    Audit
        With outcome "held".

    Raises
    ------
    LabelLeak
        If an attack isolates more than the threshold (or than the baseline's figure for this test).
    InconclusiveAudit
        If the audit could not decide. That is never a pass.
    InvalidArgumentError, UnknownNameError, UnsupportedModelError
        If an argument or the model cannot be used; the message says why and names the fix.
    """
    __tracebackhide__ = True
    return asserted(
        model,
        batch,
        lambda settings: Samples(),
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
