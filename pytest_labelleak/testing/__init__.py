"""For people who write attacks, defences or adapters: updates with known truth, and conformance checks.

Needs the ``testing`` extra (hypothesis). The checks raise AssertionError with the rule that is broken.

Reading order::

    updates      updates with known truth
    conformance  checks for attacks, defences and adapters
"""

from __future__ import annotations

from .conformance import check_adapter, check_attack, check_defence
from .updates import LabelledUpdate, labelled_updates, make_head_update, make_update

__all__ = [
    "LabelledUpdate",
    "check_adapter",
    "check_attack",
    "check_defence",
    "labelled_updates",
    "make_head_update",
    "make_update",
]
