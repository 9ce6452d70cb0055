"""The captured gradient against the formula, and against the gradient that fit applies."""

from __future__ import annotations

import functools

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

ONE_HOT = np.eye(5)[[3, 0, 3, 1, 1, 3, 0, 1]].astype("float32")


class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.features = keras.layers.Dense(12, activation="relu", name="features")
        self.head = keras.layers.Dense(5, activation="softmax", name="head")

    def call(self, inputs):
        return self.head(self.features(inputs))


def sequential():
    layers = [keras.layers.Dense(12, activation="relu", name="features")]
    return keras.Sequential([*layers, keras.layers.Dense(5, activation="softmax", name="head")])


def softmax(logits):
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def formula(model, host, x, targets, weight=1.0):
    """H^T diag(w) (P - Y) / S and its column sums, in float64 from the weights alone."""
    layer, head = model.get_layer("features"), model.get_layer("head")
    features = np.maximum(x.astype(np.float64) @ host(layer.kernel.value) + host(layer.bias.value), 0.0)
    error = softmax(features @ host(head.kernel.value) + host(head.bias.value)) - targets
    error = error * np.broadcast_to(weight, len(x))[:, None] / len(x)
    return features.T @ error, error.sum(0)


def check_against_fit(model, update, steps):
    assert len(update.gradients) == len(steps) == len(model.trainable_variables)
    for gradient, step in zip(update.gradients.values(), steps, strict=True):
        np.testing.assert_allclose(gradient, step.reshape(gradient.shape), atol=2e-6)


@pytest.mark.parametrize("make", [sequential, Subclassed])
@pytest.mark.parametrize("training", [True, False])
def test_unbuilt_models_are_built_and_captured(make, training, batch, host, fitted_step):
    x, y = batch
    model = make()
    model.compile(keras.optimizers.SGD(0.5), loss="sparse_categorical_crossentropy")
    update = KerasAdapter().capture(model, batch, training=training)
    kernel, bias = formula(model, host, x, np.eye(5)[y])
    np.testing.assert_allclose(update.kernel_gradient, kernel, atol=1e-6)
    np.testing.assert_allclose(update.bias_gradient, bias, atol=1e-6)
    np.testing.assert_array_equal(KerasAdapter().labels(model, batch).labels, y)
    check_against_fit(model, update, fitted_step(model, x, y))


def test_update_says_what_it_is(classifier, batch, host):
    model = classifier()
    update = KerasAdapter().capture(model, batch)
    assert list(update.gradients) == ["features/kernel", "features/bias", "head/kernel", "head/bias"]
    assert (update.head.layer, update.head.kernel, update.head.bias) == ("head", "head/kernel", "head/bias")
    assert (update.compute_dtype, update.reduction, update.steps) == ("float32", "mean", 1)
    assert update.origin == f"keras/{keras.backend.backend()}"
    assert update.device in ("cpu", "gpu")
    np.testing.assert_array_equal(update.head.kernel_value, host(model.get_layer("head").kernel.value))
    np.testing.assert_array_equal(update.head.bias_value, host(model.get_layer("head").bias.value))
    assert update.head.kernel_penalty is None
    assert update.head.bias_penalty is None
    assert update.head.label_smoothing == 0.0


def own_loss(y_true, y_pred):
    return -keras.ops.sum(y_true * keras.ops.log(y_pred + 1e-3), axis=-1)


