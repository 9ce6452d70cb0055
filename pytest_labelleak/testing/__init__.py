"""Updates with known truth, and conformance checks, for people who write attacks, defences, adapters or questions.

This package needs the ``testing`` extra (hypothesis). A failed check raises AssertionError with the broken rule.

Reading order::

    updates      updates with known truth
    conformance  checks of the rules of a protocol
"""

from __future__ import annotations

from .conformance import check_adapter, check_attack, check_defence, check_question
from .updates import LabelledUpdate, labelled_updates, make_head_update, make_update

__all__ = [
    "LabelledUpdate",
    "check_adapter",
    "check_attack",
    "check_defence",
    "check_question",
    "labelled_updates",
    "make_head_update",
    "make_update",
]
