"""Finding: one sentence about an audit, made once and shown by every report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .evidence.coverage import Coverage
from .evidence.swaps import Proof
from .verdict import Verdict

__all__ = ["Finding", "bracket", "percent", "read_from", "uncovered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence about an audit, without labels, words or numbers of positions.

    Attributes
    ----------
    name : str
        The subject: "positions".
    text : str
        The sentence.
    detail : str
        An addition for the failure message alone.
    prominent : bool
        Whether the table of the terminal shows it, too.
    properties : mapping of str to (str or float)
        Properties of the test in a JUnit report.
    """

    name: str
    text: str
    detail: str = ""
    prominent: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return the finding as a dictionary of JSON types.

        Returns
        -------
        dict
            Without the detail.
        """
        return {
            "name": self.name,
            "text": self.text,
            "prominent": self.prominent,
            "properties": dict(self.properties),
        }


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage.

    Parameters
    ----------
    share : float
        The share.

    Returns
    -------
    str
        Rounded down: only all of them are 100 %.

    Examples
    --------
    >>> percent(1.0), percent(0.9999), percent(1 / 3)
    ('100 %', '99.9 %', '33.3 %')
    """
    # The tolerance is for the rounding of decimals.
    return f"{math.floor(1000.0 * share + 1e-6) / 10.0:g} %"


def bracket(figure: float, name: str, proof: Proof | None) -> Finding | None:
    """Say between which numbers the best attack is, known or not.

    Parameters
    ----------
    figure : float
        The figure that attacks reached.
    name : str
        Its name.
    proof : Proof or None
        The bound on every attack.

    Returns
    -------
    Finding or None
        None without a bound.
    """
    if proof is None or proof.bound is None:
        return None
    how = "" if proof.confidence is None else f", at {100 * proof.confidence:g} % confidence"
    return Finding(
        name="proof",
        text=f"the {name} lies between {max(figure, 0.0):.2f} (attacks) and {proof.shown} (no attack can exceed{how})",
        prominent=True,
        properties={"proof": float(proof.shown)},
    )


def read_from(leaking: Sequence[Verdict]) -> Finding | None:
    """Name the shared variables that gave away too much, with the attacks that read them.

    Parameters
    ----------
    leaking : sequence of Verdict
        One per attack whose claim is a leak by itself.

    Returns
    -------
    Finding or None
        None if there is none.
    """
    by_variables: dict[tuple[str, ...], list[str]] = {}
    for verdict in leaking:
        if verdict.variables:
            remark = f": {verdict.message}" if verdict.message else ""
            by_variables.setdefault(tuple(verdict.variables), []).append(f"{verdict.attack}{remark}")
    parts = [f"{' and '.join(map(repr, names))} ({', '.join(attacks)})" for names, attacks in by_variables.items()]
    return Finding(name="variables", text=f"read from {'; '.join(parts)}", prominent=True) if parts else None


def uncovered(coverage: Coverage) -> Finding | None:
    """Name the shared variables that no attack examined, and those that the defence left as they are.

    Parameters
    ----------
    coverage : Coverage
        The variables of the audit.

    Returns
    -------
    Finding or None
        None if there are none.
    """
    if not coverage.sentence:
        return None
    return Finding(name="coverage", text=coverage.sentence, prominent=bool(coverage.unprotected))
