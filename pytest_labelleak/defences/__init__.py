"""Defences: from the update that a participant has to the update that it shares.

Reading order::

    law        distribution of the noise that a defence adds
    defence    the protocol
    checks     arguments of the built-in defences
    scale      norms and magnitudes of a whole update
    clip       a bound on the norm
    noise      Gaussian and Laplace noise
    quantise   signs, few bits, shorter floats
    sparsify   dropped entries
    aggregate  a sum over participants
    compose    several defences, one after the other
    parse      defences as text in settings
    registry   defences by name
"""

from __future__ import annotations

from .aggregate import Aggregate
from .clip import ClipNorm
from .compose import Compose
from .defence import Defence
from .law import NoiseLaw
from .noise import GaussianNoise, LaplaceNoise
from .quantise import Quantise, RoundTo, Sign
from .registry import builtin_defences, resolve
from .sparsify import DropSmallest, RandomDrop, TopK

__all__ = [
    "Aggregate",
    "ClipNorm",
    "Compose",
    "Defence",
    "DropSmallest",
    "GaussianNoise",
    "LaplaceNoise",
    "NoiseLaw",
    "Quantise",
    "RandomDrop",
    "RoundTo",
    "Sign",
    "TopK",
    "builtin_defences",
    "resolve",
]
