"""Finding the head: the last kernel whose output feeds the softmax."""

from __future__ import annotations

import types

import numpy as np
import pytest

keras = pytest.importorskip("keras")
layers = keras.layers

from pytest_labelleak import UnknownNameError, UnsupportedModelError  # noqa: E402
from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

CE = "sparse_categorical_crossentropy"
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def dense(**options):
    return layers.Dense(5, **{"name": "head", **options})


def flat_model(*rest, shape=(6,), loss=CE):
    model = keras.Sequential([keras.Input(shape), layers.Dense(7, activation="relu", name="body"), *rest], name="net")
    model.compile("sgd", loss=loss)
    return model


def flat_batch(shape=(4, 6), classes=5):
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype("float32"), rng.integers(0, classes, shape[0])


ENDINGS = {
    "activation layer": [dense(), layers.Activation("softmax")],
    "softmax layer": [dense(), layers.Softmax()],
    "float32 activation": [dense(), layers.Activation("softmax", dtype="float32")],
    "linear activation": [dense(), layers.Activation("linear"), layers.Softmax()],
    "dropout between": [dense(), layers.Dropout(0.2), layers.Softmax()],
    "reshape": [dense(), layers.Reshape((5, 1)), layers.Flatten(), layers.Softmax()],
    "nested": [keras.Sequential([keras.Sequential([layers.Dense(8), dense()]), layers.Softmax()])],
    "einsum": [layers.EinsumDense("bd,dc->bc", output_shape=5, bias_axes="c", name="head"), layers.Softmax()],
    "einsum transposed": [
        layers.EinsumDense("bd,cd->bc", output_shape=5, bias_axes="c", name="head"),
        layers.Softmax(),
    ],
    "convolution": [
        layers.Reshape((1, 1, 7)),
        layers.Conv2D(5, 1, name="head"),
        layers.Reshape((5,)),
        layers.Activation("softmax"),
    ],
    "pooled convolution": [
        layers.Reshape((7, 1)),
        layers.Conv1D(5, 1, name="head"),
        layers.GlobalAveragePooling1D(),
        layers.Softmax(),
    ],
}


@pytest.mark.parametrize("name", ENDINGS)
def test_endings(name, host):
    model = flat_model(*[layer.__class__.from_config(layer.get_config()) for layer in ENDINGS[name]])
    x, y = flat_batch()
    update = KerasAdapter().capture(model, (x, y), training=False)
    assert (update.head.layer, update.classes) == ("head", 5)
    assert update.kernel_gradient.shape == update.head.kernel_value.shape == (update.features, 5)
    np.testing.assert_allclose(update.kernel_gradient.sum(axis=1), 0.0, atol=1e-6)
    bias = host(keras.ops.convert_to_tensor(model(x))).astype(np.float64) - np.eye(5)[y]
    np.testing.assert_allclose(update.bias_gradient, bias.mean(0), atol=1e-6)
    np.testing.assert_array_equal(KerasAdapter().labels(model, (x, y)).labels, y)


def test_transposed_einsum_kernel_is_turned(host):
    model = flat_model(layers.EinsumDense("bd,cd->bc", output_shape=5, name="head"), layers.Softmax())
    update = KerasAdapter().capture(model, flat_batch())
    kernel = next(variable for variable in model.trainable_variables if "head" in variable.path)
    assert tuple(kernel.shape) == (5, 7)
    np.testing.assert_array_equal(update.head.kernel_value, host(kernel.value).T)
    assert update.head.bias is None


def test_time_distributed():
    model = keras.Sequential(
        [keras.Input((3, 6)), layers.TimeDistributed(layers.Dense(5, activation="softmax", name="head"))]
    )
    model.compile("sgd", loss=CE)
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(4, 3, 6)), rng.integers(0, 5, (4, 3))
    update = KerasAdapter().capture(model, batch)
    assert update.kernel_gradient.shape == (6, 5)
    np.testing.assert_array_equal(KerasAdapter().labels(model, batch).labels, batch[1].reshape(-1))


