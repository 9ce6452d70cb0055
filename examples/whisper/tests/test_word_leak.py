"""What one shared gradient gives away about a spoken sentence, and which defences change that."""

from __future__ import annotations

import pytest

from pytest_labelleak import GaussianNoise, LabelLeak, Sign, assert_words_not_recoverable, attack, audit
from pytest_labelleak.asr import formable


# The three lines of a gate. On an undefended network it fails; this test passes because it expects that.
def test_undefended_gradient_leaks(model, batch, vocabulary):
    with pytest.raises(LabelLeak) as caught:
        assert_words_not_recoverable(model, batch, vocabulary=vocabulary)

    found = caught.value.audit
    assert found.words["recovered"] == 1.0  # all eight words of the sentence
    # The input embedding gives them away by itself: its gradient is zero but for the rows of the tokens that were fed.
    assert found.strongest.attack == "embedding_rows"
    assert "embedding" in found.strongest.variables[0]


# A list of terms that must never be told, whatever the average says: here nothing else is asked for.
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
# nothing: the tokens that were fed are told apart, and what is left is read as before.
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


# What holds is noise a thousand times the gradient's own size. At ten times, a token is still named now and then:
# the columns of the tokens that were said are far larger than the average of 51864.
def test_overwhelming_noise_holds(model, batch, vocabulary, words):
    held = assert_words_not_recoverable(
        model, batch, vocabulary=vocabulary, defence=GaussianNoise(relative=1000.0), sensitive=words[-1:]
    )
    assert held.sensitive == {"listed": 1, "present": 1, "exposed": []}
