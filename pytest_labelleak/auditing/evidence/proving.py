"""The proof of an audit: the bound on every attack, from the law of the defence and updates with other labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import defences as defences_
from ...core.errors import InvalidArgumentError, UnsupportedModelError
from ...core.truth import Truth
from ...core.update import Update
from .proof import Bound
from .swaps import Proof, Swappable, broken_law, head_alone, proof_by_swaps, proof_of_heads

__all__ = ["Captured", "prove"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """One batch of an audit, so that it can be captured again.

    Attributes
    ----------
    adapter : Adapter
        The adapter.
    model, batch : object
        Its arguments. Private.
    options : mapping
        Further arguments of its `capture`.
    truth : Truth
        The labels. Private.
    """

    adapter: Any
    model: Any = field(repr=False)
    batch: Any = field(repr=False)
    options: Mapping[str, Any]
    truth: Truth = field(repr=False)

    def update(self) -> Update:
        """Capture the batch again."""
        update: Update = self.adapter.capture(self.model, self.batch, **self.options)
        return update

    def relabelled(self, labels: np.ndarray) -> Update:
        """Capture the batch with other labels."""
        options = {name: value for name, value in self.options.items() if name != "training"}
        batch = self.adapter.relabelled(self.model, self.batch, labels, **options)
        update: Update = self.adapter.capture(self.model, batch, **self.options)
        return update


def prove(
    batches: Sequence[Captured],
    defence: defences_.Defence | None,
    *,
    question: str,
    provable: bool,
    required: bool,
    seed: int,
    spent: Callable[[], bool],
) -> Proof | None:
    """Bound the figure of every attack on the batches of an audit.

    Updates given as arrays have a closed form, which is computed in any case. The update of a model is captured anew
    for every swap of labels, which takes as long as so many training steps: only where a proof is required.

    Parameters
    ----------
    batches : sequence of Captured
        The batches.
    defence : defence or None
        The defence.
    question : str
        Name of the question.
    provable : bool
        Whether the bound is one for the question's figure.
    required : bool
        Whether an audit without a proof does not hold.
    seed : int
        Of the audit.
    spent : callable
        Whether the time budget is spent.

    Returns
    -------
    Proof or None
        None where no proof is required and none comes for free.

    Raises
    ------
    InvalidArgumentError
        If the defence states its law as another type than `NoiseLaw`.
    """
    batches = [batch for batch in batches if batch.truth.labels.size]
    arrays = all(isinstance(batch.model, Update) for batch in batches)
    if not batches or not (required or arrays):
        return None
    if defence is not None and not provable:
        proof = Proof.missing(f"no bound is known for the figure of the question {question!r}")
    else:
        proof = _proof(batches, defence, seed=seed, spent=spent)
    return proof if required or proof.bound is not None else None


def _proof(
    batches: Sequence[Captured], defence: defences_.Defence | None, *, seed: int, spent: Callable[[], bool]
) -> Proof:
    if defence is None:
        return Proof.missing("nothing protects the update")
    law = getattr(defence, "noise_law", None)
    if law is None:
        if getattr(defence, "deterministic", False):
            return Proof.missing(f"{defence.name!r} makes no random choice: it can be tested, and not proved")
        return Proof.missing(f"{defence.name!r} states no law of its noise (noise_law)")
    if not isinstance(law, defences_.NoiseLaw):
        raise InvalidArgumentError(
            f"noise_law of the defence {defence.name!r} is a {type(law).__name__}. Expected a NoiseLaw, or None."
        )
    if law.kind == "none":
        swappable = [_randomised(batch) for batch in batches]
        return proof_by_swaps(swappable, law, rng=np.random.default_rng([seed, *b"proof"]))
    found: list[Bound] = []
    swappables: list[Swappable] = []
    for number, batch in enumerate(batches):
        update = batch.update()
        shared, again = (defence(update, rng=np.random.default_rng([seed, number, draw, *b"law"])) for draw in range(2))
        broken = broken_law(update, shared, again, law)
        if broken is not None:
            return Proof.missing(broken)
        arrays = isinstance(batch.model, Update)
        one = head_alone(update, batch.truth, law) if arrays else _recaptured(batch, update)
        if isinstance(one, str):
            return Proof.missing(one)
        (found if isinstance(one, Bound) else swappables).append(one)  # type: ignore[arg-type]
    if found:
        return proof_of_heads(found)
    return proof_by_swaps(swappables, law, rng=np.random.default_rng([seed, *b"proof"]), spent=spent)


def _randomised(batch: Captured) -> Swappable:
    """Return a batch of which only the labels matter."""
    return Swappable(labels=batch.truth.labels, classes=batch.truth.classes, recompute=lambda labels: None)


def _recaptured(batch: Captured, update: Update) -> Swappable | str:
    """Return a batch whose update is captured anew for other labels, or the reason why it cannot be."""
    if update.head.kind != "softmax":
        return "the head is a sigmoid, and the proof is one for softmax heads"
    if getattr(batch.adapter, "relabelled", None) is None:
        return f"the adapter {batch.adapter.name!r} cannot capture a batch with other labels"
    try:
        batch.relabelled(batch.truth.labels)
    except (InvalidArgumentError, UnsupportedModelError) as error:
        return f"the batch cannot be captured with other labels: {str(error).split('. ')[0].rstrip('.')}"
    return Swappable(
        labels=batch.truth.labels,
        classes=batch.truth.classes,
        recompute=lambda labels: batch.update() if labels is batch.truth.labels else _attempt(batch, labels),
    )


def _attempt(batch: Captured, labels: np.ndarray) -> Update | None:
    try:
        return batch.relabelled(labels)
    except (InvalidArgumentError, UnsupportedModelError):  # such as a label that the loss ignores
        return None