def test_operations_after_the_logits():
    inputs = keras.Input((6,))
    logits = layers.Dense(5, name="head")(layers.Dense(7, name="body")(inputs))
    model = keras.Model(inputs, keras.ops.softmax(logits / 2.0))
    model.compile("sgd", loss=CE)
    assert KerasAdapter().capture(model, flat_batch()).head.layer == "head"


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z + keras.ops.ones((5,)),
        lambda z: keras.ops.add(np.arange(5.0, dtype="float32"), z),
        lambda z: z - 2.0,
        lambda z: layers.Lambda(lambda value: value - keras.ops.arange(5.0))(z),
        lambda z: layers.Lambda(lambda value: (value + 1.0) * 2.0)(z),
    ],
    ids=["added", "added to", "subtracted", "in a lambda", "shifted and scaled"],
)
def test_constants_between_head_and_softmax(change, host):
    inputs = keras.Input((6,))
    logits = layers.Dense(5, name="head")(layers.Dense(7, name="body")(inputs))
    model = keras.Model(inputs, keras.ops.softmax(change(logits)))
    model.compile("sgd", loss=CE)
    update = KerasAdapter().capture(model, flat_batch())
    assert update.head.layer == "head"
    np.testing.assert_allclose(update.kernel_gradient.sum(axis=1), 0.0, atol=1e-6)


def test_a_function_that_cannot_be_traced_is_judged_by_the_gradient():
    def untraceable(value):
        if isinstance(value, keras.KerasTensor) and value.shape[0] is None:
            raise TypeError("no symbolic tensors")
        return value * value if squares else value

    for squares in (False, True):
        inputs = keras.Input((6,))
        logits = layers.Dense(5, name="head")(layers.Dense(7, name="body")(inputs))
        lambda_ = layers.Lambda(untraceable, output_shape=(5,))
        squares_, squares = squares, False
        model = keras.Model(inputs, layers.Softmax()(lambda_(logits)))
        squares = squares_
        model.compile("sgd", loss=CE)
        if squares:
            refused(model, "no softmax")
        else:
            assert KerasAdapter().capture(model, flat_batch()).head.layer == "head"


def test_what_is_subtracted_from_a_constant_is_no_shift():
    inputs = keras.Input((6,))
    logits = layers.Dense(5, name="head")(layers.Dense(7, name="body")(inputs))
    model = keras.Model(inputs, keras.ops.softmax(1.0 - logits))
    model.compile("sgd", loss=CE)
    refused(model, r"ended at 'subtract\w*' \(Subtract\)")


class Keeps(layers.Wrapper):
    """A wrapper that keeps the kernel of its layer, as those for weight normalisation do."""

    def build(self, shape):
        super().build(shape)
        self.kernel = self.layer.kernel

    def call(self, inputs):
        return self.layer(inputs)


@pytest.mark.parametrize("wrapper", [layers.SpectralNormalization, Keeps])
def test_a_wrapper_that_keeps_the_kernel_is_named(wrapper):
    model = flat_model(wrapper(dense(activation="softmax"), name="outer"))
    refused(model, rf"'head' \(Dense\).*inside the wrapper 'outer' \({wrapper.__name__}\).*weight normalisation")


def test_model_as_a_layer_with_several_outputs():
    inputs = keras.Input((6,))
    body = layers.Dense(7, name="body")(inputs)
    inner = keras.Model(inputs, [layers.Dense(3, name="other")(body), layers.Dense(5, name="head")(body)], name="inner")
    outer = keras.Input((6,))
    model = keras.Model(outer, layers.Softmax()(inner(layers.Dense(6)(outer))[1]))
    model.compile("sgd", loss=CE)
    assert KerasAdapter().capture(model, flat_batch()).head.layer == "head"


