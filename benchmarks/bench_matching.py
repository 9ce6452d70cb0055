"""Gradient matching on small lingvo decoders and on the Keras LAS example: settings compared, beside the closed form.

The closed form, and running the decoder over the isolated positions (replay), see the same gradients.

Every search is blind: the words and the number of label positions come from the same update. Each result is appended to
a file at once, and a run that was interrupted goes on after the last result there. Times are processor seconds without
tracing and compiling, one start per search.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The libraries read the variables when they load.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / "examples" / name) for name in ("las", "lingvo_asr", "synthetic_speech"))]

import numpy as np  # noqa: E402
from bench_lingvo import Results  # noqa: E402

from pytest_labelleak import defences  # noqa: E402
from pytest_labelleak.asr import PUBLISHED, GradientMatching, Ordering, Replay, free_contexts  # noqa: E402

CLASSES, CELL, FRAMES = 76, 32, 12
LENGTHS = (4, 6, 10)
#: Settings to compare. Each has one start, so that "exact" means the first run; the default alone repairs its result.
_ONCE = GradientMatching(attempts=1, moves=0, subspace=False)
SETTINGS = {
    "default": GradientMatching(attempts=1),
    "explained layers, normalised, softmax, L-BFGS": _ONCE,
    "the same, cosine": dataclasses.replace(_ONCE, objective="cosine"),
    "the same, every layer": dataclasses.replace(_ONCE, every_layer=True),
    "the same, without the bag": dataclasses.replace(_ONCE, restrict=False),
    "the same, Adam": dataclasses.replace(_ONCE, optimiser="adam", patience=2000),
    "published": PUBLISHED,
    "published, without the bag": dataclasses.replace(PUBLISHED, restrict=False),
}
DEFAULT = next(iter(SETTINGS))
NO_DEFENCE = "none"
#: Defences of the gradients of `DEFENDED` tokens, for some starts of the default and for both ways without a search.
DEFENCES = (
    "clip_norm(norm=0.01)",
    "gaussian_noise(relative=1e-6)",
    "gaussian_noise(relative=1e-4)",
    "gaussian_noise(relative=1e-2)",
    "gaussian_noise(relative=1e-1)",
    "drop_smallest(fraction=0.5)",
    "drop_smallest(fraction=0.9)",
    "drop_smallest(fraction=0.99)",
    "sign",
)
DEFENDED, STARTS = 6, 3


class LingvoCases:
    """Decoders with fresh weights by seed, and gradients of random transcripts without a repeated word."""

    name = "lingvo"

    def __init__(self) -> None:
        from lingvo_asr.recogniser import build

        from pytest_labelleak.capture.lingvo.adapter import LingvoAdapter

        self._build, self._adapter = build, LingvoAdapter(compiled=True)
        self._task = self._fresh(0)
        import tensorflow as tf  # after lingvo's patches, which set its kernels

        self._heard = tf.Variable(tf.zeros((FRAMES, 1, CELL)))
        self._known: dict[tuple[int, int], tuple[list[np.ndarray], Any, tuple[int, ...]]] = {}
        self.decoder = free_contexts(self._task, jit=True)

    def _fresh(self, seed: int) -> Any:
        return self._build(
            "small",
            classes=CLASSES,
            seed=seed,
            encoder__lstm_cell_size=CELL // 2,
            encoder__num_lstm_layers=1,
            decoder__rnn_cell_dim=CELL,
            decoder__source_dim=CELL,
            decoder__emb_dim=CELL // 2,
            train__l2_regularizer_weight=None,
            train__clip_gradient_norm_to_value=0.0,
            train__grad_norm_to_clip_to_zero=0.0,
        )

    def case(self, positions: int, seed: int) -> tuple[Any, tuple[int, ...]]:
        """Return an update and its transcript, and give the decoder the weights it was taken at."""
        variables = self._task.vars.Flatten()
        if (positions, seed) not in self._known:
            for variable, value in zip(variables, self._fresh(seed).vars.Flatten(), strict=True):
                variable.assign(value)
            self._known[positions, seed] = [v.numpy() for v in variables], *self._capture(positions, seed)
        weights, update, transcript = self._known[positions, seed]
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
        return update, transcript

    def _capture(self, positions: int, seed: int) -> tuple[Any, tuple[int, ...]]:
        import tensorflow as tf
        from lingvo.core import py_utils

        rng = np.random.default_rng([seed, positions])
        labels = np.append(rng.permutation(np.arange(3, CLASSES))[: positions - 1], 2).astype(np.int32)
        self._heard.assign(rng.normal(size=(FRAMES, 1, CELL)))
        batch = py_utils.NestedMap(
            src=py_utils.NestedMap(
                src_inputs=np.zeros((1, 4 * FRAMES, 80, 1), np.float32), paddings=np.zeros((1, 4 * FRAMES), np.float32)
            ),
            tgt=py_utils.NestedMap(
                ids=np.append([1], labels[:-1]).astype(np.int32)[None],
                labels=labels[None],
                paddings=np.zeros((1, positions), np.float32),
                weights=np.ones((1, positions), np.float32),
            ),
        )

        def listen(theta: Any, source: Any, state0: Any = None) -> Any:
            heard = tf.convert_to_tensor(self._heard)
            return py_utils.NestedMap(encoded=heard, padding=tf.zeros((FRAMES, 1)), state=py_utils.NestedMap())

        # With fresh weights an encoder's outputs are all but zero; a trained one's are not.
        object.__setattr__(self._task.encoder, "FProp", listen)
        try:
            update = self._adapter.capture(self._task, batch)
        finally:
            object.__delattr__(self._task.encoder, "FProp")
        return update, tuple(labels.tolist())


class KerasCases:
    """The recogniser of examples/las, fresh or trained, and sentences that it has never heard."""

    def __init__(self, *, trained: bool) -> None:
        from las.network import build
        from las.sentences import END, START
        from las.weights import load_trained

        self.name = f"Keras LAS, {'trained' if trained else 'fresh weights'}"
        self._model = load_trained() if trained else build()
        self.decoder = free_contexts(self._model, start=START, end=END, jit=True)

    def case(self, positions: int, seed: int) -> tuple[Any, tuple[int, ...]]:
        """Return an update and its transcript."""
        from las.batches import batch_of
        from las.sentences import held_out

        from pytest_labelleak import capture_update

        sentences = [text for text in held_out(200) if len(text.split()) == positions - 1]
        inputs, targets = batch_of([sentences[seed % len(sentences)]])
        return capture_update(self._model, (inputs, targets)), tuple(targets[0].tolist())


MODELS: dict[str, Callable[[], Any]] = {
    "lingvo": LingvoCases,
    "keras-fresh": functools.partial(KerasCases, trained=False),
    "keras-trained": functools.partial(KerasCases, trained=True),
}


def warm_up(decoder: Any, positions: int, keys: tuple[str, ...]) -> None:
    """Trace and compile before the clock starts."""
    contexts = np.zeros((decoder.initial + positions, decoder.context_width))
    labels = np.full((positions, decoder.classes), 1.0 / decoder.classes)
    found = decoder.gradients(contexts, labels, keys)
    decoder.pullback(contexts, labels, keys, found)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a function and its processor seconds."""
    begun = time.process_time()
    return function(), time.process_time() - begun


