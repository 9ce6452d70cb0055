"""Labels recovered from one gradient of a trained network: EfficientNet-Lite0 on twenty real photos.

Runs on the current Keras backend (set KERAS_BACKEND). The attacks are blind: they get the gradient and
the weights, neither the number of photos nor any label. The second table has the gate's verdict at each strength of
noise, and the bound that no attack can exceed: of all variables, from updates captured again with other labels.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pytest_labelleak import (
    GaussianNoise,
    InconclusiveAudit,
    LabelLeak,
    Sign,
    Truth,
    Update,
    assert_labels_not_recoverable,
    capture_update,
)
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.head import column_sums
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.auditing.evidence.columns import rank_columns
from pytest_labelleak.auditing.evidence.hindsight import visibility
from pytest_labelleak.auditing.evidence.swaps import ProofRules, Swappable, proof_by_swaps
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool
from pytest_labelleak.auditing.verdict import Verdict
from pytest_labelleak.core.recovery import Recovery, Status


def measure(noise: list[float], seed: int, draws: int) -> str:
    """Attack the network's gradient in both modes under each defence.

    Parameters
    ----------
    noise : list of float
        Strengths of Gaussian noise, in units of each gradient's own root mean square.
    seed : int
        Seed of attacks and defences.
    draws : int
        Draws of noise that are averaged.

    Returns
    -------
    str
        A Markdown table.
    """
    import keras
    from photo_classifier.network import load_trained
    from photo_classifier.photos import load_photos

    images, labels = load_photos()
    model = load_trained()
    order = np.argsort(-np.asarray(model.predict(images, verbose=0)), axis=1)
    correct = int(np.sum(order[:, 0] == labels))
    truth = Truth(labels=labels, classes=1000)
    portfolio = builtin_attacks()
    defences = [None, Sign(), *(GaussianNoise(relative=strength) for strength in noise)]
    lines = [
        f"EfficientNet-Lite0, ImageNet weights, {len(labels)} photos of {truth.present.size} classes "
        f"(top-1 {correct} of {len(labels)}), Keras {keras.__version__} on {keras.backend.backend()}. "
        f"Advantage of each attack; 1.00 is the exact set. Noise: mean of {draws} draws. Column sums: advantage of "
        "naming every class whose column of the kernel's gradient has a negative sum, whatever the gradient.",
        "",
        "| training | defence | rank found | RLG names | "
        + " | ".join(portfolio)
        + " | column sums | capture s | attacks s |",
        "|" + "---|" * (len(portfolio) + 7),
    ]
    for training in (True, False):
        start = time.perf_counter()
        update = capture_update(model, (images, labels), training=training)
        capture_seconds = time.perf_counter() - start
        for defence in defences:
            # One draw of noise can name labels by luck.
            count = 1 if defence is None or isinstance(defence, Sign) else draws
            columns: dict[str, list[Verdict]] = {name: [] for name in portfolio}
            ranks, seconds, sums = [], 0.0, 0.0
            for draw in range(count):
                rng = np.random.default_rng([seed, draw, *b"defence"])
                shared = update if defence is None else defence(update, rng=rng)
                start = time.perf_counter()
                reading = Reading(shared)
                recoveries = [run(member, reading, seed=seed, batch=draw) for member in portfolio.values()]
                seconds += time.perf_counter() - start
                for recovery in recoveries:
                    columns[recovery.attack].append(Labels().score(recovery, truth))
                    if recovery.attack == "rlg":
                        ranks.append(str(recovery.details.get("rank", "-")))
                negative = tuple(np.flatnonzero(column_sums(shared) < 0).tolist())
                guessed = Recovery(attack="sums", status=Status.RECOVERED, labels=negative)
                sums += (Labels().score(guessed, truth).advantage or 0.0) / count
            verdicts = {name: pool(Labels(), column) for name, column in columns.items()}
            rlg = verdicts["rlg"]
            named = f"{rlg.recall * rlg.labels:.0f} of {rlg.labels:.0f}{', exact' if rlg.exact_match == 1.0 else ''}"
            cells = [f"{v.advantage:.2f}" if v.status == "recovered" else v.status for v in verdicts.values()]
            found = "/".join(ranks) if len(set(ranks)) > 1 else ranks[0]
            lines.append(
                f"| {training} | {defence.name if defence else 'none'} | {found} | {named} | "
                f"{' | '.join(cells)} | {sums:.2f} | {capture_seconds:.1f} | {seconds / count:.2f} |"
            )
    return "\n".join(lines) + "\n"


def gate(noise: list[float], seed: int, swaps: int) -> str:
    """Ask the gate at every strength of noise, and bound every attack.

    Parameters
    ----------
    noise : list of float
        Strengths of Gaussian noise.
    seed : int
        Seed of attacks and defences.
    swaps : int
        Largest number of updates with other labels, for positions and classes each.

    Returns
    -------
    str
        A Markdown table.
    """
    from photo_classifier.network import load_trained
    from photo_classifier.photos import load_photos

    images, labels = load_photos()
    model = load_trained()
    update = capture_update(model, (images, labels), training=False)
    known: dict[bytes, Update] = {}

    def recomputed(given: np.ndarray) -> Update:
        # The same swaps serve every strength.
        if given is labels:
            return update
        key = given.tobytes()
        if key not in known:
            known[key] = capture_update(model, (images, given), training=False)
        return known[key]

    batch = Swappable(labels=labels, classes=1000, recompute=recomputed)
    lines = [
        "Inference mode. Advantage: what the gate measured over its draws, and the attack. Visible: advantage of a "
        "receiver who chooses the threshold knowing the labels, over four draws.",
        "",
        "| noise | advantage | attack | visible | verdict | draws | no attack can exceed |",
        "|" + "---|" * 7,
    ]
    for strength in noise:
        defence = GaussianNoise(relative=strength)
        try:
            audit = assert_labels_not_recoverable(
                update, labels, defence=defence, threshold=0.1, time_budget=600, seed=seed
            )
        except (LabelLeak, InconclusiveAudit) as error:
            audit = error.audit
        best = max(audit.verdicts, key=lambda verdict: verdict.figure or 0.0)
        drawn = [defence(update, rng=np.random.default_rng([seed, draw])) for draw in range(4)]
        ranked = [
            rank_columns(one.kernel_gradient, np.unique(labels), bias_gradient=one.bias_gradient) for one in drawn
        ]
        seen = visibility([ranked], rng=np.random.default_rng(seed))
        rng, rules = np.random.default_rng([seed, *b"proof"]), ProofRules(most_swaps=swaps)
        proof = proof_by_swaps([batch], defence.noise_law, rng=rng, rules=rules)
        lines.append(
            f"| {strength:g} | {best.figure or 0.0:.2f} | {best.attack} | "
            f"{seen.advantage:.2f}{'' if seen.visible else ', not significant'} | {audit.outcome} | {audit.draws} | "
            f"{proof.shown if proof.bound is not None else proof.because} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.1, 1.0, 3.0, 10.0, 20.0, 100.0, 1000.0], help="relative strengths"
    )
    parser.add_argument("--draws", type=int, default=16, help="draws of noise (default 16)")
    parser.add_argument("--gate", type=float, nargs="*", default=[1.0, 3.0, 10.0, 20.0, 100.0, 1000.0, 3000.0])
    parser.add_argument("--swaps", type=int, default=128, help="updates with other labels, of two kinds (default 128)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="PATH", help="also write the table to this file")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "image_classifier"))
    table = measure(arguments.noise, arguments.seed, arguments.draws)
    if arguments.gate:
        table += "\n" + gate(arguments.gate, arguments.seed, arguments.swaps)
    print(table, end="")
    if arguments.output:
        Path(arguments.output).write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
