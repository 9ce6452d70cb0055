"""audit(): measure one model's updates without failing a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import InvalidArgumentError, quoted
from ..core.settings import Settings
from .questions.asking import asking_for_words
from .questions.labels import Labels
from .questions.question import Question
from .questions.samples import Samples
from .result import Audit
from .run import capture_arguments, run

__all__ = ["audit"]


def audit(
    model: Any,
    batch: Any,
    *,
    question: Question | None = None,
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
    samples: bool = False,
    vocabulary: Any = None,
    lexicon: Iterable[str] | None = None,
    sensitive: Any = None,
) -> Audit:
    """Attack the update that `model` would share for `batch`, and measure its success.

    Never raises on a leak: read ``audit.outcome``. Inside a test run with the plugin, arguments that
    are None come from the marker, the command line and the ini file, and the result is reported.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model; an `Update`, with its labels as `batch`; or anything an adapter knows.
    batch : tuple, dict or iterable of these
        ``(x, y)`` or ``(x, y, sample_weight)``. Several batches are pooled.
    question : Question, optional
        The question to ask, also one of your own; default `Labels`. The flags `counts`, `samples` and `vocabulary`
        choose one of the built-in questions instead. `LabelCounts` has no flag; see
        `assert_label_counts_not_recoverable`.
    threshold : float, optional
        Tolerated advantage in [0, 1]; default 0.1.
    confidence : float, optional
        In (0, 1). Then the audit holds only if an upper bound of the advantage, one-sided, exact, with the batch
        as the unit, is within the threshold too. By default the mean over the batches is compared.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered, cheapest first.
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
    samples : bool, default False
        Compare the share of the samples that an attack isolates from the batch instead; see
        `assert_samples_not_isolated`.
    vocabulary, lexicon, sensitive
        With a vocabulary, words are scored as well; see `assert_words_not_recoverable`.

    Returns
    -------
    Audit
        Outcome "held", "leaked" or "inconclusive", and every attack's verdict.

    Raises
    ------
    InvalidArgumentError, UnknownNameError, UnsupportedModelError
        If an argument or the model cannot be used; the message says why and names the fix.

    Examples
    --------
    >>> import numpy as np
    >>> from pytest_labelleak import Update, audit
    >>> probabilities = np.array([[0.2, 0.5, 0.2, 0.1]])
    >>> error = probabilities - np.array([[0.0, 0.0, 1.0, 0.0]])
    >>> update = Update.from_arrays(np.array([[1.0], [2.0]]) @ error)
    >>> print(audit(update, np.array([2])).outcome)
    leaked
    """
    capture_options = capture_arguments(
        head=head, training=training, class_weight=class_weight, ignore_class=ignore_class
    )
    arguments = {"threshold": threshold, "confidence": confidence, "attacks": attacks, "defence": defence, "seed": seed}
    arguments |= {"time_budget": time_budget, "require": require}
    for name, flag in (("counts", counts), ("samples", samples)):
        if not isinstance(flag, bool):
            raise InvalidArgumentError(f"{name}={quoted(flag)} is a {type(flag).__name__}. Expected True or False.")
    if vocabulary is None:
        for name, value in (("lexicon", lexicon), ("sensitive", sensitive)):
            if value is not None:
                raise InvalidArgumentError(f"{name}= is given and vocabulary= is not. Expected both, or neither.")
    flags = {"counts": counts, "samples": samples, "vocabulary": vocabulary is not None}
    if question is not None and any(flags.values()):
        given = next(name for name, flag in flags.items() if flag)
        raise InvalidArgumentError(f"question= and {given}= are given. Expected one of them: ask twice.")
    if samples and vocabulary is not None:
        raise InvalidArgumentError("samples=True and vocabulary= are given. Expected one of them: ask twice.")
    if vocabulary is not None:
        arguments["sensitive"] = sensitive
        ask = asking_for_words(vocabulary, lexicon=lexicon, sensitive=sensitive, counts=counts)
    else:
        asked = question or (Samples() if samples else Labels(counts=counts))

        def ask(settings: Settings) -> Question:
            return asked

    return run(model, batch, ask, capture_options=capture_options, arguments=arguments, asserted=False)
