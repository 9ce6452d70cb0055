"""The plateau of every deciding number: the lowest and highest value that change no row of a small benchmark.

Attacks keep their deciding numbers in a field ``rules``, a frozen dataclass that may hold others. Every numeric field
of it is multiplied by a ladder of factors, all other numbers unchanged, until an answer changes. A row of the
benchmark is one attack on one update, scored against the truth: status, labels right and wrong, number of label
positions, counts, isolated samples. The updates are those of EfficientNet-Lite0 on photographs, of a small network
trained on pairs of scanned digits, and of synthetic heads; undefended, defended, in half precision, as differences of
weights, and tied. The attacks that compare columns with their bulk are asked about crowded heads, strong noise, low
ranks and noise alone besides; the attack on embeddings about small next-token models.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Read when numpy loads: its idle threads spin, and slow a machine that others use down by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from bench_power import PowerSGD
from growing_table import GrowingTable, add_output_arguments
from real_heads import photo_head

from pytest_labelleak import Defence, DropSmallest, GaussianNoise, Head, InvalidArgumentError, Quantise, Sign, Update
from pytest_labelleak.attacks import Attack, builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.core.recovery import Status
from pytest_labelleak.testing import LabelledUpdate, make_head_update, make_update

FACTORS = (1.5, 2.0, 4.0, 16.0)
#: Tried where the first of these changes a row.
FINER = (1.25, 1.1)
#: Rows that are counted at most once one has changed.
MOST_COUNTED = 5
DEFENCES: dict[str, Defence] = {
    "signs": Sign(),
    "drop 50 %": DropSmallest(fraction=0.5),
    "drop 90 %": DropSmallest(fraction=0.9),
    "drop 99 %": DropSmallest(fraction=0.99),
    "8 bits": Quantise(bits=8),
    "4 bits": Quantise(bits=4),
    **{f"noise {size:g}": GaussianNoise(relative=size) for size in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)},
}
#: Those for the second and third head.
SOME = ["signs", "drop 50 %", "drop 90 %", "drop 99 %", "8 bits", "4 bits", "noise 1e-05", "noise 0.001", "noise 0.1"]
#: Those for further updates.
FEW = ("drop 90 %", "8 bits", "noise 0.001")
TEXT = (
    "Rows are updates under one attack; those count that are settled: the answer is exact, or a refusal. (An answer "
    "that is right in part stands at the edge of the possible, where every number moves it, and so does the seed.) "
    '"Rows" counts the settled rows that read the number at all. "Lowest" and "highest" are '
    "the ends of the ladder (factors 1/16 to 16), or the last values before the first at which a row changes. "
    "Where the first step of 1.5 changes a row, 1.25 and 1.1 are tried. "
    f'"Changed" counts the rows that change at that first value, up to {MOST_COUNTED}, and names one; a dash: none '
    "does."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """An update of the benchmark, with its truth.

    Attributes
    ----------
    name : str
        Unique.
    update : Update
        The update that was shared.
    labels : ndarray of int, shape (S,)
        Class of every label position.
    others : tuple of int
        Further classes that an attack names rightly: tokens that were looked up in a tied head.
    """

    name: str
    update: Update = field(repr=False)
    labels: np.ndarray = field(repr=False)
    others: tuple[int, ...] = field(default=(), repr=False)


def _heads() -> Iterator[tuple[str, LabelledUpdate]]:
    """Yield synthetic heads: untrained and trained, signed and non-negative, with and without bias."""
    for seed, (name, positions, features, classes, options) in enumerate(
        (
            ("S=4 untrained", 4, 64, 100, {"signed": True}),
            ("S=10 untrained, no bias", 10, 64, 100, {"signed": True, "bias": False}),
            ("S=10 trained to .5, non-negative", 10, 64, 100, {"confidence": 0.5}),
            ("S=16 trained to .9", 16, 96, 120, {"signed": True, "confidence": 0.9}),
            ("S=8 trained to .97, no bias", 8, 128, 100, {"signed": True, "confidence": 0.97, "bias": False}),
            ("S=30 of 12 classes", 30, 96, 200, {"signed": True, "confidence": 0.9, "among": 12}),
            ("S=100 untrained, non-negative", 100, 128, 400, {}),
            ("S=40 for 32 features", 40, 32, 100, {"confidence": 0.5}),
            ("S=24 untrained, non-negative", 24, 64, 100, {}),
            ("S=8 for 1100 features", 8, 1100, 330, {"signed": True}),
            ("S=6 of 1000 classes", 6, 64, 1000, {"signed": True}),
        )
    ):
        case = make_head_update(positions=positions, features=features, classes=classes, seed=seed, **options)
        yield name, case
    repeated = make_update(positions=20, features=64, classes=100, signed=True, duplicates=0.5, confidence=0.9)
    yield "S=20 repeated", repeated


def _half(array: np.ndarray) -> np.ndarray:
    """Round to bfloat16: the upper half of a float32, to the nearest even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def _in_half(case: LabelledUpdate) -> Update:
    """Return the same update computed in bfloat16: factors rounded, products summed in float32, sums rounded."""
    error = case.probabilities.astype(np.float32).copy()
    error[np.arange(case.labels.size), case.labels] -= 1.0
    error = _half(error * case.weights[:, None].astype(np.float32))
    kernel = _half(_half(case.features.astype(np.float32)).T @ error)
    gradients = {case.update.head.kernel: kernel}
    if case.update.head.bias is not None:
        gradients[case.update.head.bias] = _half(error.sum(axis=0))
    return dataclasses.replace(case.update, gradients=gradients, compute_dtype="bfloat16")


