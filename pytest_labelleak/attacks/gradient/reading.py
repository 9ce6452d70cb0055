"""Reading: one update, with everything that several attacks compute about it, each computed once."""

from __future__ import annotations

from ...core.update import Update

__all__ = ["Reading"]


class Reading:
    """One update as a receiver reads it. Made once by whoever runs several attacks on it.

    Parameters
    ----------
    update : Update
        The update that was shared.
    """

    __slots__ = ("update",)

    def __init__(self, update: Update) -> None:
        self.update = update
