"""What one shared gradient gives away about a spoken sentence, and which defences change that."""

from __future__ import annotations

import pytest

from pytest_labelleak import GaussianNoise, LabelLeak, Sign, assert_labels_not_recoverable, attack, audit
from pytest_labelleak.asr import exposed_terms, formable


# The three lines of a gate. On an undefended network it fails; this test passes because it expects that.
def test_undefended_gradient_leaks(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch)


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


# The embedding itself needs no attack: its gradient is zero but for the rows of the tokens that were fed.
def test_the_input_embedding_names_the_words(update, words, vocabulary):
    fed = attack("embedding_rows", update).labels

    found = [formable(word, fed, vocabulary) for word in words]
    assert (sum(found), len(found)) == (8, 8)


def test_the_words_follow_from_the_tokens(update, words, vocabulary):
    tokens = attack("rlg", update).labels

    found = [formable(word, tokens, vocabulary) for word in words]
    assert (sum(found), len(found)) == (8, 8)


# A list of terms that must never be told. Only their numbers appear in any output.
def test_sensitive_terms(update, words, vocabulary):
    tokens = attack("rlg", update).labels

    assert exposed_terms(tokens, vocabulary, ["pneumonia", words[-1], "Dashwood"]) == (1,)


# Sharing only the signs of the gradient is often taken for protection. The zero rows of the embedding survive it.
def test_signs_alone_leak(model, batch):
    with pytest.raises(LabelLeak):
        assert_labels_not_recoverable(model, batch, defence=Sign(), attacks="embedding_rows")


# What holds is noise a thousand times the gradient's own size. At ten times, a token is still named now and then:
# the columns of the tokens that were said are far larger than the average of 51864.
def test_overwhelming_noise_holds(model, batch):
    assert_labels_not_recoverable(model, batch, defence=GaussianNoise(relative=1000.0))