def _as_difference(case: LabelledUpdate, rate: float) -> Update:
    """Return the same update as the difference of float32 weights before and after one step, over the step's size."""
    head, gradients = case.update.head, {}
    for name, value in ((head.kernel, head.kernel_value), (head.bias, head.bias_value)):
        if name is not None and value is not None:
            after = value - np.float32(rate) * case.update.gradients[name]
            gradients[name] = (value - after) / np.float32(rate)
    return dataclasses.replace(case.update, gradients=gradients, learning_rate=rate)


def _tied(case: LabelledUpdate, seed: int) -> tuple[Update, tuple[int, ...]]:
    """Return the same update with look-ups of the labels, shifted by one position, added to its kernel's gradient."""
    rng = np.random.default_rng([seed, 1])
    head, (features, classes) = case.update.head, case.update.kernel_gradient.shape
    fed = np.append(classes - 1, case.labels[:-1])
    lookups = np.zeros((classes, features))
    np.add.at(lookups, fed, rng.normal(size=(fed.size, features)) / fed.size / 5)
    kernel = case.update.kernel_gradient + lookups.T.astype(np.float32)
    update = dataclasses.replace(
        case.update,
        gradients={**case.update.gradients, head.kernel: kernel},
        head=dataclasses.replace(head, tied=True),
    )
    return update, tuple(np.unique(fed).tolist())