class Block(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = layers.Dense(5, name="first"), layers.Dense(5, name="second")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((None, 5))
        self.built = True

    def call(self, inputs):
        return self.second(keras.ops.relu(self.first(inputs)))


class Block6(layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner = layers.Dense(6, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.built = True

    def call(self, inputs):
        return self.inner(inputs)


class Coded(keras.Model):
    """Two layers of five units and only the code to say which is the head."""

    def __init__(self, *, traceable=True, units=5):
        super().__init__(name="coded")
        self.traceable = traceable
        self.second, self.first = layers.Dense(5, name="second"), layers.Dense(units, name="first")

    def call(self, inputs):
        if not self.traceable and isinstance(inputs, keras.KerasTensor):
            raise TypeError("this framework takes no symbolic tensors")
        return keras.ops.softmax(self.second(keras.ops.relu(self.first(inputs))))


def test_code_is_traced():
    model = Coded()
    model.compile("sgd", loss=CE)
    assert KerasAdapter().capture(model, flat_batch()).head.layer == "second"
    block = flat_model(Block(), layers.Softmax())
    assert KerasAdapter().capture(block, flat_batch()).head.layer == "second"


def test_own_layers_after_the_logits_are_traced():
    class Cooled(layers.Layer):
        def call(self, inputs):
            return keras.ops.softmax(inputs / 3.0)

    assert KerasAdapter().capture(flat_model(dense(), Cooled()), flat_batch()).head.layer == "head"


def test_code_that_cannot_be_traced():
    model = Coded(traceable=False, units=6)
    model(flat_batch()[0])
    model.compile("sgd", loss=CE)
    assert KerasAdapter().capture(model, flat_batch()).head.layer == "second"
    model = Coded(traceable=False)
    model(flat_batch()[0])
    model.compile("sgd", loss=CE)
    with pytest.raises(UnsupportedModelError, match=r"2 layers with 5 units.*head='name'") as caught:
        KerasAdapter().capture(model, flat_batch())
    assert "'first'" in str(caught.value)
    assert "'second'" in str(caught.value)
    assert KerasAdapter().capture(model, flat_batch(), head="second").head.layer == "second"
    # Rows of a hidden layer's gradient do not sum to zero.
    with pytest.raises(UnsupportedModelError, match=r"'first'.*no softmax"):
        KerasAdapter().capture(model, flat_batch(), head="first")


def test_head_by_layer_name_and_path():
    model = flat_model(dense(), layers.Softmax(name="end"))
    path = model.get_layer("head").path
    for name in ("head", "end", path):
        assert KerasAdapter().capture(model, flat_batch(), head=name).head.layer == "head"
        assert KerasAdapter().labels(model, flat_batch(), head=name).classes == 5
    with pytest.raises(UnknownNameError, match=r"head='tail'.*'end'.*'body', 'head'"):
        KerasAdapter().capture(model, flat_batch(), head="tail")
    with pytest.raises(UnsupportedModelError, match=r"no softmax|7 units"):
        KerasAdapter().capture(model, flat_batch(), head="body")


def test_layers_of_the_same_name_are_told_apart_by_path():
    inner = keras.Sequential([keras.Input((7,)), dense()], name="inner")
    model = flat_model(dense(), layers.Dense(7), inner, layers.Softmax())
    with pytest.raises(UnsupportedModelError, match=r"names 2 layers.*inner/head"):
        KerasAdapter().capture(model, flat_batch(), head="head")
    assert KerasAdapter().capture(model, flat_batch(), head="inner/head").head.layer == "head"


def refused(model, match, batch=None, **options):
    with pytest.raises(UnsupportedModelError, match=match):
        KerasAdapter().capture(model, batch or flat_batch(), **options)
    return True


def test_what_has_no_softmax_head():
    x, y = flat_batch()
    rows = np.eye(5)[y].astype("float32")
    refused(flat_model(dense(activation="sigmoid"), loss="mse"), "no softmax.*binary_crossentropy", (x, rows))
    refused(flat_model(dense(activation="tanh"), loss="binary_crossentropy"), "no softmax", (x, rows))
    refused(flat_model(dense(), loss="mse"), "no softmax.*Update.from_arrays", (x, rows))
    if keras.backend.backend() != "tensorflow":  # where Keras goes back to the logits and applies a softmax
        refused(flat_model(dense(activation="sigmoid"), loss="categorical_crossentropy"), "no softmax", (x, rows))
    refused(flat_model(dense(), layers.BatchNormalization(name="bn"), layers.Softmax()), r"'bn' \(BatchNormalization\)")
    refused(flat_model(layers.Dense(1, activation="sigmoid"), loss="mse"), "1 unit", (x, y % 2))
    no_dense = keras.Sequential([keras.Input((6,)), layers.Softmax()])
    no_dense.compile("sgd", loss=CE)
    refused(no_dense, "ended at the model's input")


def test_dropout_on_the_logits_breaks_the_softmax():
    model = flat_model(dense(), layers.Dropout(0.5, seed=1), layers.Softmax())
    refused(model, "no softmax")
    assert KerasAdapter().capture(model, flat_batch(), training=False).head.layer == "head"


def test_frozen_shared_and_changed_kernels():
    refused(flat_model(dense(trainable=False), layers.Softmax()), "frozen")
    inputs = keras.Input((6,))
    shared = layers.Dense(6, name="head")
    model = keras.Model(inputs, layers.Softmax()(shared(shared(inputs))))
    model.compile("sgd", loss=CE)
    refused(model, "called several times")
    block = Block6()
    model = keras.Model(inputs, layers.Softmax()(block(block(inputs))))
    model.compile("sgd", loss=CE)
    refused(model, "called several times")
    body = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="head")])
    model = keras.Model(inputs, layers.Softmax()(body(body(inputs))))
    model.compile("sgd", loss=CE)
    refused(model, "called several times")
    low_rank = flat_model(dense(), layers.Softmax())
    low_rank.get_layer("head").enable_lora(2)
    low_rank.compile("sgd", loss=CE)
    refused(low_rank, "LoRA")


