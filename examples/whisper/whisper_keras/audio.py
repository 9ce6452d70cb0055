"""From a waveform to the input of Whisper: a log-mel spectrogram of thirty seconds.

The definition is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022
(https://doi.org/10.48550/arXiv.2212.04356), section 2.2, with the mel scale of Slaney's Auditory Toolbox (1998).
"""

from __future__ import annotations

import numpy as np

__all__ = ["FRAMES", "MELS", "RATE", "log_mel"]

#: Samples per second.
RATE = 16_000
#: Mel bands.
MELS = 80
#: Frames in thirty seconds, the only length that the encoder takes.
FRAMES = 3_000

_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms

# Slaney's mel scale is linear up to 1 kHz and logarithmic above.
_LINEAR_HZ = 200.0 / 3.0
_BREAK_HZ = 1_000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27.0


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Return the log-mel spectrogram of `wave`, padded or cut to thirty seconds.

    Parameters
    ----------
    wave : ndarray of shape (samples,)
        Samples at 16 kHz, in [-1, 1].

    Returns
    -------
    ndarray of float32, shape (3000, 80)
        Frames by bands, the top 8 orders of magnitude scaled to about [-1, 1].
    """
    padded = np.zeros(FRAMES * _HOP)
    padded[: min(wave.size, padded.size)] = wave[: padded.size]
    padded = np.pad(padded, _WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:FRAMES]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    bands = np.log10(np.maximum(power @ _filters(), 1e-10))
    bands = np.maximum(bands, bands.max() - 8.0)
    return ((bands + 4.0) / 4.0).astype(np.float32)


def _filters() -> np.ndarray:
    """Return triangular filters of unit area, shape (201, 80)."""
    top = _BREAK_MEL + np.log(RATE / 2 / _BREAK_HZ) / _LOG_STEP
    mels = np.linspace(0.0, top, MELS + 2)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    edges = np.where(mels < _BREAK_MEL, _LINEAR_HZ * mels, above)
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rising, falling), 0.0) * 2.0 / (edges[2:] - edges[:-2])
