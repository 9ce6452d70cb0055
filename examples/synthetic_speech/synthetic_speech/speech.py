"""Synthetic speech from espeak-ng, as the library that the package ``espeakng-loader`` ships: no root, no program."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.signal import resample_poly

__all__ = ["RATE", "speak"]

#: Samples per second of synthetic speech, as in LibriSpeech.
RATE = 16000
_SYNCHRONOUS, _PHONEMES_OFF, _UTF8, _RATE_PARAMETER = 2, 0, 1, 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@functools.cache
def _library() -> tuple[Any, int, list[np.ndarray], Callable[..., int]]:
    """Load and start the synthesiser once; return it, its sample rate, and where its samples arrive."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), _PHONEMES_OFF)
    if rate <= 0:
        raise RuntimeError(
            f"espeak-ng does not start (status {rate}). Expected a sample rate: reinstall espeakng-loader."
        )
    chunks: list[np.ndarray] = []

    @_Callback
    def keep(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(keep)
    return library, rate, chunks, keep  # the callback must stay alive as long as the library calls it


def speak(text: str, *, voice: str = "en-us", words_per_minute: int = 175) -> np.ndarray:
    """Say `text`.

    Parameters
    ----------
    text : str
        Plain words.
    voice : str, default "en-us"
        Name of an espeak-ng voice.
    words_per_minute : int, default 175
        Speed, 80 to 450.

    Returns
    -------
    ndarray of float32, shape (n,)
        Samples in [-1, 1] at `RATE`.

    Raises
    ------
    ValueError
        If the text is empty, or the voice unknown.
    """
    if not text.strip():
        raise ValueError("the text is empty. Expected words.")
    library, rate, chunks, _ = _library()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"voice={voice!r} is unknown to espeak-ng. Expected a name such as 'en-us' or 'en-gb'.")
    library.espeak_SetParameter(_RATE_PARAMETER, words_per_minute, 0)
    chunks.clear()
    data = text.encode() + b"\0"
    library.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    wave = np.concatenate(chunks).astype(np.float64) / 32768.0
    common = int(np.gcd(RATE, rate))
    return resample_poly(wave, RATE // common, rate // common).astype(np.float32)
