"""The paper's second experiment in three commands: export updates, infer words from them, report.

The updates, which an attacker has, and the transcripts, which are the truth, lie in different files. Only ``report``
reads both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The libraries read both variables when they load. numpy's idle threads spin, and slow down those of the framework.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

__all__ = ["main"]


class ArgumentError(ValueError):
    """An argument that cannot be used; the program prints the message as one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """Raise with a message of one line instead of printing the whole usage."""
        raise ArgumentError(message)


def export(options: argparse.Namespace) -> None:
    """Synthesise sentences, and write the updates that a participant who trains on them would share."""
    from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter
    from pytest_labelleak.capture.local_steps import LocalSteps

    from .recogniser import batch_of, build, utterance

    vocabulary = _vocabulary(options)
    sentences = [line.strip() for line in Path(options.sentences).read_text("utf-8").splitlines() if line.strip()]
    if not sentences:
        raise ArgumentError(f"--sentences {options.sentences!r} is empty. Expected one sentence per line.")
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"decoder__dropout_prob": options.dropout}
    if not options.as_trained:
        settings |= {
            "train__l2_regularizer_weight": None,
            "train__clip_gradient_norm_to_value": 0.0,
            "train__grad_norm_to_clip_to_zero": 0.0,
        }
    task = build(options.model, classes=vocabulary.size, seed=options.seed, **settings)
    if options.checkpoint is not None:
        _restore(task, options.checkpoint)
    adapter = LingvoAdapter(compiled=True)
    per_update = options.group * options.steps
    for number, first in enumerate(range(0, len(sentences) - per_update + 1, per_update)):
        chosen = sentences[first : first + per_update]
        said = [utterance(text, words_per_minute=options.speed) for text in chosen]
        groups = [batch_of(said[i : i + options.group], vocabulary) for i in range(0, per_update, options.group)]
        batch: Any = groups[0]
        if options.steps > 1:
            batch = LocalSteps(batches=groups, learning_rate=options.learning_rate)
        update, truth = adapter.capture(task, batch), adapter.labels(task, batch)
        update.save(folder / f"{number:04d}.update.npz")
        _write(folder / f"{number:04d}.truth.json", {"sentences": chosen, "ids": truth.labels.tolist()})
        print(
            f"{number:04d}: {options.group} utterance(s) x {options.steps} step(s), shared after: "
            f"{', '.join(update.defences) or 'nothing'}"
        )


def infer(options: argparse.Namespace) -> None:
    """Read the bag of words from every update, without its truth."""
    from pytest_labelleak import Update
    from pytest_labelleak import attacks as attacks_
    from pytest_labelleak import defences as defences_
    from pytest_labelleak.attacks.gradient.reading import Reading

    portfolio = attacks_.resolve(tuple(options.attacks.split(",")))
    defence = defences_.resolve(options.defence)
    for number, path in enumerate(_files(options.folder, "update.npz")):
        update = Update.load(path)
        if defence is not None:
            update = defence(update, rng=np.random.default_rng([options.seed, number]))
        found, reading = {}, Reading(update)
        for member in portfolio:
            recovery = attacks_.run(member, reading, seed=options.seed, batch=number)
            found[member.name] = {
                "status": recovery.status,
                "message": recovery.message,
                "ids": list(recovery.labels),
                "length": recovery.positions,
            }
        _write(Path(str(path).replace("update.npz", "words.json")), {"defence": options.defence, "attacks": found})
        print(f"{path.name}: {', '.join(name for name, one in found.items() if one['ids']) or 'no attack'} named ids")


def report(options: argparse.Namespace) -> None:
    """Compare the claims with the truth over all updates, also failed ones; print words on request only."""
    vocabulary = _vocabulary(options) if options.show_words else None
    rows: dict[str, list[dict[str, float]]] = {}
    for path in _files(options.folder, "words.json"):
        truth = json.loads(Path(str(path).replace("words.json", "truth.json")).read_text("utf-8"))["ids"]
        for name, one in json.loads(path.read_text("utf-8"))["attacks"].items():
            rows.setdefault(name, []).append(_score(one, truth))
            if vocabulary is not None and one["ids"]:
                print(f"{path.name} {name}: {' '.join(vocabulary.units(one['ids']))}")
    columns = ("exact", "precision", "recall", "length_error")
    print(f"{'attack':<16}{'updates':>8}" + "".join(f"{name:>14}" for name in columns))
    for name, scores in sorted(rows.items()):
        means = []
        for column in columns:
            values = [score[column] for score in scores if column in score]
            means.append(f"{np.mean(values):>14.3f}" if values else f"{'-':>14}")
        print(f"{name:<16}{len(scores):>8}" + "".join(means))