def measure(results: Results, cases: Any, names: list[str], lengths: list[int], seeds: int) -> None:
    """Run the settings that lack results, all on the same gradients."""
    for positions in lengths:
        for name in names:
            settings = SETTINGS[name]
            for seed in range(seeds):
                where: dict[str, Any] = {"positions": positions, "seed": seed, "defence": NO_DEFENCE}
                key = {"model": cases.name, "settings": name, **where}
                if results.has(**key):
                    continue
                update, truth = cases.case(positions, seed)
                measure_search(results, cases, settings, update, truth, where, name)
                measure_solvers(results, cases, update, truth, where)


def measure_search(
    results: Results,
    cases: Any,
    settings: GradientMatching,
    update: Any,
    truth: tuple[int, ...],
    where: dict[str, Any],
    name: str,
) -> None:
    """Search for one transcript, and compare."""
    warm_up(cases.decoder, where["positions"], cases.decoder.keys(every=settings.every_layer))
    rng = np.random.default_rng(where["seed"])
    found, seconds = timed(functools.partial(settings, update, cases.decoder, rng=rng))
    results.add(
        model=cases.name,
        settings=name,
        **where,
        exact=found.tokens == truth,
        claimed=found.status == "recovered",
        blind=found.positions == where["positions"],
        starts=found.attempts,
        steps=found.steps,
        residual=found.residual,
        seconds=round(seconds, 3),
    )


def measure_solvers(results: Results, cases: Any, update: Any, truth: tuple[int, ...], where: dict[str, Any]) -> None:
    """Put the words of the same gradient in order without a search."""
    for name, solver in (("closed form", Ordering()), ("replay", Replay(decoder=cases.decoder))):
        key = {"model": cases.name, "settings": name, **where}
        if not results.has(**key):
            rng = np.random.default_rng(where["seed"])
            found, seconds = timed(functools.partial(solver.order, update, rng=rng))
            exact = found.transcripts == (truth,)
            results.add(**key, exact=exact, claimed=found.unique, seconds=round(seconds, 3))


