"""Speed of RLG against the published procedure, on the same gradients, in one run.

The published procedure is re-expressed from its description (Dang et al. 2021): a full singular value
decomposition, of which the true number of right singular vectors is kept; for every class a perceptron of
that class against 1000 others as a filter; for every class that passes a linear program against
199 others (images) or 5000 (words). It is told the number of label positions; ours is not. With many
classes its per-class cost is measured on 200 classes, all labels among them, and extrapolated.

The stopping rule of the filter and its criterion are not published in full. Here a perceptron stops when it no longer
improves, and a class passes if the perceptron has it on its own side. Nearly every class passes, so the linear programs
decide. The last column is a lower bound for any filter: the time if only the labels had passed.

Seconds are processor time of one thread, which other work on the machine changes little.

Needs scikit-learn (dependency group bench).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

# numpy reads the variable when it loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.linalg
from scipy.optimize import linprog

from pytest_labelleak import Update, attack
from pytest_labelleak.testing import LabelledUpdate, make_update

PERCEPTRON_OTHERS = 1000
MEASURED_CLASSES = 200
#: Beyond this many label positions the published procedure takes an hour and more.
LARGEST_COMPARED = 100


def published(case: LabelledUpdate, constraints: int, rng: np.random.Generator) -> tuple[float, float, set[int]]:
    """Run the published procedure; return its seconds (extrapolated to all classes) and the classes it names.

    Parameters
    ----------
    case : LabelledUpdate
        The gradient, and the true number of label positions, which this procedure is given.
    constraints : int
        Other classes in each linear program.
    rng : numpy.random.Generator
        Source of the other classes.

    Returns
    -------
    seconds : float
        Seconds of the whole procedure.
    least : float
        Seconds if only the labels had needed a linear program.
    named : set of int
        Classes named among those that were measured.
    """
    from sklearn.linear_model import Perceptron

    gradient = case.update.kernel_gradient
    start = time.process_time()
    _, _, right = scipy.linalg.svd(gradient, full_matrices=False)
    rows = right[: case.labels.size].astype(np.float64)
    decomposition = time.process_time() - start

    classes = np.arange(rows.shape[1])
    measured = classes
    if classes.size > MEASURED_CLASSES * 2:
        present = np.unique(case.labels)
        absent = rng.choice(np.setdiff1d(classes, present), MEASURED_CLASSES - present.size, replace=False)
        measured = np.concatenate([present, absent])
    named: set[int] = set()
    filtering, programs, candidates, absent_passed = 0.0, 0.0, 0, 0
    truth = set(case.labels.tolist())
    for label in measured:
        others = rng.permutation(np.delete(classes, label))
        start = time.process_time()
        chosen = others[:PERCEPTRON_OTHERS]
        points = np.vstack([rows[:, [label]].T, rows[:, chosen].T])
        sides = np.r_[-1, np.ones(chosen.size)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a perceptron that has not converged is one that rejects
            separator = Perceptron(max_iter=100, fit_intercept=False).fit(points, sides)
        passes = separator.predict(points[:1])[0] < 0
        filtering += time.process_time() - start
        if not passes:
            continue
        candidates += 1
        absent_passed += int(label) not in truth
        start = time.process_time()
        answer = linprog(
            np.zeros(rows.shape[0]),
            A_ub=np.vstack([rows[:, label], -rows[:, others[:constraints]].T]),
            b_ub=np.r_[-1.0, np.zeros(min(constraints, others.size))],
            bounds=(None, None),
        )
        programs += time.process_time() - start
        if answer.status == 0:
            named.add(int(label))
    scale = classes.size / measured.size
    # Present classes were all measured; only the absent ones stand for more than themselves.
    expected_candidates = (candidates - absent_passed) + absent_passed * (classes.size - len(truth)) / max(
        measured.size - len(truth), 1
    )
    per_program = programs / max(candidates, 1)
    least = decomposition + filtering * scale + per_program * len(truth)
    return decomposition + filtering * scale + per_program * expected_candidates, least, named


def measure(sizes: list[tuple[int, int, tuple[int, ...]]], confidence: float | None, repeat: int) -> list[str]:
    """Time both procedures and return the rows of a Markdown table.

    Parameters
    ----------
    sizes : list of (C, d, S values)
        Heads and numbers of label positions.
    confidence : float or None
        Typical probability of the true class; None for an untrained network.
    repeat : int
        Runs of ours, of which the fastest counts; the published procedure runs once.

    Returns
    -------
    list of str
        The rows.
    """
    rows = []
    for classes, features, counts in sizes:
        for positions in counts:
            case = make_update(
                positions=positions,
                features=features,
                classes=classes,
                seed=positions,
                signed=True,
                bias=False,
                confidence=confidence,
            )
            truth = set(case.labels.tolist())
            best, exact = np.inf, True
            for _ in range(repeat):
                fresh = Update.from_arrays(case.update.kernel_gradient)
                start = time.process_time()
                recovery = attack("rlg", fresh)
                best = min(best, time.process_time() - start)
                exact &= set(recovery.labels) == truth
            fresh = Update.from_arrays(case.update.kernel_gradient)
            tracemalloc.start()
            attack("rlg", fresh)
            peak = tracemalloc.get_traced_memory()[1] / case.update.kernel_gradient.nbytes
            tracemalloc.stop()
            if positions > LARGEST_COMPARED:
                cells = "not run | - | - | -"
            else:
                seconds, least, named = published(case, 199 if classes <= 1000 else 5000, np.random.default_rng(0))
                cells = (
                    f"{len(named & truth)} of {len(truth)} | {seconds:.1f} | {seconds / best:.0f} | {least / best:.0f}"
                )
            rows.append(
                f"| {classes} x {features} | {positions} | {'yes' if exact else 'NO'} | {best:.3f} | {peak:.2f} "
                f"| {cells} |"
            )
            print(rows[-1], flush=True)
    return rows


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", action="store_true", help="also 16328 classes of 3072 features (10 minutes or so)")
    parser.add_argument("--confidence", type=float, help="of a trained network; default: untrained")
    parser.add_argument("--positions", type=int, nargs="+", metavar="S", help="only these")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    sizes = [(1000, 2048, (10, 50, 100))]
    if arguments.words:
        sizes.append((16328, 3072, (10, 40, 100, 400)))
    if arguments.positions:
        sizes = [(c, d, tuple(s for s in counts if s in arguments.positions)) for c, d, counts in sizes]
    header = [
        "| C x d | S | exact, blind | seconds | peak memory / gradient | published finds (S given) | seconds | ratio "
        "| ratio, perfect filter |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(header), flush=True)
    rows = measure(sizes, arguments.confidence, arguments.repeat)
    if arguments.output is not None:
        arguments.output.write_text("\n".join([*header, *rows]) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
