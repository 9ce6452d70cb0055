"""Batches taken apart: isolated samples, their errors, the seconds, the limits, and the attacks that only count.

Times are processor seconds on one thread, on which other work weighs less; ratios come from one run.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from pytest_labelleak import GaussianNoise, Recovery, RoundTo, Sign, Update, attack
from pytest_labelleak.testing import LabelledUpdate, make_head_update

#: A sample counts as isolated if its label is right and its features are known to this relative error.
CLOSE = 1e-2
REPEATED = {0.0: None, 0.3: 1.2, 0.6: 0.45}  # classes to draw from, in units of S, for a share of repeated labels


def compare(recovery: Recovery, labels: np.ndarray, features: np.ndarray) -> tuple[int, np.ndarray]:
    """Match isolated samples with the truth: how many are right, and the relative errors of their features."""
    free = set(range(labels.size))
    errors = []
    found = () if recovery.features is None else zip(recovery.sample_labels, recovery.features, strict=True)
    for label, estimate in found:
        same = [s for s in free if labels[s] == label]
        distances = [float(np.linalg.norm(estimate - features[s]) / np.linalg.norm(features[s])) for s in same]
        if distances and min(distances) < CLOSE:
            errors.append(min(distances))
            free.discard(same[int(np.argmin(distances))])
    return len(errors), np.array(errors)


def timed(name: str, update: Update) -> tuple[Recovery, float]:
    """Run an attack on a fresh copy of an update; return its recovery and its processor seconds."""
    update = dataclasses.replace(update)
    start = time.process_time()
    recovery = attack(name, update)
    return recovery, time.process_time() - start


def heads(draws: int) -> Iterator[str]:
    """Yield a table over sizes, confidence and repeated labels, C = 1000."""
    yield (
        "| d | head | S | repeated labels | batches | samples isolated | batches complete | feature error, median "
        "| seconds | of these RLG |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for features in (512, 2048):
        for confidence in (None, 0.5, 0.9):
            for positions in (10, 40, 100):
                for repeated, among in REPEATED.items():
                    yield _head_row(features, confidence, positions, repeated, among, draws)


def _head_row(
    features: int, confidence: float | None, positions: int, repeated: float, among: float | None, draws: int
) -> str:
    right, whole, errors, seconds, rlg, shares = 0, 0, [], [], [], []
    for seed in range(draws):
        case = make_head_update(
            positions=positions,
            features=features,
            classes=1000,
            seed=seed,
            signed=seed % 2 == 1,
            bias=seed % 3 != 2,
            confidence=confidence,
            among=None if among is None else max(1, round(among * positions)),
        )
        rlg.append(timed("rlg", case.update)[1])
        recovery, spent = timed("disaggregate", case.update)
        count, error = compare(recovery, case.labels, case.features)
        right, whole = right + count, whole + (count == positions)
        errors += error.tolist()
        seconds.append(spent)
        shares.append(1.0 - np.unique(case.labels).size / positions)
    head = "untrained" if confidence is None else f"p = {confidence}"
    return (
        f"| {features} | {head} | {positions} | {np.mean(shares):.0%} | {draws} | {right} of {draws * positions} "
        f"({right / draws / positions:.1%}) | {whole} | {np.median(errors) if errors else np.nan:.0e} "
        f"| {np.median(seconds):.2f} | {np.median(rlg):.2f} |"
    )


def words(draws: int) -> Iterator[str]:
    """Yield a table at the size of a speech recogniser's projection: no bias, signed features, confident."""
    yield (
        "| C x d | S | p | most confident | samples isolated | feature error, median | largest | seconds "
        "| of these RLG |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for classes, features, positions, confidence in (
        (16328, 512, 100, 0.5),
        (51864, 384, 9, 0.9),
        (51864, 384, 20, 0.9),
        (51864, 384, 39, 0.9),
    ):
        for seed in range(draws):
            case = make_head_update(
                positions=positions,
                features=features,
                classes=classes,
                seed=seed,
                signed=True,
                bias=False,
                confidence=confidence,
                among=round(1.2 * positions),
            )
            doubt = 1.0 - case.probabilities[np.arange(positions), case.labels].max()
            _, rlg = timed("rlg", case.update)
            recovery, spent = timed("disaggregate", case.update)
            count, error = compare(recovery, case.labels, case.features)
            yield (
                f"| {classes} x {features} | {positions} | {confidence} | 1 - {doubt:.0e} | {count} of {positions} "
                f"| {np.median(error):.0e} | {error.max():.0e} | {spent:.2f} | {rlg:.2f} |"
            )


