"""Words of a spoken sentence, recovered from one shared gradient, with defences and without."""

from __future__ import annotations

import pytest

from pytest_labelleak import GaussianNoise, LabelLeak, Sign, assert_words_not_recoverable, attack, audit
from pytest_labelleak.asr import formable


# These are the three lines of a gate. On an undefended network the gate fails; this test expects the failure.
def test_undefended_gradient_leaks(model, batch, vocabulary):
    with pytest.raises(LabelLeak) as caught:
        assert_words_not_recoverable(model, batch, vocabulary=vocabulary)

    found = caught.value.audit
    assert found.words["recovered"] == 1.0  # all eight words of the sentence
    # The input embedding alone names the words: its gradient is zero except in the rows of the tokens that were fed.
    assert found.strongest.attack == "embedding_rows"
    assert "embedding" in found.strongest.variables[0]


# A list of sensitive terms, of which no attack may recover one, whatever the average over words is.
def test_sensitive_terms(labelleak, model, batch, vocabulary, words):
    listed = ["pneumonia", words[-1], "Dashwood"]
    with pytest.raises(LabelLeak) as caught:
        labelleak.assert_words_not_recoverable(
            model, batch, vocabulary=vocabulary, sensitive=listed, threshold=1.0, attacks="rlg"
        )
    # Only numbers and indices appear in any output.
    assert caught.value.audit.sensitive == {"listed": 3, "present": 1, "exposed": [1]}


def test_every_token_is_named_from_one_gradient(model, batch):
    (verdict,) = audit(model, batch, attacks="rlg").verdicts

    assert verdict.labels == 9  # eight words and the end, no token twice
    assert verdict.exact_match == 1.0  # all of them named, and no other of 51864


# In the original the projection is the transposed embedding. Its gradient is then the sum of both uses, which hides
# no word: the attack subtracts the rows of the fed tokens, and reads the rest as before.
def test_a_tied_projection_leaks_as_well(tied_model, batch):
    (verdict,) = audit(tied_model, batch, attacks="rlg").verdicts

    assert verdict.recall == 1.0
    assert verdict.claimed == verdict.labels + 2  # the two tokens of the prompt, which everybody knows


def test_the_words_follow_from_the_tokens(update, words, vocabulary):
    tokens = attack("rlg", update).labels

    found = [formable(word, tokens, vocabulary) for word in words]
    assert (sum(found), len(found)) == (8, 8)


# Sharing only the signs of the gradient is often taken for protection. The zero rows of the embedding survive it.
def test_signs_alone_leak(model, batch, vocabulary):
    with pytest.raises(LabelLeak):
        assert_words_not_recoverable(model, batch, vocabulary=vocabulary, defence=Sign(), attacks="embedding_rows")


# Noise of a thousand times the gradient's own size hides the words. At ten times, attacks still name a token now and
# then: the columns of the tokens in the transcript are far larger than the average of 51864. The noise is drawn until
# bounds are within the threshold: at a tenth that takes fifty draws, minutes for a head of this size, so a fifth it is.
def test_overwhelming_noise_holds(model, batch, vocabulary, words):
    held = assert_words_not_recoverable(
        model,
        batch,
        vocabulary=vocabulary,
        defence=GaussianNoise(relative=1000.0),
        sensitive=words[-1:],
        threshold=0.2,
        attacks=["embedding_rows", "llg", "rlg", "rlg_robust", "energy"],
    )
    assert held.sensitive == {"listed": 1, "present": 1, "exposed": []}
