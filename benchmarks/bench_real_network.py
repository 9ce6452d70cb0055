"""Labels recovered from one gradient of a trained network: EfficientNet-Lite0 on twenty real photos.

Runs on the current Keras backend (set KERAS_BACKEND). The attacks are blind: they get the gradient and
the weights, neither the number of photos nor any label.
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

from pytest_labelleak import GaussianNoise, Sign, Truth, capture_update
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool
from pytest_labelleak.auditing.verdict import Verdict


def measure(noise: list[float], seed: int) -> str:
    """Attack the network's gradient in both modes under each defence.

    Parameters
    ----------
    noise : list of float
        Strengths of Gaussian noise, in units of each gradient's own root mean square.
    seed : int
        Seed of attacks and defences.

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
        "Advantage of each attack; 1.00 is the exact set. Noise: mean of four draws.",
        "",
        "| training | defence | rank found | RLG names | " + " | ".join(portfolio) + " | capture s | attacks s |",
        "|" + "---|" * (len(portfolio) + 6),
    ]
    for training in (True, False):
        start = time.perf_counter()
        update = capture_update(model, (images, labels), training=training)
        capture_seconds = time.perf_counter() - start
        for defence in defences:
            # One draw of noise can name labels by luck: average a few.
            draws = 1 if defence is None or isinstance(defence, Sign) else 4
            columns: dict[str, list[Verdict]] = {name: [] for name in portfolio}
            ranks, seconds = [], 0.0
            for draw in range(draws):
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
            verdicts = {name: pool(Labels(), column) for name, column in columns.items()}
            rlg = verdicts["rlg"]
            named = f"{rlg.recall * rlg.labels:.0f} of {rlg.labels:.0f}{', exact' if rlg.exact_match == 1.0 else ''}"
            cells = [f"{v.advantage:.2f}" if v.status == "recovered" else v.status for v in verdicts.values()]
            lines.append(
                f"| {training} | {defence.name if defence else 'none'} | {'/'.join(ranks)} | {named} | "
                f"{' | '.join(cells)} | {capture_seconds:.1f} | {seconds / draws:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.1, 1.0, 10.0, 100.0, 1000.0], help="relative strengths"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="PATH", help="also write the table to this file")
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "image_classifier"))
    table = measure(arguments.noise, arguments.seed)
    print(table, end="")
    if arguments.output:
        Path(arguments.output).write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
