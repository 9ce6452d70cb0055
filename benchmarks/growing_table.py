"""Markdown that grows on disk line by line, so that a benchmark that was stopped goes on where it was."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["GrowingTable", "add_output_arguments"]


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--output`` and ``--resume`` to a benchmark's command line.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Changed in place.
    """
    parser.add_argument("--output", type=Path, metavar="PATH", help="also write the tables to this file, row by row")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file has already")


class GrowingTable:
    """Print tables, and write every row to a file as soon as it is known.

    Parameters
    ----------
    output : Path or None
        The file; None prints only.
    resume : bool
        Take rows from the file where it has them. They must come from the same commit and the same
        arguments: nothing checks that.
    """

    def __init__(self, output: Path | None, *, resume: bool = False) -> None:
        self._output = output
        self._heading = ""
        self._known: dict[tuple[str, str], str] = {}
        if output is not None and resume and output.is_file():
            heading = ""
            for line in output.read_text("utf-8").splitlines():
                if line.startswith("#"):
                    heading = line
                elif line.startswith("|"):
                    self._known[heading, _key(line)] = line
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("", encoding="utf-8")

    def start(self, title: str, text: str, columns: Sequence[str]) -> None:
        """Begin a table.

        Parameters
        ----------
        title : str
            Its heading, unique within the file.
        text : str
            Meaning of the cells.
        columns : sequence of str
            Names of the columns; the cells of the first identify a row.
        """
        before, self._heading = self._heading, f"## {title}"
        if before:
            self._emit("")
        self._emit(f"{self._heading}\n\n{text}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")

    def row(self, key: str, compute: Callable[[], Sequence[str]]) -> list[str]:
        """Add a row, computed unless it is known.

        Parameters
        ----------
        key : str
            The first cell, unique within the table.
        compute : callable
            Returns the other cells.

        Returns
        -------
        list of str
            The other cells.
        """
        line = self._known.get((self._heading, key))
        if line is None:
            line = f"| {' | '.join([key, *compute()])} |"
        self._emit(line)
        return [cell.strip() for cell in line.strip("|").split("|")[1:]]

    def note(self, text: str) -> None:
        """Add a paragraph.

        Parameters
        ----------
        text : str
            The paragraph.
        """
        self._emit(f"\n{text}\n")

    def _emit(self, text: str) -> None:
        print(text, flush=True)
        if self._output is not None:
            with self._output.open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")


def _key(line: str) -> str:
    return line.split("|")[1].strip()
