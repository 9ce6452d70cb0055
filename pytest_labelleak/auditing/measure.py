"""audit(), and what every assertion runs: capture, defend, attack, score, decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import attacks as attacks_
from .. import defences as defences_
from ..core.errors import InvalidArgumentError
from ..core.figures import round_up
from ..core.recovery import Status
from ..core.sensitive import private_terms
from ..core.settings import Settings, active_scope
from ..core.truth import Truth
from ..core.update import Update
from .decision import decide
from .outcome import figure_of, strongest
from .portfolio import PortfolioRun, everything_read, threshold_passed
from .result import Audit
from .scoring.labels import SequenceScorer

if TYPE_CHECKING:
    from ..asr.scoring.words import WordScorer

__all__ = ["audit", "run_audit"]


def audit(
    model: Any,
    batch: Any,
    *,
    threshold: float | None = None,
    confidence: float | None = None,
    attacks: Any = None,
    defence: Any = None,
    seed: int | None = None,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
    counts: bool = False,
    samples: bool = False,
    vocabulary: Any = None,
    lexicon: Iterable[str] | None = None,
    sensitive: Any = None,
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
    confidence : float, optional
        In (0, 1). Then the audit holds only if an upper bound of the advantage, one-sided, exact, with the batch
        as the unit, is within the threshold too. By default the mean over the batches is compared.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered, cheapest first.
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
    counts : bool, default False
        Also score how often each label is said to occur, corrected for chance; then the larger of the two
        advantages is compared with the threshold.
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
    arguments = {"threshold": threshold, "confidence": confidence, "attacks": attacks, "defence": defence, "seed": seed}
    arguments["sensitive"] = sensitive
    asked = {"counts": counts, "samples": samples, "vocabulary": vocabulary, "lexicon": lexicon}
    return run_audit(model, batch, capture_options, **asked, asserted=False, arguments=arguments)


def run_audit(
    model: Any,
    batch: Any,
    capture_options: Mapping[str, Any],
    *,
    asserted: bool,
    arguments: Mapping[str, Any],
    counts: bool = False,
    samples: bool = False,
    vocabulary: Any = None,
    lexicon: Iterable[str] | None = None,
    transcripts: SequenceScorer | None = None,
) -> Audit:
    """Do what `audit` and the assertions have in common: everything but to raise on a leak.

    Parameters
    ----------
    model, batch : object
        As for `audit`.
    capture_options : mapping
        Arguments of the adapter: "head", "training" and "class_weight".
    asserted : bool
        Whether the outcome decides about a test. Then a baseline's figure takes the place of the threshold, and
        attacks are left out that can change nothing.
    arguments : mapping
        Settings as given by the caller; None for what was not given.
    counts, samples, vocabulary, lexicon
        As for `audit`.
    transcripts : SequenceScorer, optional
        Compare the share of the transcripts rebuilt instead.

    Returns
    -------
    Audit
        Noted in the records of the running test, too.
    """
    for name, flag in (("counts", counts), ("samples", samples)):
        if not isinstance(flag, bool):
            raise InvalidArgumentError(f"{name}={flag!r} is a {type(flag).__name__}. Expected True or False.")
    scope = active_scope()
    scope.deals_in_words |= vocabulary is not None
    # Before anything can fail: the source of a test, in a traceback, may hold the terms.
    scope.private_terms += private_terms(arguments.get("sensitive"))
    settings = scope.settings.override(**arguments)
    if settings.sensitive is not None:
        scope.private_terms.append(settings.sensitive)
    portfolio = attacks_.resolve(settings.attacks)
    defence = defences_.resolve(settings.defence)
    words = _word_scorer(vocabulary, lexicon, arguments.get("sensitive"), settings)
    if words is not None and samples:
        raise InvalidArgumentError("samples=True and vocabulary= are given. Expected one of them: ask twice.")
    recorded = None
    if asserted:
        recorded = scope.recorded_limit(sum(1 for record in scope.records if record["asserted"]))

    limit = settings.threshold if recorded is None else recorded
    # Nothing is left out of a measurement, nor where the attacks to run were spelled out.
    thrifty = asserted and settings.attacks == ("auto",)
    run_options: dict[str, Any] = {"seed": settings.seed, "counts": counts, "samples": samples, "words": words}
    run_options["transcripts"] = transcripts
    rules = (
        everything_read(limit, counts=counts, samples=samples),
        threshold_passed(settings.threshold, samples=samples),
    )
    attacked, control = (PortfolioRun(portfolio, **run_options, rule=rule if thrifty else None) for rule in rules)
    batches = 0
    context: dict[str, Any] = {}
    # Not enumerate(), which holds on to its last item: one update is let go before the next is captured.
    for update, truth in _captures(model, batch, capture_options):
        if update is not None and truth.classes != update.classes:
            raise InvalidArgumentError(
                f"the adapter gives labels over {truth.classes} classes, the head has {update.classes} outputs."
            )
        if update is not None and truth.features is not None and truth.features.shape[1] != update.features:
            raise InvalidArgumentError(
                f"the adapter gives {truth.features.shape[1]} features for each label, the head has {update.features} "
                "inputs."
            )
        if words is not None:  # before the attacks, which may take long
            words.ignored(truth.classes)
            words.said(truth)
        shared = update
        if update is not None:
            context = context or _context(update, defence)
            if defence is not None:
                shared = defence(update, rng=np.random.default_rng([settings.seed, batches, *b"defence"]))
        if defence is not None:
            control.add(update, truth)
        attacked.add(shared, truth)
        batches += 1
        del update, shared

    common: dict[str, Any] = {
        "limit": limit,
        "limit_source": "threshold" if recorded is None else "baseline",
        "threshold": settings.threshold,
        "confidence": settings.confidence,
        "defence": None if defence is None else defence.name,
        "batches": batches,
        "counts": counts,
        "samples": samples,
        "lexicon": None if words is None else words.lexicon,
        "listed": None if words is None else words.listed,
        "transcripts": None if transcripts is None else transcripts.word_error_rate,
        **context,
    }
    if not batches:
        message = "inconclusive: the iterable of batches is empty; pass at least one batch"
        result = Audit(outcome=Status.INCONCLUSIVE, message=message, advantage=0.0, verdicts=(), **common)
    else:
        verdicts = attacked.verdicts(confidence=settings.confidence)
        controls = control.verdicts()
        outcome, message = decide(
            verdicts,
            limit,
            threshold=settings.threshold,
            confidence=settings.confidence,
            control=None if defence is None else controls,
            isolating=[m.name for m in portfolio if getattr(m, "isolates", False)] if samples else None,
            sensitive=None if words is None else settings.sensitive,
            transcripts=transcripts is not None,
        )
        best = strongest(verdicts, samples=samples)
        result = Audit(
            outcome=outcome,
            message=message,
            advantage=0.0 if best is None else figure_of(best, samples=samples),
            verdicts=verdicts,
            control=controls,
            **common,
        )
    # The ceiling is what a baseline records: of the rounded figures below, this very audit might be above.
    figures = {"asserted": asserted, "advantage_ceiling": round_up(result.advantage)}
    record = {**figures, **result.to_record(show_labels=settings.show_labels)}
    scope.records.append(record)
    return result


def _word_scorer(vocabulary: Any, lexicon: Iterable[str] | None, given: Any, settings: Settings) -> WordScorer | None:
    if vocabulary is None:
        for name, value in (("lexicon", lexicon), ("sensitive", given)):
            if value is not None:
                raise InvalidArgumentError(f"{name}= is given and vocabulary= is not. Expected both, or neither.")
        return None
    # Imported on use: what asks about labels needs nothing of speech.
    from ..asr.scoring.words import WordScorer
    from ..asr.text.loading import load_vocabulary

    return WordScorer(load_vocabulary(vocabulary), lexicon=lexicon, sensitive=settings.sensitive)


def _captures(model: Any, batch: Any, capture_options: Mapping[str, Any]) -> Iterator[tuple[Update | None, Truth]]:
    # Imported on first use: everything above works on plain arrays without any adapter.
    from ..capture import adapter_for, iter_batches

    adapter = adapter_for(model)
    truth_options = {k: v for k, v in capture_options.items() if k != "training"}
    for item in iter_batches(batch):
        # The labels are checked first: frameworks quote an out-of-range label in their own errors.
        truth: Truth = adapter.labels(model, item, **truth_options)
        # Frameworks fail on empty batches in their own ways; without a label there is nothing to capture.
        yield (adapter.capture(model, item, **capture_options) if truth.labels.size else None), truth


def _context(update: Update, defence: defences_.Defence | None) -> dict[str, Any]:
    # What the training itself does to an update, such as clipping, acts before the defence.
    applied = (*update.defences, *(() if defence is None else (defence.name,)))
    return {
        "defence": " + ".join(applied) or None,
        "classes": update.classes,
        "origin": update.origin,
        "device": update.device,
        "compute_dtype": update.compute_dtype,
        "head": update.head.layer,
    }
