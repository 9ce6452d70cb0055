"""Sequence models: a head applied at every position, masks, ignored targets, and weights tied to the embedding."""

from __future__ import annotations

import string

import numpy as np
import pytest

keras = pytest.importorskip("keras")
layers, ops = keras.layers, keras.ops

from pytest_labelleak import (  # noqa: E402
    InvalidArgumentError,
    LabelLeak,
    UnsupportedModelError,
    assert_words_not_recoverable,
    attack,
    capture_update,
)
from pytest_labelleak.asr import WordPieces  # noqa: E402
from pytest_labelleak.capture.keras.adapter import KerasAdapter  # noqa: E402

CE = "sparse_categorical_crossentropy"
TOKENS, WIDTH, LENGTH = 40, 24, 5
PAD = 0


def logits_loss(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **options)


def texts(rows=2, seed=3, pad=True):
    """Return (inputs, targets): the targets are the inputs shifted by one; the second text is shorter."""
    rng = np.random.default_rng(seed)
    text = rng.choice(np.arange(1, TOKENS), (rows, LENGTH + 1), replace=False).astype("int32")
    if pad:
        text[1:, -2:] = PAD
    return text[:, :-1], text[:, 1:]


def transformer(x):
    # With the layer Add, which hands masks on, unlike the operator +.
    normal = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(normal, normal, use_causal_mask=True)])
    return layers.Add()([x, layers.Dense(WIDTH, activation="gelu")(layers.LayerNormalization()(x))])


def lstm(x):
    return layers.LSTM(WIDTH, return_sequences=True, name="lstm")(x)


