"""Batches with other labels: the same loss on the same inputs, and refusals where the inputs hold labels."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_labelleak import GaussianNoise, InvalidArgumentError, audit

keras = pytest.importorskip("keras")

from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

CLASSES = 7


def model(loss="sparse_categorical_crossentropy", **options):
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(CLASSES, "softmax")], **options
    )
    made.compile("sgd", loss)
    return made


X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
Y, OTHER = np.array([1, 2, 5, 5]), np.array([1, 0, 5, 3])


@pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=str)
def test_class_indices_are_replaced(shape):
    x, y = KerasAdapter().relabelled(model(), (X, Y.reshape(shape)), OTHER)
    assert y.shape == shape
    np.testing.assert_array_equal(y.ravel(), OTHER)
    np.testing.assert_array_equal(x, X)


def test_rows_change_the_places_of_two_targets():
    rows = 0.9 * np.eye(CLASSES)[Y] + 0.1 / CLASSES
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    made = model("categorical_crossentropy")
    _, y, kept = KerasAdapter().relabelled(made, (X, rows, weight), OTHER)
    np.testing.assert_allclose(y, 0.9 * np.eye(CLASSES)[OTHER] + 0.1 / CLASSES)
    np.testing.assert_array_equal(kept, weight)
    np.testing.assert_array_equal(rows.argmax(axis=1), Y)


def test_positions_of_weight_zero_and_other_outputs_stay():
    inputs = keras.Input((5,))
    outputs = {name: keras.layers.Dense(CLASSES, "softmax", name=name)(inputs) for name in ("one", "two")}
    made = keras.Model(inputs, outputs)
    made.compile("sgd", dict.fromkeys(outputs, "sparse_categorical_crossentropy"))
    batch = {"x": X, "y": {"one": OTHER, "two": Y}, "sample_weight": {"one": np.ones(4), "two": np.array([1, 0, 1, 1])}}
    _, y, _ = KerasAdapter().relabelled(made, batch, np.array([3, 4, 6]), head="two")
    assert y["two"].tolist() == [3, 2, 4, 6]
    assert y["one"].tolist() == OTHER.tolist()
    # Of the same labels, both outputs tell.
    _, y = KerasAdapter().relabelled(made, (X, {"one": Y, "two": Y.copy()}), OTHER, head="two")
    assert y["one"].tolist() == y["two"].tolist() == OTHER.tolist()
    made.compile("sgd", {"one": "categorical_crossentropy", "two": "sparse_categorical_crossentropy"})
    rows = np.eye(CLASSES)[Y]
    with pytest.raises(InvalidArgumentError, match="the same labels in another form"):
        KerasAdapter().relabelled(made, (X, {"one": rows, "two": Y}), OTHER, head="two")


def test_ignored_classes_and_mixed_rows_are_refused():
    made = model(keras.losses.SparseCategoricalCrossentropy(ignore_class=3))
    with pytest.raises(InvalidArgumentError, match="ignores one of the labels"):
        KerasAdapter().relabelled(made, (X, Y), OTHER)
    mixed = 0.5 * np.eye(CLASSES)[Y] + 0.5 * np.eye(CLASSES)[(Y + 1) % CLASSES]
    with pytest.raises(InvalidArgumentError, match="several classes at one position"):
        KerasAdapter().relabelled(model("categorical_crossentropy"), (X, mixed), OTHER)


def test_inputs_that_may_be_labels_are_refused():
    tokens = np.array([[1, 2, 3], [4, 5, 6]])
    made = keras.Sequential(
        [keras.Input((3,)), keras.layers.Embedding(CLASSES, 4), keras.layers.Dense(CLASSES, "softmax")]
    )
    made.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(InvalidArgumentError, match="inputs may hold the labels"):
        KerasAdapter().relabelled(made, (tokens, tokens[:, ::-1]), np.ones(6, dtype=np.int64))
    inputs = [keras.Input((5,)), keras.Input(())]
    joined = keras.layers.Concatenate()([inputs[0], keras.layers.Reshape((1,))(inputs[1])])
    made = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(joined))
    made.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(InvalidArgumentError, match="inputs may hold the labels"):
        KerasAdapter().relabelled(made, ([X, Y.astype(np.float32)], Y), OTHER)


def test_frames_of_a_sequence_are_no_labels():
    made = keras.Sequential([keras.Input((3, 5)), keras.layers.Dense(CLASSES, "softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy")
    frames, labels = np.zeros((2, 3, 5), np.float32), np.array([[1, 2, 3], [4, 5, 6]])
    _, y = KerasAdapter().relabelled(made, (frames, labels), np.arange(6))
    assert y.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_model_is_proved_over_all_of_its_variables():
    made = model()
    weights = [value.copy() for value in made.get_weights()]
    options = {"attacks": ["bias_sign", "energy"], "require": "proof"}
    proved = audit(made, (X, Y), defence=GaussianNoise(absolute=30.0), **options)
    assert proved.outcome == "held", proved.message
    assert proved.proof.confidence is None
    assert proved.figure < proved.proof.bound < 0.1
    weak = audit(made, (X, Y), defence=GaussianNoise(absolute=3.0), **options)
    assert weak.outcome == "inconclusive"
    assert weak.proof.bound > 0.1
    assert all(np.array_equal(value, kept) for value, kept in zip(made.get_weights(), weights, strict=True))
    # The layers below the head tell of the labels, too.
    assert weak.proof.bound > audit_of_the_head(made).bound


def audit_of_the_head(made):
    """Return the proof for the head alone, from arrays."""
    from pytest_labelleak import Update, capture_update

    update = capture_update(made, (X, Y))
    features = keras.ops.convert_to_numpy(made.layers[0](X))
    head = Update.from_arrays(
        update.kernel_gradient,
        bias_gradient=update.bias_gradient,
        kernel=update.head.kernel_value,
        bias=update.head.bias_value,
    )
    proof = audit(head, {"y": Y, "features": features}, defence=GaussianNoise(absolute=3.0), attacks="llg").proof
    assert proof is not None
    return proof
