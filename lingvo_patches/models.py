"""Offer the paper's models under lingvo's own names, where lingvo's wheels lack them.

The wheels leave out every ``lingvo.tasks.*.params`` module. `offer` adds a finder at the *end* of ``sys.meta_path``,
which Python asks after all others. So a source checkout of lingvo, or a user's module of the same name, is found first.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DECLARED", "offer"]

_PACKAGE = "lingvo.tasks.asr.params"
#: Declared modules, and the file of this package that is executed under the name of each.
DECLARED = {f"{_PACKAGE}.librispeech": "librispeech.py"}


class _LastResort(importlib.abc.MetaPathFinder):
    """Finds the declared modules, and the package above them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a declared module; no other finder has one."""
        if fullname == _PACKAGE:
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        if fullname in DECLARED:
            return importlib.util.spec_from_file_location(fullname, Path(__file__).with_name(DECLARED[fullname]))
        return None


def offer() -> None:
    """Make ``model_registry.GetParams("asr.librispeech.Librispeech960Wpm", "Train")`` work."""
    if not any(isinstance(finder, _LastResort) for finder in sys.meta_path):
        sys.meta_path.append(_LastResort())
