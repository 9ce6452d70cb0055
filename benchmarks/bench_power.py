"""Best attack, visibility in hindsight, verdict and proof over a grid of heads, defences and local training.

A row is a head: features of one sign or both, with or without a bias, a number of label positions, untrained or
trained. A column is a defence, or an optimizer with a number of local steps and no defence. A cell holds the largest
mean advantage of any attack over the batches and its name; the advantage of a receiver who chooses the threshold
knowing the labels, with a star where it is significant and beyond the threshold; the verdict of the gate at a threshold
of 0.1; and the bound that no attack can exceed, where there is one. The attacks are blind: they get the shared update
and the head's weights, neither the number of positions nor any label. The shadow attack is told defence and optimizer,
which its receiver knows.

The last lines count the cells. No cell may be held whose labels are visible.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

# Read when numpy loads: its idle threads spin, and slow a machine that others use down by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak import (
    Defence,
    DropSmallest,
    GaussianNoise,
    InconclusiveAudit,
    LabelLeak,
    Optimizer,
    Quantise,
    Sign,
    Truth,
    Update,
    assert_labels_not_recoverable,
)
from pytest_labelleak.attacks import Attack, builtin_attacks, run
from pytest_labelleak.attacks.energy.attack import Energy
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.attacks.shadow.attack import Shadow
from pytest_labelleak.auditing.evidence.columns import rank_columns
from pytest_labelleak.auditing.evidence.hindsight import visibility
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.core.optimizer import OptimizerState
from pytest_labelleak.core.softmax import softmax
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


NOISES = (1e-3, 1e-2, 0.1, 1, 3, 10, 30, 100, 300, 1000)
DEFENCES: dict[str, Defence | None] = {
    "none": None,
    "sign": Sign(),
    "drop 50 %": DropSmallest(fraction=0.5),
    "drop 90 %": DropSmallest(fraction=0.9),
    "drop 99 %": DropSmallest(fraction=0.99),
    **{f"{bits} bits": Quantise(bits=bits) for bits in (8, 4, 2)},
    **{
        f"noise {strength:g}": GaussianNoise(relative=strength)
        for strength in (1e-3, 1e-2, 0.1, 1, 3, 10, 30, 100, 300, 1000)
    },
    **{f"PowerSGD {rank}": PowerSGD(rank=rank) for rank in (1, 2, 4, 8, 16)},
}
#: Optimizer and number of local steps.
TRAININGS = {
    f"{name} x {steps}": (name, steps) for name in ("sgd", "momentum", "adam", "adamw") for steps in (1, 16, 64)
}
RATES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3, "adamw": 1e-3}
COLUMNS = (*DEFENCES, *TRAININGS)
QUICK = ("none", "sign", "drop 99 %", "noise 10", "noise 300", "adam x 16")
THRESHOLD = 0.1
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

    def case(
        self, features: int, classes: int, seed: int, training: str | None
    ) -> tuple[Update, np.ndarray, np.ndarray]:
        """Return an update with its labels and the inputs of the head."""
        name, steps = TRAININGS.get(training or "", ("sgd", 1))
        made = make_head_update(
            positions=self.positions * steps,
            features=features,
            classes=classes,
            seed=9000 + seed,
            signed=self.signed,
            bias=self.bias,
            confidence=self.confidence,
            # Some classes stay absent, however many steps there are.
            among=None if training is None else classes // 3,
        )
        if training is None:
            return made.update, made.labels, made.features
        head = made.update.head
        start = {"kernel": np.asarray(head.kernel_value, dtype=np.float64)}
        start |= {"bias": np.asarray(head.bias_value, dtype=np.float64)} if self.bias else {}
        rule, rate, weights = Optimizer.named(name), RATES[name], dict(start)
        state = OptimizerState(rule)
        for places in np.split(np.arange(made.labels.size), steps):
            errors = softmax(made.features[places] @ weights["kernel"] + weights.get("bias", 0.0))
            errors[np.arange(places.size), made.labels[places]] -= 1.0
            errors /= places.size
            changes = state.step({"kernel": made.features[places].T @ errors, "bias": errors.sum(axis=0)}, weights)
            weights = {key: (weights[key] - rate * changes[key]).astype(np.float32) for key in weights}
        change = {key: ((start[key] - weights[key]) / rate).astype(np.float32) for key in weights}
        update = Update.from_arrays(
            change["kernel"],
            bias_gradient=change.get("bias"),
            kernel=head.kernel_value,
            bias=head.bias_value,
            steps=steps,
            learning_rate=rate,
            optimizer=rule,
        )
        return update, made.labels, made.features


@dataclass(slots=True)
class Count:
    """Cells so far."""

    cells: int = 0
    visible: int = 0
    read: int = 0
    held_and_visible: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, cell: str) -> None:
        """Count a cell by its text, so that rows of a run that was stopped count too."""
        best, seen, outcome, *_ = cell.split(" / ")
        visible = seen.endswith("*")
        self.cells += 1
        self.visible += visible
        self.read += visible and float(best.split()[0]) > THRESHOLD
        self.held_and_visible += visible and outcome == "held"
        self.outcomes[outcome] += 1

    def line(self) -> str:
        share = f"{self.read / self.visible:.1%}" if self.visible else "-"
        verdicts = ", ".join(f"{outcome} {number}" for outcome, number in sorted(self.outcomes.items()))
        return (
            f"{self.cells} cells: visible {self.visible}, of these read by an attack {self.read} ({share}); "
            f"held and visible {self.held_and_visible}; verdicts: {verdicts}."
        )


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


def cell(kind: HeadKind, column: str, arguments: argparse.Namespace) -> str:
    """Attack and audit the batches of one cell.

    Parameters
    ----------
    kind : HeadKind
        The head.
    column : str
        Defence or training.
    arguments : argparse.Namespace
        Sizes, attacks and batches.

    Returns
    -------
    str
        Best attack, visibility, verdict and proof.
    """
    defence = DEFENCES.get(column)
    training = column if column in TRAININGS else None
    cases = [kind.case(arguments.features, arguments.classes, index, training) for index in range(arguments.batches)]
    chosen = members(defence, arguments.attacks, arguments.simulations)
    advantages: dict[str, list[float]] = {member.name: [] for member in chosen}
    ranked = []
    for index, (update, labels, _) in enumerate(cases):
        # From the batch alone, so that a cell does not depend on which others are measured.
        rng = np.random.default_rng([index, *b"defence"])
        shared = replace(update) if defence is None else defence(update, rng=rng)
        reading, truth = Reading(shared), Truth(labels=labels, classes=update.classes)
        ranked.append([rank_columns(shared.kernel_gradient, np.unique(labels), bias_gradient=shared.bias_gradient)])
        for member in chosen:
            verdict = Labels().score(run(member, reading, seed=0, batch=index), truth)
            advantages[member.name].append(verdict.advantage or 0.0)
    means = {name: float(np.mean(values)) for name, values in advantages.items()}
    best = max(means, key=lambda name: means[name])
    seen = visibility(ranked, rng=np.random.default_rng(0))
    outcome, proof = verdict_of(cases, defence, arguments)
    named = f"{means[best]:.2f} {best}" if means[best] > 0.005 else f"{max(means[best], 0.0):.2f}"
    return " / ".join(
        [named, f"{seen.advantage:.2f}{'*' if seen.beyond(THRESHOLD) else ''}", outcome, *([proof] if proof else [])]
    )


def verdict_of(
    cases: Sequence[tuple[Update, np.ndarray, np.ndarray]], defence: Defence | None, arguments: argparse.Namespace
) -> tuple[str, str]:
    """Return the outcome of the gate on the batches of a cell, and the bound on every attack where there is one."""
    try:
        audit = assert_labels_not_recoverable(
            [update for update, _, _ in cases],
            [{"y": labels, "features": features} for _, labels, features in cases],
            defence=defence,
            threshold=THRESHOLD,
            time_budget=arguments.time_budget,
            seed=0,
        )
    except (LabelLeak, InconclusiveAudit) as error:
        audit = error.audit
    proof = "" if audit.proof is None or audit.proof.bound is None else audit.proof.shown
    return str(audit.outcome), proof


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=32, help="d of the head (default 32)")
    parser.add_argument("--classes", type=int, default=100, help="C of the head (default 100)")
    parser.add_argument("--positions", type=int, nargs="+", help="label positions (default 8, d, 4d)")
    parser.add_argument("--batches", type=int, default=4, help="per cell (default 4)")
    parser.add_argument("--defences", nargs="+", choices=COLUMNS, default=list(COLUMNS), help="only these")
    parser.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(ATTACKS), help="only these and energy")
    parser.add_argument(
        "--simulations", type=int, default=24, help="of the shadow attack; 0 leaves it out (default 24)"
    )
    parser.add_argument("--time-budget", type=float, default=60.0, help="seconds of an audit (default 60)")
    parser.add_argument("--quick", action="store_true", help="a corner of the grid, without the shadow attack")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.batches < 1:
        parser.error(f"--batches {arguments.batches} given. Expected at least 1.")
    d = arguments.features
    positions = arguments.positions or [8, d, 4 * d]
    stages: tuple[float | None, ...] = (None, 0.9)
    if arguments.quick:
        positions, stages, arguments.simulations, arguments.batches = [8, 2 * d], (None,), 0, 1
        arguments.defences = [name for name in QUICK if name in arguments.defences]
        # The others take minutes for crowded heads.
        arguments.attacks = [name for name in arguments.attacks if not name.startswith("rlg")]
    table = GrowingTable(arguments.output, resume=arguments.resume)
    table.start(
        "Power",
        f"Heads with d = {d}, C = {arguments.classes} and known weights, {arguments.batches} batches per cell.",
        ["head", *arguments.defences, "s"],
    )
    total = Count()
    for signed in (False, True):
        for bias in (True, False):
            for confidence in stages:
                for count in positions:
                    kind = HeadKind(signed=signed, bias=bias, positions=count, confidence=confidence)

                    def compute(kind: HeadKind = kind) -> list[str]:
                        start = time.perf_counter()
                        cells = [cell(kind, name, arguments) for name in arguments.defences]
                        return [*cells, f"{time.perf_counter() - start:.0f}"]

                    for text in table.row(kind.label, compute)[:-1]:
                        total.add(text)
    table.note(total.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
