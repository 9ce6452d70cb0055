"""Blind exact match of RLG, from untrained to trained heads, synthetic and real, and where information ends.

Parts:

synthetic  make_update: outputs invented around a mean probability of the true class; C=1000, d=512
heads      make_head_update: outputs that follow from the head's weights; the same sizes
photos     EfficientNet-Lite0 with its ImageNet weights, batches of views of 20 real photos, true classes
trained    small networks on real scans of digits (C=10) and of pairs of digits (C=100) after 0 to 20 epochs
floor      S=50: samples ever more confident, until labels are lost, in float32 and in float64

The attack gets the gradient and nothing else. "photos" needs the example's weights and photos (fetched once),
"trained" needs scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# numpy reads the variable when it loads. Its idle threads spin, and slow down a shared machine by a factor of ten.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from growing_table import GrowingTable, add_output_arguments
from scipy.optimize import brentq, linprog

from pytest_labelleak import Recovery, Update, attack
from pytest_labelleak.attacks import builtin_attacks, run
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.testing import LabelledUpdate, make_head_update, make_update

MEANS = (None, 0.1, 0.5, 0.9, 0.97)
SIZES = (10, 50, 100)
#: Doubt 1 - p of a batch's most confident sample, by arithmetic.
DOUBTS = {"float32": (1e-2, 1e-4, 1e-6, 1e-7, 1e-8, 1e-10), "float64": (1e-6, 1e-10, 1e-14, 1e-16, 1e-18)}

#: Standard deviation of the log odds in `make_update`.
_ODDS_SPREAD = 2.5


def typical(mean: float) -> float:
    """Return the typical probability whose log odds, spread as in `make_update`, give this mean probability.

    Parameters
    ----------
    mean : float
        The mean, in (0, 1).

    Returns
    -------
    float
        The argument `confidence` of `make_update`.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()

    def excess(odds: float) -> float:
        return float(weights @ (1.0 / (1.0 + np.exp(-odds - _ODDS_SPREAD * points)))) - mean

    odds = brentq(excess, -60.0, 60.0)
    return float(1.0 / (1.0 + np.exp(-odds)))


