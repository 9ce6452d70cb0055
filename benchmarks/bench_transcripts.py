"""Transcripts from gradients of speech recognisers, in order: by linear algebra, and by running the decoder.

The attacker has one gradient and the weights, and nothing else; replay reads the head's gradient alone. Seconds are
processor time.

Every result is appended to a file at once, and a run that was interrupted goes on after the last result there. The
attack sees one update; neither the transcripts nor their lengths or number reach it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "examples" / name) for name in ("lingvo_asr", "synthetic_speech", "las"))]

import numpy as np  # noqa: E402
from bench_lingvo import FULL, PIECES, PLAIN, SPEED, Results  # noqa: E402
from lingvo_asr.recogniser import batch_of, build, utterance  # noqa: E402
from lingvo_asr.vocabulary import END, WordPieces  # noqa: E402
from sentences import SENTENCES  # noqa: E402

#: Sentences in which a word occurs twice, beside those of `sentences`.
REPEATING = (
    "the doctor asked the nurse and the nurse asked the doctor",
    "no means no",
    "he said that she said that it was late",
    "we wait and wait and wait for the bus",
    "the cat and the dog and the old grey mouse sleep in the house",
)
#: Thirty sentences of 3 to 20 words.
LINES = (*[text for text in SENTENCES if 3 <= len(text.split()) <= 20][:25], *REPEATING)

#: Defences of the update, by their names in the table.
DEFENCES = {
    "none": None,
    "clip to norm 0.01": "clip_norm(norm=0.01)",
    "noise 1e-6": "gaussian_noise(relative=1e-6)",
    "noise 1e-5": "gaussian_noise(relative=1e-5)",
    "noise 1e-4": "gaussian_noise(relative=1e-4)",
    "noise 1e-3": "gaussian_noise(relative=1e-3)",
    "noise 1e-2": "gaussian_noise(relative=1e-2)",
    "drop 10 %": "drop_smallest(fraction=0.1)",
    "drop 90 %": "drop_smallest(fraction=0.9)",
    "sign": "sign",
}
#: The published penalty, without clipping.
UNCLIPPED = {name: value for name, value in PLAIN.items() if name != "train__l2_regularizer_weight"}
VARIANTS = ("published", "penalty alone", "loss alone")
#: A sentence counts as one with repeated words if some token of it occurs twice.
_TWICE = 2


def truths(truth: Any) -> list[tuple[int, ...]]:
    """Return the transcripts of a batch, sorted."""
    ends = np.cumsum(truth.lengths)[:-1]
    return sorted(tuple(piece.tolist()) for piece in np.split(truth.labels, ends))


def score(update: Any, truth: Any, decoder: Any) -> dict[str, Any]:
    """Rebuild the transcripts of an update in both ways, and compare."""
    from pytest_labelleak.asr import Ordering, Replay

    said = truths(truth)
    return {
        "utterances": len(said),
        "positions": int(truth.labels.size),
        "repeated": max(Counter(truth.labels.tolist()).values()) >= _TWICE,
        "ordering": _compared(Ordering().order(update, rng=np.random.default_rng(0)), said),
        "replay": _compared(Replay(decoder=decoder).order(update, rng=np.random.default_rng(0)), said),
    }


def _compared(found: Any, said: list[tuple[int, ...]]) -> dict[str, Any]:
    from pytest_labelleak.asr import word_error_rate

    row = {
        "exact": sum((Counter(said) & Counter(found.transcripts)).values()),
        "claimed": len(found.transcripts),
        "unique": found.unique,
        "status": found.status,
        "message": found.message,
        "apart_seconds": round(found.seconds.get("apart", 0.0), 3),
        "order_seconds": round(found.seconds.get("order", 0.0), 3),
        **found.details,
    }
    if len(said) == 1:
        guess = found.transcripts[0] if len(found.transcripts) == 1 else ()
        row["error_rate"] = word_error_rate([" ".join(map(str, said[0]))], [" ".join(map(str, guess))])
    return row


def same_shape(batch: Any, positions: int) -> Any:
    """Pad the targets of a batch to so many positions, as lingvo's input generators do."""
    more = positions - batch.tgt.labels.shape[1]
    for name, array in batch.tgt.FlattenItems():
        fill = 1.0 if name == "paddings" else 0.0 if name == "weights" else END
        batch.tgt[name] = np.pad(array, ((0, 0), (0, more)), constant_values=fill)
    return batch


