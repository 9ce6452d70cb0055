"""Words recovered from one gradient of a trained speech recogniser: Whisper tiny.en on real clips.

For every clip the teacher-forced gradient of a model with a projection of its own, and of one whose projection is tied
to the embedding, as in the original. The attacks are blind: they get the gradient, neither the number of tokens nor any
of them. Runs on the current Keras backend (set KERAS_BACKEND).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pytest_labelleak import Recovery, attack, capture_update
from pytest_labelleak.asr import TokenizerFile, Utterance, bag_report, formable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "whisper"))

_HEADER = (
    "| projection | clip | seconds of speech | target tokens | rank found | distinct tokens | RLG names | false "
    "| words formed | embedding rows name | capture / forward pass | RLG / forward pass "
    "| positions isolated | seconds to isolate |"
)


def measure(count: int, kinds: list[str], save: Path | None) -> str:
    """Attack the gradient of every clip and of all clips in one batch.

    Parameters
    ----------
    count : int
        Number of clips, at most 10; from the sixth on they are hands of cards, full of repeated words.
    kinds : list of {"untied", "tied"}
        Projections.
    save : Path or None
        Folder to put the updates of the untied projection into.

    Returns
    -------
    str
        Markdown tables.
    """
    import keras
    from whisper_keras.assets import fetch_model
    from whisper_keras.clips import load_clips
    from whisper_keras.network import load_trained
    from whisper_keras.speech import training_batch
    from whisper_keras.tokenizer import PROMPT

    clips = load_clips(cards=True)[:count]
    vocabulary = TokenizerFile.load(fetch_model() / "tokenizer.json")
    lines = [
        f"Whisper tiny.en, trained weights, {len(clips)} clips, Keras {keras.__version__} on "
        f"{keras.backend.backend()}; d = 384, C = 51864, no bias. False: tokens named that are no target; in brackets, "
        f"those of them that are the {len(PROMPT)} prompt tokens that every sequence begins with. Words formed: of the "
        "words said, how many the named tokens suffice for. Isolated: positions taken out with the right token. "
        "Times as ratios to one forward pass of the same batch.",
        "",
        _HEADER,
        "|" + "---|" * (_HEADER.count("|") - 1),
    ]
    reports = []
    for kind in kinds:
        model = load_trained(tied=kind == "tied").model
        utterances: dict[str, list[Utterance]] = {"rlg": [], "embedding_rows": []}
        batches = [([clip], str(number)) for number, clip in enumerate(clips)]
        # Five in one batch: the encoder's attention over thirty seconds takes half a gigabyte for each.
        batches += [(clips[at : at + 5], f"{at} to {at + 4}") for at in (0, 5) if len(clips) >= at + 5]
        for group, name in batches:
            batch = training_batch(group)
            inputs, targets, weights = batch
            said = targets[weights > 0].tolist()
            words = [word for clip in group for word in clip.transcript.split()]
            tensors = {key: keras.ops.convert_to_tensor(value) for key, value in inputs.items()}
            keras.ops.convert_to_numpy(model(tensors, training=True))  # the first call is slower
            forward = _seconds(lambda m=model, t=tensors: keras.ops.convert_to_numpy(m(t, training=True)))[0]
            capture, update = _seconds(lambda m=model, b=batch: capture_update(m, b))
            if save is not None and kind == "untied":
                _save(update, save / f"clip_{name.replace(' ', '_')}.npz")
            # A copy, so that no intermediate result is shared between the two.
            rows: Recovery = attack("embedding_rows", dataclasses.replace(update))
            seconds, found = _seconds(lambda u=update: attack("rlg", u))
            # The attack runs alone, without the stored results of RLG: the seconds are those of the whole attack.
            isolating, apart = _seconds(lambda u=update: attack("disaggregate", dataclasses.replace(u)))
            right = sum((Counter(apart.sample_labels) & Counter(said)).values())
            tokens = set(said)
            false = set(found.labels) - tokens
            cells = [
                f"{len(tokens & set(found.labels))} of {len(tokens)}",
                f"{len(false)} ({len(false & set(PROMPT))})",
                f"{sum(formable(word, found.labels, vocabulary) for word in words)} of {len(words)}",
                f"{len(tokens & set(rows.labels))} of {len(tokens)}, {len(set(rows.labels) - tokens)} false",
                f"{capture / forward:.1f}",
                f"{seconds / forward:.2f}",
                f"{right} of {len(said)}" if apart.status == "recovered" else "n/a",
                f"{isolating:.1f}" if apart.status == "recovered" else "-",
            ]
            lines.append(
                f"| {kind} | {name} | {sum(clip.seconds for clip in group):.1f} | {len(said)} | "
                f"{found.details.get('rank', found.status)} | {len(tokens)} | {' | '.join(cells)} |"
            )
            if len(group) == 1:
                for member, recovery in (("rlg", found), ("embedding_rows", rows)):
                    # The prompt is public: an attacker of a Whisper model leaves it out.
                    claimed = None if recovery.status != "recovered" else set(recovery.labels) - set(PROMPT)
                    utterances[member].append(Utterance(said=said, claimed=claimed, length=recovery.positions))
        for member, results in utterances.items():
            report = bag_report(results, classes=51864)
            reports.append(
                f"| {kind} | {member} | {report.utterances} | {report.failures} | {report.length_error:.2f} | "
                f"{report.precision:.3f} | {report.recall:.3f} | {report.exact_match:.2f} |"
            )
        del model
    header = (
        "| projection | attack | utterances | failures | length error | precision | recall | exact match |\n|"
        + "---|" * 8
    )
    return "\n".join([*lines, "", "Bags of tokens, the public prompt left out:", "", header, *reports]) + "\n"


def _seconds(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _save(update, path: Path) -> None:
    """Keep the head and the embedding: the other gradients are not attacked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = [key for key in update.gradients if key == update.head.kernel or "embedding" in key]
    dataclasses.replace(update, gradients={key: update.gradients[key] for key in wanted}).save(path)


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=10, choices=range(1, 11), metavar="1-10", help="number of clips")
    parser.add_argument("--projections", nargs="+", choices=("untied", "tied"), default=["untied", "tied"])
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the updates, .npz files of 240 MB each")
    parser.add_argument("--output", metavar="PATH", help="also write the tables to this file")
    arguments = parser.parse_args()
    tables = measure(arguments.clips, arguments.projections, arguments.save)
    print(tables, end="")
    if arguments.output:
        Path(arguments.output).write_text(tables, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
