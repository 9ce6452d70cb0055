"""Updates with known truth, of the shapes and in the arithmetic of real ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from ..core.errors import InvalidArgumentError
from ..core.softmax import softmax
from ..core.update import Update

__all__ = ["LabelledUpdate", "labelled_updates", "make_head_update", "make_update"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledUpdate:
    """An update together with everything it was computed from.

    Attributes
    ----------
    update : Update
        What an attack gets.
    labels : ndarray of int, shape (S,)
        Class of every label position.
    features : ndarray of shape (S, d)
        Inputs of the head.
    probabilities : ndarray of shape (S, C)
        Softmax outputs.
    weights : ndarray of shape (S,)
        Loss weights.
    """

    update: Update
    labels: np.ndarray = field(repr=False)
    features: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)


def make_update(
    *,
    positions: int,
    features: int,
    classes: int,
    seed: int = 0,
    signed: bool = False,
    bias: bool = True,
    confidence: float | None = None,
    duplicates: float = 0.0,
    dtype: str = "float32",
) -> LabelledUpdate:
    """Make the update of a random softmax head, in the arithmetic of a real one.

    Parameters
    ----------
    positions : int
        Label positions S.
    features, classes : int
        Size d, C of the head.
    seed : int, default 0
        Determines everything.
    signed : bool, default False
        Features of both signs; otherwise non-negative and partly zero, as after ReLU.
    bias : bool, default True
        Whether the head has a bias.
    confidence : float, optional
        Typical probability of the true class, in (0, 1), spread widely around it as in a trained
        network. By default outputs are near uniform, as in an untrained one.
    duplicates : float, default 0.0
        Share of the positions that repeat another's label.
    dtype : str, default "float32"
        Arithmetic: "float32" or "float64".

    Returns
    -------
    LabelledUpdate
        With the truth beside it.
    """
    rng = np.random.default_rng(seed)
    inputs = _inputs(rng, positions, features, signed=signed)
    distinct = min(classes, max(1, round(positions * (1.0 - duplicates))))
    labels = rng.choice(classes, size=distinct, replace=False)[np.arange(positions) % distinct]
    rows = np.arange(positions)
    logits = rng.normal(size=(positions, classes)) * (0.3 if confidence is None else 2.5)
    if confidence is not None:
        others = np.log(np.exp(logits).sum(axis=1) - np.exp(logits[rows, labels]))
        odds = np.log(confidence / (1.0 - confidence)) + 2.5 * rng.normal(size=positions)
        logits[rows, labels] = others + odds
    return _labelled(inputs, labels, logits.astype(dtype), dtype, bias_gradient=bias)


def make_head_update(
    *,
    positions: int,
    features: int,
    classes: int,
    seed: int = 0,
    signed: bool = False,
    bias: bool = True,
    confidence: float | None = None,
    among: int | None = None,
    dtype: str = "float32",
) -> LabelledUpdate:
    """Make the update of a head whose weights are known: the outputs really are ``softmax(H W + b)``.

    A trained head looks for one direction per class, its features lie along that of their class, some
    samples further than others, and how far on the whole decides how confident it is. Labels are drawn
    independently, so a batch may repeat them, and may be larger than either side of the head.

    Parameters
    ----------
    positions : int
        Label positions S.
    features, classes : int
        Size d, C of the head.
    seed : int, default 0
        Determines everything.
    signed : bool, default False
        Features of both signs; otherwise non-negative and partly zero, as after ReLU.
    bias : bool, default True
        Whether the head has a bias.
    confidence : float, optional
        Mean probability of the true class, in (0, 1), over many batches; never below that of guessing.
        By default the head is untrained: fresh weights, a zero bias, features that know no class.
    among : int, optional
        Labels come from this many classes, chosen at random; by default from all.
    dtype : str, default "float32"
        Arithmetic: "float32" or "float64".

    Returns
    -------
    LabelledUpdate
        With the truth beside it, and the weights in `Update.head`.

    Raises
    ------
    InvalidArgumentError
        If so few features cannot tell so many classes apart with that confidence.

    Examples
    --------
    >>> case = make_head_update(positions=30, features=16, classes=10, confidence=0.9)
    >>> case.update.head.kernel_value.shape
    (16, 10)
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(classes, size=classes if among is None else among, replace=False)
    labels = drawn[rng.integers(0, drawn.size, positions)]
    inputs = _inputs(rng, positions, features, signed=signed)
    if confidence is None:
        limit = np.sqrt(6.0 / (features + classes))
        kernel, offset = rng.uniform(-limit, limit, size=(features, classes)), np.zeros(classes)
    else:
        direction = _inputs(rng, classes, features, signed=signed)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        kernel = _GAIN * (direction - direction.mean(axis=0)).T
        offset = 0.1 * rng.normal(size=classes)

        def along(classes_of: np.ndarray) -> np.ndarray:
            extent = np.exp(_SPREAD * rng.normal(size=classes_of.size))
            return np.asarray(extent[:, None] * direction[classes_of])

        # How far is found on samples of their own, so that a batch is as confident as chance has it.
        others = rng.integers(0, classes, _CALIBRATED_ON)
        start = _inputs(rng, _CALIBRATED_ON, features, signed=signed) @ kernel + offset * bias
        distance = _distance(start, along(others) @ kernel, others, confidence)
        inputs += distance * along(labels)
    values, offset = kernel.astype(dtype), offset.astype(dtype)
    logits = inputs.astype(dtype) @ values
    if bias:
        logits += offset
    return _labelled(
        inputs, labels, logits, dtype, bias_gradient=bias, kernel=values, bias_value=offset if bias else None
    )


