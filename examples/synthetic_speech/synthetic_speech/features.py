"""Log mel features: 80 filters, 25 ms windows every 10 ms, as speech recognisers for LibriSpeech take them."""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["FILTERS", "log_mel"]

FILTERS = 80
_WINDOW, _STEP = 0.025, 0.010  # seconds
_LOWEST, _HIGHEST = 125.0, 7600.0  # Hz
_PREEMPHASIS = 0.97
#: Keeps the logarithm of silence finite.
_FLOOR = 1e-6


def log_mel(wave: np.ndarray, *, rate: int = 16000, filters: int = FILTERS) -> np.ndarray:
    """Turn a waveform into log mel features, each filter with mean 0 and deviation 1 over the utterance.

    Parameters
    ----------
    wave : ndarray, shape (n,)
        Samples.
    rate : int, default 16000
        Samples per second.
    filters : int, default 80
        Number of mel filters.

    Returns
    -------
    ndarray of float32, shape (t, filters)
        One row per 10 ms; at least one.
    """
    window, step = round(_WINDOW * rate), round(_STEP * rate)
    wave = np.asarray(wave, np.float64)
    wave = np.append(wave[:1], wave[1:] - _PREEMPHASIS * wave[:-1])
    wave = np.pad(wave, (0, max(0, window - wave.size)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::step] * np.hanning(window)
    size = 1 << (window - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    features = np.log(power @ _mel_filters(rate, size, filters) + _FLOOR)
    features -= features.mean(axis=0)
    deviation = features.std(axis=0)
    return (features / np.where(deviation > 0.0, deviation, 1.0)).astype(np.float32)


@functools.cache
def _mel_filters(rate: int, size: int, filters: int) -> np.ndarray:
    """Return triangles that are even on the mel scale 1127 ln(1 + f / 700), shape (size // 2 + 1, filters)."""
    mel = 1127.0 * np.log1p(np.linspace(0.0, rate / 2, size // 2 + 1) / 700.0)
    low, high = 1127.0 * np.log1p(np.array([_LOWEST, min(_HIGHEST, rate / 2)]) / 700.0)
    edges = np.linspace(low, high, filters + 2)
    width = edges[1] - edges[0]
    return np.maximum(0.0, 1.0 - np.abs(mel[:, None] - edges[None, 1:-1]) / width)
