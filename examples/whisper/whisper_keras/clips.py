"""Real speech with its real transcripts: five sentences of an audiobook, five hands of cards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from .assets import fetch_clips
from .audio import RATE

__all__ = ["Clip", "load_clips"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """One utterance. The transcript is private: the repr does not show it.

    Attributes
    ----------
    name : str
        Name of the file.
    wave : ndarray of shape (samples,)
        Samples at 16 kHz, in [-1, 1].
    transcript : str
        The words, in lower case and without punctuation.
    """

    name: str
    wave: np.ndarray = field(repr=False)
    transcript: str = field(repr=False)

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.wave.size / RATE


def load_clips(*, audiobook: bool = True, cards: bool = False) -> list[Clip]:
    """Load clips, fetching them the first time.

    Parameters
    ----------
    audiobook : bool, default True
        The five sentences from LibriVox's reading of *Sense and Sensibility*.
    cards : bool, default False
        The five hands of cards: short, and full of repeated words.

    Returns
    -------
    list of Clip
        In the order of their names.
    """
    folder = fetch_clips()
    found = []
    if audiobook:
        for path in sorted(folder.glob("sense_*.wav")):
            found.append(_clip(path, path.with_suffix(".txt").read_text(encoding="ascii")))
    if cards:
        lines = (folder / "cards.transcription").read_text(encoding="ascii").splitlines()
        for line in filter(str.strip, lines):
            said, name = re.fullmatch(r"<s>(.*)</s>\s*\((\w+)\)\s*", line).groups()
            found.append(_clip(folder / f"{name}.wav", said))
    return found


def _clip(path: Path, transcript: str) -> Clip:
    rate, samples = wavfile.read(path)
    if rate != RATE or samples.dtype != np.int16 or samples.ndim != 1:
        raise ValueError(f"{path.name} is not 16-bit mono at {RATE} Hz")
    return Clip(name=path.stem, wave=samples / 32768.0, transcript=" ".join(transcript.split()))
