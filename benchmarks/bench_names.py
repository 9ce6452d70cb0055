"""How many classes rlg names rightly and wrongly, and how many of its certificates prove a class that is absent.

Heads of random size, sign, bias and confidence, in noise from none to a tenth of the gradient's own size. Numbers of
updates whose label positions are claimed stand apart: there alone a certificate counts as a proof. No head serves as a
row of `bench_rules.py`, so that the rules were not fitted to them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

# Read when numpy loads: its idle threads spin, and slow a machine that others use down by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak import GaussianNoise
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.testing import LabelledUpdate, make_head_update

NOISES = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.1)


def head(seed: int) -> LabelledUpdate:
    """Return a random head's update."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = {
        "positions": int(rng.integers(2, 40)),
        "features": int(rng.choice([32, 64, 96])),
        "classes": int(rng.choice([50, 100, 200])),
        "signed": bool(rng.integers(2)),
        "bias": bool(rng.integers(2)),
    }
    confidence = float(rng.choice([0.0, 0.5, 0.9, 0.97]))
    return make_head_update(seed=seed, confidence=confidence or None, **options)


def counted(name: str, noise: float, seeds: Sequence[int]) -> dict[bool, list[int]]:
    """Attack the heads in one noise.

    Parameters
    ----------
    name : str
        The attack.
    noise : float
        Relative to the gradient's size.
    seeds : sequence of int
        One head each.

    Returns
    -------
    dict of bool to list of int
        By whether positions are claimed: updates, right and wrong names, wrong certificates.
    """
    member, found = builtin_attacks()[name], {True: [0, 0, 0, 0], False: [0, 0, 0, 0]}
    for seed in seeds:
        case = head(seed)
        defence = GaussianNoise(relative=noise) if noise else None
        shared = case.update if defence is None else defence(case.update, rng=np.random.default_rng(seed))
        recovery = run(member, shared, seed=0)
        present, named = set(case.labels.tolist()), set(recovery.labels)
        proved = {proof.label for proof in recovery.certificates if proof.present}
        numbers = (1, len(named & present), len(named - present), len(proved - present))
        row = found[recovery.positions is not None]
        row[:] = [old + new for old, new in zip(row, numbers, strict=True)]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", default="rlg", choices=builtin_attacks(), help="default rlg")
    parser.add_argument("--heads", type=int, default=60, help="number of heads (default 60)")
    parser.add_argument("--first", type=int, default=5000, help="seed of the first head (default 5000)")
    parser.add_argument("--quick", action="store_true", help="three heads")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    heads = 3 if arguments.quick else arguments.heads
    columns = ("updates", "right", "wrong", "wrong certificates")
    table = GrowingTable(arguments.output, resume=arguments.resume)
    table.start(
        f"Names by {arguments.attack}",
        f"{heads} random heads; with positions claimed, and without.",
        ["noise", *columns, *(f"without: {column}" for column in columns)],
    )
    for noise in NOISES:

        def compute(noise: float = noise) -> list[str]:
            found = counted(arguments.attack, noise, range(arguments.first, arguments.first + heads))
            return [str(number) for number in (*found[True], *found[False])]

        table.row(f"{noise:g}", compute)
    return 0


if __name__ == "__main__":
    sys.exit(main())