def _digits(positions: int, epochs: int) -> tuple[Update, np.ndarray]:
    """Return an update of a network of one hidden layer on pairs of scanned digits."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    scans, digits = load_digits(return_X_y=True)
    left, right = rng.integers(0, len(scans), (2, 4000))
    images = (np.hstack([scans[left], scans[right]]) / 16.0).astype(np.float32)
    labels = 10 * digits[left] + digits[right]
    inner = rng.normal(size=(128, 96)).astype(np.float32) / np.float32(8.0)
    kernel, bias = rng.normal(size=(96, 100)).astype(np.float32) / np.float32(10.0), np.zeros(100, np.float32)

    def errors(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.maximum(images[chosen] @ inner, 0.0)
        logits = hidden @ kernel + bias
        output = np.exp(logits - logits.max(axis=1, keepdims=True))
        output /= output.sum(axis=1, keepdims=True)
        output[np.arange(chosen.size), labels[chosen]] -= 1.0
        return hidden, output / np.float32(chosen.size)

    for _ in range(epochs):
        for chosen in np.array_split(rng.permutation(labels.size), labels.size // 32):
            hidden, error = errors(chosen)
            back = (error @ kernel.T) * (hidden > 0)
            kernel -= np.float32(0.5) * hidden.T @ error
            bias -= np.float32(0.5) * error.sum(axis=0)
            inner -= np.float32(0.5) * images[chosen].T @ back
    chosen = rng.integers(0, labels.size, positions)
    hidden, error = errors(chosen)
    update = Update.from_arrays(hidden.T @ error, bias_gradient=error.sum(axis=0), kernel=kernel, bias=bias)
    return update, labels[chosen]


def real_cases() -> list[Case]:
    """Make the updates of networks on scanned digits and on photographs.

    Returns
    -------
    list of Case
        The same ones every time.
    """
    given = [(f"digits, {epochs} epochs", *_digits(10, epochs), FEW) for epochs in (0, 3)]
    photos = photo_head(views=1)
    for chosen in (np.arange(0, 20, 4), np.arange(20)):
        some = FEW if chosen.size < 20 else FEW[-1:]
        given.append((f"S={chosen.size} photographs", photos.update(chosen), photos.labels[chosen], some))
    found: list[Case] = []
    for name, update, labels, some in given:
        found.append(Case(name=name, update=update, labels=labels))
        found += _defended(name, update, labels, some)
    return found


def _defended(name: str, update: Update, labels: np.ndarray, chosen: Sequence[str]) -> Iterator[Case]:
    for defence in chosen:
        shared = DEFENCES[defence](update, rng=np.random.default_rng([*defence.encode()]))
        yield Case(name=f"{name}, {defence}", update=shared, labels=labels)


def cases() -> list[Case]:
    """Make the synthetic updates of the benchmark.

    Returns
    -------
    list of Case
        The same ones every time.
    """
    found: list[Case] = []
    heads = dict(_heads())
    for name, case in heads.items():
        found.append(Case(name=name, update=case.update, labels=case.labels))
    for name in ("S=10 untrained, no bias", "S=10 trained to .5, non-negative", "S=16 trained to .9"):
        case = heads[name]
        found += _defended(name, case.update, case.labels, list(DEFENCES) if "untrained" in name else SOME)
        found.append(Case(name=f"{name}, bfloat16", update=_in_half(case), labels=case.labels))
        found.append(Case(name=f"{name}, difference", update=_as_difference(case, 0.1), labels=case.labels))
        tied, fed = _tied(case, 0)
        found.append(Case(name=f"{name}, tied", update=tied, labels=case.labels, others=fed))
    # So sure of some labels that their rows round to zero: these leave no trace, and are no part of the truth.
    sure = make_update(positions=30, features=128, classes=100, seed=2, confidence=0.999995)
    left = sure.labels[sure.probabilities[np.arange(30), sure.labels] < 1.0]
    found.append(Case(name="S=30 trained until rows vanish", update=sure.update, labels=left))
    sure = heads["S=8 trained to .97, no bias"]
    found.append(Case(name="S=8 trained to .97, no bias, bfloat16", update=_in_half(sure), labels=sure.labels))
    # Rounded at random, an entry may be a whole step off: the intervals are too narrow.
    wide = make_update(positions=12, features=160, classes=250, seed=2, bias=False)
    shared = Quantise(bits=8, stochastic=True)(wide.update, rng=np.random.default_rng(0))
    found.append(Case(name="S=12 untrained, 8 bits at random", update=shared, labels=wide.labels))
    for name in ("S=24 untrained, non-negative", "S=20 repeated"):
        found += _defended(name, heads[name].update, heads[name].labels, FEW)
    return found


#: Attacks that compare columns with their bulk; they are asked about crowded heads besides, strong noise, and ranks.
STATISTICAL = ("energy", "shadow")
STRONG: dict[str, Defence | None] = {
    "plain": None,
    "signs": Sign(),
    "drop 99 %": DropSmallest(fraction=0.99),
    **{f"noise {size:g}": GaussianNoise(relative=size) for size in (1.0, 3.0, 10.0, 100.0)},
    **{f"PowerSGD {rank}": PowerSGD(rank=rank) for rank in (2, 8)},
}


def crowded_cases() -> list[Case]:
    """Make updates with more label positions than features, and defended ones that few directions are left of.

    Returns
    -------
    list of Case
        The same ones every time.
    """
    found: list[Case] = []
    for seed, (positions, signed, confidence) in enumerate(
        ((12, True, None), (12, False, None), (64, True, 0.9), (128, True, None), (128, False, 0.5), (256, False, None))
    ):
        case = make_head_update(
            positions=positions, features=64, classes=300, seed=100 + seed, signed=signed, confidence=confidence,
            bias=seed % 2 == 0,
        )  # fmt: skip
        trained = "untrained" if confidence is None else f"trained to {confidence:g}"
        side = "signed" if signed else "non-negative"
        for name, defence in STRONG.items():
            rng = np.random.default_rng([*name.encode()])
            shared = case.update if defence is None else defence(case.update, rng=rng)
            found.append(Case(name=f"S={positions} {trained}, {side}, {name}", update=shared, labels=case.labels))
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(size=(64, 300))
        found.append(Case(name=f"noise alone, {seed}", update=Update.from_arrays(noise), labels=np.arange(0)))
    return found


def embedded_cases() -> list[Case]:
    """Make updates of small next-token models, whose truth is the tokens that were fed, and others that look alike.

    Returns
    -------
    list of Case
        The same ones every time.
    """
    found: list[Case] = []
    plain = {
        name: DEFENCES[name]
        for name in ("signs", "drop 90 %", "drop 99 %", "8 bits", "4 bits")
    }  # fmt: skip
    noises: dict[str, Defence] = {
        f"noise {size:g}": GaussianNoise(absolute=size) for size in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    }
    for seed, (tokens, called, bias) in enumerate(
        ((9, "embedding", True), (9, "table", True), (60, "embedding", False), (60, "table", False))
    ):
        rng = np.random.default_rng([seed, 7])
        update, fed = _next_token(tokens, called, bias, rng)
        name = f"{tokens} tokens, {called!r}"
        found.append(Case(name=name, update=update, labels=fed))
        for defence, apply in {**plain, **(noises if called == "embedding" else {})}.items():
            shared = apply(update, rng=np.random.default_rng([*defence.encode()]))
            found.append(Case(name=f"{name}, {defence}", update=shared, labels=fed))
        penalised = update.gradients[called] + np.float32(1e-4) * rng.normal(size=update.gradients[called].shape)
        gradients = {**update.gradients, called: penalised.astype(np.float32)}
        found.append(Case(name=f"{name}, penalty", update=dataclasses.replace(update, gradients=gradients), labels=fed))
        # A dense layer with as many inputs as classes, most of them dead.
        for samples, alive in ((3, 40), (100, 40), (100, 180)):
            inputs = np.zeros((samples, update.classes))
            inputs[:, rng.choice(update.classes, alive, replace=False)] = rng.random((samples, alive))
            dense = (inputs.T @ rng.normal(size=(samples, 24))).astype(np.float32)
            kept = {key: array for key, array in update.gradients.items() if key != called}
            other = dataclasses.replace(update, gradients={**kept, "dense": dense})
            found.append(
                Case(name=f"{name}, instead {samples} samples through {alive} inputs", update=other, labels=fed[:0])
            )
    return found


def _next_token(tokens: int, called: str, bias: bool, rng: np.random.Generator) -> tuple[Update, np.ndarray]:
    """Return the update of an embedding, a layer of tanh and a softmax, and the tokens that were fed."""
    classes, width, units = 200, 24, 32
    table, inner = rng.normal(size=(classes, width)), rng.normal(size=(width, units)) / 5.0
    kernel = rng.normal(size=(units, classes)) / 5.0
    text = rng.zipf(1.3, size=tokens + 1) % classes
    fed, said = text[:-1], text[1:]
    hidden = np.tanh(table[fed] @ inner)
    error = np.exp(hidden @ kernel)
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(tokens), said] -= 1.0
    error /= tokens
    back = (error @ kernel.T) * (1.0 - hidden**2)
    rows = np.zeros_like(table)
    np.add.at(rows, fed, back @ inner.T)
    gradients = {called: rows, "dense": table[fed].T @ back, "kernel": hidden.T @ error}
    if bias:
        gradients["bias"] = error.sum(axis=0)
    own = {name: array.astype(np.float32) for name, array in gradients.items()}
    head = Head(kernel="kernel", bias="bias" if bias else None, kernel_value=kernel.astype(np.float32))
    return Update(gradients=own, head=head), np.unique(fed)


def numbers(rules: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield every numeric field of a rule object and of those inside it.

    Parameters
    ----------
    rules : dataclass
        The rules.
    path : tuple of str
        Names of the fields that lead to it.

    Yields
    ------
    path : tuple of str
        Names of the fields that lead to the number.
    value : int or float
        The number.
    """
    for one in dataclasses.fields(rules):
        value = getattr(rules, one.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, (*path, one.name))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*path, one.name), value


