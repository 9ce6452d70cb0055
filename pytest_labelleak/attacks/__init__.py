"""Attacks: from an Update alone to a Recovery.

Reading order::

    attack        the protocol
    gradient      the head's gradient as every attack reads it
    counting      attacks that tell how often each label occurs
    rules         attacks that apply one rule to each class
    rlg           labels from the geometry of the gradient
    robust        the same inside the intervals that a lossy defence leaves
    energy        classes whose columns stand out of the bulk of the others
    shadow        labels as simulated updates of the same head and defence teach to read them
    disaggregate  the gradient taken apart into its samples
    registry      attacks by name, and the one place where an attack is called
"""

from __future__ import annotations

from .attack import COSTS, Attack
from .counting.bias_counts import BiasCounts
from .counting.ilrg import ILRG
from .counting.llg_star import LLGStar
from .disaggregate.attack import Disaggregate
from .energy.attack import Energy
from .energy.embedding_rows import EmbeddingRows
from .registry import attack, builtin_attacks, resolve, run
from .rlg.attack import RLG
from .robust.attack import RobustRLG
from .rules.bias_sign import BiasSign
from .rules.idlg import IDLG
from .rules.llg import LLG
from .rules.yin import Yin
from .shadow.attack import Shadow

__all__ = [
    "COSTS",
    "IDLG",
    "ILRG",
    "LLG",
    "RLG",
    "Attack",
    "BiasCounts",
    "BiasSign",
    "Disaggregate",
    "EmbeddingRows",
    "Energy",
    "LLGStar",
    "RobustRLG",
    "Shadow",
    "Yin",
    "attack",
    "builtin_attacks",
    "resolve",
    "run",
]
