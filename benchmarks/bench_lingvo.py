"""Bags of words from gradients of lingvo's speech recognisers, blind, beside the paper's figures.

Every result is appended to a file at once, and a run that was interrupted goes on after the last result there. The
attacks see one update; neither the transcript's length nor its words reach them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "examples" / name) for name in ("lingvo_asr", "synthetic_speech"))]

import numpy as np  # noqa: E402
from lingvo_asr.recogniser import batch_of, build, utterance  # noqa: E402
from lingvo_asr.vocabulary import Graphemes, WordPieces  # noqa: E402
from sentences import SENTENCES  # noqa: E402

FULL = "asr.librispeech.Librispeech960Wpm"


def reset_peak() -> None:
    """Forget the highest memory use of this process so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> float:
    """Return the highest memory use since `reset_peak`, in GB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


class Results:
    """Rows of measurements in a file of one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []

    def has(self, **key: Any) -> bool:
        """Tell whether a row with these fields is there."""
        return any(all(row.get(name) == value for name, value in key.items()) for row in self.rows)

    def add(self, **row: Any) -> None:
        """Append a row."""
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print({name: value for name, value in row.items() if name != "message"}, flush=True)

    def where(self, **key: Any) -> list[dict[str, Any]]:
        """Return the rows with these fields."""
        return [row for row in self.rows if all(row.get(name) == value for name, value in key.items())]


def score(update: Any, truth: Any, names: tuple[str, ...] = ("rlg",)) -> dict[str, Any]:
    """Attack an update with each attack of `names`, and count the correct labels of each."""
    from pytest_labelleak import attack

    present = set(truth.present.tolist())
    row: dict[str, Any] = {"labels": len(present), "positions": int(truth.labels.size)}
    for name in names:
        start = time.perf_counter()
        recovery = attack(name, update)
        claimed = set(recovery.labels)
        row[name] = {
            "exact": claimed == present,
            "hits": len(claimed & present),
            "claimed": len(claimed),
            "samples": recovery.positions,
            "status": recovery.status,
            "seconds": round(time.perf_counter() - start, 3),
        }
    return row


def measure_full(results: Results, limit: int) -> None:
    """Attack the published word-piece model at full size, fresh weights, one sentence per update."""
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

    vocabulary = WordPieces.trained()
    todo = [i for i in range(limit) if not results.has(part="full", sentence=i)]
    if not todo:
        return
    start = time.perf_counter()
    # With fresh weights the norm is above 100, and lingvo skips such steps: it would share zeros.
    task = build(FULL, train__grad_norm_to_clip_to_zero=0.0)
    print(f"built in {time.perf_counter() - start:.0f} s, {peak():.1f} GB", flush=True)
    adapter = LingvoAdapter(compiled=True)
    for index in todo:
        batch = batch_of([utterance(SENTENCES[index])], vocabulary)
        reset_peak()
        start = time.perf_counter()
        update = adapter.capture(task, batch)
        seconds, memory = time.perf_counter() - start, peak()
        truth = adapter.labels(task, batch)
        reset_peak()
        row = score(update, truth, ("rlg", "bias_sign", "embedding_rows"))
        results.add(
            part="full",
            sentence=index,
            words=len(SENTENCES[index].split()),
            frames=int(batch.src.paddings.shape[1]),
            capture_seconds=round(seconds, 2),
            capture_gb=round(memory, 2),
            attack_gb=round(peak(), 2),
            norm=float(np.sqrt(sum(float(np.linalg.norm(g)) ** 2 for g in update.gradients.values()))),
            **row,
        )
        del update


#: Defences of the paper by their names in the table; None stands for no defence. Dropout is a setting of the model.
DEFENCES = {
    "none": None,
    "sign": "sign",
    "drop 50 %": "drop_smallest(fraction=0.5)",
    "drop 90 %": "drop_smallest(fraction=0.9)",
    "drop 99 %": "drop_smallest(fraction=0.99)",
    "noise 0.01": "gaussian_noise(relative=0.01)",
    "noise 1": "gaussian_noise(relative=1.0)",
}
PORTFOLIO = ("rlg", "rlg_robust", "bias_sign", "embedding_rows", "llg")
#: The gradient of the loss alone, as the paper has it: no penalty, no clipping.
PLAIN = {
    "train__l2_regularizer_weight": None,
    "train__clip_gradient_norm_to_value": 0.0,
    "train__grad_norm_to_clip_to_zero": 0.0,
}
#: Word pieces of the narrower model; the published 16328 would only take the robust attack longer.
PIECES = 1000
SPEED = 320  # words per minute, so that utterances are short


