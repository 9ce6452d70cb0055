"""Bags of words from gradients of lingvo's speech recognisers, blind, beside the paper's figures.

Every result is appended to a file at once, and what is in it is not measured again: an interrupted run goes on. The
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
sys.path[:0] = [str(ROOT), str(ROOT / "examples" / "lingvo_asr")]

import numpy as np  # noqa: E402
from lingvo_asr.recogniser import batch_of, build, utterance  # noqa: E402
from lingvo_asr.vocabulary import WordPieces  # noqa: E402
from sentences import SENTENCES  # noqa: E402

FULL = "asr.librispeech.Librispeech960Wpm"
GRAPHEMES = "asr.librispeech.Librispeech960Grapheme"


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
    """Attack an update with each attack of `names` and count what they got right."""
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
            "samples": recovery.samples,
            "status": recovery.status,
            "seconds": round(time.perf_counter() - start, 3),
        }
    return row


def measure_full(results: Results, limit: int) -> None:
    """Attack the published word-piece model at full size, fresh weights, one sentence per update."""
    from pytest_labelleak.capture.lingvo import LingvoAdapter

    vocabulary = WordPieces.trained()
    todo = [i for i in range(min(limit, len(SENTENCES))) if not results.has(part="full", sentence=i)]
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


def main() -> int:
    """Run the chosen parts and print all tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=["full"], help="what to measure (default: all)")
    parser.add_argument("--results", type=Path, default=Path("lingvo.jsonl"), help="where results are kept")
    parser.add_argument("--sentences", type=int, default=50, help="of the 50, for the full-size model")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    results = Results(arguments.results)
    for part in arguments.part or ["full"]:
        if part == "full":
            measure_full(results, arguments.sentences)
    text = "\n".join(tables(results)).strip() + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
