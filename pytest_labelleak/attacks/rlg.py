"""RLG (placeholder until its commit)."""
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from ..recovery import Recovery
from ._linear import data_gradient

@dataclass(frozen=True, slots=True, kw_only=True)
class RLG:
    name: ClassVar[str] = "rlg"
    def __call__(self, update, *, rng):
        G, b = data_gradient(update)
        s = G.sum(0) if b is None else b
        return Recovery(attack=self.name, status="recovered", labels=tuple(int(i) for i in np.flatnonzero(s < 0)))
