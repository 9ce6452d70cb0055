"""Transcripts rebuilt: scored, decided and reported, without a word of them in any output."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from pytest_labelleak import (
    GaussianNoise,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    Recovery,
    Sign,
    Truth,
    Update,
    Verdict,
    assert_transcripts_not_recoverable,
)
from pytest_labelleak.asr import Graphemes
from pytest_labelleak.asr.scoring.transcripts import TranscriptScorer
from pytest_labelleak.auditing.outcome import Bar, Decision
from pytest_labelleak.auditing.questions.question import Evidence
from pytest_labelleak.auditing.questions.transcripts import Transcripts
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.core.settings import Scope, activate
from pytest_labelleak.plugin.report import html as html_
from pytest_labelleak.plugin.report import json_report, markdown, terminal
from pytest_labelleak.plugin.report import rows as report_

sys.path.insert(0, str(Path(__file__).parent / "asr"))
from decoders import CLASSES, keras_batch, keras_decoder, synthetic

END = 2
ONE, OTHER = (71, 83, 71, 60, END), (83, 65, 88, END)
UPDATE = synthetic([ONE, OTHER])
BATCH = {"y": np.array([*ONE, *OTHER]), "lengths": [len(ONE), len(OTHER)]}
STRONG = GaussianNoise(relative=100.0)
needs_jiwer = pytest.mark.skipif(importlib.util.find_spec("jiwer") is None, reason="jiwer is not installed")


def claim(*transcripts, **changes: Any) -> Recovery:
    return Recovery(**{"attack": "a", "status": "recovered", "transcripts": transcripts, **changes})


def truth(*transcripts) -> Truth:
    labels = np.array([label for t in transcripts for label in t], dtype=np.int64)
    return Truth(labels=labels, classes=CLASSES, lengths=[len(t) for t in transcripts])


@dataclass(frozen=True)
class Fixed:
    """Claims what it was given, once for every update."""

    claims: tuple[Recovery, ...]
    name: str = "a"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return self.claims[min(len(update.defences), len(self.claims) - 1)]


@pytest.mark.parametrize(
    ("claimed", "share"),
    [
        ([ONE, OTHER], 1.0),
        ([OTHER, ONE], 1.0),
        ([ONE], 0.5),
        ([ONE, ONE], 0.5),  # one claim stands for one transcript
        ([ONE[::-1], OTHER], 0.5),
        ([(*ONE, *OTHER)], 0.0),
        ([], 0.0),
    ],
)
def test_scores_the_share_of_exact_transcripts(claimed, share):
    verdict = score_transcripts(claim(*claimed), truth(ONE, OTHER), TranscriptScorer())
    assert verdict.rebuilt == verdict.figure == share
    assert verdict.status == "recovered"
    assert verdict.precision == (share * 2 / len(claimed) if claimed else 0.0)


@needs_jiwer
@pytest.mark.parametrize(("rate", "share"), [(0.0, 0.0), (0.1, 0.0), (0.2, 0.5), (0.25, 1.0)])
def test_a_word_error_rate_can_be_tolerated(rate, share):
    claimed = ((71, 83, 60, 60, END), (83, 65, END))  # one of five wrong, one of four missing
    assert TranscriptScorer(word_error_rate=rate).recovered(claimed, truth(ONE, OTHER)) == share


def test_with_a_vocabulary_words_are_words():
    letters = Graphemes()
    said = truth((*letters.encode("no pain"), END))
    scorer = TranscriptScorer(vocabulary=letters)
    assert scorer.recovered([tuple(letters.encode("no pain"))], said) == 1.0  # the end stands for no word
    assert scorer.recovered([tuple(letters.encode("pain no"))], said) == 0.0


@pytest.mark.parametrize("rate", [-0.1, 1.0, True, "0", None, float("nan")])
def test_refuses_a_rate_that_is_none(rate):
    with pytest.raises(InvalidArgumentError, match="word_error_rate"):
        assert_transcripts_not_recoverable(UPDATE, BATCH, word_error_rate=rate)


def test_an_attack_that_ran_out_of_time_decides_nothing():
    guess = claim(ONE, details={"finished": False}, reason="the time budget of 1 s ran out")
    verdict = score_transcripts(guess, truth(ONE, OTHER), TranscriptScorer())
    assert verdict.status == "inconclusive"
    assert "time budget" in verdict.message
    # What it did find is out all the same.
    assert score_transcripts(guess, truth(ONE), TranscriptScorer()).figure == 1.0


def test_a_guess_that_got_nothing_right_is_no_claim():
    guess = claim(ONE[::-1], details={"unique": False}, reason="more than one order is plausible")
    verdict = score_transcripts(guess, truth(ONE), TranscriptScorer())
    assert verdict.status == "not applicable"
    assert "more than one order" in verdict.message
    assert score_transcripts(guess, truth(ONE[::-1]), TranscriptScorer()).figure == 1.0


def test_attacks_that_tell_no_order_do_not_apply():
    assert score_transcripts(claim(transcripts=None), truth(ONE), TranscriptScorer()).status == "not applicable"


def test_refuses_labels_that_do_not_exist():
    with pytest.raises(InvalidArgumentError, match="does not exist"):
        score_transcripts(claim((CLASSES,)), truth(ONE), TranscriptScorer())


def verdict(share: float | None) -> Verdict:
    status = Status.NOT_APPLICABLE if share is None else Status.RECOVERED
    stats = {"rebuilt": share}
    return Verdict(attack="a", status=status, reason="x", figure=share, declared=Transcripts.declared, stats=stats)


def decided(found: Verdict, control: float | None) -> Decision:
    evidence = Evidence(control=None if control is None else [verdict(control)], protected=control is not None)
    return Transcripts().decide([found], Bar(limit=0.1, threshold=0.1), evidence)


def score_transcripts(recovery: Recovery, truth: Truth, scorer: TranscriptScorer) -> Verdict:
    return Transcripts(scorer=scorer).score(recovery, truth)


@pytest.mark.parametrize(
    ("defended", "control", "outcome"),
    [
        (1.0, None, "leaked"),
        (0.0, None, "inconclusive"),  # undefended never holds
        (None, None, "inconclusive"),
        (None, 1.0, "held"),
        (0.0, 1.0, "held"),
        (0.5, 1.0, "leaked"),
        (None, 0.0, "inconclusive"),
        (0.0, 0.05, "inconclusive"),
    ],
)
def test_decides(defended, control, outcome):
    decision = decided(verdict(defended), control)
    assert decision.outcome == outcome
    assert decision.message.startswith(outcome)


def test_a_control_that_fails_without_the_defence_proves_nothing():
    evidence = Evidence(control=[verdict(None)], protected=True)
    decision = Transcripts().decide([verdict(None)], Bar(limit=0.1, threshold=0.1), evidence)
    assert decision.outcome == "inconclusive"
    assert "positive control failed" in decision.message


def test_an_undefended_update_leaks():
    with pytest.raises(LabelLeak, match="rebuild these transcripts") as caught:
        assert_transcripts_not_recoverable(UPDATE, BATCH)
    text = str(caught.value)
    assert "100 % of the transcripts were rebuilt, word for word" in text
    assert "ordering" in text
    for label in (71, 83, 60, 65, 88):
        assert str(label) not in text


@pytest.mark.parametrize("defence", ["sign", Sign(), STRONG])
def test_holds_behind_a_defence_that_does_its_work(defence):
    result = assert_transcripts_not_recoverable(UPDATE, BATCH, defence=defence)
    assert result.outcome == "held"
    assert result.control[0].rebuilt == 1.0


def test_weak_noise_is_no_defence():
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(UPDATE, BATCH, defence=GaussianNoise(relative=1e-7))


def test_the_threshold_is_a_share_of_the_utterances():
    half = Fixed(claims=(claim(ONE),))
    with pytest.raises(InconclusiveAudit, match="an undefended update never holds"):
        assert_transcripts_not_recoverable(UPDATE, BATCH, attacks=[half], threshold=0.5)
    with pytest.raises(LabelLeak, match=r"0\.50 > 0\.40"):
        assert_transcripts_not_recoverable(UPDATE, BATCH, attacks=half, threshold=0.4)


def test_attacks_can_be_named():
    with pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(UPDATE, BATCH, attacks="ordering")


def test_unknown_weights_are_inconclusive():
    unknown = Update(gradients=UPDATE.gradients, head=type(UPDATE.head)(kernel="head"))
    with pytest.raises(InconclusiveAudit, match="weights are not known"):
        assert_transcripts_not_recoverable(unknown, BATCH)


def test_several_batches_are_pooled():
    claims = Fixed(claims=(claim(ONE, OTHER),))
    with pytest.raises(LabelLeak, match="2 batch"):
        assert_transcripts_not_recoverable(UPDATE, [BATCH, BATCH], attacks=[claims])


@pytest.mark.parametrize("lengths", [[1], [5, 5], [9, 1]])
def test_lengths_must_add_up(lengths):
    with pytest.raises(InvalidArgumentError, match="lengths"):
        assert_transcripts_not_recoverable(UPDATE, {**BATCH, "lengths": lengths})


def test_reports_say_how_many_and_not_which():
    scope = Scope()
    with activate(scope), pytest.raises(LabelLeak):
        assert_transcripts_not_recoverable(UPDATE, BATCH)
    (record,) = scope.records
    assert record["statistics"] == {"word_error_rate": 0.0, "rebuilt": 1.0}
    assert record.pop("figure_ceiling") == 1.0
    row = {**record, "test": "t.py::test_it", "index": 0, "test_outcome": "failed"}
    report = report_.build([row])
    schema = Path(report_.__file__).with_name("schema-v2.json")
    jsonschema.validate(report, json.loads(schema.read_text("utf-8")))
    texts = [json_report.render(report), markdown.render(report), html_.render(report)]
    texts.append("\n".join(text for text, _ in terminal.lines(report)))
    for text in texts[1:]:
        assert "of the transcripts were rebuilt" in text
    for text in texts:
        # Whole numbers: a version holds a commit, whose digits may be anything.
        assert not re.search(r"\b(83|71)\b", text)


@pytest.mark.framework
def test_a_keras_recogniser_leaks_its_transcripts(request):
    transcripts = [(7, 12, 9, 12, 33, END), (40, 7, 21, END)]
    with pytest.raises(LabelLeak, match=r"1\.00 > 0\.10"):
        assert_transcripts_not_recoverable(keras_decoder(), keras_batch(transcripts))
    held = assert_transcripts_not_recoverable(keras_decoder(), keras_batch(transcripts), defence="sign")
    assert held.rebuilt is None


def test_the_fixture_has_the_same_call(labelleak):
    with pytest.raises(LabelLeak):
        labelleak.assert_transcripts_not_recoverable(UPDATE, BATCH)
    assert labelleak.assert_transcripts_not_recoverable(UPDATE, BATCH, defence="sign").outcome == "held"
