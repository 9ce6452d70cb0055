"""Words: which of a transcript can be formed from the tokens that an update betrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..questions.asking import asking_for_words
from ..result import Audit
from .asserting import asserted

__all__ = ["assert_words_not_recoverable"]


def assert_words_not_recoverable(
    model: Any,
    batch: Any,
    *,
    vocabulary: Any,
    sensitive: Any = None,
    lexicon: Iterable[str] | None = None,
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
    """Fail if the words of the transcripts in `batch` can be read from the update that `model` would share.

    For models whose labels are tokens of text, such as speech recognisers. Compared with the threshold is the larger
    of two advantages: over tokens, as in `assert_labels_not_recoverable`, but without those that stand for no text
    (start, end, padding); and over words, the share of the words said that can be formed from the tokens an attack
    names, less the share of the lexicon's other words that can be formed too.

    A sensitive term that was said must not be formed at all: a single one is a leak, whatever threshold, baseline and
    confidence say. Only its index in the list appears in any output.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model, a lingvo task, or an `Update` with its labels in order as `batch`.
    batch : tuple, dict or iterable of these
        As the model takes it. Several batches are pooled.
    vocabulary : Vocabulary or path
        The text of each token: one of `pytest_labelleak.asr`, or the path of a sentencepiece ``.model``, a
        ``tokenizer.json`` or a word-piece file.
    sensitive : sequence of str or path, optional
        Names, diagnoses, canaries; or a UTF-8 file of them, one per line, where lines that begin with ``#`` are
        comments. If none of them occurs in the transcripts, the list tests nothing and the audit is inconclusive.
        By default the project's list (``labelleak_sensitive``), of which terms need not occur.
    lexicon : iterable of str, optional
        Words an attacker would try. By default the vocabulary's own: its pieces that begin a word and
        have at least two letters. Single characters have none; then tokens and sensitive terms decide.
    threshold : float, optional
        Tolerated advantage in [0, 1]; default 0.1. With 1.0 the sensitive terms alone decide.
    confidence : float, optional
        In (0, 1). Then the audit holds only if an upper bound of the advantage, one-sided, exact, with the batch
        as the unit, is within the threshold too. By default the mean over the batches is compared.
    attacks : str, attack or sequence of these, optional
        Which attacks to run; default "auto", all that are registered, cheapest first.
    defence : str or defence, optional
        The change applied to the update before it is shared. The audit then holds only if the attacks succeed without
        it, on the sensitive terms too.
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
        With outcome "held"; `Audit.words` and `Audit.sensitive` sum up the findings.

    Raises
    ------
    LabelLeak
        If an attack's advantage is above the threshold (or above the baseline's figure for this test), or a
        sensitive term is exposed.
    InconclusiveAudit
        If the audit could not decide. That is never a pass.
    InvalidArgumentError, UnknownNameError, UnsupportedModelError
        If an argument or the model cannot be used; the message says why and names the fix.
    """
    __tracebackhide__ = True
    return asserted(
        model,
        batch,
        asking_for_words(vocabulary, lexicon=lexicon, sensitive=sensitive),
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
        sensitive=sensitive,
    )