def changed(rules: Any, path: Sequence[str], value: float) -> Any:
    """Return rules with one number replaced.

    Parameters
    ----------
    rules : dataclass
        The rules.
    path : sequence of str
        Names of the fields that lead to the number.
    value : int or float
        The new one.

    Returns
    -------
    dataclass
        New rules.
    """
    first, *rest = path
    return dataclasses.replace(rules, **{first: changed(getattr(rules, first), rest, value) if rest else value})


def answer(member: Attack, case: Case, reading: Reading) -> tuple[Any, ...]:
    """Run one attack on one update and score it.

    Parameters
    ----------
    member : attack
        The attack.
    case : Case
        The update, with its truth.
    reading : Reading
        Of the same update.

    Returns
    -------
    tuple
        Status, labels right and wrong, number of label positions, whether counts are right, isolated samples and how
        many of their labels are right.
    """
    try:
        found = run(member, reading, seed=0)
    except (InvalidArgumentError, np.linalg.LinAlgError, ValueError, IndexError, RuntimeError) as error:
        return (type(error).__name__,)
    truth = {*case.labels.tolist(), *case.others}
    own = dict(zip(*(part.tolist() for part in np.unique(case.labels, return_counts=True)), strict=True))
    return (
        str(found.status),
        len(truth & set(found.labels)),
        len(set(found.labels) - truth),
        found.positions,
        found.counts is None or dict(found.counts) == own,
        found.isolated,
        sum(label in own for label in found.sample_labels),
    )


