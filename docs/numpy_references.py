"""References of numpydoc docstrings as Markdown, for the API pages: ``.. [1] Title`` becomes an item of a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ITEM = re.compile(r"^\.\. \[(\d+)\] ", re.MULTILINE)
_MENTION = re.compile(r" ?\[(\d+)\]_")


class NumpyReferences(griffe.Extension):
    """Rewrites the reStructuredText of references, which Markdown would show as it stands."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object.

        Parameters
        ----------
        obj : griffe.Object
            A module, class, function or attribute, read from the source.
        """
        if obj.docstring is not None:
            text = _ITEM.sub(r"\1. ", obj.docstring.value)
            obj.docstring.value = _MENTION.sub(r" [\1]", text)
