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

# Arguments are quoted to show a slip, such as a percentage for a share. A longer text is a text and no slip.
_LONGEST = 80


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


def quoted(value: Any) -> str:
    """Return an argument as an error may quote it: a number or a short text itself, anything else by type and shape.

    A batch or its labels in the place of a setting is a common mistake, and its error must not show them.

    Parameters
    ----------
    value : object
        The argument.

    Returns
    -------
    str
        Of builtin numbers, None and text of at most 80 characters the repr.

    Examples
    --------
    >>> quoted(1.5), quoted("fast"), quoted([79191, 7])
    ('1.5', "'fast'", '<list of length 2>')
    """
    kind = type(value)
    if value is None or kind in (bool, int, float) or (kind is str and len(value) <= _LONGEST):
        return repr(value)
    try:
        shape = tuple(int(length) for length in value.shape)
    except Exception:  # no array; or a tensor without a shape, of which frameworks raise errors of their own
        try:
            return f"<{kind.__name__} of length {len(value)}>"
        except Exception:
            return f"<{kind.__name__}>"
    return f"<{kind.__name__} of shape {shape}>"