def test_quantised_kernel():
    model = flat_model(dense(), layers.Softmax())
    model.get_layer("head").quantize("int8")
    model.compile("sgd", loss=CE)
    refused(model, "quantised")


def test_several_classifiers_need_a_name():
    inputs = keras.Input((6,))
    outputs = [layers.Dense(5, activation="softmax", name=name)(inputs) for name in ("left", "right")]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss=[CE, CE])
    x, y = flat_batch()
    refused(model, r"2 outputs \('left', 'right'\).*head='left'", (x, [y, y]))
    assert KerasAdapter().capture(model, (x, [y, y]), head="right").head.layer == "right"


def test_models_that_train_otherwise():
    class Stepping(keras.Model):
        def train_step(self, data):
            raise NotImplementedError

    inputs = keras.Input((6,))
    model = Stepping(inputs, layers.Dense(5, activation="softmax")(inputs))
    model.compile("sgd", loss=CE)
    refused(model, r"\(Stepping\) overrides train_step.*Update.from_arrays")
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(inputs))
    model.compile("sgd", loss=CE)
    model.train_step = types.MethodType(Stepping.train_step, model)
    refused(model, "the instance replaces train_step.*Update.from_arrays")
    with pytest.raises(UnsupportedModelError, match="the instance replaces train_step"):
        KerasAdapter().labels(model, flat_batch())
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(inputs))
    refused(model, "not compiled")
    model.compile("sgd")
    refused(model, "without a loss")


def test_loss_that_is_no_scalar():
    model = flat_model(dense(activation="softmax"), loss=keras.losses.SparseCategoricalCrossentropy(reduction=None))
    if keras.backend.backend() == "tensorflow":  # which differentiates the sum
        assert KerasAdapter().capture(model, flat_batch()).reduction == "unknown"
    else:
        refused(model, "not a scalar")