def measure_defences(results: Results, limit: int) -> None:
    """Attack the narrow model, fresh weights, one sentence per update, behind each defence and with dropout."""
    from pytest_labelleak import defences
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

    vocabulary = WordPieces.trained(PIECES)
    for dropout, names in ((0.0, list(DEFENCES)), (0.3, ["none"])):
        labels = {name: f"dropout {dropout}" if dropout else name for name in names}
        todo = [
            (index, name)
            for index in range(limit)
            for name in names
            if not results.has(part="defences", sentence=index, defence=labels[name])
        ]
        if not todo:
            continue
        task = build("small", classes=vocabulary.size, decoder__dropout_prob=dropout, **PLAIN)
        adapter = LingvoAdapter(compiled=True)
        for index in sorted({index for index, _ in todo}):
            batch = batch_of([utterance(SENTENCES[index], words_per_minute=SPEED)], vocabulary)
            update, truth = adapter.capture(task, batch), adapter.labels(task, batch)
            for name in [name for other, name in todo if other == index]:
                defence = defences.resolve(DEFENCES[name])
                shared = update if defence is None else defence(update, rng=np.random.default_rng([7, index]))
                row = score(shared, truth, PORTFOLIO)
                results.add(part="defences", sentence=index, defence=labels[name], **row)


def measure_groups(results: Results, limit: int) -> None:
    """Attack the narrow model with several utterances per update, several local steps, and graphemes."""
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter
    from pytest_labelleak.capture.local_steps import LocalSteps

    for units, vocabulary in (("pieces", WordPieces.trained(PIECES)), ("graphemes", Graphemes())):
        task, adapter = None, LingvoAdapter(compiled=True)
        cases = [("together", 1, 0.0), *(("together", n, 0.0) for n in (2, 4, 8))]
        cases += [("steps", n, rate) for n in (2, 4, 8) for rate in (1.0, 0.1)] if units == "pieces" else []
        for kind, count, rate in cases:
            for first in range(0, limit - count + 1, count):
                key = {"part": "groups", "units": units, "kind": kind, "count": count, "rate": rate, "first": first}
                if results.has(**key):
                    continue
                if task is None:
                    task = build("small", classes=vocabulary.size, **PLAIN)
                said = [utterance(text, words_per_minute=SPEED) for text in SENTENCES[first : first + count]]
                data: Any = batch_of(said, vocabulary)
                if kind == "steps":
                    data = LocalSteps(batches=[batch_of([one], vocabulary) for one in said], learning_rate=rate)
                update, truth = adapter.capture(task, data), adapter.labels(task, data)
                results.add(**key, **score(update, truth, PORTFOLIO[:4]))


def measure_training(results: Results, limit: int, checkpoints: tuple[int, ...] = (0, 25, 50, 100, 200)) -> None:
    """Train the narrow model on the sentences with Adam, and attack at several checkpoints.

    Training keeps the published penalty and clipping. The attacks read the shared update, and the
    gradient of the loss alone.
    """
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

    variants = ("published", "loss alone")
    keys = [{"part": "training", "step": step, "variant": variant} for step in checkpoints for variant in variants]
    if all(results.has(**key, sentence=index) for key in keys for index in range(limit)):
        return
    vocabulary = WordPieces.trained(PIECES)
    # Skipping above a norm of 100 would skip every first step.
    task = build("small", classes=vocabulary.size, train__grad_norm_to_clip_to_zero=0.0)
    bare = build("small", classes=vocabulary.size, **PLAIN)
    adapter = LingvoAdapter(compiled=True)
    said = [utterance(text, words_per_minute=SPEED) for text in SENTENCES[:limit]]
    batches = [batch_of(said[start : start + 8], vocabulary) for start in range(0, len(said), 8)]
    variables = {v.name.removesuffix(":0"): v for v in task.vars.Flatten() if v.trainable}
    moments = {name: [np.zeros(v.shape, np.float32), np.zeros(v.shape, np.float32)] for name, v in variables.items()}
    losses = []
    for step in range(max(checkpoints) + 1):
        if step in checkpoints:
            for copy, own in zip(bare.vars.Flatten(), task.vars.Flatten(), strict=True):
                copy.assign(own)
            loss = None if not losses else round(statistics.mean(losses[-5:]), 3)
            for variant, index in ((variant, index) for variant in variants for index in range(limit)):
                key = {"part": "training", "step": step, "variant": variant, "sentence": index}
                if not results.has(**key):
                    model, batch = task if variant == "published" else bare, batch_of([said[index]], vocabulary)
                    update, truth = adapter.capture(model, batch), adapter.labels(model, batch)
                    results.add(**key, loss=loss, **score(update, truth, PORTFOLIO[:4]))
        update = adapter.capture(task, batches[step % len(batches)])
        losses.append(loss_of(task, batches[step % len(batches)]))
        if step % 10 == 0:
            print(f"step {step}: loss {losses[-1]:.3f}", flush=True)
        for name, gradient in update.gradients.items():
            first, second = moments[name]
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            variables[name].assign_sub(1e-3 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8))


_LOSSES: dict[int, Any] = {}


