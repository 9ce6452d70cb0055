"""Exceptions of the public API; none of their messages ever carries a label."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BaselineError",
    "InconclusiveAudit",
    "InvalidArgumentError",
    "LabelLeak",
    "UnknownNameError",
    "UnsupportedModelError",
]


class LabelLeak(AssertionError):  # noqa: N818 - the name users catch
    """Labels can be recovered from the shared update beyond the allowed limit.

    The message holds aggregate figures only. The full result, labels included, is in `audit`.

    Attributes
    ----------
    audit : pytest_labelleak.Audit
        The full result.
    """

    def __init__(self, message: str, *, audit: Any = None) -> None:
        super().__init__(message)
        self.audit = audit


class InconclusiveAudit(Exception):  # noqa: N818 - the name states the outcome
    """The audit could not decide, which is never a pass; the message names the change that would let it decide.

    Attributes
    ----------
    audit : pytest_labelleak.Audit or None
        The result, where the audit got that far.
    """

    def __init__(self, message: str, *, audit: Any = None) -> None:
        super().__init__(message)
        self.audit = audit


class InvalidArgumentError(ValueError):
    """An argument, option or array has a wrong type, shape or value; the message says which were expected."""


class UnsupportedModelError(ValueError):
    """The gradient of this model cannot be captured; the message names the layer, the loss or the backend."""


class UnknownNameError(ValueError):
    """A name (of an attack, a defence, a layer) that nobody registered."""


class BaselineError(ValueError):
    """The baseline file cannot be used: corrupt, from a newer version, or not writable here."""


for _error in (
    BaselineError,
    InconclusiveAudit,
    InvalidArgumentError,
    LabelLeak,
    UnknownNameError,
    UnsupportedModelError,
):
    # Tracebacks and pytest's short summary print the module: show the import path users write.
    _error.__module__ = "pytest_labelleak"
