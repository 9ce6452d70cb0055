"""The speller of a functional Keras model with free contexts, cut out of the model's graph at its attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...core.errors import UnsupportedModelError
from .tensorflow import CompiledDerivatives

__all__ = ["KerasFreeContexts"]

#: Layers that answer a question about a sequence.
_ATTENTION = ("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupQueryAttention")


class KerasFreeContexts:
    """A `FreeContextDecoder` of a functional Keras model on TensorFlow.

    The model's graph is cut at the embedding of its tokens and at its attention layer. The layers from the cuts to the
    logits are copied with their weights, and recurrent layers are unrolled; the model is not touched.

    Parameters
    ----------
    model : keras.Model
        Functional model with one attention layer and one embedding on the way to its output.
    start : int
        Token that is fed first.
    end : int, optional
        Token that ends every transcript.
    attention : str, optional
        Name of the layer whose outputs are the contexts, where it is no stock attention layer, or one of several.
    dtype : str, default "float32"
        Type of the computation; "float64" is slower and exact to more digits.
    jit : bool, default False
        Compile with XLA.

    Raises
    ------
    UnsupportedModelError
        If the model cannot be cut.
    """

    initial = 0

    def __init__(
        self,
        model: Any,
        *,
        start: int | None,
        end: int | None = None,
        attention: str | None = None,
        dtype: str = "float32",
        jit: bool = False,
    ) -> None:
        import keras

        if keras.backend.backend() != "tensorflow":
            raise UnsupportedModelError(
                f"gradient matching of a Keras model runs on TensorFlow, and the backend is {keras.backend.backend()}. "
                "Set KERAS_BACKEND=tensorflow, or implement pytest_labelleak.asr.FreeContextDecoder."
            )
        if start is None:
            raise UnsupportedModelError(
                f"the token that model {model.name!r} is fed first is not known. Give start=, and end= if there is one."
            )
        self._graph = _Graph(model, attention, dtype)
        self._start, self.end, self._dtype = start, end, dtype
        self.context_width = self._graph.context_width
        self.context_rows = self._graph.context_rows
        self.classes = self._graph.classes
        self._derivatives = CompiledDerivatives(self._differentiate, dtype=dtype, jit=jit)

    def keys(self, *, every: bool = False) -> tuple[str, ...]:
        """As `FreeContextDecoder.keys`."""
        graph = self._graph
        return tuple(key for key in graph.variables if every or key not in graph.below_attention)

    def head_inputs(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """As `FreeContextDecoder.head_inputs`."""
        import tensorflow as tf

        first = np.full((len(tokens), 1), self._start)
        fed = tf.gather(self._graph.table, np.concatenate([first, tokens[:, :-1]], axis=1))
        return np.asarray(self._graph.head_inputs(fed, tf.constant(contexts, self._dtype)), np.float64)

    def gradients(self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...]) -> list[np.ndarray]:
        """As `FreeContextDecoder.gradients`."""
        return self._derivatives.gradients(contexts, labels, keys)

    def pullback(
        self, contexts: np.ndarray, labels: np.ndarray, keys: tuple[str, ...], cotangents: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `FreeContextDecoder.pullback`."""
        return self._derivatives.pullback(contexts, labels, keys, cotangents)

    def _differentiate(self, contexts: Any, labels: Any, keys: tuple[str, ...]) -> list[Any]:
        import tensorflow as tf

        variables = [self._graph.variables[key] for key in keys]
        table = self._graph.table
        with tf.GradientTape() as tape:
            fed = tf.concat([table[self._start : self._start + 1], tf.matmul(labels[:-1], table)], axis=0)
            logarithms = self._graph.log_softmax(fed[None], contexts[None])[0]
            loss = -tf.reduce_sum(labels * logarithms) / labels.shape[0]
        flat = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in flat]