def loss_of(task: Any, batch: Any) -> float:
    """Return the loss per token."""
    import tensorflow as tf

    if id(task) not in _LOSSES:

        def compute(data: Any) -> Any:
            return task.FPropTower(task.theta, data)[0]["loss"][0]

        _LOSSES[id(task)] = tf.function(compute, autograph=False, reduce_retracing=True)
    return float(_LOSSES[id(task)](batch.Transform(tf.convert_to_tensor)))


def rates(rows: list[dict[str, Any]], names: tuple[str, ...]) -> str:
    """Return one cell per attack: how many exact sets, and the mean recall."""
    cells = []
    for name in names:
        exact = sum(row[name]["exact"] for row in rows)
        recall = statistics.mean(row[name]["hits"] / row["labels"] for row in rows)
        cells.append(f"{exact} of {len(rows)} ({recall:.2f})")
    return " | ".join(cells)


def small_tables(results: Results) -> Iterator[str]:
    """Yield the tables of the narrow model."""
    rows = results.where(part="training")
    if rows:
        yield from ("", "A narrower model while it is trained, exact sets (mean recall):", "")
        yield "| shared | step | training loss | rlg | rlg_robust | bias_sign | embedding_rows |"
        yield "|---|---|---|---|---|---|---|"
        for variant, step in dict.fromkeys((row["variant"], row["step"]) for row in rows):
            group = [row for row in rows if (row["variant"], row["step"]) == (variant, step)]
            yield f"| {variant} | {step} | {group[0]['loss'] or '-'} | {rates(group, PORTFOLIO[:4])} |"
    rows = results.where(part="defences")
    paper = {"none": "98.0 %", "sign": "10.4 %", "drop 90 %": "86.6 %"}
    if rows:
        yield from ("", "Defences on the narrower model, fresh weights, exact sets (mean recall):", "")
        yield f"| defence | paper, exact | {' | '.join(PORTFOLIO)} |"
        yield "|" + "---|" * (2 + len(PORTFOLIO))
        for name in [*DEFENCES, "dropout 0.3"]:
            group = [row for row in rows if row["defence"] == name]
            if group:
                yield f"| {name} | {paper.get(name, '-')} | {rates(group, PORTFOLIO)} |"
    rows = results.where(part="groups")
    if rows:
        yield from ("", "Several utterances or local steps in one update, fresh weights, exact sets (mean recall):", "")
        yield "| units | update | positions | rlg | rlg_robust | bias_sign | embedding_rows |"
        yield "|---|---|---|---|---|---|---|"
        for units, kind, count, rate in dict.fromkeys((r["units"], r["kind"], r["count"], r["rate"]) for r in rows):
            group = [r for r in rows if (r["units"], r["kind"], r["count"], r["rate"]) == (units, kind, count, rate)]
            what = f"{count} utterance(s)" if kind == "together" else f"{count} steps, rate {rate}"
            positions = statistics.mean(row["positions"] for row in group)
            yield f"| {units} | {what} | {positions:.0f} | {rates(group, PORTFOLIO[:4])} |"


def tables(results: Results) -> Iterator[str]:
    """Yield the lines of the tables of everything measured."""
    rows = results.where(part="full")
    if rows:
        yield from ("", "Full-size Librispeech960Wpm, fresh weights, one sentence per update:", "")
        yield "| words | sentences | pieces | exact (RLG) | length right | capture s | attack s | peak GB, both |"
        yield "|---|---|---|---|---|---|---|---|"
        groups = [(f"{low} to {low + 4}", [r for r in rows if low <= r["words"] < low + 5]) for low in (1, 6, 11, 16)]
        for name, group in [*groups, ("all", rows)]:
            if group:
                yield (
                    f"| {name} | {len(group)} | {statistics.mean(r['positions'] for r in group):.1f} "
                    f"| {sum(r['rlg']['exact'] for r in group)} of {len(group)} "
                    f"| {sum(r['rlg']['samples'] == r['positions'] for r in group)} of {len(group)} "
                    f"| {statistics.median(r['capture_seconds'] for r in group):.1f} "
                    f"| {statistics.median(r['rlg']['seconds'] for r in group):.1f} "
                    f"| {max(r['capture_gb'] for r in group):.1f} / {max(r['attack_gb'] for r in group):.1f} |"
                )


PARTS = {
    "full": measure_full,
    "training": measure_training,
    "defences": measure_defences,
    "groups": measure_groups,
}


def main() -> int:
    """Run the chosen parts and print all tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, help="what to measure (default: all)")
    parser.add_argument("--results", type=Path, default=Path("lingvo.jsonl"), help="where results are kept")
    parser.add_argument("--sentences", type=int, default=50, help="of the 50 (default 50)")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    results = Results(arguments.results)
    for part in arguments.part or PARTS:
        PARTS[part](results, min(arguments.sentences, len(SENTENCES)))
    text = "\n".join([*tables(results), *small_tables(results)]).strip() + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
