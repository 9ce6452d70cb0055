"""Coverage: the shared variables that attacks examined, those that none did, and those that a defence left as they are.

A variable tells of labels whether or not an attack reads it. An audit of one head says nothing about another head of
the same update, and a defence of that head alone must not pass for one of the update.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...attacks.gradient.heads import softmax_heads
from ...core.update import Update

__all__ = ["Coverage", "CoverageRules", "Watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageRules:
    """Numbers by which a variable counts as an embedding, and by which names are listed.

    Attributes
    ----------
    moving : float
        Largest share of the rows of an embedding that a batch moves.
    shown : int
        Names that a sentence lists.
    """

    moving: float = 0.5
    shown: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The shared variables of an audit, by name; never a value of them.

    Attributes
    ----------
    examined : tuple of str
        Variables that some attack read.
    unexamined : mapping of str to tuple of int
        The others, with their shapes.
    unprotected : tuple of str
        Variables that the defence shares as they are, in every batch, while it changes others.
    telling : tuple of str
        Variables that have the form of a softmax head or of an embedding: their gradient tells of labels by itself.
    rules : CoverageRules
        The numbers.
    """

    examined: tuple[str, ...] = ()
    unexamined: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unprotected: tuple[str, ...] = ()
    telling: tuple[str, ...] = ()
    rules: CoverageRules = field(default=CoverageRules(), repr=False)

    @property
    def open(self) -> tuple[str, ...]:
        """Heads and embeddings that the defence leaves as they are and that no attack examined."""
        return tuple(name for name in self.unprotected if name in self.telling and name in self.unexamined)

    @property
    def sentence(self) -> str:
        """The variables that no attack examined, and those without protection, as one line; empty if there are none."""
        parts = []
        if self.unexamined:
            number = len(self.examined) + len(self.unexamined)
            listed = self._names([f"{name} {shape}" for name, shape in self.unexamined.items()])
            parts.append(f"attacks examined {len(self.examined)} of {number} shared variables, and not {listed}")
        heads = [name for name in self.unexamined if name in self.telling]
        if heads:
            parts.append(f"of these, {self._names(heads)} may be a further head or embedding")
        if self.unprotected:
            parts.append(f"the defence leaves {self._names(self.unprotected)} as it is")
        return "; ".join(parts)

    @property
    def gap(self) -> str | None:
        """The reason why the audit cannot hold, as a clause; None if there is none."""
        if not self.open:
            return None
        return (
            f"the defence leaves {self._names(self.open)} as it is, which has the form of a head or an embedding and "
            "which no attack examined: protect it too, do not share it, or audit it with head="
        )

    def to_record(self) -> dict[str, Any]:
        """Return the coverage as a dictionary of JSON types.

        Returns
        -------
        dict
            Names and shapes.
        """
        return {
            "examined": list(self.examined),
            "unexamined": [{"name": name, "shape": list(shape)} for name, shape in self.unexamined.items()],
            "unprotected": list(self.unprotected),
            "telling": list(self.telling),
        }

    def _names(self, names: Collection[str]) -> str:
        some = list(names)[: self.rules.shown]
        more = f" and {len(names) - len(some)} more" if len(names) > len(some) else ""
        return ", ".join(map(repr, some)) + more


class Watch:
    """Looks at the updates of an audit before and after the defence, and holds on to none of them.

    Parameters
    ----------
    rules : CoverageRules, optional
        Numbers.
    """

    def __init__(self, rules: CoverageRules | None = None) -> None:
        self._rules = rules or CoverageRules()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._telling: dict[str, None] = {}
        self._same: set[str] | None = None

    def add(self, update: Update, shared: Update) -> None:
        """Look at the update of the next batch.

        Parameters
        ----------
        update : Update
            Before the defence.
        shared : Update
            As shared: the same object where nothing defends it.
        """
        heads = set() if self._shapes else {found.head.kernel for found in softmax_heads(update)}
        for name, array in update.gradients.items():
            self._shapes.setdefault(name, array.shape)
            if heads and (name in heads or _is_embedding(name, array, self._rules)):
                self._telling[name] = None
        if shared is update:
            return
        same = {name for name, array in update.gradients.items() if _left(array, shared.gradients.get(name))}
        # A defence that changes nothing at all protects nothing: the attacks tell.
        if len(same) < sum(1 for array in update.gradients.values() if array.any()):
            self._same = same if self._same is None else self._same & same

    def coverage(self, examined: Collection[str]) -> Coverage:
        """Return the coverage of the audit.

        Parameters
        ----------
        examined : collection of str
            Names of the variables that attacks read.

        Returns
        -------
        Coverage
            In the order of the update's variables.
        """
        return Coverage(
            examined=tuple(name for name in self._shapes if name in examined),
            unexamined={name: shape for name, shape in self._shapes.items() if name not in examined},
            unprotected=tuple(name for name in self._shapes if name in (self._same or ())),
            telling=tuple(self._telling),
            rules=self._rules,
        )


def _left(array: np.ndarray, shared: np.ndarray | None) -> bool:
    """Tell whether a variable is shared as it is. A single number, or zeros alone, say too little."""
    if shared is None or array.size < 2 or shared.shape != array.shape:
        return False
    few = slice(0, 1024)  # most defences change the first entries: nothing else is read then
    if not np.array_equal(array.reshape(-1)[few], shared.reshape(-1)[few]):
        return False
    return bool(array.any()) and np.array_equal(array, shared)


def _is_embedding(name: str, array: np.ndarray, rules: CoverageRules) -> bool:
    """Tell whether a variable is called an embedding, or has its form: few of its rows move."""
    if array.ndim != 2 or min(array.shape) < 2 or not array.any():
        return False
    return "emb" in name.lower() or int(np.count_nonzero(array.any(axis=1))) <= rules.moving * array.shape[0]
