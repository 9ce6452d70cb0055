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

import numpy as np

from pytest_labelleak import GaussianNoise, Sign, Truth, capture_update
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.verdict import score


def measure(noise: list[float], seed: int) -> str:
    """Attack the network's gradient in both modes under each defence.

    Parameters
    ----------
    noise : list of float
        Strengths of Gaussian noise, in units of each gradient's own root mean square.
    seed : int
        Seeds attacks and defences.

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
        "Advantage of each attack; 1.00 is the exact set.",
        "",
        "| training | defence | rank found | RLG names exactly | "
        + " | ".join(portfolio)
        + " | capture s | attacks s | RLG s |",
        "|" + "---|" * (len(portfolio) + 7),
    ]
    for training in (True, False):
        start = time.perf_counter()
        update = capture_update(model, (images, labels), training=training)
        capture_seconds = time.perf_counter() - start
        for defence in defences:
            shared = update if defence is None else defence(update, rng=np.random.default_rng([seed, *b"defence"]))
            cells, total = [], 0.0
            for name, member in portfolio.items():
                start = time.perf_counter()
                recovery = run(member, shared, seed=seed)
                seconds = time.perf_counter() - start
                total += seconds
                verdict = score(recovery, truth)
                cells.append(f"{verdict.advantage:.2f}" if verdict.status == "recovered" else verdict.status)
                if name == "rlg":
                    rank = recovery.details.get("rank", "-")
                    hits = round(verdict.recall * verdict.labels)
                    exact = f"{hits} of {verdict.labels:.0f}{', exact' if verdict.exact_match else ''}"
                    own = seconds
            lines.append(
                f"| {training} | {defence.name if defence else 'none'} | {rank} | {exact} | {' | '.join(cells)} "
                f"| {capture_seconds:.1f} | {total:.2f} | {own:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.001, 0.1, 1.0, 10.0], help="relative strengths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="PATH", help="also write the table to this file")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "image_classifier"))
    table = measure(arguments.noise, arguments.seed)
    print(table, end="")
    if arguments.output:
        Path(arguments.output).write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
