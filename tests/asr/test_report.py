"""The report over utterances: failures count."""

from __future__ import annotations

import pytest

from pytest_labelleak import InvalidArgumentError
from pytest_labelleak.asr import Utterance, bag_report, word_error_rate


def said(*tokens, claimed, length=None):
    return Utterance(said=tokens, claimed=claimed, length=length)


def test_an_exact_bag():
    report = bag_report([said(3, 5, 3, 2, claimed={2, 3, 5}, length=4)], classes=10)
    assert (report.exact_match, report.precision, report.recall, report.accuracy) == (1, 1, 1, 1)
    assert (report.length_error, report.failures) == (0, 0)


def test_a_failure_counts_as_nothing_found():
    exact = said(3, 5, claimed=(3, 5), length=2)
    for nothing in (said(1, 2, 4, claimed=None), said(1, 2, 4, claimed=())):
        report = bag_report([exact, nothing], classes=100)
        assert (report.utterances, report.failures) == (2, 1)
        assert (report.exact_match, report.precision, report.recall) == (0.5, 0.5, 0.5)
        assert report.length_error == 1.5
        assert report.accuracy == pytest.approx(1 - 0.03 / 2)  # near 1, although half of it failed


def test_wrong_and_missing_tokens():
    report = bag_report([said(1, 2, 3, 4, claimed={1, 2, 9}, length=6)], classes=10)
    assert (report.precision, report.recall, report.exact_match) == (pytest.approx(2 / 3), 0.5, 0)
    assert report.accuracy == pytest.approx(0.7)
    assert report.length_error == 2


def test_a_claim_without_a_length_misses_all_of_it():
    assert bag_report([said(1, 2, 3, claimed={1, 2, 3})], classes=10).length_error == 3


def test_nothing_to_report_on():
    with pytest.raises(InvalidArgumentError, match="empty"):
        bag_report([], classes=10)
    with pytest.raises(InvalidArgumentError, match="1 of 1 utterances have no tokens"):
        bag_report([said(claimed=())], classes=10)


def test_tokens_are_in_no_repr():
    assert "137" not in repr(said(137, claimed=(137,)))
    assert "137" not in repr(bag_report([said(137, claimed=(137,))], classes=200))


def test_word_error_rate():
    pytest.importorskip("jiwer")
    assert word_error_rate(["the cat sat"], ["the cat sat"]) == 0
    assert word_error_rate(["the cat sat", "on"], ["the hat sat", None]) == 0.5
    assert word_error_rate(["a"], ["a b c"]) == 2


def test_word_error_rate_of_bad_input(monkeypatch):
    with pytest.raises(InvalidArgumentError, match="1 transcripts and 2"):
        word_error_rate(["a"], ["a", "b"])
    with pytest.raises(InvalidArgumentError, match="1 of 2 true transcripts"):
        word_error_rate(["a", " "], ["a", "b"])
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    with pytest.raises(InvalidArgumentError, match=r"jiwer.*pytest-labelleak\[asr\]"):
        word_error_rate(["a"], ["a"])