class _Graph:
    """Copies of the layers between the cuts and the output, connected as the originals are.

    Attributes
    ----------
    variables : dict of str to tf.Variable
        The copies' trainable variables by the path of the original's, the embedding's table among them.
    below_attention : frozenset of str
        Keys of the variables on which the attention's query depends too.
    table : tf.Variable
        The embedding, shape (C, dimension).
    classes, context_width : int
        Number of classes C, and width d of a context.
    """

    def __init__(self, model: Any, attention: str | None, dtype: str) -> None:
        import keras
        import tensorflow as tf

        outputs = getattr(model, "outputs", None) if hasattr(model, "_nodes_by_depth") else None
        if outputs is None or len(outputs) != 1:
            raise UnsupportedModelError(
                f"model {model.name!r} is no functional model with one output, so its speller cannot be cut out. Build "
                "it with keras.Model(inputs, outputs), or implement pytest_labelleak.asr.FreeContextDecoder."
            )
        (self._output,) = outputs
        asked = _only(
            [
                layer
                for layer in _upstream(self._output)
                if (layer.name == attention if attention else type(layer).__name__ in _ATTENTION)
            ],
            f"model {model.name!r}",
            "attention layer. If the speller reads the output of one other layer, build "
            "pytest_labelleak.asr.decoders.keras.KerasFreeContexts(model, start=, attention=) with that layer's name. "
            "A Transformer, such as Whisper, has an attention in each of its layers and no such speller: for it "
            "implement pytest_labelleak.asr.FreeContextDecoder, or leave Replay out",
        )
        # The search stops at the attention: a listener may have an embedding of its own.
        embedding = _only(
            [layer for layer in _upstream(self._output, (asked,)) if isinstance(layer, keras.layers.Embedding)],
            f"the speller of model {model.name!r}",
            "token embedding",
        )
        self._cuts = {asked: "contexts", embedding: "embedded"}
        between = [layer for layer in _upstream(self._output, (asked, embedding)) if layer not in self._cuts]
        _check(between, model.name)
        self._copies = {layer: _copy(layer, dtype) for layer in between if isinstance(layer, keras.Layer)}
        self._softmax = not getattr(model.loss, "from_logits", False)
        self.classes, self.context_width = int(self._output.shape[-1]), int(asked.output.shape[-1])
        # One run on zeros builds the layers.
        self._run(
            keras.ops.zeros((1, 1, int(embedding.output_dim)), dtype),
            keras.ops.zeros((1, 1, self.context_width), dtype),
        )
        self.table = tf.Variable(tf.cast(embedding.embeddings.value, dtype))
        self.variables = {embedding.embeddings.path: self.table}
        query = {
            id(variable)
            for layer in _upstream(asked.output)
            if isinstance(layer, keras.Layer)
            for variable in layer.trainable_variables
        }
        below = {embedding.embeddings.path}
        for original, copy in self._copies.items():
            for own, new in zip(original.weights, copy.weights, strict=True):
                new.assign(tf.cast(own.value, new.dtype))
            for own, new in zip(original.trainable_variables, copy.trainable_variables, strict=True):
                self.variables[own.path] = new.value
                if id(own) in query:
                    below.add(own.path)
        self.below_attention = frozenset(below)
        self.context_rows = self._rows()

    def _rows(self) -> slice | None:
        """Find the context among the inputs of the head, by feeding a context unlike every other input."""
        import tensorflow as tf

        seen: list[Any] = []
        context = np.random.default_rng(0).standard_normal((1, 1, self.context_width)).astype("float32")
        self._run(self.table[None, :1], tf.constant(context, self.table.dtype), seen)
        fed = np.ravel(seen[-1]) if seen else np.zeros(0)
        for first in range(fed.size - self.context_width + 1):
            if np.allclose(fed[first : first + self.context_width], np.ravel(context), rtol=1e-6):
                return slice(first, first + self.context_width)
        return None

    def log_softmax(self, embedded: Any, contexts: Any) -> Any:
        """Return the logarithms of the probabilities, shape (1, U, C)."""
        import tensorflow as tf

        result = self._run(embedded, contexts)
        return tf.math.log(result) if self._softmax else tf.nn.log_softmax(result)

    def head_inputs(self, embedded: Any, contexts: Any) -> Any:
        """Return the input of the head, shape (B, U, h)."""
        seen: list[Any] = []
        self._run(embedded, contexts, seen)
        return seen[-1]

    def _run(self, embedded: Any, contexts: Any, seen: list[Any] | None = None) -> Any:
        """Return the output, and append the input of each dense layer to `seen`, in the order of the calls."""
        import keras

        fed = {"embedded": embedded, "contexts": contexts}
        done: dict[int, Any] = {}

        def value(item: Any) -> Any:
            if not isinstance(item, keras.KerasTensor):
                return item
            if id(item) not in done:
                history: Any = item._keras_history
                operation = history.operation
                if operation in self._cuts:
                    return fed[self._cuts[operation]]
                arguments = operation._inbound_nodes[history.node_index].arguments
                # One utterance without padding: a mask hides nothing, and is made of inputs that are missing here.
                options = {name: item for name, item in arguments.kwargs.items() if name != "mask"}
                positional, named = keras.tree.map_structure(value, (arguments.args, options))
                if seen is not None and isinstance(operation, keras.layers.Dense):
                    seen.append(keras.tree.flatten(positional)[0])
                result = self._copies.get(operation, operation)(*positional, **named)
                done[id(item)] = keras.tree.flatten(result)[history.tensor_index]
            return done[id(item)]

        return value(self._output)


