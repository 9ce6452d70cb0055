"""The object behind the `labelleak` fixture."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings

if TYPE_CHECKING:
    from .. import capture as capturing
    from ..auditing import assertions
    from ..auditing import measure as auditing

__all__ = ["LabelLeakFixture"]


class _Public:
    """A public function of the package, imported when it is asked for, since importing it may take long."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        """Return the function itself: whatever it does, it does with the settings of the running test."""
        return getattr(importlib.import_module("pytest_labelleak"), self._name)


class LabelLeakFixture:
    """Audits with the settings of the running test.

    Its methods are the public functions of the same names.

    Attributes
    ----------
    settings : Settings
        Defaults < ini file < command line < marker.
    """

    if TYPE_CHECKING:
        audit = staticmethod(auditing.audit)
        capture = staticmethod(capturing.capture_update)
        assert_label_counts_not_recoverable = staticmethod(assertions.assert_label_counts_not_recoverable)
        assert_labels_not_recoverable = staticmethod(assertions.assert_labels_not_recoverable)
        assert_samples_not_isolated = staticmethod(assertions.assert_samples_not_isolated)
        assert_transcripts_not_recoverable = staticmethod(assertions.assert_transcripts_not_recoverable)
        assert_words_not_recoverable = staticmethod(assertions.assert_words_not_recoverable)
    else:
        audit = _Public("audit")
        capture = _Public("capture_update")
        assert_label_counts_not_recoverable = _Public("assert_label_counts_not_recoverable")
        assert_labels_not_recoverable = _Public("assert_labels_not_recoverable")
        assert_samples_not_isolated = _Public("assert_samples_not_isolated")
        assert_transcripts_not_recoverable = _Public("assert_transcripts_not_recoverable")
        assert_words_not_recoverable = _Public("assert_words_not_recoverable")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __repr__(self) -> str:
        """Say what it is, without any value of the test."""
        return "<labelleak fixture>"