def rivals(draws: int) -> Iterator[str]:
    """Yield a table of the attacks that count all classes exactly, up to and past S = d; C = 1000, d = 128.

    Brackets hold the share of label positions that are counted under their class; a refusal counts as zero.
    """
    names = ("disaggregate", "ilrg", "bias_counts", "llg")
    yield f"| head | S | d | {' | '.join(names)} |"
    yield "|" + "---|" * (len(names) + 3)
    for confidence in (None, 0.5, 0.9):
        for positions in (10, 40, 100, 120, 128, 160, 256):
            exact, share, refused = Counter[str](), Counter[str](), Counter[str]()
            for seed in range(draws):
                case = make_head_update(
                    positions=positions, features=128, classes=1000, seed=seed, confidence=confidence, among=positions
                )
                truth = Counter(case.labels.tolist())
                for name in names:
                    recovery = attack(name, case.update)
                    refused[name] += recovery.status != "recovered"
                    counts = Counter(dict(recovery.counts or Counter(recovery.sample_labels)))
                    exact[name] += counts == truth
                    share[name] += (counts & truth).total() / max(counts.total(), positions)
            head = "untrained" if confidence is None else f"p = {confidence}"
            cells = [
                "n/a"
                if refused[name] == draws
                else f"{exact[name]} of {draws} ({share[name] / draws:.0%})"
                + (f", {refused[name]} n/a" if refused[name] else "")
                for name in names
            ]
            yield f"| {head} | {positions} | 128 | {' | '.join(cells)} |"


def _rounded(update: Update, name: str) -> Update:
    return dataclasses.replace(RoundTo(dtype=name)(update, rng=_rng()), compute_dtype=name)


def _smoothed(case: LabelledUpdate, smoothing: float) -> tuple[LabelledUpdate, Update]:
    """Return the case, and the update of the same batch and weights under a loss with smoothed labels."""
    positions, classes = case.probabilities.shape
    error = case.probabilities - smoothing / classes
    error[np.arange(positions), case.labels] -= 1.0 - smoothing
    error = (error * case.weights[:, None]).astype(np.float32)
    gradients = {"kernel": case.features.astype(np.float32).T @ error, "bias": error.sum(axis=0)}
    head = dataclasses.replace(case.update.head, label_smoothing=smoothing)
    return case, dataclasses.replace(case.update, gradients=gradients, head=head)