def _score(one: dict[str, Any], truth: list[int]) -> dict[str, float]:
    """Score the ids of one attack; an attack without ids has precision, recall and exact match 0."""
    present, claimed = set(truth), set(one["ids"])
    hits = len(present & claimed)
    result = {
        "exact": float(present == claimed),
        "precision": hits / len(claimed) if claimed else 0.0,
        "recall": hits / len(present),
    }
    if one["length"] is not None:
        result["length_error"] = float(abs(one["length"] - len(truth)))
    return result


def _vocabulary(options: argparse.Namespace) -> Any:
    from .vocabulary import Graphemes, WordPieces

    if options.units == "graphemes":
        return Graphemes()
    return WordPieces(options.vocabulary) if options.vocabulary else WordPieces.trained(options.pieces)


def _restore(task: Any, path: str) -> None:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(path)
    for variable in task.vars.Flatten():
        variable.assign(reader.get_tensor(variable.name.removesuffix(":0")))


def _files(folder: str, ending: str) -> list[Path]:
    found = sorted(Path(folder).glob(f"*.{ending}"))
    if not found:
        before = "export" if ending == "update.npz" else "infer"
        raise ArgumentError(f"{folder!r} holds no *.{ending}. Expected a folder that 'lingvo_asr {before}' has filled.")
    return found


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _parser() -> _Parser:
    parser = _Parser(prog="lingvo_asr", description="Words from the training updates of a speech recogniser.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("export", help="say sentences and write updates")
    one.set_defaults(run=export)
    one.add_argument("--sentences", required=True, metavar="FILE", help="one sentence per line")
    one.add_argument("--model", default="small", help="small, or a name of lingvo's registry (default small)")
    one.add_argument("--checkpoint", metavar="PATH", help="TensorFlow checkpoint with weights (default: fresh ones)")
    one.add_argument("--group", type=int, default=1, help="utterances per step (default 1)")
    one.add_argument("--steps", type=int, default=1, help="local steps per update (default 1)")
    one.add_argument("--learning-rate", type=float, default=0.1, help="of the local steps (default 0.1)")
    one.add_argument("--dropout", type=float, default=0.0, help="in the decoder (default 0)")
    one.add_argument("--as-trained", action="store_true", help="with the model's penalty and clipping")
    one.add_argument("--speed", type=int, default=175, help="of the speech, words per minute (default 175)")
    one.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    two = commands.add_parser("infer", help="read words from the updates")
    two.set_defaults(run=infer)
    two.add_argument("--attacks", default="rlg", help="names separated by commas, or auto (default rlg)")
    two.add_argument("--defence", help="such as sign, gaussian_noise(relative=0.1), drop_smallest(fraction=0.9)")
    two.add_argument("--seed", type=int, default=0, help="of the defence and the attacks (default 0)")
    three = commands.add_parser("report", help="compare with the truth")
    three.set_defaults(run=report)
    three.add_argument("--show-words", action="store_true", help="print what was recovered")
    for command in (one, three):
        command.add_argument("--units", choices=("pieces", "graphemes"), default="pieces")
        command.add_argument("--pieces", type=int, default=16328, help="size of the vocabulary (default 16328)")
        command.add_argument("--vocabulary", metavar="PATH", help="a sentencepiece model instead of a trained one")
    for command in (one, two, three):
        command.add_argument("folder", help="where updates, words and truths are")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; default is the process's own.

    Returns
    -------
    int
        Exit status: 0, or 2 for an argument that cannot be used.
    """
    from pytest_labelleak import InvalidArgumentError, UnknownNameError, UnsupportedModelError

    try:
        options = _parser().parse_args(arguments)
        for name in ("group", "steps"):
            if getattr(options, name, 1) < 1:
                raise ArgumentError(f"--{name} {getattr(options, name)} given. Expected at least 1.")
        options.run(options)
    except (ArgumentError, InvalidArgumentError, UnknownNameError, UnsupportedModelError, OSError) as error:
        print(f"lingvo_asr: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