LOSSES = {
    "sparse name": ("sparse_categorical_crossentropy", "softmax", "classes"),
    "sparse logits": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), None, "classes"),
    "sparse sum": (keras.losses.SparseCategoricalCrossentropy(reduction="sum"), "softmax", "classes"),
    "sparse function": (keras.losses.sparse_categorical_crossentropy, "softmax", "classes"),
    "partial": (
        functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True),
        None,
        "classes",
    ),
    "ce": ("crossentropy", "softmax", "classes"),
    "rows name": ("categorical_crossentropy", "softmax", "rows"),
    "rows logits": (keras.losses.CategoricalCrossentropy(from_logits=True), None, "rows"),
    "rows smoothed": (keras.losses.CategoricalCrossentropy(label_smoothing=0.1), "softmax", "rows"),
    "focal": (keras.losses.CategoricalFocalCrossentropy(), "softmax", "rows"),
    "kl": (keras.losses.KLDivergence(), "softmax", "rows"),
    "own": (own_loss, "softmax", "rows"),
    "squares of probabilities": ("mean_squared_error", "softmax", "rows"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_give_what_fit_applies(name, classifier, batch, fitted_step):
    loss, activation, form = LOSSES[name]
    x, y = batch
    y = ONE_HOT if form == "rows" else y
    model = classifier(loss, activation=activation)
    update = KerasAdapter().capture(model, (x, y))
    assert update.reduction == ("sum" if name == "sparse sum" else "mean")
    assert update.head.label_smoothing == (0.1 if name == "rows smoothed" else 0.0)
    np.testing.assert_array_equal(KerasAdapter().labels(model, (x, y)).labels, batch[1])
    check_against_fit(model, update, fitted_step(model, x, y))


def test_sample_weights(classifier, batch, host, fitted_step):
    x, y = batch
    weight = np.array([0.0, 2.0, 1.0, 0.5, 0.0, 1.0, 0.0, 3.0], "float32")
    model = classifier()
    update = KerasAdapter().capture(model, (x, y, weight))
    np.testing.assert_allclose(update.kernel_gradient, formula(model, host, x, np.eye(5)[y], weight)[0], atol=1e-6)
    np.testing.assert_array_equal(KerasAdapter().labels(model, (x, y, weight)).labels, y[weight > 0])
    check_against_fit(model, update, fitted_step(model, x, y, sample_weight=weight))


@pytest.mark.parametrize("form", ["classes", "column", "rows"])
def test_class_weights(form, classifier, batch, fitted_step):
    x, labels = batch
    y = {"classes": labels, "column": labels[:, None], "rows": ONE_HOT}[form]
    model = classifier("categorical_crossentropy" if form == "rows" else "sparse_categorical_crossentropy")
    weights = {0: 0.0, 3: 2.5}
    update = KerasAdapter().capture(model, (x, y), class_weight=weights)
    np.testing.assert_array_equal(
        KerasAdapter().labels(model, (x, y), class_weight=weights).labels, labels[labels != 0]
    )
    check_against_fit(model, update, fitted_step(model, x, y, class_weight=weights))


def test_regularisers_and_added_losses(classifier, batch, fitted_step):
    class Added(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(0.1 * keras.ops.mean(keras.ops.square(inputs)))
            return inputs

    options = {
        "kernel_regularizer": keras.regularizers.L1L2(0.01, 0.02),
        "bias_regularizer": "l2",
        "activity_regularizer": keras.regularizers.L2(0.3),
        "bias_initializer": "ones",
    }
    model = classifier(head_options=options, between=[Added()])
    update = KerasAdapter().capture(model, batch)
    kernel, bias = update.head.kernel_value, update.head.bias_value
    np.testing.assert_allclose(update.head.kernel_penalty, 0.01 * np.sign(kernel) + 0.04 * kernel, atol=1e-6)
    np.testing.assert_allclose(update.head.bias_penalty, 0.02 * bias, atol=1e-6)
    check_against_fit(model, update, fitted_step(model, *batch))


def test_penalty_leaves_the_formula(classifier, batch, host):
    x, y = batch
    model = classifier(head_options={"kernel_regularizer": keras.regularizers.L2(0.5)})
    update = KerasAdapter().capture(model, batch)
    clean = update.kernel_gradient - update.head.kernel_penalty
    np.testing.assert_allclose(clean, formula(model, host, x, np.eye(5)[y])[0], atol=1e-6)


def test_overridden_compute_loss_is_honoured(batch, fitted_step):
    class Doubled(Subclassed):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return 2.0 * super().compute_loss(x, y, y_pred, sample_weight, training)

    model = Doubled()
    model.compile(keras.optimizers.SGD(0.5), loss="sparse_categorical_crossentropy")
    update = KerasAdapter().capture(model, batch)
    check_against_fit(model, update, fitted_step(model, *batch))


def test_sequences_of_labels(rng, fitted_step):
    x, y = rng.integers(1, 20, (3, 7)), rng.integers(0, 5, (3, 7))
    x[0, 4:] = 0
    inputs = keras.Input((7,), dtype="int32")
    features = keras.layers.Embedding(20, 8, mask_zero=True)(inputs)
    features = keras.layers.GRU(6, return_sequences=True)(features)
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax", name="head")(features))
    model.compile(keras.optimizers.SGD(0.5), loss="sparse_categorical_crossentropy")
    update = KerasAdapter().capture(model, (x, y))
    np.testing.assert_array_equal(KerasAdapter().labels(model, (x, y)).labels, y[x != 0])
    check_against_fit(model, update, fitted_step(model, x, y))


def test_a_changed_layer_is_not_captured_as_it_was(classifier, batch, fitted_step):
    model = classifier(between=[keras.layers.ActivityRegularization(l2=0.1, name="penalty")])
    first = KerasAdapter().capture(model, batch)
    model.get_layer("penalty").activity_regularizer = keras.regularizers.L2(5.0)
    second = KerasAdapter().capture(model, batch)
    assert np.abs(first.gradients["features/kernel"] - second.gradients["features/kernel"]).max() > 1e-3
    np.testing.assert_allclose(first.kernel_gradient, second.kernel_gradient, atol=1e-6)


def test_inputs_may_be_lists_dicts_and_tensors(classifier, batch):
    x, y = batch
    model = classifier()
    expected = KerasAdapter().capture(model, (x, y)).kernel_gradient
    forms = [
        {"x": x, "y": y},
        {"x": x, "y": y, "sample_weight": None},
        [x, y],
        (x.tolist(), y.tolist()),
        (x.astype("float64"), y.astype("float32")),
        (keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)),
    ]
    for form in forms:
        np.testing.assert_allclose(KerasAdapter().capture(model, form).kernel_gradient, expected, atol=1e-7)
        np.testing.assert_array_equal(KerasAdapter().labels(model, form).labels, y)


def test_several_outputs_and_inputs(rng, fitted_step):
    first, second = keras.Input((6,), name="first"), keras.Input((3,), name="second")
    body = keras.layers.Dense(10, activation="relu")(keras.layers.Concatenate()([first, second]))
    kind = keras.layers.Dense(5, activation="softmax", name="kind")(body)
    place = keras.layers.Dense(4, name="place")(body)
    shade = keras.layers.Dense(3, name="shade")(body)
    model = keras.Model([first, second], [kind, place, shade])
    model.compile(
        keras.optimizers.SGD(0.5),
        loss={
            "kind": "sparse_categorical_crossentropy",
            "place": "mse",
            "shade": keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum"),
        },
        loss_weights={"kind": 0.7, "place": 0.1, "shade": 2.0},
    )
    x = [rng.normal(size=(8, 6)), rng.normal(size=(8, 3))]
    kinds, shades = rng.integers(0, 5, 8), rng.integers(0, 3, 8)
    y = [kinds, rng.normal(size=(8, 4)).astype("float32"), np.eye(3)[shades].astype("float32")]
    by_kind = KerasAdapter().capture(model, (x, y), head="kind")
    by_shade = KerasAdapter().capture(model, (x, y), head="shade")
    assert (by_kind.head.layer, by_kind.classes, by_kind.reduction) == ("kind", 5, "mean")
    assert (by_shade.head.layer, by_shade.classes, by_shade.reduction) == ("shade", 3, "sum")
    named = dict(zip(("kind", "place", "shade"), y, strict=True))
    for targets in (y, named):
        np.testing.assert_array_equal(KerasAdapter().labels(model, (x, targets), head="kind").labels, kinds)
        np.testing.assert_array_equal(KerasAdapter().labels(model, (x, targets), head="shade").labels, shades)
    again = KerasAdapter().capture(model, ({"first": x[0], "second": x[1]}, named), head="kind")
    np.testing.assert_allclose(again.kernel_gradient, by_kind.kernel_gradient, atol=1e-7)
    check_against_fit(model, by_kind, fitted_step(model, x, y))


def test_the_only_classifier_among_outputs_is_chosen(rng):
    inputs = keras.Input((6,))
    body = keras.layers.Dense(10, activation="relu")(inputs)
    outputs = {
        "kind": keras.layers.Dense(5, activation="softmax")(body),
        "place": keras.layers.Dense(4)(body),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss={"kind": "sparse_categorical_crossentropy", "place": "mse"})
    x, kinds = rng.normal(size=(8, 6)), rng.integers(0, 5, 8)
    batch = (x, {"kind": kinds, "place": rng.normal(size=(8, 4))})
    assert KerasAdapter().capture(model, batch).classes == 5
    np.testing.assert_array_equal(KerasAdapter().labels(model, batch).labels, kinds)


def test_nested_outputs(rng, fitted_step):
    inputs = keras.Input((6,))
    kind = keras.layers.Dense(5, activation="softmax", name="kind")(inputs)
    place = keras.layers.Dense(4, name="place")(inputs)
    model = keras.Model(inputs, {"both": [place, kind]})
    total = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    model.compile(keras.optimizers.SGD(0.5), loss={"both": ["mse", total]})
    x, kinds = rng.normal(size=(8, 6)).astype("float32"), rng.integers(0, 5, 8)
    y = {"both": [rng.normal(size=(8, 4)).astype("float32"), kinds]}
    update = KerasAdapter().capture(model, (x, y))
    assert (update.head.layer, update.reduction) == ("kind", "sum")
    np.testing.assert_array_equal(KerasAdapter().labels(model, (x, y)).labels, kinds)
    check_against_fit(model, update, fitted_step(model, x, y))


def test_variables_of_the_same_path_stay_apart(batch):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6, name="x"), keras.layers.Dense(5, name="y")])
    for layer in model.layers:
        for variable in layer.variables:
            variable._path = f"same/{variable.name}"
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    update = KerasAdapter().capture(model, batch)
    assert list(update.gradients) == ["same/kernel", "same/bias", "same/kernel#2", "same/bias#2"]
    assert update.head.kernel == "same/kernel#2"