def _upstream(tensor: Any, stop: tuple[Any, ...] = ()) -> list[Any]:
    """List the layers and operations above a symbolic tensor; the search stops at those in `stop`, which it lists."""
    found: dict[Any, None] = {}
    waiting, seen = [tensor], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        history = one._keras_history
        found[history.operation] = None
        if history.operation not in stop:
            arguments = history.operation._inbound_nodes[history.node_index].arguments
            waiting += _inputs(arguments)
    return list(found)


def _inputs(arguments: Any) -> Iterator[Any]:
    """Yield the symbolic tensors among a call's arguments, without its mask."""
    import keras

    options = {name: item for name, item in arguments.kwargs.items() if name != "mask"}
    for item in keras.tree.flatten((arguments.args, options)):
        if isinstance(item, keras.KerasTensor):
            yield item


def _only(found: list[Any], where: str, expected: str) -> Any:
    if len(found) != 1:
        names = ", ".join(repr(layer.name) for layer in found) or "none"
        raise UnsupportedModelError(f"{where} has {len(found)} layers for one: {names}. Expected one {expected}.")
    return found[0]


def _check(between: list[Any], model: str) -> None:
    """Refuse a speller with a further input, or with random units."""
    for layer in between:
        if type(layer).__name__ == "InputLayer":
            raise UnsupportedModelError(
                f"the speller of model {model!r} depends on the input {layer.name!r} in another way than through its "
                "attention and the embedding of its tokens, for example by an initial state. Such models are not "
                "supported."
            )
        rates = [getattr(layer, name, 0.0) for name in ("rate", "dropout", "recurrent_dropout")]
        if any(isinstance(rate, (int, float)) and rate > 0.0 for rate in rates):
            raise UnsupportedModelError(
                f"layer {layer.name!r} of model {model!r} drops units at random, and which ones is unknown. Expected a "
                "speller without dropout."
            )


def _copy(layer: Any, dtype: str) -> Any:
    """Make a layer of the same settings with weights of its own; a recurrence is unrolled."""

    def changed(config: Any) -> Any:
        if isinstance(config, dict):
            return {name: True if name == "unroll" else changed(item) for name, item in config.items()}
        return config

    config = changed(layer.get_config())
    # A loop in TensorFlow has derivatives of any order too, but unrolled steps are faster, and XLA compiles them.
    return type(layer).from_config(config | {"dtype": dtype})
