"""Blind exact match of RLG on synthetic heads: untrained and trained-like, float32, C=1000, d=512."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_labelleak import attack
from pytest_labelleak.testing import make_update

CONFIDENCES = (None, 0.1, 0.5, 0.9, 0.97)


def measure(positions: int, batches: int) -> str:
    """Attack batches of one size and return their row.

    Parameters
    ----------
    positions : int
        Label positions S; never told to the attack.
    batches : int
        Per confidence; half with signed features, a third with repeated labels.

    Returns
    -------
    str
        One row of the Markdown table.
    """
    cells = []
    for confidence in CONFIDENCES:
        exact = counted = 0
        for seed in range(batches):
            case = make_update(
                positions=positions,
                features=512,
                classes=1000,
                seed=1000 + seed,
                signed=seed % 2 == 0,
                confidence=confidence,
                duplicates=0.3 if seed % 3 == 0 else 0.0,
            )
            recovery = attack("rlg", case.update)
            exact += set(recovery.labels) == set(case.labels.tolist())
            counted += recovery.samples == positions
        cells.append(f"{exact} / {counted}")
    return f"| {positions} | {batches} | " + " | ".join(cells) + " |"


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=100, help="per size and confidence (default 100)")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    names = ["untrained" if c is None else f"p = {c}" for c in CONFIDENCES]
    lines = [f"| S | batches | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    print("\n".join(lines), flush=True)
    for positions in (10, 50, 100):
        lines.append(measure(positions, arguments.batches))
        print(lines[-1], flush=True)
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
