"""Transcripts: whether utterances can be rebuilt, word after word, from one update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..result import Audit
from .asserting import asserted

__all__ = ["assert_transcripts_not_recoverable"]


def assert_transcripts_not_recoverable(
    model: Any,
    batch: Any,
    *,
    threshold: float | None = None,
    word_error_rate: float = 0.0,
    vocabulary: Any = None,
    time_budget: float | None = None,
    confidence: float | None = None,
    attacks: Any = None,
    defence: Any = None,
    seed: int | None = None,
    head: str | None = None,
    training: bool = True,
    class_weight: Mapping[int, float] | None = None,
    ignore_class: int | None = None,
) -> Audit:
    """Fail if the transcripts in `batch` can be rebuilt from the update that `model` would share.

    For recognisers with an attention decoder. Whoever has the model's weights, as its sender does, may take the
    gradient apart into its label positions and put them in order. The figure compared with the threshold is the
    share of the utterances that an attack rebuilds.

    Parameters
    ----------
    model : object
        A compiled Keras 3 model, a lingvo task, or an `Update` with the head's weights.
    batch : tuple, dict or iterable of these
        As the model takes it; one or several utterances each. Several batches are pooled. For an `Update`,
        labels in order, or ``{"y": labels, "lengths": lengths}`` for several utterances.
    threshold : float, optional
        Tolerated share of the utterances in [0, 1]; default 0.1.
    word_error_rate : float, default 0
        In [0, 1). Up to this rate a transcript counts as rebuilt; 0 is word for word. Other rates need the library
        jiwer (extra ``asr``).
    vocabulary : Vocabulary or path, optional
        As for `assert_words_not_recoverable`: words then are words. Without it every label is one.
    time_budget : float, optional
        Seconds that the audit may take, default 900, and that each attack of the default may take on each update,
        default 600. An audit whose budget is spent before there is an answer is inconclusive.
    confidence : float, optional
        In (0, 1). Then the audit holds only if an upper bound of the share, one-sided, exact, with the batch
        as the unit, is within the threshold too. By default the mean over the batches is compared.
    attacks : attack or sequence of these, optional
        Which attacks to run; default `pytest_labelleak.asr.Ordering`, "ordering", and where the decoder can be taken
        out of the model without being told its first token, as out of a lingvo task, `pytest_labelleak.asr.Replay`,
        "replay". For a Keras model give ``Replay(decoder=free_contexts(model, start=..., end=...))``.
    defence : str or defence, optional
        The change applied to the update before it is shared. The audit then holds only if the attacks rebuild the
        transcripts without it.
    seed : int, optional
        Seeds attacks and defence; default 0.
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
        If an attack rebuilds more than the threshold (or than the baseline's figure for this test).
    InconclusiveAudit
        If the audit could not decide: no attack applies, or the time ran out. That is never a pass.
    InvalidArgumentError, UnknownNameError, UnsupportedModelError
        If an argument or the model cannot be used; the message says why and names the fix.
    """
    __tracebackhide__ = True
    # Imported on use: the question about labels needs nothing of speech.
    from ...asr.default_attacks import chosen_attacks
    from ...asr.scoring.transcripts import TranscriptScorer
    from ...asr.text.loading import load_vocabulary
    from ..questions.transcripts import Transcripts

    known = None if vocabulary is None else load_vocabulary(vocabulary)
    question = Transcripts(scorer=TranscriptScorer(word_error_rate=word_error_rate, vocabulary=known))
    attacks = chosen_attacks(attacks, model, time_budget=600.0 if time_budget is None else time_budget)
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
