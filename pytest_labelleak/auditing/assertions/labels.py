"""Labels: the classes in the batch, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import InvalidArgumentError, quoted
from ..questions.labels import Labels
from ..result import Audit
from .asserting import asserted

__all__ = ["assert_labels_not_recoverable"]


def assert_labels_not_recoverable(
    model: Any,
    batch: Any,
    *,
    threshold: float | None = None,
    confidence: float | None = None,
    attacks: Any = None,
    defence: Any = None,
    seed: int | None = None,
    time_budget: float | None = None,
    require: Any = None,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
    ignore_class: int | None = None,
    counts: bool = False,
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
    require : {"proof"}, optional
        With "proof" the audit holds only if no attack at all can exceed the threshold, by a bound that follows from the
        law of the defence's noise; the batch is captured up to 256 more times for it.
    head : str, optional
        Name of the classification head's layer or output, where the model has several.
    training : bool, default True
        Whether the model runs in training mode.
    class_weight : mapping of int to float, optional
        As in Keras' ``fit``.
    ignore_class : int, optional
        Label that the loss leaves out, where the loss does not say so itself.
    counts : bool, default False
        Also score how often each label is said to occur, corrected for chance, and the shares of the classes; then the
        largest of the advantages is compared with the threshold.

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
    if not isinstance(counts, bool):
        raise InvalidArgumentError(f"counts={quoted(counts)} is a {type(counts).__name__}. Expected True or False.")
    return asserted(
        model,
        batch,
        lambda settings: Labels(counts=counts),
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
        require=require,
    )
