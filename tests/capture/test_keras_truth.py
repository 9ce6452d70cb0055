"""Labels from every form of target, and clear errors that never quote one."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pytest_labelleak import InvalidArgumentError, UnsupportedModelError, audit  # noqa: E402
from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

SENTINEL = 9137
LABELS = [3, 0, 3, 1, 1, 3, 0, 1]
ONE_HOT = np.eye(5)[LABELS]


def labels(model, *batch, **options):
    return KerasAdapter().labels(model, batch, **options).labels


@pytest.mark.parametrize(
    "y",
    [
        np.array(LABELS),
        np.array(LABELS, "uint8"),
        np.array(LABELS)[:, None],
        np.array(LABELS, "float32"),
        np.array(LABELS, "float64")[:, None],
        LABELS,
        [[label] for label in LABELS],
        [np.int64(label) for label in LABELS],
    ],
)
def test_class_indices(y, classifier, batch):
    np.testing.assert_array_equal(labels(classifier(), batch[0], y), LABELS)


@pytest.mark.parametrize(
    "y", [ONE_HOT, ONE_HOT.astype(bool), ONE_HOT.astype("int32"), 0.9 * ONE_HOT + 0.1 / 5, ONE_HOT.tolist()]
)
def test_rows(y, classifier, batch):
    np.testing.assert_array_equal(labels(classifier("categorical_crossentropy"), batch[0], y), LABELS)


def test_mixtures_name_both_classes(classifier, batch):
    y = ONE_HOT.copy()
    y[0] = [0.0, 0.3, 0.0, 0.7, 0.0]
    y[1] = 0.2  # uniform: the largest is the first
    y[2] = 0.0  # no label at all
    found = labels(classifier("categorical_crossentropy"), batch[0], y)
    np.testing.assert_array_equal(found, [1, 3, 0, *LABELS[3:]])


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_weight_zero_is_left_out(shape, classifier, batch):
    weight = np.array([1, 0, 0, 2, -1, 0, 0, 0.5]).reshape(shape)
    np.testing.assert_array_equal(labels(classifier(), *batch, weight), [3, 1, 1, 1])
    assert labels(classifier(), *batch, np.zeros(8)).size == 0


def test_empty_batch(classifier):
    model = classifier()
    empty = np.zeros((0, 6), "float32"), np.zeros(0, "int32")
    truth = KerasAdapter().labels(model, empty)
    assert (truth.labels.size, truth.classes) == (0, 5)
    assert audit(model, empty).outcome == "inconclusive"
    with pytest.raises(InvalidArgumentError, match="empty"):
        KerasAdapter().capture(model, empty)


X = np.zeros((8, 6), "float32")
CE, CCE = "sparse_categorical_crossentropy", "categorical_crossentropy"


def bad(y, index, value):
    y = np.array(y, dtype="float64" if isinstance(value, float) else None)
    y[index] = value
    return y


BAD = {
    "out of range": (CE, (X, bad(LABELS, 2, SENTINEL)), "1 of 8 labels are out of range.*0 to 4"),
    "negative": (CE, (X, bad(LABELS, 2, -SENTINEL)), "1 of 8 labels are out of range"),
    "huge float": (CE, (X, bad(LABELS, 2, 1e300)), "1 of 8 labels are out of range"),
    "fraction": (CE, (X, bad(LABELS, 2, SENTINEL + 0.5)), "1 of 8 entries that are not whole"),
    "nan": (CE, (X, bad(LABELS, 2, np.nan)), "1 of 8 entries that are NaN"),
    "text": (CE, (X, np.array([str(SENTINEL)] * 8)), "dtype <U4"),
    "objects": (CE, (X, np.array([None, SENTINEL] * 4, dtype=object)), "y is a ndarray"),
    "ragged": (CE, (X, [[SENTINEL], [1, 2]]), "y is a list"),
    "missing": (CE, (X, None), "no labels"),
    "only x": (CE, (X,), r"tuple of 1 item"),
    "four items": (CE, (X, LABELS, None, None), r"tuple of 4 item"),
    "only x in a dict": (CE, {"x": X}, "no labels"),
    "no x": (CE, {"y": LABELS}, "no key 'x'"),
    "unknown key": (CE, {"x": X, "y": LABELS, "labels": SENTINEL}, "unknown key.*'labels'"),
    "array": (CE, X, "batch is a ndarray"),
    "lengths": (CE, (X[:7], LABELS), "x has 7, y has 8"),
    "scalar": (CE, (X, SENTINEL), "y is a scalar"),
    "weights' length": (CE, (X, LABELS, np.ones(3)), "sample_weight has 3"),
    "weights' shape": (CE, (X, LABELS, np.ones((8, 3))), r"sample_weight has shape \(8, 3\)"),
    "weights' nan": (CE, (X, LABELS, np.full(8, np.nan)), "sample_weight has 8 of 8"),
    "weights' type": (CE, (X, LABELS, np.array(["a"] * 8)), "sample_weight has dtype"),
    "rows for sparse": (CE, (X, ONE_HOT), r"rows of probabilities.*takes class indices"),
    "classes for rows": (CCE, (X, LABELS), r"\(8,\).*takes rows of 5"),
    "narrow rows": (CCE, (X, ONE_HOT[:, :4]), r"\(8, 4\).*takes rows of 5"),
    "negative rows": (CCE, (X, bad(ONE_HOT, 2, float(-SENTINEL))), "5 of 40 entries below zero"),
    "too many axes": (CE, (X, np.zeros((8, 2, 2), int)), r"\(8, 2, 2\)"),
    "two columns": (CE, (X, np.zeros((8, 2), int)), r"\(8, 2\)"),
    "list of arrays": (CE, (X, [np.array(LABELS), np.zeros((8, 2))]), "y"),
    "x's shape": (CE, (np.full((8, 7), SENTINEL, "float32"), LABELS), r"\(None, 6\); given \(8, 7\)"),
    "x's rank": (CE, (np.full((8, 6, 2), SENTINEL, "float32"), LABELS), r"given \(8, 6, 2\)"),
    "two x": (CE, ([X, X], LABELS), "x has 2 array"),
    "x's type": (CE, (np.full((8, 6), object()), LABELS), "x is a ndarray"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_batches(name, classifier):
    loss, batch, match = BAD[name]
    model = classifier(loss)
    for method in (KerasAdapter().labels, KerasAdapter().capture):
        with pytest.raises(InvalidArgumentError, match=match) as caught:
            method(model, batch)
        assert str(SENTINEL) not in str(caught.value)
        assert caught.value.__context__ is None
        assert "Expected" in str(caught.value) or "Use" in str(caught.value)


def test_class_weight_errors(classifier, batch):
    x, y = batch
    adapter, model = KerasAdapter(), classifier()
    cases = [
        ((x, y, np.ones(8)), {1: 2.0}, "both class_weight and sample_weight"),
        ((x, y), [1.0, 2.0], "class_weight is a list"),
        ((x, y), {"cat": 2.0}, "class_weight has an entry"),
        ((x, y), {0: float("nan")}, "class_weight has an entry"),
        ((x, np.zeros((8, 3), int)), {0: 1.0}, r"class_weight= is given and y has shape \(8, 3\)"),
    ]
    for data, weights, match in cases:
        for method in (adapter.labels, adapter.capture):
            with pytest.raises(InvalidArgumentError, match=match):
                method(model, data, class_weight=weights)


def test_targets_per_output():
    inputs = keras.Input((6,))
    model = keras.Model(
        inputs, [keras.layers.Dense(5, activation="softmax", name=name)(inputs) for name in ("left", "right")]
    )
    model.compile("sgd", loss=[CE, CE])
    left, right = np.array(LABELS), np.array(LABELS[::-1])
    np.testing.assert_array_equal(labels(model, X, [left, right], head="right"), right)
    np.testing.assert_array_equal(labels(model, X, {"left": left, "right": right}, head="left"), left)
    weight = {"left": np.ones(8), "right": np.arange(8) % 2}
    np.testing.assert_array_equal(labels(model, X, {"left": left, "right": right}, weight, head="right"), right[1::2])
    for y in (left, {"left": left}, [left]):
        with pytest.raises(InvalidArgumentError, match="output"):
            labels(model, X, y, head="right")
    with pytest.raises(InvalidArgumentError, match="several outputs"):
        labels(model, X, [left, right], head="left", class_weight={0: 1.0})


def test_inputs_that_a_layer_does_not_take(batch):
    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="coded")
            self.features = keras.layers.Dense(4, name="features")
            self.head = keras.layers.Dense(5, activation="softmax")

        def call(self, inputs):
            return self.head(self.features(inputs))

    model = Model()
    model.compile("sgd", loss=CE)
    KerasAdapter().capture(model, batch)
    wrong = np.full((8, 7), SENTINEL, "float32"), batch[1]
    for method in (KerasAdapter().labels, KerasAdapter().capture):
        with pytest.raises(InvalidArgumentError, match=r"layer 'features' of model 'coded'.*6.*x \(8, 7\)") as caught:
            method(model, wrong)
        assert str(SENTINEL) not in str(caught.value)
        assert caught.value.__context__ is None


def test_what_a_framework_raises_is_not_repeated(batch):
    class Picky(keras.layers.Layer):
        def call(self, inputs):
            if not isinstance(inputs, keras.KerasTensor) and keras.ops.is_tensor(inputs):
                raise ValueError(f"secret {SENTINEL}")
            return inputs

    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="picky")
            self.features, self.picky = keras.layers.Dense(4), Picky()
            self.head = keras.layers.Dense(5, activation="softmax")

        def call(self, inputs):
            return self.head(self.picky(self.features(inputs)))

    model = Model()
    model.compile("sgd", loss=CE)
    with pytest.raises(
        UnsupportedModelError, match=r"'picky'.*ValueError.*x \(8, 6\), y \(8,\).*train_on_batch"
    ) as caught:
        KerasAdapter().capture(model, batch)
    assert str(SENTINEL) not in str(caught.value)
    assert caught.value.__context__ is None
