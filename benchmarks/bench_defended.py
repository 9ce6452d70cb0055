"""Recall, precision and exact match of every attack on defended gradients.

One table per kind of features and stage of training, with and without a bias, on synthetic heads; one for
EfficientNet-Lite0 on real photos. Noise is Gaussian with a standard deviation relative to each variable's root
mean square. The attacks are blind: they get the defended gradient and the head's weights, neither the number
of positions nor any label.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments

from pytest_labelleak import Defence, DropSmallest, GaussianNoise, Quantise, Sign, Truth, Update
from pytest_labelleak.attacks import Attack, builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.verdict import Verdict
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.testing import make_head_update

DEFENCES: dict[str, Defence | None] = {
    "none": None,
    "sign-SGD": Sign(),
    "drop 50 %": DropSmallest(fraction=0.5),
    "drop 90 %": DropSmallest(fraction=0.9),
    "drop 99 %": DropSmallest(fraction=0.99),
    "8 bits": Quantise(bits=8),
    "4 bits": Quantise(bits=4),
    "2 bits": Quantise(bits=2),
    "noise 1e-6": GaussianNoise(relative=1e-6),
    "noise 1e-5": GaussianNoise(relative=1e-5),
    "noise 1e-4": GaussianNoise(relative=1e-4),
    "noise 1e-3": GaussianNoise(relative=1e-3),
    "noise 1e-2": GaussianNoise(relative=1e-2),
    "noise 1e-1": GaussianNoise(relative=1e-1),
}
#: Published for the paper's own procedure (Dang et al. 2021), which is told the number of positions; words of
#: transcripts, so another task: quoted for orientation.
ANCHORS = {"sign-SGD": "exact .104", "drop 50 %": "exact 0 (strict)", "drop 90 %": "exact .866"}
MEANING = (
    'Cells are recall / precision / exact match, means over the batches; "-" where an attack said on every batch that '
    "it does not apply, and a batch on which it said so counts as nothing found. "
    '"best" takes in each batch the attack with the largest advantage, as an audit of that batch does. "published": '
    "figures of the paper for its own procedure on transcripts, told the number of positions; the zero is strict "
    "RLG's."
)

Batches = Iterable[tuple[Update, np.ndarray]]


def cell(verdicts: Sequence[Verdict]) -> str:
    """Show one attack's verdicts over the batches.

    Parameters
    ----------
    verdicts : sequence of Verdict
        One per batch.

    Returns
    -------
    str
        Recall / precision / exact match.
    """
    if not any(verdict.status == Status.RECOVERED for verdict in verdicts):
        return "-"
    return " / ".join(
        f"{np.mean([getattr(verdict, name) for verdict in verdicts]):.2f}"
        for name in ("recall", "precision", "exact_match")
    )


def row(batches: Batches, defence: Defence | None, members: Sequence[Attack]) -> list[str]:
    """Attack batches under one defence.

    Parameters
    ----------
    batches : iterable of (Update, ndarray)
        Undefended updates with their labels.
    defence : defence or None
        The defence of the updates.
    members : sequence of attack
        The portfolio.

    Returns
    -------
    list of str
        The portfolio's cell, then each member's.
    """
    verdicts: list[list[Verdict]] = []
    for index, (update, labels) in enumerate(batches):
        # The seed comes from the batch alone, so that a row does not depend on the choice of other rows.
        rng = np.random.default_rng([index, *b"defence"])
        # Without a defence the update is copied: results that attacks store in an update must not outlive the row.
        shared = dataclasses.replace(update) if defence is None else defence(update, rng=rng)
        truth = Truth(labels=labels, classes=update.classes)
        reading = Reading(shared)
        verdicts.append([Labels().score(run(member, reading, seed=0, batch=index), truth) for member in members])
    best = [max(of_batch, key=lambda verdict: verdict.advantage) for of_batch in verdicts]
    return [cell(best), *(cell(column) for column in zip(*verdicts, strict=True))]


def _table(
    table: GrowingTable,
    arguments: argparse.Namespace,
    title: str,
    text: str,
    kinds: dict[str, Callable[[], Batches]],
) -> None:
    members = [builtin_attacks()[name] for name in arguments.attacks]
    table.start(title, text + MEANING, ["defence, head", "published", "best", *arguments.attacks])
    for name in arguments.defences:
        for kind, batches in kinds.items():
            table.row(
                f"{name}, {kind}",
                lambda name=name, batches=batches: [ANCHORS.get(name, ""), *row(batches(), DEFENCES[name], members)],
            )


def synthetic(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the tables of synthetic heads."""
    for signed in (False, True):
        for confidence in (None, 0.9):

            def batches(bias: bool, signed: bool = signed, confidence: float | None = confidence) -> Batches:
                for seed in range(arguments.batches):
                    case = make_head_update(
                        positions=arguments.positions,
                        features=256,
                        classes=400,
                        seed=4000 + seed,
                        signed=signed,
                        bias=bias,
                        confidence=confidence,
                    )
                    yield case.update, case.labels

            stage = "untrained" if confidence is None else f"trained to a mean p of {confidence}"
            _table(
                table,
                arguments,
                f"{'Signed' if signed else 'Non-negative'} features, {stage}",
                f"Synthetic heads with weights, d=256, C=400, S={arguments.positions}, {arguments.batches} batches. ",
                {"bias": lambda make=batches: make(True), "no bias": lambda make=batches: make(False)},
            )


def photos(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the table of the trained ImageNet network."""
    from real_heads import photo_head

    views = 8
    head = photo_head(views)

    def batches(training: bool) -> Batches:
        rng = np.random.default_rng(5000)
        for _ in range(arguments.batches):
            chosen = np.arange(20) * views + rng.integers(0, views, 20)
            yield head.capture(chosen, training=True) if training else head.update(chosen), head.labels[chosen]

    # A capture takes seconds, and every row uses the same ones.
    captured = list(batches(True))
    _table(
        table,
        arguments,
        "EfficientNet-Lite0 on real photos",
        "ImageNet weights, the 20 photos (19 classes) in a random view of eight each, C=1000, d=1280, non-negative "
        f"features, {arguments.batches} batches; in training mode (captured) and in inference mode. ",
        {"training": lambda: captured, "inference": lambda: batches(False)},
    )


PARTS: dict[str, Callable[[GrowingTable, argparse.Namespace], None]] = {"synthetic": synthetic, "photos": photos}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit code."""
    names = list(builtin_attacks())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    parser.add_argument("--defences", nargs="+", choices=DEFENCES, default=list(DEFENCES), help="only these")
    parser.add_argument(
        "--attacks",
        nargs="+",
        choices=names,
        # These two never apply to several samples of a head without an embedding.
        default=[name for name in names if name not in {"embedding_rows", "idlg"}],
        help="only these",
    )
    parser.add_argument("--batches", type=int, default=10, help="per row (default 10)")
    parser.add_argument("--positions", type=int, default=12, help="label positions S of synthetic heads (default 12)")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.batches < 1:
        parser.error(f"--batches {arguments.batches} given. Expected at least 1.")
    table = GrowingTable(arguments.output, resume=arguments.resume)
    for name in arguments.parts:
        PARTS[name](table, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
