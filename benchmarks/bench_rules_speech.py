"""Plateaus of the numbers that decide in the attacks on transcripts: ordering, replay and matching.

Every number of a rule object is multiplied by 1/16 to 16, one at a time, and every case is attacked again. The plateau
is the range of values around the default that changes no row. A row holds, for one case, the share of transcripts
rebuilt exactly, whether the answer is called unique, whether it is finished, and the number of links that are called
certain and are false. All cases are synthetic and need no framework.

    python benchmarks/bench_rules_speech.py --attacks ordering replay --output rules.md
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "asr")]

import numpy as np  # noqa: E402
from decoders import CLASSES, END, UNITS, Elman, softmax, synthetic  # noqa: E402

from pytest_labelleak import GaussianNoise, Head, Update  # noqa: E402
from pytest_labelleak.asr import GradientMatching, Ordering, Replay  # noqa: E402
from pytest_labelleak.asr.isolated import Isolated  # noqa: E402
from pytest_labelleak.asr.matching.problem import _named_tokens  # noqa: E402
from pytest_labelleak.attacks.gradient.reading import Reading  # noqa: E402
from pytest_labelleak.core.recovery import NotApplicable  # noqa: E402

_RULE = "|---|---|---|---|---|"
FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 2**-0.5, 2**0.5, 2, 4, 8, 16)
#: Share of transcripts rebuilt, unique, finished, certain links, or named tokens, that are false.
Row = tuple[float, bool, bool, int]
#: Runs one case with the rules that it is given.
Case = Callable[[Any], Row]


def transcripts(*lengths: int, seed: int, words: int = 40) -> list[tuple[int, ...]]:
    """Draw utterances of so many label positions, the end included; tokens repeat."""
    rng = np.random.default_rng(seed)
    return [(*rng.integers(3, 3 + words, length - 1).tolist(), END) for length in lengths]


def row(attack: Any, reading: Reading, said: Sequence[tuple[int, ...]]) -> Row:
    try:
        found = attack.claim(reading, rng=np.random.default_rng(0))
    except NotApplicable:
        return 0.0, False, True, 0
    left = list(said)
    for claimed in found.transcripts:
        if claimed in left:
            left.remove(claimed)
    true = {pair for one in said for pair in itertools.pairwise(one)}
    certain = [
        pair
        for claimed, links in zip(found.transcripts, found.certain, strict=True)
        for pair, sure in zip(itertools.pairwise(claimed), links, strict=True)
        if sure
    ]
    wrong = sum(pair not in true for pair in certain)
    return 1.0 - len(left) / len(said), found.unique, found.finished, wrong


def ordering_cases() -> Iterator[tuple[str, Case]]:
    shapes: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
        ("one utterance of 4", (4,), {}),
        ("one of 8, GRU", (8,), {"gates": 3, "stacked": False}),
        ("one of 12, context first", (12,), {"state_first": False, "context_at": "start"}),
        ("one of 20", (20,), {}),
        ("one of 16, penalty", (16,), {"penalty": True}),
        ("one of 9, context in the middle", (9,), {"context_at": "middle"}),
        ("two of 6 and 9", (6, 9), {}),
        ("three of 4, 5 and 7, plain cell", (4, 5, 7), {"gates": 1}),
        ("four of 5", (5, 5, 5, 5), {}),
        ("one of 10, context of width 1", (10,), {"context": 1}),
        ("one of 8, context of width 4", (8,), {"context": 4}),
    ]
    shapes += [(f"two of 6 and 7, noise {size:g}", (6, 7), {"noise": size}) for size in (1e-5, 1e-3, 1e-2, 0.1, 1.0)]
    shapes += [(f"one of 12, noise {size:g}", (12,), {"noise": size}) for size in (1e-4, 1e-2, 0.3, 10.0)]
    for number, (name, lengths, options) in enumerate(shapes):
        said = transcripts(*lengths, seed=number)
        yield name, _ordering_case(synthetic(said, seed=number, **options), said)
    for size in (0.3, 0.5):
        said = transcripts(5, 6, seed=50)
        yield f"two of 5 and 6, noise {size:g}", _ordering_case(synthetic(said, seed=0, noise=size), said)
    said = [(7, 12, 45, 30, 9), (30, 8, 21)]
    yield "two that do not end alike", _ordering_case(synthetic(said), said)
    said = transcripts(7, seed=60)
    update = synthetic(said)
    foreign = {name: array for name, array in update.gradients.items() if name != "decoder/wm"}
    yield "one of 7, cells of the encoder alone", _ordering_case(dataclasses.replace(update, gradients=foreign), said)
    said = transcripts(6, 7, seed=90)
    for size in (1e-5, 1e-4, 1e-3):
        update = GaussianNoise(relative=size)(synthetic(said, seed=90), rng=np.random.default_rng(90))
        yield f"two of 6 and 7, whole gradient with noise {size:g}", _ordering_case(update, said)
    for gates, length in ((1, 6), (1, 14), (4, 6), (4, 14)):
        for size in (0.0, 1e-4, 1e-2):
            said = transcripts(length, seed=100 + length)
            name = f"one of {length}, hidden context, {gates} gate(s), noise {size:g}"
            yield name, _ordering_case(hidden_context(said[0], gates=gates, noise=size, seed=length), said)


def _ordering_case(update: Update, said: Sequence[tuple[int, ...]]) -> Case:
    reading = Reading(update)
    return lambda rules: row(Ordering(rules=rules), reading, said)


def hidden_context(said: tuple[int, ...], *, gates: int, noise: float, seed: int) -> Update:
    """Return the update of a decoder whose head sees the state alone: links must be foretold."""
    rng = np.random.default_rng(seed)
    inputs, columns, total = 17, gates * UNITS, len(said)
    kernel, recurrent = rng.normal(size=(inputs, columns)) / 3.0, rng.normal(size=(UNITS, columns)) / 4.0
    bias, taken = rng.normal(size=columns) / 3.0, rng.normal(size=(total, inputs))
    states, before = np.zeros((2, total, UNITS))
    state, memory = np.zeros((2, UNITS))
    for place in range(total):
        before[place] = state
        driven = taken[place] @ kernel + bias + state @ recurrent
        if gates == 1:
            state = np.tanh(driven)
        else:
            enter, forget, new, out = np.split(driven, 4)
            memory = _sigmoid(forget) * memory + _sigmoid(enter) * np.tanh(new)
            state = _sigmoid(out) * np.tanh(memory)
        states[place] = state
    weights = 2.0 * rng.normal(size=(UNITS, CLASSES)) / np.sqrt(UNITS)
    errors = softmax(states @ weights)
    errors[np.arange(total), list(said)] -= 1.0
    gate_errors = rng.normal(size=(total, columns)) / total
    exact = {
        "cell/kernel": taken.T @ gate_errors,
        "cell/recurrent": before.T @ gate_errors,
        "cell/bias": gate_errors.sum(axis=0),
        "head": states.T @ errors / total,
    }
    gradients = {
        name: (array + (noise * array.std() * rng.normal(size=array.shape) if name != "head" else 0.0)).astype("f4")
        for name, array in exact.items()
    }
    values = {"cell/kernel": kernel, "cell/recurrent": recurrent, "cell/bias": bias}
    return Update(
        gradients=gradients,
        head=Head(kernel="head", kernel_value=weights.astype("f4")),
        values={name: value.astype("f4") for name, value in values.items()},
    )


def _sigmoid(array: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-array))


def replay_cases() -> Iterator[tuple[str, Case]]:
    plain, dull = Elman(), Elman(says=0.05, hears=3.0)
    for number, lengths in enumerate([(4,), (12,), (20,), (4, 9), (5, 5, 5), (3, 4, 6, 7)]):
        said = transcripts(*lengths, seed=number)
        update = plain.update(said, seed=number)
        yield f"utterances of {lengths}", _replay_case(plain, Reading(update), said)
    said = transcripts(6, 8, seed=20)
    for size in (1e-5, 1e-4, 1e-3):
        update = GaussianNoise(relative=size)(plain.update(said, seed=20), rng=np.random.default_rng(20))
        yield f"6 and 8, gradient with noise {size:g}", _replay_case(plain, Reading(update), said)
    yield "6 and 8, decoder of other weights", _replay_case(Elman(seed=1), Reading(plain.update(said, seed=20)), said)
    for size in (0.01, 0.03, 0.1, 0.3):
        for seed in (3, 5):
            yield f"6 and 8, states with noise {size:g}, seed {seed}", _noisy(plain, said, size=size, seed=seed)
    for size in (1e-3, 0.01, 0.03):
        for lengths in ((10,), (6, 7), (5, 5, 6)):
            said = transcripts(*lengths, seed=31)
            name = f"{lengths}, contexts alike, states with noise {size:g}"
            yield name, _noisy(dull, said, size=size, seed=7, alike=0.98)
    said = transcripts(6, 7, seed=40)
    yield "6 and 7, one position missing", _noisy(plain, said, size=1e-4, seed=1, without=9)


def _replay_case(decoder: Elman, reading: Reading, said: Sequence[tuple[int, ...]]) -> Case:
    return lambda rules: row(Replay(decoder=decoder, rules=rules), reading, said)


def _noisy(
    decoder: Elman,
    said: Sequence[tuple[int, ...]],
    *,
    size: float,
    seed: int,
    alike: float = 0.0,
    without: int | None = None,
) -> Case:
    """Give isolated positions with noise in their states, in no order."""
    labels, features = decoder.positions(said, alike=alike, seed=seed)
    rng = np.random.default_rng(seed)
    features[:, :UNITS] += size * rng.normal(size=(labels.size, UNITS))
    order = rng.permutation(labels.size)
    if without is not None:
        order = order[order != without]
    reading = Reading(Update.from_arrays(np.zeros((UNITS, CLASSES)), kernel=np.zeros((UNITS, CLASSES))))
    given = Isolated(labels=labels[order], features=features[order], positions=labels.size)
    reading.once(("isolated", 1.0), lambda: given)
    return _replay_case(decoder, reading, said)


class Speller:
    """A small decoder with exact first and second derivatives in numpy, as gradient matching needs one.

    The pullback of cotangents V is the derivative of the gradient for contexts and labels along V in the weights, which
    a complex step gives to the last digit.
    """

    initial, end, units, context_width, classes = 0, END, 10, 8, 24
    context_rows = slice(10, None)

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.weights = {
            "cell/kernel": rng.normal(size=(self.context_width, self.units)) / np.sqrt(self.context_width),
            "cell/recurrent": rng.normal(size=(self.units, self.units)) / np.sqrt(self.units),
            "cell/bias": 0.1 * rng.normal(size=self.units),
            "head": rng.normal(size=(self.units + self.context_width, self.classes)) / 2.0,
        }
        self.table = rng.normal(size=(self.classes, self.units))

    def keys(self, *, every: bool = False) -> tuple[str, ...]:
        return tuple(self.weights)

    def _both(self, weights: Any, contexts: np.ndarray, labels: np.ndarray) -> tuple[dict[str, Any], Any, Any]:
        """Return the gradients for weights, contexts and labels of the mean loss."""
        total = len(contexts)
        fed = np.vstack([self.table[:1], labels[:-1] @ self.table])
        states, before = [], [np.zeros(self.units)]
        for place in range(total):
            driven = fed[place] + contexts[place] @ weights["cell/kernel"] + weights["cell/bias"]
            states.append(np.tanh(driven + before[-1] @ weights["cell/recurrent"]))
            before.append(states[-1])
        seen = np.hstack([np.array(states), contexts])
        logits = seen @ weights["head"]
        logits = logits - logits.real.max(axis=1, keepdims=True)
        logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        errors = (labels.sum(axis=1, keepdims=True) * np.exp(logarithms) - labels) / total
        for_seen = errors @ weights["head"].T
        for_labels, for_contexts = -logarithms / total, for_seen[:, self.units :].copy()
        later, driven_errors = np.zeros(self.units), []
        for place in reversed(range(total)):
            own = (for_seen[place, : self.units] + later) * (1.0 - states[place] ** 2)
            driven_errors.append(own)
            later = own @ weights["cell/recurrent"].T
        errors_of = np.array(driven_errors[::-1])
        for_contexts = for_contexts + errors_of @ weights["cell/kernel"].T
        for_labels[:-1] += errors_of[1:] @ self.table.T
        gradients = {
            "cell/kernel": contexts.T @ errors_of,
            "cell/recurrent": np.array(before[:-1]).T @ errors_of,
            "cell/bias": errors_of.sum(axis=0),
            "head": seen.T @ errors,
        }
        return gradients, for_contexts, for_labels

    def gradients(self, contexts: np.ndarray, labels: np.ndarray, keys: Sequence[str]) -> list[np.ndarray]:
        found = self._both(self.weights, contexts, labels)[0]
        return [found[key] for key in keys]

    def pullback(
        self, contexts: np.ndarray, labels: np.ndarray, keys: Sequence[str], cotangents: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        step, moved = 1e-30, {key: value.astype(complex) for key, value in self.weights.items()}
        for key, cotangent in zip(keys, cotangents, strict=True):
            moved[key] = moved[key] + 1j * step * cotangent
        _, for_contexts, for_labels = self._both(moved, contexts, labels)
        return for_contexts.imag / step, for_labels.imag / step


def matching_cases() -> Iterator[tuple[str, Case]]:
    for number, length in ((0, 4), (2, 6), (17, 5)):  # the last one needs a move
        decoder, rng = Speller(number), np.random.default_rng(number)
        (said,) = transcripts(length, seed=number, words=decoder.classes - 3)
        contexts = rng.normal(size=(length, decoder.context_width))
        found = decoder.gradients(contexts, np.eye(decoder.classes)[list(said)], decoder.keys())
        update = Update(
            gradients={key: array.astype("f4") for key, array in zip(decoder.keys(), found, strict=True)},
            head=Head(kernel="head", kernel_value=decoder.weights["head"].astype("f4")),
        )
        yield f"one of {length}, seed {number}", _matching_case(decoder, update, said)


def naming_cases() -> Iterator[tuple[str, Case]]:
    for classes, length, noise in itertools.product((60, 200), (5, 12), (0.001, 0.03, 0.1, 0.3)):
        yield f"{length} tokens among {classes}, bias with noise {noise:g}", _naming_case(classes, length, noise)


def _naming_case(classes: int, length: int, noise: float) -> Case:
    """Name the tokens of an update by the signs of its bias gradient, some of which noise has turned."""
    rng = np.random.default_rng(length)
    said = rng.permutation(classes)[:length]
    features, weights = rng.normal(size=(length, 30)), rng.normal(size=(30, classes)) / 5.0
    errors = softmax(features @ weights)
    errors[np.arange(length), said] -= 1.0
    kernel, bias = (array / length for array in (features.T @ errors, errors.sum(axis=0)))
    kernel = kernel + 10.0 * kernel.std() * rng.normal(size=kernel.shape)  # the kernel's rank drowns
    bias = bias + noise * bias.std() * rng.normal(size=classes)
    update = Update.from_arrays(kernel, bias_gradient=bias)

    def run(settings: Any) -> Row:
        try:
            named = set(_named_tokens(update).tokens)
        except NotApplicable:
            return 0.0, False, True, 0
        right = len(named & set(said.tolist()))
        return round(right / length, 2), False, True, len(named) - right

    return run


def _matching_case(decoder: Speller, update: Update, said: tuple[int, ...]) -> Case:
    def run(settings: Any) -> Row:
        found = settings(update, decoder, rng=np.random.default_rng(0))
        explained = found.status == "recovered"
        return float(found.tokens == said), explained, explained, int(explained and found.tokens != said)

    return run


#: Settings that bound the work, or are those of an optimiser that is not the default.
BOUNDS = ("attempts", "steps", "moves", "learning_rate", "final_learning_rate")
#: Settings of every search: a start that fails costs little.
BRIEF = GradientMatching(attempts=1, steps=300, moves=1)
#: Cases, default rules, and a test for the numbers that the cases concern, of each attack.
ATTACKS: dict[str, tuple[Callable[[], Iterator[tuple[str, Case]]], Any, Callable[[str], bool]]] = {
    "ordering": (ordering_cases, Ordering().rules, lambda name: True),
    "replay": (replay_cases, Replay(decoder=Elman()).rules, lambda name: True),
    # No number decides here: the rows show which updates matching takes tokens from.
    "naming": (naming_cases, BRIEF, lambda name: False),
    "matching": (matching_cases, BRIEF, lambda name: name not in BOUNDS),
}


def numbers(rules: Any, before: str = "") -> Iterator[tuple[str, float, Callable[[float], Any]]]:
    """Yield the name and value of every number in a rule object, and a function that returns the rules with another."""
    for field in dataclasses.fields(rules):
        value = getattr(rules, field.name)
        if dataclasses.is_dataclass(value):
            for name, inner, change in numbers(value, f"{before}{field.name}."):
                yield (
                    name,
                    inner,
                    lambda new, change=change, name=field.name: dataclasses.replace(rules, **{name: change(new)}),
                )
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (
                before + field.name,
                value,
                lambda new, name=field.name: dataclasses.replace(rules, **{name: new}),
            )


def plateau(
    value: float,
    change: Callable[[float], Any],
    cases: Sequence[tuple[str, Case]],
    rows: Sequence[Row],
    factors: Sequence[float],
) -> tuple[float, float, list[str]]:
    """Return the lowest and highest value that change no row, and the first changes beyond."""
    ends, notes = [], []
    for side in (sorted((f for f in factors if f < 1), reverse=True), sorted(f for f in factors if f > 1)):
        end, note = value, "none"
        for factor in side:
            new = max(1, round(value * factor)) if isinstance(value, int) else value * factor
            rules = change(new)
            changed = [
                (name, old, now) for (name, case), old in zip(cases, rows, strict=True) if (now := case(rules)) != old
            ]
            if changed:
                name, old, now = changed[0]
                note = f"{new:.3g}: {len(changed)} row(s), first {name}: {_text(old)} -> {_text(now)}"
                break
            end = new
        ends.append(end)
        notes.append(note)
    return ends[0], ends[1], notes


def _text(one: Row) -> str:
    share, unique, finished, wrong = one
    words = [f"{share:.2f}", *["unique"] * unique, *["unfinished"] * (not finished), *[f"{wrong} false"] * bool(wrong)]
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=["ordering", "replay"])
    parser.add_argument("--only", nargs="*", default=[], help="names of numbers; default all")
    parser.add_argument("--coarse", action="store_true", help="factors 1/16, 1/4, 4 and 16 alone")
    parser.add_argument("--output", type=Path, help="Markdown file; default standard output")
    options = parser.parse_args()
    factors = (1 / 16, 1 / 4, 4, 16) if options.coarse else FACTORS
    lines = []
    for attack in options.attacks:
        make, rules, concerned = ATTACKS[attack]
        begun, cases = time.process_time(), list(make())
        rows = [case(rules) for _, case in cases]
        lines += [f"## {attack}", "", "| case | exact | unique | finished | certain and false |", _RULE]
        for (name, _), (share, unique, finished, wrong) in zip(cases, rows, strict=True):
            lines.append(f"| {name} | {share:.2f} | {unique} | {finished} | {wrong} |")
        lines += ["", "| number | default | lowest | highest | changes below | changes above |", _RULE + "---|"]
        for name, value, change in numbers(rules):
            if not concerned(name) or (options.only and name not in options.only):
                continue
            low, high, (below, above) = plateau(value, change, cases, rows, factors)
            lines.append(f"| {name} | {value:g} | {low:g} | {high:g} | {below} | {above} |")
            print(lines[-1], file=sys.stderr, flush=True)
        lines += ["", f"{len(cases)} cases, {time.process_time() - begun:.0f} s of processor time.", ""]
    text = "\n".join(lines)
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