# Length of a trained head's weights and, as a logarithm, the standard deviation of how far a sample lies along its
# class's direction. With these two, samples differ in their log odds about as much as those of `make_update`.
_GAIN = 1.5
_SPREAD = 0.15
_CALIBRATED_ON = 128
_FARTHEST = 1e4


def _distance(start: np.ndarray, slope: np.ndarray, labels: np.ndarray, confidence: float) -> float:
    """Return t for which ``softmax(start + t slope)[labels]`` is `confidence` in the mean; 0 if it is more there."""

    def mean(distance: float) -> float:
        logits = start + distance * slope
        logits -= np.take_along_axis(logits, labels[:, None], axis=1)
        # Beyond the range of exp the true class has no probability left, which is what infinity gives.
        with np.errstate(over="ignore"):
            return float(np.mean(1.0 / np.exp(logits).sum(axis=1)))

    if mean(0.0) >= confidence:
        return 0.0
    low, high = 0.0, 1.0
    while mean(high) < confidence:
        low, high = high, 2.0 * high
        if high > _FARTHEST:
            raise InvalidArgumentError(
                f"confidence={confidence}. Expected at most about {mean(high):.2g} here: "
                "so few features cannot tell so many classes apart; use more features or fewer classes."
            )
    while high - low > 1e-3 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if mean(middle) < confidence else (low, middle)
    return high


def _inputs(rng: np.random.Generator, count: int, features: int, *, signed: bool) -> np.ndarray:
    inputs = rng.normal(size=(count, features))
    if not signed:
        inputs = np.abs(inputs) * (rng.random(inputs.shape) < 0.6)
        inputs[:, 0] += 0.1  # no sample without any active feature
    return inputs


def _labelled(
    inputs: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    dtype: str,
    *,
    bias_gradient: bool,
    kernel: np.ndarray | None = None,
    bias_value: np.ndarray | None = None,
) -> LabelledUpdate:
    """Differentiate the mean cross-entropy, in the arithmetic of `logits`."""
    positions = labels.size
    probabilities = softmax(logits)
    weights = np.full(positions, 1.0 / positions, dtype=dtype)
    error = probabilities.copy()
    error[np.arange(positions), labels] -= 1
    error *= weights[:, None]
    update = Update.from_arrays(
        inputs.astype(dtype).T @ error,
        bias_gradient=error.sum(axis=0) if bias_gradient else None,
        kernel=kernel,
        bias=bias_value,
        compute_dtype=dtype,
    )
    return LabelledUpdate(update=update, labels=labels, features=inputs, probabilities=probabilities, weights=weights)


@st.composite
def labelled_updates(
    draw: st.DrawFn,
    *,
    max_positions: int = 8,
    max_features: int = 24,
    max_classes: int = 40,
    signed: bool | None = None,
    bias: bool | None = None,
) -> LabelledUpdate:
    """Draw updates with known truth, from one sample and two classes upwards.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    max_positions, max_features, max_classes : int
        Largest S, d, C.
    signed, bias : bool, optional
        Fix whether features have both signs, and whether the head has a bias.

    Returns
    -------
    LabelledUpdate
        Batches of every kind, also those that no attack can read.
    """
    return make_update(
        positions=draw(st.integers(1, max_positions), label="positions"),
        features=draw(st.integers(1, max_features), label="features"),
        classes=draw(st.integers(2, max_classes), label="classes"),
        seed=draw(st.integers(0, 2**32 - 1), label="seed"),
        signed=draw(st.booleans(), label="signed") if signed is None else signed,
        bias=draw(st.booleans(), label="bias") if bias is None else bias,
        confidence=draw(st.sampled_from([None, 0.5, 0.9]), label="confidence"),
        duplicates=draw(st.sampled_from([0.0, 0.5]), label="duplicates"),
        dtype=draw(st.sampled_from(["float32", "float64"]), label="dtype"),
    )
