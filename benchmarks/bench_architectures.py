"""Exact match over ``keras.applications`` networks with random weights, batch sizes and dtype policies.

The images are random crops of the twenty real photos, the labels are random. The attacks are blind: they
get one gradient per batch, and neither the batch's size nor any label.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from pytest_labelleak import Truth, capture_update
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.auditing.questions.labels import Labels
from pytest_labelleak.auditing.questions.pooling import pool

NETWORKS = ("ResNet50", "VGG16", "DenseNet121", "InceptionV3", "EfficientNetB0", "MobileNetV2")

#: (networks, dtype policy, batch size, image side or None for the network's own) of the default run.
PLAN = (
    (NETWORKS, "float32", 10, None),
    (("MobileNetV2", "EfficientNetB0"), "float32", 50, None),
    (("MobileNetV2",), "float32", 100, None),
    # At their own size, a training step on 100 photos takes 20 GB of memory and more on these.
    (("EfficientNetB0", "DenseNet121", "InceptionV3", "ResNet50"), "float32", 100, 96),
    (NETWORKS, "mixed_bfloat16", 10, None),
    # Without hardware support a capture of the larger ones takes over a minute in float16.
    (("MobileNetV2", "EfficientNetB0"), "mixed_float16", 10, None),
    (("DenseNet121", "InceptionV3", "ResNet50", "VGG16"), "mixed_float16", 10, 96),
)


def crops(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Cut random squares out of the photos.

    Parameters
    ----------
    count : int
        Number of images; each photo is used once before any is used again.
    side : int
        Side of the result in pixels.
    rng : numpy.random.Generator
        Source of photos, places, sizes and mirror images.

    Returns
    -------
    ndarray of float32, shape (count, side, side, 3)
        Pixels of 0 to 255.
    """
    from photo_classifier.assets import fetch_photos
    from PIL import Image

    paths = fetch_photos()
    chosen = np.concatenate([rng.permutation(len(paths)) for _ in range(-(-count // len(paths)))])[:count]
    images = np.empty((count, side, side, 3), np.float32)
    for place, number in enumerate(chosen):
        with Image.open(paths[number]) as image:
            width, height = image.size
            edge = rng.uniform(0.5, 1.0) * min(width, height)
            left, top = rng.uniform(0.0, width - edge), rng.uniform(0.0, height - edge)
            box = (left, top, left + edge, top + edge)
            pixels = np.asarray(image.convert("RGB").resize((side, side), box=box), dtype=np.float32)
        images[place] = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    return images


def measure(
    name: str, policy: str, batch_size: int, num_batches: int, *, side: int | None, training: bool, seed: int
) -> str:
    """Attack one network and return its row.

    Parameters
    ----------
    name : str
        Name of a network in ``keras.applications``.
    policy : str
        Keras dtype policy.
    batch_size, num_batches : int
        Samples in a batch, and number of batches.
    side : int or None
        Side of the images in pixels; None is the network's own.
    training : bool
        Whether dropout and batch normalisation run in training mode.
    seed : int
        Seed of weights, images, labels and attacks.

    Returns
    -------
    str
        One row of the Markdown table.
    """
    import keras
    from networks import build_network

    keras.config.set_dtype_policy(policy)
    try:
        model, preprocess = build_network(name, image_size=side, seed=seed)
        side, classes = model.input_shape[1], model.output_shape[-1]
        rng = np.random.default_rng([seed, *name.encode()])
        portfolio = builtin_attacks()
        rows, ranks, features = [], [], 0
        capture_seconds = attack_seconds = 0.0
        for index in range(num_batches):
            images = preprocess(crops(batch_size, side, rng))
            labels = rng.integers(0, classes, batch_size)
            start = time.perf_counter()
            update = capture_update(model, (images, labels), training=training)
            capture_seconds += time.perf_counter() - start
            truth = Truth(labels=labels, classes=classes)
            features = update.features
            start = time.perf_counter()
            reading = Reading(update)
            recoveries = [run(member, reading, seed=seed, batch=index) for member in portfolio.values()]
            attack_seconds += time.perf_counter() - start
            rows.append([Labels().score(recovery, truth) for recovery in recoveries])
            ranks += [str(r.details.get("rank", "-")) for r in recoveries if r.attack == "rlg"]
            del update
        pooled = {column[0].attack: pool(Labels(), column) for column in zip(*rows, strict=True)}
        rlg = pooled["rlg"]
        figures = " | ".join(
            f"{v.exact_match:.2f}" + ("" if v.status == "recovered" else f" ({v.status})") for v in pooled.values()
        )
        return (
            f"| {name} | {side} | {features} | {policy} | {batch_size} | {num_batches} | {'/'.join(ranks)} | {figures} "
            f"| {rlg.precision:.3f} | {rlg.recall:.3f} | {max(v.advantage for v in pooled.values()):.2f} "
            f"| {capture_seconds / num_batches:.1f} | {attack_seconds / num_batches:.2f} |"
        )
    finally:
        keras.config.set_dtype_policy("float32")
        keras.backend.clear_session()
        gc.collect()  # the next network may be as large


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the table line by line, as the networks finish."""
    import keras

    attacks = list(builtin_attacks())
    mode = "training" if arguments.training else "inference"
    yield (
        f"Random weights, crops of 20 photos, random labels of 1000, {mode} mode, Keras {keras.__version__} on "
        f"{keras.backend.backend()}. Share of batches whose label set an attack names exactly."
    )
    yield ""
    yield (
        "| network | pixels | d | policy | batch | batches | rank found | "
        + " | ".join(attacks)
        + " | RLG precision | RLG recall | best advantage | capture s | attacks s |"
    )
    yield "|" + "---|" * (len(attacks) + 12)
    if arguments.networks:
        plan = [
            (arguments.networks, policy, size, arguments.image_size)
            for policy in arguments.policies
            for size in arguments.batch_sizes
        ]
    else:
        plan = list(PLAN)
    for networks, policy, size, side in plan:
        for name in networks:
            yield measure(
                name,
                policy,
                size,
                arguments.batches,
                side=side,
                training=arguments.training,
                seed=arguments.seed,
            )


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="*", help="only these (default: the whole plan)")
    parser.add_argument("--policies", nargs="*", default=["float32"], help="with --networks: dtype policies")
    parser.add_argument("--batch-sizes", nargs="*", type=int, default=[10], help="with --networks")
    parser.add_argument("--image-size", type=int, help="with --networks: side in pixels (default: the network's own)")
    parser.add_argument("--batches", type=int, default=3, help="batches per row (default 3)")
    parser.add_argument("--training", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="PATH", help="also write the table to this file")
    arguments = parser.parse_args()
    for example in ("image_classifier", "keras_applications"):
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / example))
    lines = []
    for line in rows(arguments):
        print(line, flush=True)
        lines.append(line + "\n")
    if arguments.output:
        Path(arguments.output).write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