@dataclass
class Tally:
    """Sums over the batches of one row of a table."""

    batches: int = 0
    exact: int = 0
    counted: int = 0
    missed: int = 0
    erased: int = 0
    wrong: int = 0
    separable: int = 0
    labels: int = 0
    confidence: float = 0.0
    smallest: float = np.inf

    def add(self, recovery: Recovery, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Count one batch.

        Parameters
        ----------
        recovery : Recovery
            The claim.
        labels : ndarray of int, shape (S,)
            The truth.
        probabilities : ndarray of shape (S, C)
            Outputs of the head.
        """
        truth, named = set(labels.tolist()), set(recovery.labels)
        self.batches += 1
        self.exact += truth == named
        self.counted += recovery.positions == labels.size
        self.missed += len(truth - named)
        certain = probabilities[np.arange(labels.size), labels].astype(np.float32) == 1.0
        self.erased += sum(bool(certain[labels == label].all()) for label in truth - named)
        self.wrong += len(named - truth)
        self.separable += sum(is_separable(labels, probabilities, label) for label in named - truth)
        self.labels += len(truth)
        norms = row_norms(labels, probabilities)
        self.smallest = min(self.smallest, float(norms.min() / norms.max()))
        self.confidence += float(probabilities[np.arange(labels.size), labels].mean())

    def cells(self) -> list[str]:
        """Return the cells that all tables share, see `COLUMNS`."""
        return [
            f"{self.confidence / self.batches:.3f}",
            f"{self.smallest:.0e}",
            f"{self.exact} of {self.batches}",
            f"{self.counted} of {self.batches}",
            f"{self.missed} of {self.labels}" + (f" ({self.erased} erased)" if self.missed else ""),
            f"{self.wrong} ({self.separable})" if self.wrong else "0",
        ]


COLUMNS = ["mean p", "smallest row", "exact", "positions right", "labels missed", "false"]
MEANING = (
    '"mean p" is the realised mean probability of the true class, "smallest row" the smallest norm of a row '
    'p - onehot(y) over the largest of its batch, minimum over the batches. "false" counts absent classes named; in '
    "brackets those that a linear program separates on the true rows too, so that no form of RLG could tell. A missed "
    'label is "erased" where every p of its samples rounds to one in float32: nothing of it is left in its own column.'
)


def true_rows(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return every position's row ``p - onehot(y)``, without cancellation at the label.

    Parameters
    ----------
    labels : ndarray of int, shape (S,)
        The labels.
    probabilities : ndarray of shape (S, C)
        Outputs of the head.

    Returns
    -------
    ndarray of float64, shape (S, C)
        The rows, which sum to zero.
    """
    rows = probabilities.astype(np.float64)
    places = np.arange(labels.size), labels
    rows[places] = 0.0
    rows[places] = -rows.sum(axis=1)  # the outputs sum to one
    return np.asarray(rows)


def row_norms(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the norm of every position's row; arguments as for `true_rows`."""
    return np.asarray(np.linalg.norm(true_rows(labels, probabilities), axis=1))


def is_separable(labels: np.ndarray, probabilities: np.ndarray, label: int) -> bool:
    """Decide with a linear program on the true rows whether a class can be separated from all others.

    Parameters
    ----------
    labels, probabilities : ndarray
        As for `true_rows`.
    label : int
        The class.

    Returns
    -------
    bool
        Whether some direction is negative on its column alone.
    """
    rows = true_rows(labels, probabilities)
    columns = rows / np.maximum(np.linalg.norm(rows, axis=0), np.finfo(np.float64).tiny)
    others = np.delete(columns, label, axis=1)
    answer = linprog(
        columns[:, label], A_ub=-others.T, b_ub=np.zeros(others.shape[1]), bounds=[(-1.0, 1.0)] * labels.size
    )
    return bool(answer.status == 0 and answer.fun < -1e-6)


def synthetic(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the table of invented outputs."""

    def make(positions: int, mean: float | None, seed: int) -> LabelledUpdate:
        return make_update(
            positions=positions,
            features=512,
            classes=1000,
            seed=1000 + seed,
            signed=seed % 2 == 0,
            confidence=None if mean is None else typical(mean),
            duplicates=0.3 if seed % 3 == 0 else 0.0,
        )

    text = "C=1000, d=512, float32; half of the batches with signed features, a third with repeated labels. "
    _margins(table, arguments, "Synthetic outputs", text, make)


def heads(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the table of heads with weights."""

    def make(positions: int, mean: float | None, seed: int) -> LabelledUpdate:
        return make_head_update(
            positions=positions,
            features=512,
            classes=1000,
            seed=2000 + seed,
            signed=seed % 2 == 0,
            confidence=mean,
            among=None if seed % 3 else max(1, positions // 2),
        )

    text = (
        "C=1000, d=512, float32; outputs are softmax(H W + b). Half of the batches with signed features; labels "
        "drawn independently, in every third batch from S/2 classes. "
    )
    _margins(table, arguments, "Synthetic heads with weights", text, make)


def _margins(
    table: GrowingTable,
    arguments: argparse.Namespace,
    title: str,
    text: str,
    make: Callable[[int, float | None, int], LabelledUpdate],
) -> None:
    table.start(title, text + MEANING, ["S, wanted mean p", *COLUMNS])
    for positions in arguments.sizes or SIZES:
        for mean in MEANS:

            def compute(positions: int = positions, mean: float | None = mean) -> list[str]:
                tally = Tally()
                for seed in range(arguments.batches):
                    case = make(positions, mean, seed)
                    tally.add(attack("rlg", case.update), case.labels, case.probabilities)
                return tally.cells()

            table.row(f"{positions}, {'untrained' if mean is None else mean}", compute)


def photos(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the table of the trained ImageNet network."""
    from real_heads import photo_head

    views = 8
    head = photo_head(views)
    named = head.outputs(np.arange(len(head.labels))).argmax(axis=1) == head.labels
    table.start(
        "A trained ImageNet network on real photos",
        f"EfficientNet-Lite0, ImageNet weights (top-1 {named.mean():.2f} on {views} views of each of 20 photos: the "
        "centre, and random crops, half of them mirrored), true classes, C=1000, d=1280. Up to 20, photos are drawn "
        "without replacement; above, each is used as often as any other, in another view. Inference mode: features "
        'once per image, then the head\'s algebra; "network" says in how many of the batches the gradient was also '
        "captured from the network itself, and the largest difference over the largest entry; the sets must be equal "
        "too. Training mode (dropout, batch normalisation over the batch): captured from the network. "
        '"any attack": batches whose set some member of the portfolio names exactly. ' + MEANING,
        ["batch", *COLUMNS, "any attack", "network"],
    )
    for training in (False, True):
        batches = min(arguments.batches, arguments.captured) if training else arguments.batches
        for size in arguments.sizes or ((20, 50) if training else (5, 10, 15, 20, 50, 100)):

            def compute(size: int = size, training: bool = training, batches: int = batches) -> list[str]:
                rng = np.random.default_rng([size, training])
                tally, best, worst, same, compared = Tally(), 0, 0.0, 0, 0
                for index in range(batches):
                    chosen = _draw(rng, size, views)
                    update = head.capture(chosen, training=True) if training else head.update(chosen)
                    recovery = attack("rlg", update)
                    tally.add(recovery, head.labels[chosen], head.outputs(chosen))
                    best += _is_exact(recovery, head.labels[chosen]) or _any_exact(update, head.labels[chosen], index)
                    if not training and index < arguments.captured:
                        compared += 1
                        worst = max(worst, head.agreement(chosen))
                        same += attack("rlg", head.capture(chosen)).labels == recovery.labels
                shown = "captured" if training else f"{same} of {compared} equal, {worst:.0e}"
                cells = tally.cells()
                if training:
                    cells[:2] = ["-", "-"]  # outputs of the training pass are not at hand
                return [*cells, f"{best} of {batches}", shown]

            table.row(f"{size}, {'training' if training else 'inference'}", compute)


def _draw(rng: np.random.Generator, size: int, views: int) -> np.ndarray:
    """Choose images: photos as evenly as possible, every (photo, view) at most once."""
    order = np.concatenate([rng.permutation(20) for _ in range(-(-size // 20))])[:size]
    view = np.stack([rng.permutation(views) for _ in range(20)])
    return np.asarray(order * views + view[order, np.arange(size) // 20])


def _is_exact(recovery: Recovery, labels: np.ndarray) -> bool:
    return set(recovery.labels) == set(labels.tolist())


def _any_exact(update: Update, labels: np.ndarray, batch: int) -> bool:
    members, reading = builtin_attacks().values(), Reading(update)
    return any(_is_exact(run(member, reading, seed=0, batch=batch), labels) for member in members)


def trained(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the table of small networks at several stages of training."""
    from digit_networks import DATA, stages

    table.start(
        "Small networks trained on real scans",
        "Two hidden layers of ReLU, d=128, Adam; batches of training images with their true classes, inference and "
        "training mode are the same here. Batches in which all classes are present are left out, since there is "
        'nothing to tell. "any attack" and "network" as above. ' + MEANING,
        ["data, epochs, S", "training accuracy", *COLUMNS, "any attack", "network"],
    )
    for data, sizes in (("digits", (2, 4, 6, 8)), ("pairs", (8, 16, 32, 64))):
        for epoch, accuracy, head in stages(data, arguments.epochs):
            for size in arguments.sizes or sizes:

                def compute(
                    data: str = data, epoch: int = epoch, accuracy: float = accuracy, head=head, size: int = size
                ) -> list[str]:
                    rng = np.random.default_rng([DATA[data], epoch, size])
                    tally, best, worst, same, compared = Tally(), 0, 0.0, 0, 0
                    for index in range(arguments.batches):
                        chosen = rng.choice(len(head.labels), size, replace=False)
                        labels = head.labels[chosen]
                        if np.unique(labels).size == head.classes:
                            continue
                        update = head.update(chosen)
                        recovery = attack("rlg", update)
                        tally.add(recovery, labels, head.outputs(chosen))
                        best += _is_exact(recovery, labels) or _any_exact(update, labels, index)
                        if index < arguments.captured:
                            compared += 1
                            worst = max(worst, head.agreement(chosen))
                            same += attack("rlg", head.capture(chosen)).labels == recovery.labels
                    return [
                        f"{accuracy:.3f}",
                        *tally.cells(),
                        f"{best} of {tally.batches}",
                        f"{same} of {compared} equal, {worst:.0e}",
                    ]

                table.row(f"{data}, {epoch}, {size}", compute)


def floor(table: GrowingTable, arguments: argparse.Namespace) -> None:
    """Write the table of the labels lost to rounding."""
    table.start(
        "Where the information ends",
        "S=50 distinct labels, C=1000, d=512. The samples' doubts 1 - p are spread evenly over the decades from 0.8 "
        "down to the smallest. A label whose p rounds to one is subtracted to exactly zero and leaves no trace in "
        'its own column: "erased". Rows p - onehot(y) are measured by their norm, and singular values of the '
        "gradient in exact arithmetic, each relative to the largest; s_50 is the median over the batches.",
        [
            "arithmetic, smallest doubt",
            "mean p",
            "exact",
            "positions right",
            "labels missed",
            "of these erased",
            "false",
            "smallest row found",
            "largest row missed",
            "s_50/s_0",
        ],
    )
    batches = min(arguments.batches, 10)
    for dtype, doubts in DOUBTS.items():
        for doubt in doubts:
            table.row(f"{dtype}, {doubt:.0e}", lambda dtype=dtype, doubt=doubt: _floor_row(dtype, doubt, batches))


def _confident(dtype: str, smallest: float, seed: int) -> tuple[Update, np.ndarray, np.ndarray, np.ndarray]:
    """Return an update, its labels, its outputs, and the singular values of its exact gradient over the largest."""
    rng = np.random.default_rng([3000, seed])
    places = np.arange(50), rng.choice(1000, 50, replace=False)
    inputs = np.abs(rng.normal(size=(50, 512)))
    logits = 2.5 * rng.normal(size=(50, 1000))
    doubt = np.geomspace(0.8, smallest, 50)
    logits[places] = np.log(np.exp(logits).sum(axis=1) - np.exp(logits[places])) + np.log((1.0 - doubt) / doubt)
    logits = logits.astype(dtype)
    outputs = np.exp(logits - logits.max(axis=1, keepdims=True))
    outputs /= outputs.sum(axis=1, keepdims=True)
    error = outputs.copy()
    error[places] -= 1
    error /= np.asarray(50, dtype)
    update = Update.from_arrays(inputs.astype(dtype).T @ error, bias_gradient=error.sum(axis=0), compute_dtype=dtype)
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    exact[places] = 0.0
    exact[places] = -exact.sum(axis=1)
    # Of H^T D by way of triangular factors, which is as good as its rows are scaled alike.
    small = np.linalg.qr(inputs.T)[1] @ np.linalg.qr(exact.T)[1].T
    values = np.linalg.svd(small, compute_uv=False)
    return update, places[1], outputs, values / values[0]


def _floor_row(dtype: str, doubt: float, batches: int) -> list[str]:
    tally, erased, found_row, missed_row, spectrum = Tally(), 0, np.inf, 0.0, []
    for seed in range(batches):
        update, labels, outputs, values = _confident(dtype, doubt, seed)
        recovery = attack("rlg", update)
        tally.add(recovery, labels, outputs)
        norms = row_norms(labels, outputs)
        named = np.isin(labels, recovery.labels)
        relative = norms / norms.max()
        found_row = min(found_row, float(relative[named].min(initial=np.inf)))
        missed_row = max(missed_row, float(relative[~named].max(initial=0.0)))
        erased += int(np.count_nonzero(outputs[np.arange(50), labels][~named] == 1.0))
        spectrum.append(values[-1])
    confidence, _, exact, counted, _, wrong = tally.cells()
    missed = f"{tally.missed} of {tally.labels}"
    return [
        confidence,
        exact,
        counted,
        missed,
        str(erased),
        wrong,
        f"{found_row:.0e}" if np.isfinite(found_row) else "-",
        f"{missed_row:.0e}" if missed_row else "-",
        f"{np.median(spectrum):.0e}",
    ]


PARTS: dict[str, Callable[[GrowingTable, argparse.Namespace], None]] = {
    "synthetic": synthetic,
    "heads": heads,
    "photos": photos,
    "trained": trained,
    "floor": floor,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    parser.add_argument("--batches", type=int, default=100, help="per row (default 100)")
    parser.add_argument("--captured", type=int, default=5, help="of these captured from the network (default 5)")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="S", help="only these batch sizes")
    parser.add_argument("--epochs", type=int, nargs="+", default=[0, 1, 5, 20], help="stages of training")
    add_output_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.batches < 1:
        parser.error(f"--batches {arguments.batches} given. Expected at least 1.")
    table = GrowingTable(arguments.output, resume=arguments.resume)
    for name in arguments.parts:
        PARTS[name](table, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