def measure_full(results: Results, limit: int) -> None:
    """Attack the published word-piece model at full size with its own settings, one sentence per update, said fast."""
    from pytest_labelleak.asr import free_contexts
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

    # All lengths early, for a run that is cut short.
    mixed = sorted(range(min(limit, len(LINES))), key=lambda i: 7 * i % len(LINES))
    todo = [i for i in mixed if not results.has(part="full", sentence=i)]
    if not todo:
        return
    vocabulary = WordPieces.trained()
    # With fresh weights the norm is above 100, and lingvo skips such steps: it would share zeros.
    task, adapter = build(FULL, train__grad_norm_to_clip_to_zero=0.0), LingvoAdapter(compiled=True)
    decoder = free_contexts(task)
    for index in todo:
        batch = batch_of([utterance(LINES[index], words_per_minute=SPEED)], vocabulary)
        start = time.process_time()
        update = adapter.capture(task, batch)
        seconds = round(time.process_time() - start, 2)
        row = score(update, adapter.labels(task, batch), decoder)
        results.add(part="full", sentence=index, words=len(LINES[index].split()), capture_seconds=seconds, **row)
        del update


def measure_training(results: Results, limit: int, checkpoints: Sequence[int] = (0, 25, 50, 100, 200)) -> None:
    """Train the narrow model on sentences with Adam, and attack at checkpoints: as published, bare, and defended.

    Training is that of bench_lingvo: with the published penalty and clipping.
    """
    from pytest_labelleak import defences
    from pytest_labelleak.asr import free_contexts
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

    count = min(limit, len(LINES))
    groups = [(variant, (i,)) for variant in VARIANTS for i in range(count)]
    groups += [("loss alone", tuple(range(i, i + n))) for n in (2, 4) for i in range(0, count - n + 1, n)]
    todo = {
        (step, variant, lines, name)
        for step in checkpoints
        for variant, lines in groups
        for name in (DEFENCES if variant == "loss alone" and len(lines) == 1 and step in (0, 100) else ("none",))
        if not results.has(part="training", step=step, variant=variant, lines=list(lines), defence=name)
    }
    if not todo:
        return
    vocabulary = WordPieces.trained(PIECES)
    task = build("small", classes=vocabulary.size, train__grad_norm_to_clip_to_zero=0.0)
    models = {
        "published": task,
        "penalty alone": build("small", classes=vocabulary.size, **UNCLIPPED),
        "loss alone": build("small", classes=vocabulary.size, **PLAIN),
    }
    spellers = {name: free_contexts(model) for name, model in models.items()}
    adapter = LingvoAdapter(compiled=True)
    said = [utterance(text, words_per_minute=SPEED) for text in LINES]
    # Of one shape, they are traced once.
    frames = 1 + max(len(features) for features, _ in said)
    positions = 1 + max(len(vocabulary.ids(text)) for text in LINES)
    train = [utterance(text, words_per_minute=SPEED) for text in SENTENCES]
    batches = [batch_of(train[start : start + 8], vocabulary) for start in range(0, len(train), 8)]
    variables = {v.name.removesuffix(":0"): v for v in task.vars.Flatten() if v.trainable}
    moments = {name: [np.zeros(v.shape, np.float32), np.zeros(v.shape, np.float32)] for name, v in variables.items()}
    for step in range(max(item[0] for item in todo) + 1):
        here = [
            (variant, lines) for variant, lines in groups if any(item[:3] == (step, variant, lines) for item in todo)
        ]
        for model in [model for name, model in models.items() if here and name != "published"]:
            for copy, own in zip(model.vars.Flatten(), task.vars.Flatten(), strict=True):
                copy.assign(own)
        for variant, lines in here:
            batch = same_shape(batch_of([said[i] for i in lines], vocabulary, frames=frames), positions)
            update, truth = adapter.capture(models[variant], batch), adapter.labels(models[variant], batch)
            for name in [name for name in DEFENCES if (step, variant, lines, name) in todo]:
                defence = defences.resolve(DEFENCES[name])
                shared = update if defence is None else defence(update, rng=np.random.default_rng([7, *lines]))
                key = {"part": "training", "step": step, "variant": variant, "lines": list(lines), "defence": name}
                results.add(**key, **score(shared, truth, spellers[variant]))
        update = adapter.capture(task, batches[step % len(batches)])
        for name, variable in variables.items():
            gradient, (first, second) = update.gradients.get(name), moments[name]
            if gradient is None:  # a shard of the embedding, which the update holds as a whole
                continue
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            variable.assign_sub(1e-3 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8))