def recorded(rules: Any, seen: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> Any:
    """Return rules of the same values that note which of their fields are read.

    Parameters
    ----------
    rules : dataclass
        The rules.
    seen : set of tuple of str
        Takes the names of the fields that lead to every field that is read.
    path : tuple of str
        Names of the fields that lead to these rules.

    Returns
    -------
    dataclass
        Of a class of its own, equal to no other rules.
    """
    names = {one.name for one in dataclasses.fields(rules)}

    def noting(self: Any, name: str) -> Any:
        if name in names:
            seen.add((*path, name))
        return object.__getattribute__(self, name)

    values = {name: getattr(rules, name) for name in names}
    values |= {
        name: recorded(value, seen, (*path, name)) for name, value in values.items() if dataclasses.is_dataclass(value)
    }
    # Hashed by identity: hashing by value would read every field.
    body = {"__slots__": (), "__getattribute__": noting, "__hash__": object.__hash__, "__eq__": object.__eq__}
    return type(f"Recorded{type(rules).__name__}", (type(rules),), body)(**values)


def asked(member: Any, case: Case) -> tuple[tuple[Any, ...], set[tuple[str, ...]]]:
    """Score one attack on one update, and find the rules it reads on the way: no other can change the answer.

    Parameters
    ----------
    member : attack
        With a field ``rules``.
    case : Case
        The update.

    Returns
    -------
    answer : tuple
        As of `answer`.
    seen : set of tuple of str
        Names of the fields that lead to every field that was read.
    """
    seen: set[tuple[str, ...]] = set()
    result = answer(dataclasses.replace(member, rules=recorded(member.rules, seen)), case, Reading(case.update))
    return result, seen


def settled(case: Case, answered: tuple[Any, ...]) -> bool:
    """Tell whether an answer is exact or a refusal.

    Parameters
    ----------
    case : Case
        The update, with its truth.
    answered : tuple
        As of `answer`.

    Returns
    -------
    bool
        False where it is right in part.
    """
    truth = {*case.labels.tolist(), *case.others}
    return answered[0] != Status.RECOVERED or answered[1:3] == (len(truth), 0)


def _ladder(value: float, up: bool, factors: Sequence[float] = FACTORS) -> Iterator[float]:
    last = value
    for factor in factors:
        step = value * factor if up else value / factor
        step = type(value)(round(step)) if isinstance(value, int) else step
        if step != last and not (isinstance(value, int) and step < 1):
            last = step
            yield step


def plateau(
    member: Any,
    path: tuple[str, ...],
    value: float,
    rows: Sequence[Case],
    before: Sequence[tuple[tuple[Any, ...], set[tuple[str, ...]]]],
) -> list[str]:
    """Find how far one number can be moved without changing a row.

    Parameters
    ----------
    member : attack
        Its field ``rules`` holds the number.
    path : sequence of str
        Names of the fields that lead to it.
    value : int or float
        The number as it is.
    rows : sequence of Case
        The updates.
    before : sequence
        The answers to them, and the rules read, as of `asked`.

    Returns
    -------
    list of str
        Cells: default, rows that read it, lowest, rows changed below, highest, rows changed above.
    """
    readers = [
        (case, answered)
        for case, (answered, seen) in zip(rows, before, strict=True)
        if path in seen and settled(case, answered)
    ]
    # Shared over the ladder, so that values that do not depend on the number are computed once.
    readings = [Reading(case.update) for case, _ in readers]
    cells = [_shown(value), str(len(readers))]

    def rows_changed(step: float) -> list[str]:
        other = dataclasses.replace(member, rules=changed(member.rules, path, step))
        differing: list[str] = []
        for (case, answered), reading in zip(readers, readings, strict=True):
            if len(differing) < MOST_COUNTED and answer(other, case, reading) != answered:
                differing.append(case.name)
        return differing

    for up in (False, True):
        last, moved = value, "-"
        for step in _ladder(value, up):
            differing = rows_changed(step)
            if differing:
                moved = f"{len(differing)} at {_shown(step)} ({differing[0]})"
                break
            last = step
        if last == value and moved != "-":
            for step in _ladder(value, up, FINER):
                differing = rows_changed(step)
                if not differing:
                    last = step
                    break
                moved = f"{len(differing)} at {_shown(step)} ({differing[0]})"
        cells += [_shown(last), moved]
    return cells


def _shown(value: float) -> str:
    return f"{value:.4g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    attacks: dict[str, Any] = {name: one for name, one in builtin_attacks().items() if hasattr(one, "rules")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", choices=attacks, default=list(attacks), help="only these")
    parser.add_argument("--rules", nargs="+", metavar="WORD", help="only rules whose name holds one of these words")
    parser.add_argument("--quick", action="store_true", help="a fifth of the updates")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    table = GrowingTable(arguments.output, resume=arguments.resume)
    exact = [*cases(), *real_cases()]
    columns = ["rule", "default", "rows", "lowest", "changed below", "highest", "changed above"]
    for name in arguments.attacks:
        member = attacks[name]
        rows = exact
        if name in STATISTICAL:
            # A simulation takes long: a third of the rows serves.
            rows = [*exact, *crowded_cases()][:: 3 if name == "shadow" else 1]
        elif name == "embedding_rows":
            rows = embedded_cases()
        if arguments.quick:
            rows = rows[::5]
        start = time.perf_counter()

        @functools.cache
        def before(
            member: Any = member, rows: Sequence[Case] = rows
        ) -> list[tuple[tuple[Any, ...], set[tuple[str, ...]]]]:
            return [asked(member, case) for case in rows]

        count = sum(settled(case, answered) for case, (answered, _) in zip(rows, before(), strict=True))
        table.start(f"Rules of {name}", f"{len(rows)} updates, {count} settled. {TEXT}", columns)
        for path, value in numbers(member.rules):
            key = ".".join(path)
            if arguments.rules and not any(word in key for word in arguments.rules):
                continue
            compute: Callable[[], Sequence[str]] = functools.partial(
                lambda path, value, member, before, rows: plateau(member, path, value, rows, before()),
                path, value, member, before, rows,
            )  # fmt: skip
            table.row(key, compute)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
