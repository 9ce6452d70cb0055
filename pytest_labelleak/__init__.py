"""A pytest plugin that fails a build when a training gradient gives away the labels in its batch.

Reading order::

    core      values and errors that every folder speaks of: Update, Truth, Recovery, settings
    defences  from an Update to the Update that is shared instead
    attacks   from an Update to a Recovery
    asr       labels as text, and attacks that put them in order
    capture   from the user's model and batch to an Update and its Truth
    auditing  from a model and its batches to an Audit
    testing   updates with known truth, and checks for attacks, defences and adapters
    plugin    the pytest plugin, and its reports
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attacks import Attack, attack
    from .auditing.assertions import (
        assert_label_counts_not_recoverable,
        assert_labels_not_recoverable,
        assert_samples_not_isolated,
        assert_transcripts_not_recoverable,
        assert_words_not_recoverable,
    )
    from .auditing.measure import audit
    from .auditing.result import Audit
    from .auditing.verdict import Verdict
    from .capture import Adapter, capture_update
    from .core.errors import (
        BaselineError,
        InconclusiveAudit,
        InvalidArgumentError,
        LabelLeak,
        UnknownNameError,
        UnsupportedModelError,
    )
    from .core.optimizer import Optimizer
    from .core.recovery import Certificate, Recovery
    from .core.settings import Settings
    from .core.truth import Truth
    from .core.update import Head, Update
    from .defences import (
        Aggregate,
        ClipNorm,
        Compose,
        Defence,
        DropSmallest,
        GaussianNoise,
        LaplaceNoise,
        NoiseLaw,
        Quantise,
        RandomDrop,
        RoundTo,
        Sign,
        TopK,
    )

    __version__: str

# Loaded on first use (PEP 562): pytest imports this package at start-up in every project where the
# plugin is installed, and numpy alone would cost each of those runs a quarter of a second.
_HOME = {
    "Aggregate": "defences",
    "Adapter": "capture",
    "Attack": "attacks",
    "Audit": "auditing.result",
    "BaselineError": "core.errors",
    "Certificate": "core.recovery",
    "ClipNorm": "defences",
    "Compose": "defences",
    "Defence": "defences",
    "DropSmallest": "defences",
    "GaussianNoise": "defences",
    "Head": "core.update",
    "InconclusiveAudit": "core.errors",
    "InvalidArgumentError": "core.errors",
    "LabelLeak": "core.errors",
    "LaplaceNoise": "defences",
    "NoiseLaw": "defences",
    "Optimizer": "core.optimizer",
    "Quantise": "defences",
    "RandomDrop": "defences",
    "Recovery": "core.recovery",
    "RoundTo": "defences",
    "Settings": "core.settings",
    "Sign": "defences",
    "TopK": "defences",
    "Truth": "core.truth",
    "UnknownNameError": "core.errors",
    "UnsupportedModelError": "core.errors",
    "Update": "core.update",
    "Verdict": "auditing.verdict",
    "assert_label_counts_not_recoverable": "auditing.assertions",
    "assert_labels_not_recoverable": "auditing.assertions",
    "assert_samples_not_isolated": "auditing.assertions",
    "assert_transcripts_not_recoverable": "auditing.assertions",
    "assert_words_not_recoverable": "auditing.assertions",
    "attack": "attacks",
    "audit": "auditing.measure",
    "capture_update": "capture",
}

__all__ = [
    "Adapter",
    "Aggregate",
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
    "NoiseLaw",
    "Optimizer",
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
    "assert_label_counts_not_recoverable",
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
    if name == "__version__":
        from .core.version import installed_version

        return installed_version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