def limits() -> Iterator[str]:
    """Yield a table of updates on which the attack fails, with the reason that it gives."""
    base = {"positions": 20, "features": 256, "classes": 400, "seed": 0, "confidence": 0.5}
    plain = make_head_update(**base)
    stranger = make_head_update(**(base | {"seed": 1})).update.head
    wrong = dataclasses.replace(plain.update, head=stranger)
    without = dataclasses.replace(plain.update, head=dataclasses.replace(plain.update.head, kernel_value=None))
    noisy = [
        (f"noise, {strength:g} of the gradient", plain, GaussianNoise(relative=strength)(plain.update, rng=_rng()))
        for strength in (1e-6, 1e-4, 1e-3, 1e-2)
    ]
    near = [
        (f"S = {n}, d = 64", make_head_update(**(base | {"positions": n, "features": 64}))) for n in (60, 63, 64, 65)
    ]
    classes = [
        (f"S = {n}, C = 100", make_head_update(**(base | {"positions": n, "classes": 100}))) for n in (40, 49, 60)
    ]
    sure = [(f"p = {p}", make_head_update(**(base | {"confidence": p}))) for p in (0.99, 0.9999, 0.999999)]
    smooth = [
        (f"label smoothing {e}, p = {p}", *_smoothed(make_head_update(**(base | {"confidence": p})), e))
        for e in (0.1, 0.2)
        for p in (0.5, 0.9, 0.99)
    ]
    yield "| case | samples isolated | feature error, median | message of the attack |"
    yield "|---|---|---|---|"
    for name, case, update in (
        ("float32", plain, plain.update),
        ("gradient rounded to float16", plain, _rounded(plain.update, "float16")),
        ("gradient rounded to bfloat16", plain, _rounded(plain.update, "bfloat16")),
        *noisy,
        ("signs", plain, Sign()(plain.update, rng=_rng())),
        ("weights of another network", plain, wrong),
        ("weights not known", plain, without),
        *((name, case, case.update) for name, case in [*near, *classes, *sure]),
        *smooth,
    ):
        recovery = attack("disaggregate", update)
        count, error = compare(recovery, case.labels, case.features)
        says = recovery.message or f"complete, {recovery.explained:.6%} explained"
        middle = f"{np.median(error):.0e}" if error.size else "-"
        yield f"| {name} | {count} of {case.labels.size} | {middle} | {says} |"


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def photos() -> Iterator[str]:
    """Yield a table for EfficientNet-Lite0 with its ImageNet weights and real photos, mean gradient."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "image_classifier"))
    import keras
    from photo_classifier.network import load_trained
    from photo_classifier.photos import load_photos

    from pytest_labelleak import capture_update

    images, labels = load_photos()
    model = load_trained()
    layer = model.get_layer(capture_update(model, (images[:2], labels[:2]), training=False).head.layer)
    inputs = keras.Model(model.input, layer.input)
    mirrored = images[:, :, ::-1]
    closer = np.asarray(keras.ops.image.resize(images[:, 16:-16, 16:-16], images.shape[1:3]))
    batches = [
        ("first 10", images[:10], labels[:10]),
        ("all 20", images, labels),
        ("20 and mirrored", np.concatenate([images, mirrored]), np.tile(labels, 2)),
        ("20, mirrored, cropped", np.concatenate([images, mirrored, closer]), np.tile(labels, 3)),
    ]
    yield (
        "| batch | photos | classes | samples isolated | feature error, median | largest | unexplained "
        "| seconds / one forward-backward pass |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    said: list[str] = []
    for name, x, y in batches:
        capture_update(model, (x, y), training=False)
        start = time.process_time()
        update = capture_update(model, (x, y), training=False)
        capture = time.process_time() - start
        truth = np.asarray(inputs.predict(x, verbose=0))
        recovery, spent = timed("disaggregate", update)
        count, error = compare(recovery, y, truth)
        middle, worst = (np.median(error), error.max()) if error.size else (np.nan, np.nan)
        unexplained = 1.0 if recovery.explained is None else 1.0 - recovery.explained
        yield (
            f"| {name} | {len(y)} | {np.unique(y).size} | {count} of {len(y)} | {middle:.0e} | {worst:.0e} "
            f"| {unexplained:.0e} | {spent / capture:.2f} |"
        )
        said += [f"{name}: {recovery.message}"] if recovery.message else []
    yield from ["", *said]


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="*", default=["photos", "heads", "words", "rivals", "limits"])
    parser.add_argument("--draws", type=int, default=6, help="batches per row (default 6)")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "photos": photos,
        "heads": lambda: heads(arguments.draws),
        "words": lambda: words(max(arguments.draws // 3, 1)),
        "rivals": lambda: rivals(arguments.draws),
        "limits": limits,
    }
    unknown = set(arguments.parts) - set(tables)
    if unknown:
        parser.error(f"unknown parts {sorted(unknown)}; expected some of {', '.join(tables)}")
    lines = []
    for part in arguments.parts:
        for line in itertools.chain([f"\n{part}\n"], tables[part]()):
            lines.append(line)
            print(line, flush=True)
    if arguments.output is not None:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