def gru(x):
    return layers.Bidirectional(layers.GRU(WIDTH // 2, return_sequences=True))(x)


def decoder(body=lstm, *, head=None, mask_zero=False, loss=None, embedding=None):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = embedding or layers.Embedding(TOKENS, WIDTH, mask_zero=mask_zero, name="embedding")
    features = body(embedding(tokens))
    output = head(features) if head else layers.Dense(TOKENS, name="head")(features)
    model = keras.Model(tokens, output, name="decoder")
    model.compile(keras.optimizers.SGD(0.5), loss=loss or logits_loss())
    return model


def labels(model, *batch, **options):
    return KerasAdapter().labels(model, batch, **options).labels


def features_of(model, inputs, host):
    """Return the features at every label position, (N * T, d)."""
    node = model.layers[-1]._inbound_nodes[-1]
    inner = keras.Model(model.inputs, node.input_tensors[0])
    return host(inner(ops.convert_to_tensor(inputs))).reshape(-1, WIDTH).astype(np.float64)


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


@pytest.mark.parametrize("body", [lstm, transformer, gru])
def test_the_gradient_is_the_sum_over_positions(body, host):
    model, (inputs, targets) = decoder(body), texts(pad=False)
    update = KerasAdapter().capture(model, (inputs, targets), training=False)
    features = features_of(model, inputs, host)
    errors = softmax(features @ update.head.kernel_value + update.head.bias_value) - np.eye(TOKENS)[targets.reshape(-1)]
    np.testing.assert_allclose(update.kernel_gradient, features.T @ errors / targets.size, atol=1e-6)
    np.testing.assert_array_equal(labels(model, inputs, targets), targets.reshape(-1))
    recovery = attack("rlg", update)
    assert (set(recovery.labels), recovery.positions) == (set(targets.reshape(-1).tolist()), targets.size)


def test_a_time_distributed_head(host):
    head = layers.TimeDistributed(layers.Dense(TOKENS, activation="softmax", name="head"), name="every")
    model, (inputs, targets) = decoder(head=head, loss=CE), texts(pad=False)
    update = KerasAdapter().capture(model, (inputs, targets))
    assert (update.head.layer, update.kernel_gradient.shape) == ("head", (WIDTH, TOKENS))
    assert set(attack("rlg", update).labels) == set(targets.reshape(-1).tolist())


@pytest.mark.parametrize("body", [lstm, transformer])
def test_masked_positions_are_no_labels(body):
    model, (inputs, targets) = decoder(body, mask_zero=True), texts()
    found = labels(model, inputs, targets)
    np.testing.assert_array_equal(found, targets[inputs != PAD])
    update = KerasAdapter().capture(model, (inputs, targets))
    assert set(attack("rlg", update).labels) == set(found.tolist())


def test_the_truth_knows_where_sequences_end():
    model, (inputs, targets) = decoder(mask_zero=True), texts()
    said = (inputs != PAD).sum(axis=1).tolist()
    assert said[0] > said[1]
    truth = KerasAdapter().labels(model, (inputs, targets))
    assert truth.lengths == said
    weights = np.ones(targets.shape, "float32")
    weights[0, :2] = 0.0
    assert KerasAdapter().labels(model, (inputs, targets, weights)).lengths == [said[0] - 2, said[1]]
    rows = decoder(mask_zero=True, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    hot = np.eye(TOKENS, dtype="float32")[targets]
    assert KerasAdapter().labels(rows, (inputs, hot)).lengths == said
    hot[0, 0] = hot[0, 0] / 2 + np.eye(TOKENS)[39 - targets[0, 0]] / 2  # a row that mixes two classes
    assert KerasAdapter().labels(rows, (inputs, hot)).lengths is None


def test_words_leak_from_a_decoder():
    """From the model to the verdict: two sentences, padded, in one batch."""
    texts_ = ("ann denies pain", "the dog")
    words = sorted({word for text in texts_ for word in text.split()} | {"cat", "sun", "moon", "bird"})
    entries = ("<pad>", "<unk>", "<s>", "</s>", *string.ascii_lowercase, *(f"▁{word}" for word in words))
    assert len(entries) <= TOKENS
    vocabulary = WordPieces(entries=entries)
    rows = [[2, *vocabulary.encode(text), 3] for text in texts_]
    table = np.array([row + [PAD] * (5 - len(row)) for row in rows], "int32")
    batch = (table[:, :-1], table[:, 1:], (table[:, 1:] != PAD).astype("float32"))
    with pytest.raises(LabelLeak) as caught:
        assert_words_not_recoverable(decoder(), batch, vocabulary=vocabulary, sensitive=["Ann", "cat", "pain the"])
    found = caught.value.audit
    assert (found.words["number"], found.words["recovered"]) == (5.0, 1.0)
    assert found.sensitive == {"listed": 3, "present": 1, "exposed": [0]}
    assert found.strongest.variables == ("head/bias",)  # the first of several that tell everything
    assert "embedding/embeddings" in str(caught.value)


def test_a_mask_that_a_layer_of_ones_own_makes():
    class Masks(layers.Layer):
        def call(self, inputs):
            return inputs

        def compute_mask(self, inputs, mask=None):
            return ops.any(ops.not_equal(inputs, 0.0), axis=-1)

    inputs = keras.Input((LENGTH, 6))
    features = layers.Dense(WIDTH, activation="relu")(Masks()(inputs))
    model = keras.Model(inputs, layers.Dense(TOKENS)(features))
    model.compile("sgd", loss=logits_loss())
    x = np.random.default_rng(0).normal(size=(2, LENGTH, 6)).astype("float32")
    x[1, 3:] = 0.0
    targets = texts(pad=False)[1]
    found = labels(model, x, targets)
    np.testing.assert_array_equal(found, targets[np.any(x != 0, axis=-1)])
    assert set(attack("rlg", KerasAdapter().capture(model, (x, targets))).labels) == set(found.tolist())


def test_weights_by_position():
    model, (inputs, targets) = decoder(), texts()
    weight = (targets != PAD).astype("float32")
    weight[0, 1] = 0.0
    found = labels(model, inputs, targets, weight)
    np.testing.assert_array_equal(found, targets[weight != 0])
    update = KerasAdapter().capture(model, (inputs, targets, weight))
    assert set(attack("rlg", update).labels) == set(found.tolist())


@pytest.mark.parametrize("ignored", [PAD, -1, -100, TOKENS + 7])
def test_an_ignored_class_is_no_label(ignored):
    model, (inputs, targets) = decoder(loss=logits_loss(ignore_class=ignored)), texts()
    targets = np.where(targets == PAD, ignored, targets)
    found = labels(model, inputs, targets)
    np.testing.assert_array_equal(found, targets[targets != ignored])
    update = KerasAdapter().capture(model, (inputs, targets))
    recovery = attack("rlg", update)
    assert (set(recovery.labels), recovery.positions) == (set(found.tolist()), found.size)


def masked_loss(ignored):
    def loss(y_true, y_pred):
        known = ops.cast(y_true != ignored, "float32")
        each = keras.losses.sparse_categorical_crossentropy(
            ops.where(y_true == ignored, 0, y_true), y_pred, from_logits=True
        )
        return ops.sum(each * known) / ops.sum(known)

    return loss


@pytest.mark.parametrize("ignored", [PAD, -1, -100])
def test_the_user_says_which_class_an_own_loss_ignores(ignored):
    model, (inputs, targets) = decoder(loss=masked_loss(ignored)), texts()
    targets = np.where(targets == PAD, ignored, targets)
    found = KerasAdapter().labels(model, (inputs, targets), ignore_class=ignored)
    np.testing.assert_array_equal(found.labels, targets[targets != ignored])
    assert found.lengths == (targets != ignored).sum(axis=1).tolist()
    update = capture_update(model, (inputs, targets), ignore_class=ignored)
    assert set(attack("rlg", update).labels) == set(found.labels.tolist())
    if ignored != PAD:
        with pytest.raises(InvalidArgumentError, match=r"2 of 10 labels are out of range.*ignore_class="):
            capture_update(model, (inputs, targets))
    with pytest.raises(InvalidArgumentError, match=r"ignore_class is a str\. Expected the integer label"):
        capture_update(model, (inputs, targets), ignore_class="pad")


def test_mask_weights_and_ignored_class_together():
    model, (inputs, targets) = decoder(mask_zero=True, loss=logits_loss(ignore_class=-1)), texts()
    targets = targets.copy()
    targets[0, 0] = -1
    weight = np.ones(targets.shape, "float32")
    weight[0, 1] = 0.0
    keep = (inputs != PAD) & (targets != -1) & (weight != 0)
    np.testing.assert_array_equal(labels(model, inputs, targets, weight), targets[keep])
    update = KerasAdapter().capture(model, (inputs, targets, weight))
    assert set(attack("rlg", update).labels) == set(targets[keep].tolist())


def test_a_sequence_model_is_left_as_it_was(host):
    model, batch = decoder(mask_zero=True), texts()
    before = [host(v.value) for v in model.variables]
    first = KerasAdapter().capture(model, batch)
    KerasAdapter().labels(model, batch)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(host(variable.value), value)
    np.testing.assert_array_equal(KerasAdapter().capture(model, batch).kernel_gradient, first.kernel_gradient)


class Tied(keras.Model):
    """A decoder whose projection is the transposed embedding, written the way `product` says."""

    def __init__(self, product, *, bias=False, **options):
        super().__init__(name="tied")
        self.embedding = layers.Embedding(TOKENS, options.get("width", WIDTH), name="table")
        self.body = layers.LSTM(options.get("width", WIDTH), return_sequences=True)
        self.product = product
        self.bias = self.add_weight(shape=(TOKENS,), initializer="normal", name="bias") if bias else None

    def call(self, tokens):
        logits = self.product(self.body(self.embedding(tokens)), self.embedding.embeddings)
        return logits if self.bias is None else logits + self.bias


class Projection(layers.Layer):
    """Projects with somebody else's table."""

    def __init__(self, embedding):
        super().__init__(name="projection")
        self.embedding = embedding

    def call(self, inputs):
        return ops.matmul(inputs, ops.transpose(self.embedding.embeddings))


PRODUCTS = {
    "matmul": lambda x, table: ops.matmul(x, ops.transpose(table)),
    "dot": lambda x, table: ops.dot(x, ops.transpose(table)),
    "einsum": lambda x, table: ops.einsum("btd,cd->btc", x, table),
    "einsum transposed": lambda x, table: ops.einsum("btd,dc->btc", x, ops.transpose(table)),
    "scaled": lambda x, table: ops.matmul(x, ops.transpose(table)) * 0.5,
    "divided": lambda x, table: ops.matmul(x, ops.transpose(table)) / ops.sqrt(4.0),
}


def tied_model(name, **options):
    if name in PRODUCTS:
        model = Tied(PRODUCTS[name], **options)
        model.compile(keras.optimizers.SGD(0.5), loss=logits_loss())
        return model
    if name == "reversible":
        embedding = layers.ReversibleEmbedding(TOKENS, WIDTH, name="table")
        return decoder(head=lambda x: embedding(x, reverse=True), embedding=embedding)
    embedding = layers.Embedding(TOKENS, WIDTH, name="table")
    return decoder(head=Projection(embedding), embedding=embedding)


@pytest.mark.parametrize("name", [*PRODUCTS, "reversible", "own layer"])
def test_a_projection_tied_to_the_embedding(name, host, fitted_step):
    model, (inputs, targets) = tied_model(name), texts(pad=False)
    update = KerasAdapter().capture(model, (inputs, targets))
    table = next(v for v in model.trainable_variables if "table" in v.path)
    assert (update.head.layer, update.head.tied, update.head.bias) == ("table", True, None)
    assert update.kernel_gradient.shape == (WIDTH, TOKENS)
    np.testing.assert_array_equal(update.head.kernel_value, host(table.value).T)
    # The shared gradient is the sum over both uses, as fit applies it to the one variable.
    (applied,) = [
        step
        for variable, step in zip(model.trainable_variables, fitted_step(model, inputs, targets), strict=True)
        if variable is table
    ]
    np.testing.assert_allclose(update.kernel_gradient, applied.T, atol=1e-6)
    np.testing.assert_array_equal(labels(model, inputs, targets), targets.reshape(-1))


def test_a_square_table_is_not_turned_by_mistake(host):
    model, (inputs, targets) = tied_model("matmul", width=TOKENS), texts(pad=False)
    update = KerasAdapter().capture(model, (inputs, targets))
    table = next(v for v in model.trainable_variables if "table" in v.path)
    np.testing.assert_array_equal(update.head.kernel_value, host(table.value).T)


def test_a_bias_on_a_tied_projection(host):
    model, (inputs, targets) = tied_model("matmul", bias=True), texts(pad=False)
    update = KerasAdapter().capture(model, (inputs, targets))
    errors = softmax(host(model(inputs)).astype(np.float64)) - np.eye(TOKENS)[targets]
    np.testing.assert_allclose(update.bias_gradient, errors.sum((0, 1)) / targets.size, atol=1e-6)


def test_a_reversible_embedding_that_is_not_tied(host):
    embedding = layers.ReversibleEmbedding(TOKENS, WIDTH, tie_weights=False, name="table")
    model, batch = decoder(head=lambda x: embedding(x, reverse=True), embedding=embedding), texts(pad=False)
    update = KerasAdapter().capture(model, batch)
    assert not update.head.tied
    np.testing.assert_array_equal(update.head.kernel_value, host(embedding.reverse_embeddings.value))
    assert set(attack("rlg", update).labels) == set(batch[1].reshape(-1).tolist())


def test_a_layer_with_a_kernel_of_its_own():
    class Own(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], TOKENS), name="kernel")
            self.offset = self.add_weight(shape=(TOKENS,), name="offset")

        def call(self, inputs):
            return ops.matmul(inputs, self.kernel) + self.offset

    model, batch = decoder(head=Own(name="own")), texts(pad=False)
    update = KerasAdapter().capture(model, batch)
    assert (update.head.layer, update.head.tied, update.head.bias is None) == ("own", False, False)
    np.testing.assert_allclose(update.kernel_gradient.sum(axis=1), 0.0, atol=1e-6)
    recovery = attack("rlg", update)
    assert (set(recovery.labels), recovery.positions) == (set(batch[1].reshape(-1).tolist()), batch[1].size)


def test_a_tied_projection_without_a_softmax_is_refused():
    capped = layers.ReversibleEmbedding(TOKENS, WIDTH, logit_soft_cap=5.0, name="table")
    model, batch = decoder(head=lambda x: capped(x, reverse=True), embedding=capped), texts(pad=False)
    with pytest.raises(UnsupportedModelError, match=r"'table'.*tied.*soft cap"):
        KerasAdapter().capture(model, batch)


def test_two_tables_with_the_same_values_are_not_told_apart():
    class Twins(Tied):
        def __init__(self):
            super().__init__(PRODUCTS["matmul"])
            self.embedding = layers.Embedding(TOKENS, WIDTH, embeddings_initializer="zeros", name="table")
            self.other = layers.Embedding(TOKENS, WIDTH, embeddings_initializer="zeros", name="other")

        def call(self, tokens):
            return self.product(self.body(self.embedding(tokens) + self.other(tokens)), self.embedding.embeddings)

    model = Twins()
    model.compile("sgd", loss=logits_loss())
    with pytest.raises(UnsupportedModelError, match=r"Update\.from_arrays"):
        KerasAdapter().capture(model, texts(pad=False))
