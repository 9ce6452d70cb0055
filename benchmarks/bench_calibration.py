"""How often the gate calls pure noise a leak, and whether it ever lets noise hold.

A row is a number of classes and of batches. An update is independent noise of one size in kernel and bias gradient; the
labels are drawn apart from it, so that every claim is luck. The whole gate asks: all attacks of the portfolio, their
correction for luck, and the checks that labels and update belong together. Nothing is defended and there is no positive
control, so no audit may hold. In the second table a real gradient drowns in noise that the gate draws again and again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeAlias

# Read when numpy loads: its idle threads spin, and slow a machine that others use down by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak import GaussianNoise, Update, audit
from pytest_labelleak.testing import make_head_update

#: From numbers of classes, batches and features and a seed to the outcome of an audit.
Outcome: TypeAlias = Callable[[int, int, int, int], str]

CLASSES = (2, 7, 20, 100, 300, 1000)
BATCHES = (1, 8)


def positions_of(classes: int) -> int:
    """Return a batch size that leaves some class absent, most of the time."""
    return max(1, min(16, classes // 2))


def of_noise(classes: int, batches: int, features: int, seed: int) -> str:
    """Audit noise with labels of nobody; return the outcome."""
    rng = np.random.default_rng([seed, classes, batches, *b"noise"])
    kernel = rng.normal(0.0, 0.1, (features, classes)).astype(np.float32)
    updates, labels = [], []
    for _ in range(batches):
        gradient = rng.standard_normal((features, classes)).astype(np.float32)
        bias = rng.standard_normal(classes).astype(np.float32)
        weights = {"kernel": kernel, "bias": np.zeros(classes, np.float32)}
        updates.append(Update.from_arrays(gradient, bias_gradient=bias, **weights))
        labels.append(rng.integers(0, classes, positions_of(classes)))
    return str(audit(updates, labels, seed=seed).outcome)


def of_drowned(classes: int, batches: int, features: int, seed: int) -> str:
    """Audit a real gradient under a million times its size of noise; return the outcome."""
    cases = [
        make_head_update(positions=positions_of(classes), features=features, classes=classes, seed=1000 * seed + place)
        for place in range(batches)
    ]
    defence = GaussianNoise(relative=1e6)
    return str(audit([c.update for c in cases], [c.labels for c in cases], defence=defence, seed=seed).outcome)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=500, help="per row of the first table (default 500)")
    parser.add_argument("--redrawn", type=int, default=40, help="audits per row of the second table (default 40)")
    parser.add_argument("--features", type=int, default=32, help="d of the head (default 32)")
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES), help="C of the head")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--quick", action="store_true", help="ten audits per row")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.audits, arguments.redrawn, arguments.classes = 10, 2, arguments.classes[:3]
    table = GrowingTable(arguments.output, resume=arguments.resume)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for title, text, audits, outcome in (
            ("Noise alone", "Nothing protects and nothing leaks.", arguments.audits, of_noise),
            ("Drowned gradients", "Noise of a million times the size, drawn again.", arguments.redrawn, of_drowned),
        ):
            table.start(title, text, ["classes, batches", "audits", "leaked", "held", "inconclusive", "s per audit"])
            for classes in arguments.classes:
                for batches in BATCHES:

                    def compute(
                        classes: int = classes, batches: int = batches, audits: int = audits, outcome: Outcome = outcome
                    ) -> list[str]:
                        start = time.perf_counter()
                        job = partial(outcome, classes, batches, arguments.features)
                        found = Counter(pool.map(job, range(audits), chunksize=5))
                        seconds = (time.perf_counter() - start) / audits
                        return [
                            f"{audits}",
                            *(f"{found[name]}" for name in ("leaked", "held", "inconclusive")),
                            f"{seconds:.2f}",
                        ]

                    table.row(f"{classes}, {batches}", compute)
    return 0


if __name__ == "__main__":
    sys.exit(main())
