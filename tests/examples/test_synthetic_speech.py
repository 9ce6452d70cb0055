"""The speech that the examples share, and its features."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from synthetic_speech import RATE, log_mel, speak


def test_speech_is_loud_and_longer_for_longer_text():
    short, long = speak("yes"), speak("yes, and a good deal more than that")
    assert 0.1 < np.abs(short).max() <= 1.0
    assert RATE / 5 < short.size < long.size
    assert abs(speak("yes").size - short.size) < RATE / 50  # espeak-ng varies a little
    assert speak("yes", words_per_minute=400).size < short.size
    with pytest.raises(ValueError, match="empty"):
        speak("  ")
    with pytest.raises(ValueError, match="unknown to espeak-ng"):
        speak("yes", voice="klingon-imperial")


def test_a_tone_moves_the_filters_around_its_frequency():
    time = np.arange(RATE) / RATE
    quiet = 1e-3 * np.random.default_rng(0).normal(size=RATE // 2)
    for frequency in (300.0, 1000.0, 4000.0):
        wave = np.concatenate([quiet, np.sin(2 * np.pi * frequency * time)])
        features = log_mel(wave)
        assert features.shape == (148, 80)
        np.testing.assert_allclose(features.mean(axis=0), 0.0, atol=1e-5)
        np.testing.assert_allclose(features.std(axis=0), 1.0, atol=1e-4)
        edges = np.linspace(*(1127 * np.log1p(np.array([125.0, 7600.0]) / 700)), 82)
        nearest = int(np.argmin(np.abs(edges[1:-1] - 1127 * np.log1p(frequency / 700))))
        steps = features[100:140].mean(axis=0) - features[5:45].mean(axis=0)
        assert steps[nearest] > 1.5  # in deviations over the utterance: all of it is this tone
    assert log_mel(np.zeros(10)).shape == (1, 80)
