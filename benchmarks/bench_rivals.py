"""Every attack of the portfolio alone, on the same exact gradients: sets, and counts where an attack claims them.

Sizes range from batches much smaller than the head to batches larger than its features and its classes. Labels are
drawn independently, so that they repeat; heads have their weights (`make_head_update`), which some attacks use.
No attack is told the number of positions.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak import Recovery, Truth
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.testing import make_head_update

#: (S, d, C) and the batches of the default run: fewer where robust RLG takes long.
SIZES = {
    (1, 512, 1000): 20,
    (10, 512, 1000): 20,
    (100, 512, 1000): 5,
    (600, 512, 1000): 2,
    (64, 84, 100): 20,
    (128, 84, 100): 20,
    (256, 84, 100): 20,
    (8, 128, 10): 50,
    (32, 128, 10): 50,
}
#: Figures of a later work for the published RLG on untrained networks of the same size; quoted beside ours.
PUBLISHED = {
    (64, 84, 100): "LeNet: exact",
    (128, 84, 100): "LeNet: recall .974",
    (256, 84, 100): "LeNet: recall .088",
    (8, 128, 10): "MNIST: precision .73, exact 0",
}
MEANING = (
    "Cells: share of batches with the exact set, mean advantage; then, after a semicolon, where the attack claims "
    "counts: share of batches with all counts right, and the mean share of the label positions that the counts "
    'explain (overlap of claimed and true counts over the larger of their sums). "-" where the attack said on every '
    "batch that it does not apply; a batch on which it said so counts as nothing found. Batches in which every class "
    'is present say nothing about sets and are left out there: "sets" is how many are left. "published": figures of a '
    "later work for the paper's RLG on untrained networks of that size."
)


@dataclass(eq=False)
class Column:
    """Figures of one attack in one row."""

    exact: list[float] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)
    counted: list[float] = field(default_factory=list)
    explained: list[float] = field(default_factory=list)
    applied: bool = False
    claims_counts: bool = False

    def add(self, recovery: Recovery, labels: np.ndarray, classes: int) -> None:
        """Score one batch.

        Parameters
        ----------
        recovery : Recovery
            The claim.
        labels : ndarray of int, shape (S,)
            The truth.
        classes : int
            Number of classes.
        """
        self.applied |= recovery.status == "recovered"
        if np.unique(labels).size < classes:
            verdict = Labels().score(recovery, Truth(labels=labels, classes=classes))
            self.exact.append(verdict.exact_match)
            self.advantage.append(verdict.advantage)
        self.claims_counts |= recovery.counts is not None
        share = explained(recovery.counts or {}, labels, classes)
        self.explained.append(share)
        self.counted.append(float(share == 1.0))

    def cell(self) -> str:
        """Show the row's cell."""
        if not self.applied:
            return "-"
        sets = f"{np.mean(self.exact):.2f} {np.mean(self.advantage):.2f}" if self.exact else "none"
        return sets + (f"; {np.mean(self.counted):.2f} {np.mean(self.explained):.2f}" if self.claims_counts else "")


def explained(counts: Mapping[int, int], labels: np.ndarray, classes: int) -> float:
    """Return how much of the batch the claimed counts explain.

    Parameters
    ----------
    counts : mapping of int to int
        The claim.
    labels : ndarray of int, shape (S,)
        The truth.
    classes : int
        Number of classes.

    Returns
    -------
    float
        Overlap over the larger sum: 1 for the exact counts only.
    """
    true = np.bincount(labels, minlength=classes)
    claimed = np.zeros(classes, dtype=np.int64)
    for label, count in counts.items():
        claimed[label] = count
    return float(np.minimum(true, claimed).sum() / max(true.sum(), claimed.sum()))


def measure(
    size: tuple[int, int, int], signed: bool, confidence: float | None, batches: int, names: Sequence[str]
) -> list[str]:
    """Attack batches of one size and return the cells of their row.

    Parameters
    ----------
    size : tuple of int
        S, d, C.
    signed : bool
        Whether features have both signs.
    confidence : float or None
        Mean probability of the true class; None for an untrained head.
    batches : int
        Number of batches.
    names : sequence of str
        Attacks.

    Returns
    -------
    list of str
        Batches that say something about sets, the published figure, and a cell per attack.
    """
    positions, features, classes = size
    columns = {name: Column() for name in names}
    for seed in range(batches):
        case = make_head_update(
            positions=positions,
            features=features,
            classes=classes,
            seed=6000 + seed,
            signed=signed,
            confidence=confidence,
        )
        reading = Reading(case.update)
        for name in names:
            columns[name].add(run(builtin_attacks()[name], reading, seed=0, batch=seed), case.labels, classes)
    sets = len(columns[names[0]].exact)
    published = PUBLISHED.get(size, "") if confidence is None else ""
    return [f"{sets} of {batches}", published, *(column.cell() for column in columns.values())]


def winners(cells: Mapping[str, str], place: int) -> tuple[str, ...]:
    """Return the attacks with the best figures in one row.

    Parameters
    ----------
    cells : mapping of str to str
        Cells of the row, by attack.
    place : int
        0 compares sets, 1 counts; exactness first, then advantage or share explained.

    Returns
    -------
    tuple of str
        Several if they tie, none if nobody found anything.
    """
    figures = {}
    for name, cell in cells.items():
        parts = cell.split(";")
        if len(parts) > place and parts[place].strip() not in {"-", "none"}:
            exact, partial = parts[place].split()
            figures[name] = (float(exact), float(partial))
    best = max(figures.values(), default=(0.0, 0.0))
    return tuple(name for name, figure in figures.items() if figure == best and best[1] > 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    names = [name for name in builtin_attacks() if name != "embedding_rows"]  # these heads have no embedding
    sizes = {"x".join(map(str, size)): size for size in SIZES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=list(sizes), help="S x d x C; only these")
    parser.add_argument("--attacks", nargs="+", choices=names, default=names, help="only these")
    parser.add_argument("--batches", type=int, help="per row, at most (default: by size, 2 to 50)")
    parser.add_argument("--confidence", type=float, default=0.9, help="mean p of the trained heads (default 0.9)")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.batches is not None and arguments.batches < 1:
        parser.error(f"--batches {arguments.batches} given. Expected at least 1.")
    table = GrowingTable(arguments.output, resume=arguments.resume)
    table.start("Rivals", MEANING, ["S, d, C, features, head", "sets", "published", *arguments.attacks])
    best: tuple[dict[tuple[str, ...], list[str]], ...] = ({}, {})
    for name in arguments.sizes:
        size = sizes[name]
        batches = SIZES[size] if arguments.batches is None else min(arguments.batches, SIZES[size])
        for signed, confidence in itertools.product((False, True), (None, arguments.confidence)):
            stage = "untrained" if confidence is None else f"p = {confidence}"
            key = f"{', '.join(map(str, size))}, {'signed' if signed else 'non-negative'}, {stage}"
            cells = table.row(
                key,
                lambda size=size, signed=signed, confidence=confidence, batches=batches: measure(
                    size, signed, confidence, batches, arguments.attacks
                ),
            )
            own = dict(zip(arguments.attacks, cells[2:], strict=True))
            for place, won in enumerate(best):
                won.setdefault(winners(own, place), []).append(f"({key})")
    for kind, won in zip(("sets", "counts"), best, strict=True):
        said = "; ".join(f"{' = '.join(who) or 'nobody'} at {', '.join(where)}" for who, where in won.items())
        table.note(f"Best for {kind}: {said}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
