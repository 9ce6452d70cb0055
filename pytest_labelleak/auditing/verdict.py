"""Verdict: one attack's recoveries scored against the truth, over one or several batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.figures import rounded
from ..core.recovery import Status
from .statistic import Statistics

__all__ = ["Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """One attack's recoveries scored for one question.

    The declared statistics can be read like attributes: ``verdict.recall`` is ``verdict.stats["recall"]``.

    Attributes
    ----------
    attack : str
        Name of the attack.
    status : Status
        The worst over the batches: inconclusive, then not applicable. `Status.NOT_RUN` says nothing either way.
    reason : str
        Why the status is another than recovered, as a clause; else a remark. Holds no label.
    figure : float or None
        The number that is compared with the limit; None if this attack has no say on the question.
    batches : int
        Number of batches.
    interval : tuple of float or None
        95 % confidence interval of the figure, with the batch as the unit; None for one batch.
    upper_bound : float or None
        One-sided upper confidence bound of the figure at the confidence that was asked for; None if none was, or if
        the verdict is inconclusive.
    variables : tuple of str
        Names of the shared variables that the claim was read from.
    declared : mapping of str to Statistic
        The statistics of the question.
    stats : mapping of str to object
        Their values; those that are not given have the value that stands for no claim.
    series : tuple of tuple of float
        The numbers that the bound is computed from: one series for each part of the figure, one number a batch.
    """

    attack: str
    status: Status
    reason: str = ""
    figure: float | None = None
    batches: int = 1
    interval: tuple[float, float] | None = None
    upper_bound: float | None = None
    variables: tuple[str, ...] = ()
    declared: Statistics = field(default_factory=dict, repr=False)
    stats: Mapping[str, Any] = field(default_factory=dict, repr=False)
    series: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Fill in the statistics that were not given, and refuse those that were not declared."""
        unknown = sorted(set(self.stats) - set(self.declared))
        if unknown:
            raise TypeError(f"statistic {unknown[0]!r} is not declared. Expected one of {', '.join(self.declared)}.")
        values = {name: self.stats.get(name, one.absent) for name, one in self.declared.items()}
        object.__setattr__(self, "stats", values)
        object.__setattr__(self, "status", Status(self.status))

    def __getattr__(self, name: str) -> Any:
        """Read a declared statistic."""
        # Without its fields, as while a copy is being made, the object has no statistics either.
        if not name.startswith("_") and name not in Verdict.__slots__:
            stats: Mapping[str, Any] = self.stats
            if name in stats:
                return stats[name]
            raise AttributeError(f"a verdict on this question has no {name!r}. It declares {', '.join(stats)}.")
        raise AttributeError(name)

    @property
    def message(self) -> str:
        """Status and reason as a sentence for people, empty for a recovery without remark."""
        return self.status.worded(self.reason)

    def to_record(self, *, show_labels: bool = False) -> dict[str, Any]:
        """Return the verdict as a dictionary of JSON types.

        Parameters
        ----------
        show_labels : bool, default False
            Include private statistics: the classes that were named, for example.

        Returns
        -------
        dict
            Figures rounded to six digits, so that the same audit gives the same bytes everywhere.
        """
        return {
            "attack": self.attack,
            "status": str(self.status),
            "message": self.message,
            "figure": rounded(self.figure),
            "interval": None if self.interval is None else [round(x, 6) for x in self.interval],
            "upper_bound": rounded(self.upper_bound),
            "variables": list(self.variables),
            "batches": self.batches,
            "statistics": {
                name: one.record(self.stats[name])
                for name, one in self.declared.items()
                if show_labels or not one.private
            },
        }
