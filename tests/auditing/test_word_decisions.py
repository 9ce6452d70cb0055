"""Words and transcripts: sensitive terms in the decision, chance in the figures, time that ran out."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest

from pytest_labelleak import Recovery, Truth, Verdict
from pytest_labelleak.asr import WordPieces
from pytest_labelleak.asr.scoring.transcripts import TranscriptScorer
from pytest_labelleak.asr.scoring.words import WordScorer
from pytest_labelleak.auditing.outcome import Bar, Decision
from pytest_labelleak.auditing.questions.asking import asking_for_words
from pytest_labelleak.auditing.questions.question import Evidence
from pytest_labelleak.auditing.questions.transcripts import Transcripts
from pytest_labelleak.auditing.questions.words import Words
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.core.sensitive import sensitive_terms
from pytest_labelleak.core.settings import Scope, activate

WORDS = ("ann", "smith", "denies", "pain", "dog", "sun", "moon", "tree")
VOCABULARY = WordPieces(entries=("<unk>", "<s>", "</s>", "▁", *string.ascii_lowercase, *(f"▁{word}" for word in WORDS)))


def token(word: str) -> int:
    return VOCABULARY.entries.index(f"▁{word}")


def question(*terms: str, must_occur: bool = True) -> Words:
    return Words.of(VOCABULARY, sensitive=sensitive_terms(list(terms), must_occur=must_occur))


def verdict(figure: float, *, present: tuple[int, ...] = (), exposed: tuple[int, ...] = ()) -> Verdict:
    stats = {"advantage": figure, "sensitive_present": present, "sensitive_exposed": exposed}
    return Verdict(attack="names", status=Status.RECOVERED, figure=figure, declared=Words.declared, stats=stats)


def decided(asked: Words, claim: Verdict, *, threshold: float = 0.1, control: Verdict | None = None) -> Decision:
    evidence = Evidence(control=None if control is None else (control,), protected=True)
    return asked.decide([claim], Bar(limit=threshold, threshold=threshold), evidence)


def test_a_sensitive_term_is_a_leak_whatever_the_average() -> None:
    asked = question("ann", "pain")
    for threshold in (0.1, 1.0):
        decision = decided(asked, verdict(0.0, present=(0, 1), exposed=(1,)), threshold=threshold)
        assert decision.outcome == "leaked"
        assert "1 of 2 sensitive term(s) that were said can be formed (names): index 1 of the list" in decision.reason
    both = decided(asked, verdict(0.9, present=(0, 1), exposed=(1,)))
    assert both.reason.startswith("advantage 0.90 > 0.10 (names); 1 of 2")


def test_a_list_of_which_nothing_was_said_tested_nothing() -> None:
    control = verdict(1.0)
    decision = decided(question("ann", "pain"), verdict(0.0), control=control)
    assert decision.outcome == "inconclusive"
    assert "none of the 2 sensitive term(s) occurs in the transcripts" in decision.reason
    assert decided(question("ann", must_occur=False), verdict(0.0), control=control).outcome == "held"


def test_a_defence_is_not_credited_for_terms_that_nobody_can_form() -> None:
    asked, claim = question("ann", "pain"), verdict(0.0, present=(0, 1))
    for threshold in (0.1, 1.0):
        formed = verdict(1.0, present=(0, 1), exposed=(0, 1))
        assert decided(asked, claim, threshold=threshold, control=formed).outcome == "held"
        formed = verdict(1.0, present=(0, 1), exposed=(0,))
        decision = decided(asked, claim, threshold=threshold, control=formed)
        assert decision.outcome == "inconclusive"
        assert "1 of 2 sensitive term(s) that were said cannot be formed without the defence" in decision.reason


def test_words_need_the_same_evidence_as_labels() -> None:
    asked = Words.of(VOCABULARY)
    assert decided(asked, verdict(0.0), control=verdict(1.0)).outcome == "held"
    assert decided(asked, verdict(0.0), control=verdict(0.0)).outcome == "inconclusive"
    undefended = asked.decide([verdict(0.0)], Bar(limit=0.1, threshold=0.1), Evidence())
    assert "an undefended update never holds" in undefended.reason


TRUTH = Truth(labels=np.array([token("ann"), token("denies")]), classes=VOCABULARY.size)


def test_who_names_everything_forms_words_by_chance() -> None:
    scorer = WordScorer(VOCABULARY, sensitive=sensitive_terms(["ann"]))
    everything = np.arange(4, VOCABULARY.size)
    found = scorer.found(everything, TRUTH)
    assert (found["words_recovered"], found["words_advantage"], found["sensitive_exposed"]) == (1.0, 0.0, ())
    few = np.array([token("ann"), token("dog")])
    found = scorer.found(few, TRUTH)
    assert found["words_advantage"] == pytest.approx(1 / 2 - 1 / 6)
    assert found["sensitive_exposed"] == (0,)


def ordered(*transcripts: tuple[int, ...], **details: Any) -> Verdict:
    truth = Truth(labels=np.array([4, 5, 6, 7]), classes=20, lengths=[2, 2])
    claim = Recovery(attack="order", status=Status.RECOVERED, transcripts=transcripts, reason="so far", details=details)
    return Transcripts().score(claim, truth)


def test_time_that_ran_out_is_no_failure_of_the_attack() -> None:
    assert ordered((4, 5), finished=False).status == "inconclusive"
    assert ordered((4, 5), finished=True).figure == 0.5
    assert ordered((4, 5), (6, 7), finished=False).figure == 1.0


def test_a_guess_without_a_hit_is_no_claim() -> None:
    assert ordered((5, 4), unique=False).status == "not applicable"
    assert ordered((5, 4), unique=True).figure == 0.0
    assert ordered((4, 5), unique=False).figure == 0.5


def test_one_claim_stands_for_one_transcript() -> None:
    twice = Truth(labels=np.array([4, 5, 4, 5]), classes=20, lengths=[2, 2])
    assert TranscriptScorer().recovered([(4, 5)], twice) == 0.5
    assert TranscriptScorer().recovered([(4, 5), (4, 5)], twice) == 1.0
    assert TranscriptScorer().recovered([(4, 5), (4, 5)], Truth(labels=np.array([4, 5]), classes=20)) == 1.0


def test_a_test_that_asks_about_words_keeps_its_source_private_from_the_call_on() -> None:
    scope = Scope()
    with activate(scope):
        asking_for_words("no such file", lexicon=None, sensitive=["Ann Smith"])
    assert scope.deals_in_words
    assert [terms.terms for terms in scope.private_terms] == [("Ann Smith",)]