def measure_defended(results: Results, cases: Any, seeds: int) -> None:
    """Search for transcripts in defended gradients."""
    for defence in DEFENCES:
        for seed in range(seeds):
            where: dict[str, Any] = {"positions": DEFENDED, "seed": seed, "defence": defence}
            key = {"model": cases.name, "settings": DEFAULT, **where}
            if results.has(**key):
                continue
            update, truth = cases.case(DEFENDED, seed)
            shared = defences.resolve(defence)(update, rng=np.random.default_rng([7, seed]))
            settings = GradientMatching(attempts=STARTS)
            measure_search(results, cases, settings, shared, truth, where, DEFAULT)
            measure_solvers(results, cases, shared, truth, where)


def defended_table(results: Results) -> Iterator[str]:
    """Yield the table of defences."""
    yield f"| defence, {DEFENDED} tokens | matching, {STARTS} starts | claimed | wrong claims | closed form | replay |"
    yield "|---|---|---|---|---|---|"
    for model in dict.fromkeys(row["model"] for row in results.rows):
        for defence in DEFENCES:
            rows = {
                name: results.where(model=model, settings=name, defence=defence)
                for name in (DEFAULT, "closed form", "replay")
            }
            if rows[DEFAULT]:
                claimed = [row for row in rows[DEFAULT] if row["claimed"]]
                wrong = sum(not row["exact"] for row in claimed)
                cells = [cell(found, DEFENDED) for found in rows.values()]
                yield (
                    f"| {model}: `{defence}` | {cells[0]} | {len(claimed)} of {len(rows[DEFAULT])} | {wrong} | "
                    f"{cells[1]} | {cells[2]} |"
                )


def tables(results: Results) -> Iterator[str]:
    """Yield one table per model, and one of defences."""
    if any(row["defence"] != NO_DEFENCE for row in results.rows):
        yield from defended_table(results)
        yield ""
    for model in dict.fromkeys(row["model"] for row in results.where(defence=NO_DEFENCE)):
        yield f"## {model}"
        yield ""
        yield "Exact transcripts (median processor seconds a search), on the first start. Wrong: transcripts that were "
        yield "claimed to explain the gradient, or to be proven, and were not the true one."
        yield ""
        yield f"| settings | {' | '.join(f'{n} tokens' for n in LENGTHS)} | wrong |"
        yield "|" + "---|" * (2 + len(LENGTHS))
        for name in [*SETTINGS, "closed form", "replay"]:
            rows = results.where(model=model, settings=name, defence=NO_DEFENCE)
            if rows:
                wrong = sum(row["claimed"] and not row["exact"] for row in rows)
                yield f"| {name} | {' | '.join(cell(rows, n) for n in LENGTHS)} | {wrong} of {len(rows)} |"
        ratios = " | ".join(ratio(results, model, positions) for positions in LENGTHS)
        yield f"| {DEFAULT} / closed form | {ratios} | |"
        yield ""


def cell(rows: list[dict[str, Any]], positions: int) -> str:
    """Return how many transcripts are exact, and the median time."""
    chosen = [row for row in rows if row["positions"] == positions]
    if not chosen:
        return "-"
    seconds = statistics.median(row["seconds"] for row in chosen)
    return f"{sum(row['exact'] for row in chosen)} of {len(chosen)} ({seconds:.2g} s)"


def ratio(results: Results, model: str, positions: int) -> str:
    """Return the median ratio of the times of the default and of the closed form on the same gradients."""
    times: dict[str, dict[int, float]] = {}
    for name in (DEFAULT, "closed form"):
        rows = results.where(model=model, settings=name, positions=positions, defence=NO_DEFENCE)
        times[name] = {row["seed"]: row["seconds"] for row in rows}
    common = times[DEFAULT].keys() & times["closed form"].keys()
    ratios = [times[DEFAULT][seed] / max(times["closed form"][seed], 1e-3) for seed in common]
    return f"{statistics.median(ratios):.3g} x" if ratios else "-"


def main() -> int:
    """Run, and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", choices=MODELS, help="which (default: all)")
    parser.add_argument("--settings", action="append", choices=SETTINGS, help="which (default: all)")
    parser.add_argument("--seeds", type=int, default=20, help="gradients per length (default 20)")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS), help="tokens (default 4 6 10)")
    parser.add_argument("--defended", action="store_true", help="measure what defences leave, and no settings")
    parser.add_argument("--results", type=Path, default=Path("matching.jsonl"), help="where results are kept")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    results = Results(arguments.results)
    names = arguments.settings or list(SETTINGS)
    for model in arguments.model or MODELS:
        if model == "lingvo" and importlib.util.find_spec("lingvo") is None:
            print("SKIPPED: lingvo is not installed; run this with the environment of 'make test-lingvo'")
            continue
        if arguments.defended:
            measure_defended(results, MODELS[model](), arguments.seeds)
        else:
            measure(results, MODELS[model](), names, arguments.lengths, arguments.seeds)
    text = "\n".join(tables(results)).strip() + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
