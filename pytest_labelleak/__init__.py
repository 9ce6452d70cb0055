"""A pytest plugin that fails a build when a training gradient gives away the labels in its batch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assertions import (
        assert_labels_not_recoverable,
        assert_samples_not_isolated,
        assert_transcripts_not_recoverable,
        assert_words_not_recoverable,
    )
    from .attacks import Attack, attack
    from .auditing import audit
    from .capture import Adapter, capture_update
    from .defences import (
        ClipNorm,
        Compose,
        Defence,
        DropSmallest,
        GaussianNoise,
        LaplaceNoise,
        Quantise,
        RandomDrop,
        RoundTo,
        Sign,
        TopK,
    )
    from .errors import (
        BaselineError,
        InconclusiveAudit,
        InvalidArgumentError,
        LabelLeak,
        UnknownNameError,
        UnsupportedModelError,
    )
    from .recovery import Certificate, Recovery
    from .result import Audit
    from .settings import Settings
    from .truth import Truth
    from .update import Head, Update
    from .verdict import Verdict

__version__ = "0.1.0"

# Loaded on first use (PEP 562): pytest imports this package at start-up in every project where the
# plugin is installed, and numpy alone would cost each of those runs a quarter of a second.
_HOME = {
    "Adapter": "capture",
    "Attack": "attacks",
    "Audit": "result",
    "BaselineError": "errors",
    "Certificate": "recovery",
    "ClipNorm": "defences",
    "Compose": "defences",
    "Defence": "defences",
    "DropSmallest": "defences",
    "GaussianNoise": "defences",
    "Head": "update",
    "InconclusiveAudit": "errors",
    "InvalidArgumentError": "errors",
    "LabelLeak": "errors",
    "LaplaceNoise": "defences",
    "Quantise": "defences",
    "RandomDrop": "defences",
    "Recovery": "recovery",
    "RoundTo": "defences",
    "Settings": "settings",
    "Sign": "defences",
    "TopK": "defences",
    "Truth": "truth",
    "UnknownNameError": "errors",
    "UnsupportedModelError": "errors",
    "Update": "update",
    "Verdict": "verdict",
    "assert_labels_not_recoverable": "assertions",
    "assert_samples_not_isolated": "assertions",
    "assert_transcripts_not_recoverable": "assertions",
    "assert_words_not_recoverable": "assertions",
    "attack": "attacks",
    "audit": "auditing",
    "capture_update": "capture",
}

__all__ = [
    "Adapter",
    "Attack",
    "Audit",
    "BaselineError",
    "Certificate",
    "ClipNorm",
    "Compose",
    "Defence",
    "DropSmallest",
    "GaussianNoise",
    "Head",
    "InconclusiveAudit",
    "InvalidArgumentError",
    "LabelLeak",
    "LaplaceNoise",
    "Quantise",
    "RandomDrop",
    "Recovery",
    "RoundTo",
    "Settings",
    "Sign",
    "TopK",
    "Truth",
    "UnknownNameError",
    "UnsupportedModelError",
    "Update",
    "Verdict",
    "assert_labels_not_recoverable",
    "assert_samples_not_isolated",
    "assert_transcripts_not_recoverable",
    "assert_words_not_recoverable",
    "attack",
    "audit",
    "capture_update",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines a public name, on first use of that name."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
