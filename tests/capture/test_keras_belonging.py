"""Do the labels of a batch explain the gradient: the errors of the logits in the captured pass say so."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")
layers, ops = keras.layers, keras.ops

from pytest_labelleak import InconclusiveAudit, assert_labels_not_recoverable  # noqa: E402
from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

CE = "sparse_categorical_crossentropy"
LABELS = np.array([3, 0, 3, 1, 1, 3, 0, 1])
HOT = np.eye(5, dtype="float32")[LABELS]
WEIGHT = np.array([1, 0, 2, 0.5, 1, 1, 3, 1e-4], "float32")


def capture(model, *batch, **options):
    return KerasAdapter().capture(model, batch, **options)


def logits_loss(relabel):
    return lambda y, z: keras.losses.sparse_categorical_crossentropy(relabel(y), z, from_logits=True)


def gentle(y_true, y_pred):
    return -ops.sum(y_true * ops.log(y_pred + 1e-3), axis=-1)


EXPLAINED = {
    "classes": (CE, "softmax", LABELS),
    "logits": (keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"), None, LABELS),
    "rows": ("categorical_crossentropy", "softmax", HOT),
    "smoothed": (keras.losses.CategoricalCrossentropy(label_smoothing=0.2), "softmax", HOT),
    "smoothed rows": ("categorical_crossentropy", "softmax", 0.8 * HOT + 0.04),
    "mixed rows": ("categorical_crossentropy", "softmax", 0.6 * HOT + 0.4 * HOT[::-1]),
    "kl": (keras.losses.KLDivergence(), "softmax", HOT),
    "focal": (keras.losses.CategoricalFocalCrossentropy(), "softmax", HOT),
    "own": (gentle, "softmax", HOT),
    "own logits": (logits_loss(lambda y: y), None, LABELS),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", EXPLAINED)
def test_labels_explain_the_gradient(name, weighted, classifier, batch):
    loss, activation, y = EXPLAINED[name]
    update = capture(
        classifier(loss, activation=activation, between=[layers.Dropout(0.5)]),
        *(batch[0], y, *((WEIGHT,) if weighted else ())),
    )
    assert update.belongs is True, update.belongs_reason
    assert update.belongs_reason == "the labels explain the errors of the logits at every label position"


def test_class_weights_penalties_and_training(classifier, batch):
    model = classifier(head_options={"kernel_regularizer": "l2"}, optimizer=keras.optimizers.Adam(0.05))
    assert capture(model, *batch, class_weight={0: 0.0, 3: 2.5}).belongs
    for _ in range(10):
        model.fit(batch[0], LABELS, epochs=40, verbose=0)
        assert capture(model, batch[0], LABELS).belongs
    wrong = (LABELS + 1) % 5
    shifted = classifier(logits_loss(lambda y: ops.mod(y + 4, 5)), activation=None)
    shifted.set_weights(model.get_weights())
    assert capture(shifted, batch[0], wrong).belongs is False
    for net in (model, shifted):  # outputs of exactly 0 and 1: no label is in the gradient
        net.get_layer("head").kernel.assign(1e4 * net.get_layer("head").kernel)
    assert capture(model, batch[0], LABELS).belongs
    assert capture(shifted, batch[0], wrong).belongs is None


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16", "mixed_float16", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_precision(policy, smoothing, batch):
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("needs jax_enable_x64 for the whole process")
    inputs = keras.Input((6,))
    body = layers.Dense(12, activation="relu", dtype=policy)(inputs)
    logits = layers.Dense(50, dtype=policy)(body)
    model = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(logits))
    model.compile("sgd", keras.losses.CategoricalCrossentropy(label_smoothing=smoothing))
    hot = np.eye(50, dtype="float32")
    update = capture(model, batch[0], hot[LABELS])
    assert update.belongs is True, update.belongs_reason
    if keras.backend.backend() == "torch":
        return  # torch has no slices of negative step
    reversed_ = keras.Model(inputs, layers.Activation("softmax", dtype="float32")(logits[:, ::-1]))
    reversed_.compile("sgd", keras.losses.CategoricalCrossentropy(label_smoothing=smoothing))
    assert capture(reversed_, batch[0], hot[LABELS]).belongs is False


RELABELLED = {
    "before": (lambda y: ops.mod(y + 4, 5), "the class before the label"),
    "after": (lambda y: ops.mod(y + 1, 5), "the class after the label"),
    "reversed": (lambda y: 4 - y, "the classes in reverse order"),
    "permuted": (lambda y: ops.take(ops.array([2, 0, 4, 1, 3]), ops.cast(y, "int32")), "permuted classes"),
    "merged": (lambda y: ops.minimum(y, 1), "remapped or merged classes"),
    "others": (lambda y: ops.flip(y), "other labels than those of the batch at some label positions"),
}


@pytest.mark.parametrize("name", RELABELLED)
def test_other_labels_in_the_loss_are_told(name, classifier, batch):
    relabel, reason = RELABELLED[name]
    model = classifier(logits_loss(relabel), activation=None)
    update = capture(model, batch[0], LABELS)
    assert update.belongs is False
    assert f"the loss uses {reason}" in update.belongs_reason
    with pytest.raises(InconclusiveAudit, match=f"labels of the batch are not those on which.*{reason}") as caught:
        assert_labels_not_recoverable(model, (batch[0], LABELS))
    assert caught.value.audit.outcome == "inconclusive"


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch has no slices of negative step")
def test_permuted_logits_after_the_head_are_told(batch):
    inputs = keras.Input((6,))
    logits = layers.Dense(5, name="head")(layers.Dense(12, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Softmax()(logits[:, ::-1] / 2.0))
    model.compile("sgd", CE)
    update = capture(model, batch[0], LABELS)
    assert (update.head.layer, update.belongs) == ("head", False)
    assert update.belongs_reason == "the loss uses the classes in reverse order"


def test_a_loss_of_another_kind_is_left_open(classifier, batch):
    update = capture(classifier("mean_squared_error"), batch[0], HOT)
    assert update.belongs is None
    assert "not those of a crossentropy" in update.belongs_reason


def test_positions_that_the_loss_leaves_out_or_uses(classifier, batch):
    def some(y, z):
        keep = ops.cast(ops.arange(8) > 1, "float32")
        return ops.sum(keep * keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True))

    def not_class_one(y, z):
        keep = ops.cast(y != 1, "float32")
        return ops.sum(keep * keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True))

    class Unweighted(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return super().compute_loss(x, y, y_pred, None, training)

    x, y = batch[0], LABELS
    found = capture(classifier(some, activation=None), x, y)
    assert (found.belongs, found.belongs_reason) == (None, "the loss leaves out some of the label positions")
    model = classifier(not_class_one, activation=None)
    found = capture(model, x, y)
    assert found.belongs is False
    assert "every label position of one class" in found.belongs_reason
    assert "ignore_class=" in found.belongs_reason
    assert capture(model, x, y, ignore_class=1).belongs
    found = capture(model, x, y, ignore_class=0)
    assert found.belongs is False
    assert "masked, ignored or of weight zero" in found.belongs_reason
    inputs = keras.Input((6,))
    model = Unweighted(inputs, layers.Dense(5, activation="softmax")(inputs))
    model.compile("sgd", CE)
    assert capture(model, x, y, np.arange(8) % 2).belongs is False
    assert capture(model, x, y).belongs


def sequence(*, time=7, mask=True, every=False, tied=False, convolution=False):
    tokens = keras.Input((time,), dtype="int32")
    features = layers.Embedding(20, 8, mask_zero=mask)(tokens)
    features = layers.LSTM(8, return_sequences=True)(features)
    if tied:
        table = layers.ReversibleEmbedding(20, 8)
        features = layers.LSTM(8, return_sequences=True)(table(tokens))
        return keras.Model(tokens, table(features, reverse=True))
    head = layers.Conv1D(20, 1) if convolution else layers.Dense(20)
    return keras.Model(tokens, layers.TimeDistributed(head)(features) if every else head(features))


@pytest.mark.parametrize(
    "kind", [{}, {"every": True}, {"tied": True, "mask": False}, {"convolution": True, "mask": False}]
)
def test_sequences(kind, rng):
    tokens, y = rng.integers(1, 20, (3, 7)), rng.integers(0, 20, (3, 7))
    if kind.get("mask", True):
        tokens[0, 4:] = 0
    y[1, :2] = -1
    weight = (rng.random((3, 7)) < 0.8).astype("float32")
    model = sequence(**kind)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1))
    update = capture(model, tokens, y, weight)
    if kind.get("tied") and keras.backend.backend() == "jax":  # which differentiates for arguments of a layer alone
        assert (update.belongs, "could not be seen" in update.belongs_reason) == (None, True)
        return
    assert update.belongs is True, update.belongs_reason
    if not kind.get("tied"):
        model.compile("sgd", logits_loss(lambda y: ops.mod(ops.maximum(y, 0) + 1, 20)))
        assert capture(model, tokens, np.maximum(y, 0)).belongs is False


def test_a_pooled_convolution(rng):
    inputs = keras.Input((7, 6))
    pooled = layers.GlobalAveragePooling1D()(layers.Conv1D(5, 3, name="head")(inputs))
    model = keras.Model(inputs, layers.Softmax()(pooled))
    model.compile("sgd", CE)
    x = rng.normal(size=(8, 7, 6)).astype("float32")
    assert capture(model, x, LABELS).belongs
    if keras.backend.backend() == "torch":
        return  # torch has no slices of negative step
    turned = keras.Model(inputs, layers.Softmax()(pooled[:, ::-1]))
    turned.compile("sgd", CE)
    assert capture(turned, x, LABELS).belongs is False


@pytest.mark.parametrize("units", [1, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_sigmoid_heads(units, smoothing, classifier, batch, rng):
    y = (rng.random((8, units)) < 0.4).astype("float32")
    loss = keras.losses.BinaryCrossentropy(label_smoothing=smoothing, from_logits=True)
    assert capture(classifier(loss, activation=None, units=units), batch[0], y).belongs
    assert capture(classifier(loss, activation=None, units=units), batch[0], 0.2 + 0.6 * y).belongs

    class Turned(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return super().compute_loss(x, ops.flip(y, axis=1) if units > 1 else 1.0 - y, y_pred, None, training)

    inputs = keras.Input((6,))
    model = Turned(inputs, layers.Dense(units)(inputs))
    model.compile("sgd", loss)
    update = capture(model, batch[0], y)
    assert update.belongs is False
    if not smoothing:
        assert ("reverse order" if units > 1 else "the absent classes as the present ones") in update.belongs_reason


def test_the_layer_is_left_as_it_was(classifier, batch):
    model = classifier()
    head = model.get_layer("head")
    before = dict(vars(head))
    capture(model, *batch)
    assert dict(vars(head)) == before


class PassingOn(keras.Model):
    factor, by_hand = 1.0, 0.0

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = self.factor * super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + self.by_hand * sum(ops.sum(ops.square(v)) for v in self.trainable_variables if "kernel" in v.path)


@pytest.mark.parametrize(("factor", "by_hand", "rate"), [(1.0, 0.0, 0.3), (2.0, 0.0, 0.3), (1.0, 0.25, 0.0)])
@pytest.mark.parametrize("bias", [False, True])
def test_penalties_of_an_own_compute_loss_are_measured(factor, by_hand, rate, bias, batch):
    inputs = keras.Input((6,))
    penalty = keras.regularizers.L2(rate) if rate else None
    head = layers.Dense(5, activation="softmax", use_bias=bias, kernel_regularizer=penalty)
    model = PassingOn(inputs, head(layers.Dense(12, activation="tanh")(inputs)))
    model.factor, model.by_hand = factor, by_hand
    model.compile("sgd", CE)
    update = capture(model, *batch)
    expected = 2.0 * (rate * factor + by_hand) * update.head.kernel_value
    np.testing.assert_allclose(update.head.kernel_penalty, expected, rtol=1e-4, atol=1e-6)
    assert update.head.bias_penalty is None
    assert update.belongs
    rows = (update.kernel_gradient - update.head.kernel_penalty).sum(axis=1)
    np.testing.assert_allclose(rows, 0.0, atol=1e-5)


def test_a_part_that_nothing_explains_leaves_it_open(batch):
    class Odd(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            odd = ops.sum(ops.sin(7.0 * self.layers[-1].kernel))
            return super().compute_loss(x, y, y_pred, sample_weight, training) + odd

    inputs = keras.Input((6,))
    model = Odd(inputs, layers.Dense(5, activation="softmax", kernel_regularizer="l2")(inputs))
    model.compile("sgd", CE)
    update = capture(model, *batch)
    assert update.head.kernel_penalty is None
    assert update.belongs is None
    assert "compute_loss is the model's own" in update.belongs_reason
