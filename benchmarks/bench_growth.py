"""How the seconds of the attacks grow with the number of classes and of label positions, as table and plot.

Each curve varies one size of a synthetic head from the same starting point. The slope is that of a straight line
through the logarithms: 1 means that twice the size takes twice the time. ``--plot`` needs matplotlib (dependency
group bench).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.testing import make_update

FEATURES = 512
CLASSES = (250, 500, 1000, 2000, 4000, 8000, 16000)
POSITIONS = (5, 10, 20, 40, 80, 160)
#: Size that stays fixed while the other one varies.
FIXED_CLASSES = 2000
FIXED_POSITIONS = 20
ATTACKS = ("bias_sign", "yin", "llg", "rlg")


def seconds(classes: int, positions: int, names: Sequence[str], repeat: int) -> dict[str, float]:
    """Time attacks on one gradient.

    Parameters
    ----------
    classes, positions : int
        Numbers C of classes and S of label positions.
    names : sequence of str
        Attacks.
    repeat : int
        Number of runs of each attack, of which the fastest counts.

    Returns
    -------
    dict of str to float
        Seconds by attack; each attack gets a fresh update.
    """
    case = make_update(positions=positions, features=FEATURES, classes=classes, seed=positions)
    best = dict.fromkeys(names, np.inf)
    for _ in range(repeat):
        for name in names:
            fresh = Reading(dataclasses.replace(case.update))  # without the stored results of earlier attacks
            start = time.perf_counter()
            run(builtin_attacks()[name], fresh, seed=0)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Return the exponent of the power law that fits best.

    Parameters
    ----------
    sizes : sequence of int
        At least one; with one there is no slope.
    times : sequence of float
        Seconds.

    Returns
    -------
    float
        NaN for a single size.
    """
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def plot(path: Path, curves: dict[str, tuple[Sequence[int], dict[str, list[float]]]]) -> None:
    """Draw all curves on logarithmic axes.

    Parameters
    ----------
    path : Path
        File to write; its suffix chooses the format.
    curves : dict
        Sizes, and seconds by attack, under the name of the axis.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "labelleak"  # the same figures give the same bytes
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 4), sharey=True, squeeze=False)
    for axis, (name, (sizes, by_attack)) in zip(axes[0], curves.items(), strict=True):
        for attack, times in by_attack.items():
            axis.loglog(sizes, times, marker="o", label=f"{attack} (slope {slope(sizes, times):.1f})")
        axis.set_xlabel(name)
        axis.grid(visible=True, which="both", alpha=0.3)
        axis.legend()
    axes[0][0].set_ylabel("seconds")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, draw the plot; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES), metavar="C")
    parser.add_argument("--positions", type=int, nargs="+", default=list(POSITIONS), metavar="S")
    parser.add_argument("--attacks", nargs="+", choices=list(builtin_attacks()), default=list(ATTACKS))
    parser.add_argument("--repeat", type=int, default=3, help="runs, of which the fastest counts (default 3)")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the curves to this file, such as growth.svg")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    table = GrowingTable(arguments.output, resume=arguments.resume)
    curves: dict[str, tuple[Sequence[int], dict[str, list[float]]]] = {}
    for name, title, sizes, fixed in (
        ("C", "classes", arguments.classes, f"S={FIXED_POSITIONS}"),
        ("S", "label positions", arguments.positions, f"C={FIXED_CLASSES}"),
    ):
        by_attack: dict[str, list[float]] = {attack: [] for attack in arguments.attacks}
        table.start(
            f"Growth with {title}",
            f"Seconds on an untrained synthetic head, d={FEATURES}, {fixed}; fastest of {arguments.repeat}.",
            [name, *arguments.attacks],
        )
        for size in sizes:
            classes, positions = (size, FIXED_POSITIONS) if name == "C" else (FIXED_CLASSES, size)

            def compute(classes: int = classes, positions: int = positions) -> list[str]:
                found = seconds(classes, positions, arguments.attacks, arguments.repeat)
                return [f"{found[attack]:.4g}" for attack in arguments.attacks]

            for attack, cell in zip(arguments.attacks, table.row(str(size), compute), strict=True):
                by_attack[attack].append(float(cell))
        slopes = ", ".join(f"{attack} {slope(sizes, times):.2f}" for attack, times in by_attack.items())
        table.note(f"Slopes: {slopes}.")
        curves[f"{title} {name} ({fixed})"] = sizes, by_attack
    if arguments.plot is not None:
        plot(arguments.plot, curves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
