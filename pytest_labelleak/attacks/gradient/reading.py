"""Reading: one update, with everything that several attacks compute about it, each computed once.

A value is computed when the first attack asks for it, and kept. A refusal is kept as well, and raised again for the
next attack that asks. A reading can hold far more than its update: drop it, and the update alone is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ...core.recovery import NotApplicable
from ...core.update import Update
from .counting_rank import CountingRules, counts_positions
from .head import CoarsenessRules, coarseness, moderate
from .heads import softmax_heads
from .subspace import Subspace, SubspaceRules, find_subspace
from .tied import Split, TiedRules, split

__all__ = ["Reading"]

_Value = TypeVar("_Value")


class Reading:
    """One update as a receiver reads it. Made once by whoever runs several attacks on it.

    Parameters
    ----------
    update : Update
        The update that was shared. That of a single sigmoid unit is read as the softmax of both classes. Entries near
        the ends of the range of float64 are scaled; see `head.moderate`.

    Examples
    --------
    >>> import numpy as np
    >>> update = Update.from_arrays(np.array([[0.5, -0.75, 0.25], [1.0, -1.5, 0.5], [-2.0, 3.0, -1.0]]))
    >>> reading = Reading(update)
    >>> reading.subspace().positions
    1
    >>> reading.subspace() is reading.subspace()
    True
    """

    __slots__ = ("_found", "_refused", "update")

    def __init__(self, update: Update) -> None:
        self.update = moderate(update.both_classes())
        self._found: dict[object, Any] = {}
        self._refused: dict[object, tuple[str, Mapping[str, Any]]] = {}

    def once(self, key: object, compute: Callable[[], _Value]) -> _Value:
        """Return a value that several attacks share; only the first call for a key computes it.

        Parameters
        ----------
        key : hashable
            Name of the value, and every setting that it depends on.
        compute : callable
            Computes it. The value must not depend on which attack asks first, so a random choice needs a stream of its
            own.

        Returns
        -------
        object
            The value.

        Raises
        ------
        NotApplicable
            If `compute` refused, now or in an earlier call.
        """
        if key not in self._found and key not in self._refused:
            try:
                self._found[key] = compute()
            except NotApplicable as refusal:
                # Its words and figures alone: the exception's traceback would keep arrays of every frame alive.
                self._refused[key] = refusal.because, refusal.details
        if key in self._refused:
            because, details = self._refused[key]
            raise NotApplicable(because, **details)
        found: _Value = self._found[key]
        return found

    def coarseness(self, rules: CoarsenessRules | None = None) -> str | None:
        """Describe a visible coarsening of the kernel gradient's entries, or return None; see `head.coarseness`."""
        rules = rules or CoarsenessRules()
        return self.once(rules, lambda: coarseness(self.update, rules))

    def require_fine(self, rules: CoarsenessRules | None = None) -> None:
        """Refuse an update whose entries were visibly dropped, rounded or reduced to signs.

        Parameters
        ----------
        rules : CoarsenessRules, optional
            The deciding number.

        Raises
        ------
        NotApplicable
            With the finding.
        """
        coarse = self.coarseness(rules)
        if coarse is not None:
            raise NotApplicable(f"{coarse}, and what is left has no low rank")

    def other_heads(self) -> tuple[Reading, ...]:
        """Return a reading of every other softmax head over as many classes; see `heads`."""
        return self.once(
            "other heads",
            lambda: tuple(
                Reading(found) for found in softmax_heads(self.update)[1:] if found.classes == self.update.classes
            ),
        )

    def subspace(self, rules: SubspaceRules | None = None) -> Subspace:
        """Return the signal's subspace; see `find_subspace`.

        Parameters
        ----------
        rules : SubspaceRules, optional
            The deciding numbers.

        Returns
        -------
        Subspace
            Directions, coordinates, number of label positions and noise.

        Raises
        ------
        NotApplicable
            Where the spectrum of the gradient shows none.
        """
        rules = rules or SubspaceRules()
        return self.once(rules, lambda: find_subspace(self.update, rules))

    def counts_positions(self, rules: SubspaceRules | None = None) -> bool:
        """Tell whether the rank of the subspace counts label positions; see `counting_rank`.

        Parameters
        ----------
        rules : SubspaceRules, optional
            The deciding numbers of the subspace.

        Returns
        -------
        bool
            False as well for a gradient that was projected on fewer directions.

        Raises
        ------
        NotApplicable
            Where the spectrum of the gradient shows no subspace.
        """
        rules = rules or SubspaceRules()
        subspace = self.subspace(rules)
        return self.once(("counts", rules), lambda: counts_positions(self.update, subspace, CountingRules()))

    def rounding_only(self, fine: CoarsenessRules | None = None, rules: SubspaceRules | None = None) -> bool:
        """Tell whether rounding alone explains everything in the gradient that is no signal.

        Parameters
        ----------
        fine : CoarsenessRules, optional
            The deciding number of coarse entries.
        rules : SubspaceRules, optional
            The deciding numbers of the subspace.

        Returns
        -------
        bool
            False as well where the entries were coarsened, or where no subspace shows.
        """
        if self.coarseness(fine) is not None:
            return False
        try:
            return self.subspace(rules).exact
        except NotApplicable:
            return False

    def split(self, rules: SubspaceRules | None = None, tied: TiedRules | None = None) -> Split:
        """Take the gradient of a tied head apart; see `tied.split`.

        Parameters
        ----------
        rules : SubspaceRules, optional
            The deciding numbers of the subspace.
        tied : TiedRules, optional
            The deciding numbers of the split.

        Returns
        -------
        Split
            The tokens that were looked up, and the gradient of the projection alone.

        Raises
        ------
        NotApplicable
            Where the two uses of the variable cannot be told apart.
        """
        rules, tied = rules or SubspaceRules(), tied or TiedRules()
        return self.once((rules, tied), lambda: split(self.update, self.subspace(rules), tied))