def measure_las(results: Results, limit: int) -> None:
    """Attack the Keras recogniser of the examples, fresh and trained, with one, two and four sentences per update."""
    from las.batches import batch_of as las_batch
    from las.network import build as las_build
    from las.network import load
    from las.sentences import END as LAS_END
    from las.sentences import START, held_out

    from pytest_labelleak.asr import free_contexts
    from pytest_labelleak.capture import adapter_for, capture_update

    weights = ROOT / "examples" / "las" / "las" / "weights.npz"
    lines = held_out(max(4 * limit, 4))
    for name, model in (("trained", load(weights)), ("fresh", las_build())):
        decoder = free_contexts(model, start=START, end=LAS_END)
        for count in (1, 2, 4):
            for first in range(0, limit * count, count):
                key = {"part": "las", "weights": name, "count": count, "first": first}
                if results.has(**key):
                    continue
                batch = las_batch(lines[first : first + count])
                truth = adapter_for(model).labels(model, batch)
                results.add(**key, **score(capture_update(model, batch), truth, decoder))


def _cells(rows: Sequence[dict[str, Any]]) -> str:
    """Return positions, then of either way counts of exact and of proven ones, and seconds."""
    cells = [f"{statistics.mean(r['positions'] for r in rows):.0f}"]
    for way in ("ordering", "replay"):
        found = [row[way] for row in rows]
        proven = [row for row in rows if row[way]["unique"]]
        wrong = sum(row[way]["exact"] < row["utterances"] for row in proven)
        cells += [
            f"{sum(one['exact'] for one in found)} of {sum(r['utterances'] for r in rows)}",
            f"{len(proven)} ({wrong} wrong)",
            f"{statistics.median(one['order_seconds'] for one in found):.2f}",
        ]
    cells.insert(4, f"{statistics.median(r['ordering']['apart_seconds'] for r in rows):.2f}")
    return " | ".join(cells)


_COLUMNS = "positions, mean | closed form: exact | proven | order s | apart s | replay: exact | proven | order s |"


def tables(results: Results) -> Iterator[str]:
    """Yield the lines of the tables of everything measured."""
    rows = results.where(part="full")
    if rows:
        yield from ("Full-size Librispeech960Wpm, fresh weights, published settings, one sentence per update:", "")
        yield f"| words | sentences | with repeated tokens | capture s | {_COLUMNS}"
        yield "|" + "---|" * 12
        parts = [(f"{low} to {high}", [r for r in rows if low <= r["words"] <= high]) for low, high in _LENGTHS]
        for name, group in [*parts, ("all", rows)]:
            if group:
                captured = statistics.median(r["capture_seconds"] for r in group)
                repeated = sum(r["repeated"] for r in group)
                yield f"| {name} | {len(group)} | {repeated} | {captured:.1f} | {_cells(group)} |"
    rows = results.where(part="training", defence="none")
    if rows:
        yield from ("", "A narrower model while it is trained:", "")
        yield f"| shared | utterances per update | step | {_COLUMNS}"
        yield "|" + "---|" * 11
        for variant, number, step in dict.fromkeys((r["variant"], len(r["lines"]), r["step"]) for r in _ordered(rows)):
            group = [r for r in rows if (r["variant"], len(r["lines"]), r["step"]) == (variant, number, step)]
            yield f"| {variant} | {number} | {step} | {_cells(group)} |"
    rows = [r for r in results.where(part="training", variant="loss alone") if len(r["lines"]) == 1]
    if len({row["defence"] for row in rows}) > 1:
        yield from ("", "Defences on the narrower model, one sentence per update:", "")
        yield f"| defence | step | {_COLUMNS}"
        yield "|" + "---|" * 10
        for name in DEFENCES:
            for step in (0, 100):
                group = [r for r in rows if (r["defence"], r["step"]) == (name, step)]
                if group:
                    yield f"| {name} | {step} | {_cells(group)} |"
    rows = results.where(part="las")
    if rows:
        yield from ("", "The Keras recogniser of examples/las, sentences it was not trained on:", "")
        yield f"| weights | utterances per update | {_COLUMNS}"
        yield "|" + "---|" * 10
        for name, number in dict.fromkeys((r["weights"], r["count"]) for r in rows):
            yield f"| {name} | {number} | {_cells(results.where(part='las', weights=name, count=number))} |"


_LENGTHS = ((3, 5), (6, 10), (11, 15), (16, 20))


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: (VARIANTS.index(r["variant"]), len(r["lines"]), r["step"]))


PARTS = {"training": measure_training, "las": measure_las, "full": measure_full}


def main() -> int:
    """Run the chosen parts and print all tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="what to measure (default: all)")
    parser.add_argument("--results", type=Path, default=Path("transcripts.jsonl"), help="where results are kept")
    parser.add_argument("--sentences", type=int, default=30, help="of the 30 (default 30)")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    results = Results(arguments.results)
    for part in arguments.part or PARTS:
        PARTS[part](results, arguments.sentences)
    text = "\n".join(tables(results)).strip() + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
