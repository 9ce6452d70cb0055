"""The best attack's advantage over a grid of heads and defences.

A row is a head: features of one sign or both, with or without a bias, a number of label positions, untrained or
trained. A column is a defence. A cell holds the largest mean advantage of any attack over the batches, and its name.
The attacks are blind: they get the defended gradient and the head's weights, neither the number of positions nor any
label. The shadow attack is told the defence, which its receiver knows.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Read when numpy loads: its idle threads spin, and slow a machine that others use down by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak import Defence, DropSmallest, GaussianNoise, Quantise, Sign, Truth, Update
from pytest_labelleak.attacks import Attack, builtin_attacks, run
from pytest_labelleak.attacks.energy.attack import Energy
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.attacks.shadow.attack import Shadow
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.testing import make_head_update


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSGD:
    """Share the projection of every matrix on a few directions, by one power step; vectors are shared as they are.

    References
    ----------
    .. [1] T. Vogels, S. P. Karimireddy, M. Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
       Optimization", NeurIPS 2019. https://doi.org/10.48550/arXiv.1905.13727
    """

    rank: int

    @property
    def name(self) -> str:
        return f"powersgd(rank={self.rank})"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        def compressed(array: np.ndarray) -> np.ndarray:
            if array.ndim < 2:
                return array.copy()
            wide = array.astype(np.float64)
            basis = np.linalg.qr(wide @ rng.standard_normal((array.shape[1], min(self.rank, *array.shape))))[0]
            return np.asarray(basis @ (basis.T @ wide), dtype=array.dtype)

        return update.map(compressed, defence=self.name)


DEFENCES: dict[str, Defence | None] = {
    "none": None,
    "sign": Sign(),
    "drop 50 %": DropSmallest(fraction=0.5),
    "drop 90 %": DropSmallest(fraction=0.9),
    "drop 99 %": DropSmallest(fraction=0.99),
    **{f"{bits} bits": Quantise(bits=bits) for bits in (8, 4, 2)},
    **{f"noise {strength:g}": GaussianNoise(relative=strength) for strength in (1e-3, 1e-2, 0.1, 1, 3, 10, 30, 100)},
    **{f"PowerSGD {rank}": PowerSGD(rank=rank) for rank in (1, 2, 4, 8, 16)},
}
QUICK = ("none", "sign", "drop 99 %", "noise 3", "noise 10", "PowerSGD 2")
#: Attacks that read several samples of a head without an embedding.
ATTACKS = tuple(name for name in builtin_attacks() if name not in {"embedding_rows", "idlg", "disaggregate", "shadow"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadKind:
    """One row of the grid."""

    signed: bool
    bias: bool
    positions: int
    confidence: float | None

    @property
    def label(self) -> str:
        trained = "untrained" if self.confidence is None else f"p = {self.confidence}"
        side = "signed" if self.signed else "non-negative"
        return f"{side}, {'bias' if self.bias else 'no bias'}, S = {self.positions}, {trained}"

    def update(self, features: int, classes: int, seed: int) -> tuple[Update, np.ndarray]:
        case = make_head_update(
            positions=self.positions,
            features=features,
            classes=classes,
            seed=9000 + seed,
            signed=self.signed,
            bias=self.bias,
            confidence=self.confidence,
        )
        return case.update, case.labels


def members(defence: Defence | None, names: Sequence[str], simulations: int) -> list[Attack]:
    """Return the attacks on a defence, the shadow attack told which.

    Parameters
    ----------
    defence : defence or None
        The defence.
    names : sequence of str
        Attacks that are asked besides `energy`.
    simulations : int
        Of the shadow attack; none leaves it out.

    Returns
    -------
    list of attack
        Each name once.
    """
    known = builtin_attacks()
    chosen: list[Attack] = [known[name] for name in names if name not in {"energy", "shadow"}]
    chosen.append(Energy())
    if simulations:
        chosen.append(Shadow(defence=defence, simulations=simulations))
    return chosen


def cell(kind: HeadKind, defence: Defence | None, arguments: argparse.Namespace) -> str:
    """Attack the batches of one cell.

    Parameters
    ----------
    kind : HeadKind
        The head.
    defence : defence or None
        The defence.
    arguments : argparse.Namespace
        Sizes, attacks and batches.

    Returns
    -------
    str
        The best mean advantage and the attack that has it.
    """
    chosen = members(defence, arguments.attacks, arguments.simulations)
    advantages = {member.name: [] for member in chosen}
    for index in range(arguments.batches):
        update, labels = kind.update(arguments.features, arguments.classes, index)
        # From the batch alone, so that a cell does not depend on which others are measured.
        rng = np.random.default_rng([index, *b"defence"])
        shared = replace(update) if defence is None else defence(update, rng=rng)
        reading, truth = Reading(shared), Truth(labels=labels, classes=update.classes)
        for member in chosen:
            verdict = Labels().score(run(member, reading, seed=0, batch=index), truth)
            advantages[member.name].append(verdict.advantage or 0.0)
    means = {name: float(np.mean(values)) for name, values in advantages.items()}
    best = max(means, key=lambda name: means[name])
    return f"{means[best]:.2f} {best}" if means[best] > 0.005 else f"{max(means[best], 0.0):.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=64, help="d of the head (default 64)")
    parser.add_argument("--classes", type=int, default=300, help="C of the head (default 300)")
    parser.add_argument("--positions", type=int, nargs="+", help="label positions (default 8, d/2, d, 2d, 4d)")
    parser.add_argument("--batches", type=int, default=4, help="per cell (default 4)")
    parser.add_argument("--defences", nargs="+", choices=DEFENCES, default=list(DEFENCES), help="only these")
    parser.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(ATTACKS), help="only these and energy")
    parser.add_argument(
        "--simulations", type=int, default=24, help="of the shadow attack; 0 leaves it out (default 24)"
    )
    parser.add_argument("--quick", action="store_true", help="a corner of the grid, without the shadow attack")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.batches < 1:
        parser.error(f"--batches {arguments.batches} given. Expected at least 1.")
    d = arguments.features
    positions = arguments.positions or [8, d // 2, d, 2 * d, 4 * d]
    stages: tuple[float | None, ...] = (None, 0.5, 0.9)
    if arguments.quick:
        positions, stages, arguments.simulations, arguments.batches = [8, 2 * d], (None,), 0, 1
        arguments.defences = [name for name in QUICK if name in arguments.defences]
        # The others take minutes for crowded heads.
        arguments.attacks = [name for name in arguments.attacks if not name.startswith("rlg")]
    table = GrowingTable(arguments.output, resume=arguments.resume)
    table.start(
        "Best attack",
        f"Heads with d = {d}, C = {arguments.classes} and known weights, {arguments.batches} batches per cell.",
        ["head", *arguments.defences, "s"],
    )
    for signed in (False, True):
        for bias in (True, False):
            for confidence in stages:
                for count in positions:
                    kind = HeadKind(signed=signed, bias=bias, positions=count, confidence=confidence)

                    def compute(kind: HeadKind = kind) -> list[str]:
                        start = time.perf_counter()
                        cells = [cell(kind, DEFENCES[name], arguments) for name in arguments.defences]
                        return [*cells, f"{time.perf_counter() - start:.0f}"]

                    table.row(kind.label, compute)
    return 0


if __name__ == "__main__":
    sys.exit(main())
