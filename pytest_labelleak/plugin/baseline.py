"""The baseline: a committed file of the figures that each test is known to leak, so that none can grow."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import BaselineError
from ..core.figures import round_up
from ..core.files import read_text, write_text

__all__ = ["FORMAT", "VERSION", "Baseline"]

FORMAT = "pytest-labelleak-baseline"
VERSION = 1

_AGAIN = "Restore the file from version control, or write it again with --labelleak-update-baseline."


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Recorded advantages by test.

    Attributes
    ----------
    entries : mapping of str to tuple of (float or None)
        For each node id one figure per assertion, in the order they ran; None where an audit was
        inconclusive and there is nothing to compare with.
    """

    entries: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    def limit(self, nodeid: str, index: int) -> float | None:
        """Return the figure that the `index`-th assertion of a test may reach, or None if nothing is recorded.

        Parameters
        ----------
        nodeid : str
            The test.
        index : int
            Number of the assertion in that test, from 0.

        Returns
        -------
        float or None
            The recorded advantage.
        """
        figures = self.entries.get(nodeid, ())
        return figures[index] if index < len(figures) else None

    def updated(
        self,
        measured: Mapping[str, Sequence[float | None]],
        *,
        complete: Iterable[str],
        expected: Collection[tuple[str, int]] = (),
    ) -> Baseline:
        """Return this baseline with new figures.

        Tests that were not measured keep theirs, and so does an assertion that was not reached, or was
        inconclusive.

        Parameters
        ----------
        measured : mapping of str to sequence of (float or None)
            Advantage of each assertion that ran, None where it was inconclusive.
        complete : iterable of str
            Tests of which every assertion ran: figures of further assertions are dropped.
        expected : collection of (str, int), optional
            Test and index of each assertion whose leak the test expects, as under ``pytest.raises(LabelLeak)``: no
            figure is recorded for it, and an older one is dropped, since an accepted leak is not raised.

        Returns
        -------
        Baseline
            The new baseline; this one is unchanged.
        """
        entries = dict(self.entries)
        whole = set(complete)
        for nodeid, advantages in measured.items():
            before = entries.get(nodeid, ())
            after = [
                None if (nodeid, index) in expected else self.limit(nodeid, index) if value is None else round_up(value)
                for index, value in enumerate(advantages)
            ]
            if nodeid not in whole:
                after.extend(before[len(after) :])
            while after and after[-1] is None:
                after.pop()
            if after:
                entries[nodeid] = tuple(after)
            else:
                entries.pop(nodeid, None)
        return Baseline(entries=entries)

    def changes(self, other: Baseline) -> tuple[int, int]:
        """Count the figures that are lower, and those that are higher or new, in `other`.

        Parameters
        ----------
        other : Baseline
            The successor of this baseline.

        Returns
        -------
        lower, higher : int
            The counts; a figure without a predecessor counts as higher: it allows something.
        """
        lower = higher = 0
        for nodeid, figures in other.entries.items():
            for index, figure in enumerate(figures):
                before = self.limit(nodeid, index)
                if figure is None or figure == before:
                    continue
                if before is None or figure > before:
                    higher += 1
                else:
                    lower += 1
        return lower, higher

    def save(self, path: Path) -> None:
        """Write the baseline, atomically and the same bytes for the same figures.

        Parameters
        ----------
        path : pathlib.Path
            The file.

        Raises
        ------
        OSError
            If it cannot be written; an existing file is then unchanged.
        """
        document = {
            "format": FORMAT,
            "version": VERSION,
            "entries": {nodeid: list(self.entries[nodeid]) for nodeid in sorted(self.entries)},
        }
        write_text(path, json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Read a baseline.

        Parameters
        ----------
        path : pathlib.Path
            The file.

        Returns
        -------
        Baseline
            Its figures.

        Raises
        ------
        BaselineError
            If the file cannot be read, is damaged, or was written by a newer release.
        """

        def refuse(reason: str, fix: str = _AGAIN) -> NoReturn:
            raise BaselineError(f"baseline {str(path)!r} {reason}. {fix}") from None

        try:
            text = read_text(path)
        except FileNotFoundError:
            refuse("does not exist", "Create it with --labelleak-update-baseline on your own machine, and commit it.")
        except OSError as error:
            refuse(f"cannot be read: {error.strerror or error}", "Expected a readable file.")
        except UnicodeDecodeError:
            refuse("is not UTF-8 text")
        try:
            document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            refuse(f"is not valid JSON (line {error.lineno}, column {error.colno})")
        except (ValueError, RecursionError) as error:
            refuse(f"is damaged: {error}")
        reason = _defect(document)
        if reason == "version":
            refuse(
                f"is in format version {document['version']}; this release reads version {VERSION}",
                "Upgrade pytest-labelleak.",
            )
        if reason is not None:
            refuse(f"is damaged: {reason}")
        return cls(entries={nodeid: tuple(figures) for nodeid, figures in document["entries"].items()})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A careless merge leaves two entries for one test, of which json would silently take the last.
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {twice!r} twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}; every figure must be a number in [0, 1]")


def _defect(document: Any) -> str | None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return f"it does not say 'format': {FORMAT!r}"
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        return "its 'version' is not a positive integer"
    if version > VERSION:
        return "version"
    unknown = sorted(set(document) - {"format", "version", "entries"})
    if unknown:
        return f"it has an unknown key {unknown[0]!r}"
    entries = document.get("entries")
    if not isinstance(entries, dict):
        return "its 'entries' are not an object of lists by test"
    for nodeid, figures in entries.items():
        if not isinstance(figures, list) or not figures:
            return f"the entry of {nodeid!r} is not a list with one figure per assertion"
        for figure in figures:
            if figure is None:
                continue
            if isinstance(figure, bool) or not isinstance(figure, (int, float)) or not 0.0 <= figure <= 1.0:
                return f"the entry of {nodeid!r} holds {figure!r}; every figure must be a number in [0, 1] or null"
    return None
