"""Updates with known truth, of the shapes and in the arithmetic of real updates."""

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
    """An update together with the labels, features, outputs and weights behind it.

    Attributes
    ----------
    update : Update
        The update, which is all that an attack sees.
    labels : ndarray of int, shape (S,)
        Class of every label position.
    features : ndarray of shape (S, d)
        Input of the head at every label position.
    probabilities : ndarray of shape (S, C)
        Softmax output at every label position.
    weights : ndarray of shape (S,)
        Weight of every label position in the loss.
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
    """Make the update of a random softmax head, in the arithmetic of a real head.

    Parameters
    ----------
    positions : int
        Number S of label positions.
    features, classes : int
        Numbers d of features and C of classes of the head.
    seed : int, default 0
        Seed of every random choice.
    signed : bool, default False
        Features of both signs; otherwise non-negative and partly zero, as after ReLU.
    bias : bool, default True
        Whether the head has a bias.
    confidence : float, optional
        Typical probability of the true class, in (0, 1); probabilities spread widely around it, as in a trained
        network. By default outputs are near uniform, as in an untrained network.
    duplicates : float, default 0.0
        Share of the label positions that repeat the label of another.
    dtype : str, default "float32"
        Arithmetic: "float32" or "float64".

    Returns
    -------
    LabelledUpdate
        The update, and the truth behind it.
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
    """Make the update of a head whose weights are known: the outputs are ``softmax(H W + b)``.

    H are the features (S, d), W and b the weights. A trained head has one direction per class. The features of a
    sample lie along the direction of its class, further for some samples than for others. Their mean extent decides
    how confident the head is. Labels are drawn independently, so a batch may repeat labels, and may have more label
    positions than the head has features or classes.

    Parameters
    ----------
    positions : int
        Number S of label positions.
    features, classes : int
        Numbers d of features and C of classes of the head.
    seed : int, default 0
        Seed of every random choice.
    signed : bool, default False
        Features of both signs; otherwise non-negative and partly zero, as after ReLU.
    bias : bool, default True
        Whether the head has a bias.
    confidence : float, optional
        Mean probability of the true class, in (0, 1), over many batches; never below the probability of a guess.
        By default the head is untrained: fresh weights, a zero bias, features independent of the classes.
    among : int, optional
        Number of classes from which labels come, chosen at random; by default all.
    dtype : str, default "float32"
        Arithmetic: "float32" or "float64".

    Returns
    -------
    LabelledUpdate
        The update with its weights in `Update.head`, and the truth behind it.

    Raises
    ------
    InvalidArgumentError
        If the features are too few to tell the classes apart with that confidence.

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

        # The mean extent is fitted to other samples, so that the confidence of a batch varies as chance has it.
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


# Norm of each class's weights in a trained head, and standard deviation of the logarithm of a sample's extent along the
# direction of its class. With both numbers the log odds of samples differ about as much as in `make_update`.
_GAIN = 1.5
_SPREAD = 0.15
_CALIBRATED_ON = 128
_FARTHEST = 1e4


def _distance(start: np.ndarray, slope: np.ndarray, labels: np.ndarray, confidence: float) -> float:
    """Return t >= 0 for which the mean of ``softmax(start + t slope)[labels]`` is `confidence`, or exceeds it at 0."""

    def mean(distance: float) -> float:
        logits = start + distance * slope
        logits -= np.take_along_axis(logits, labels[:, None], axis=1)
        # Beyond the range of exp the quotient is 1 / inf = 0, as it should be: the true class has no probability.
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
        inputs[:, 0] += 0.1  # every sample has an active feature
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
    """Draw updates with known truth; the smallest has one label position and two classes.

    Parameters
    ----------
    draw : callable
        The function that hypothesis passes.
    max_positions, max_features, max_classes : int
        Largest S, d, C.
    signed, bias : bool, optional
        Fix whether features have both signs, and whether the head has a bias.

    Returns
    -------
    LabelledUpdate
        The update and the truth behind it. Some of the updates can be read by no attack.
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
