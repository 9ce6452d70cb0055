"""A lingvo speller without its listener: contexts and soft labels are fed, and everything is differentiable.

Gradient matching searches for the transcript that explains a gradient. The audio is unknown, so the contexts that
attention answers are unknowns of their own (Dang et al., NeurIPS 2021, arXiv 2111.00556). The steps are lingvo's own: a
Python loop over the stock ``SingleDecodeStep``, in which ``_ComputeAttention`` is replaced for the call, and the stock
``ComputeLoss`` with soft targets. None of lingvo's loops is involved, so derivatives of any order are right for either
value of ``use_while_loop_based_unrolling``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["FreeContexts", "Part"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Variables of the speller that together are one array.

    Attributes
    ----------
    key : str
        Name of the array: that of a single variable, or the layer's scope and the kind of array.
    variables : tuple
        The shards, in order.
    join : callable
        Joins the shards' tensors to the array, in the orientation of an update.
    explained : bool
        Whether the gradient at the true contexts and labels is the real one. Below the attention it is not, because the
        path through the attention's query is missing.
    """

    key: str
    variables: tuple[Any, ...]
    join: Callable[[list[Any]], Any]
    explained: bool


class FreeContexts:
    """The speller of a lingvo recogniser, instantiated in eager mode.

    Parameters
    ----------
    task : lingvo.tasks.asr.model.AsrModel or lingvo.tasks.asr.decoder.AsrDecoder
        The task, or its decoder.
    start : int, default 1
        Token that is fed at the first position.

    Raises
    ------
    TypeError
        If the decoder's steps are not known: a decoder other than lingvo's ``AsrDecoder``, with dropout, scheduled
        sampling, a contextualizer or adapters, or outside of eager mode.
    """

    def __init__(self, task: Any, *, start: int = 1) -> None:
        decoder = getattr(task, "decoder", task)
        problem = _problem(decoder)
        if problem:
            raise TypeError(f"the decoder {getattr(decoder.params, 'name', '')!r} has {problem}.")
        self._decoder = decoder
        self._start = start
        p = decoder.params
        self.classes = int(p.softmax.num_classes)
        self.context_width = int(p.atten_context_dim or p.source_dim)
        self.parts = tuple(_parts(decoder))

    def table(self) -> Any:
        """Return the token embedding as one tensor, shape (vocabulary, dimension)."""
        (part,) = (part for part in self.parts if _is_table(part))
        return part.join([_tensor(variable) for variable in part.variables])

    def logits(self, contexts: Any, labels: Any, table: Any = None) -> Any:
        """Run the speller.

        Parameters
        ----------
        contexts : tensor of shape (U + 1, d)
            Contexts before the first position and at each position.
        labels : tensor of shape (U, C)
            Soft labels; their mix of embeddings is fed one position later.
        table : tensor, optional
            Embedding that replaces the decoder's own.

        Returns
        -------
        tensor of shape (U, C)
        """
        import tensorflow as tf

        table = self.table() if table is None else table
        fed = tf.concat([table[self._start : self._start + 1], tf.matmul(labels[:-1], table[: self.classes])], axis=0)
        outputs = self._outputs(contexts[None], fed[None])
        return self._decoder._ComputeLogits(self._weights(), tf.concat(outputs, axis=0))

    def head_inputs(self, contexts: Any, tokens: Any, *, shared: int = 0) -> Any:
        """Run the speller on several transcripts of one length, up to the input of the softmax layer.

        Parameters
        ----------
        contexts : tensor of shape (B, U + 1, d)
            Contexts before the first position and at each position.
        tokens : integer tensor of shape (B, U)
            Labels; each is fed one position later.
        shared : int, default 0
            Number of first steps that are the same in all transcripts, and are computed once.

        Returns
        -------
        tensor of shape (B, U, h)
        """
        import tensorflow as tf

        table = self.table()
        first = tf.fill((tokens.shape[0], 1), tf.constant(self._start, tokens.dtype))
        fed = tf.gather(table, tf.concat([first, tokens[:, :-1]], axis=1))
        return tf.stack(self._outputs(contexts, fed, shared=shared), axis=1)

    def _weights(self) -> Any:
        """Return the weights without variational noise, which is unknown to any receiver and slow to draw."""
        from lingvo.core import cluster_factory

        with cluster_factory.SetEval(mode=True):
            return self._decoder.theta

    def _outputs(self, contexts: Any, fed: Any, *, shared: int = 0) -> list[Any]:
        """Return the input of the softmax layer at every step, shape (B, h), for embeddings (B, U, e) that are fed."""
        import tensorflow as tf
        from lingvo.core import py_utils
        from lingvo.tasks.asr import decoder as lingvo_decoder

        decoder, theta, whole = self._decoder, self._weights(), fed.shape[0]
        batch = 1 if shared else whole
        cells = zip(decoder.rnn_cell, theta.rnn_cell, strict=True)
        state = py_utils.NestedMap(
            rnn_states=[cell.zero_state(own, batch) for cell, own in cells],
            atten_context=contexts[:batch, 0],
            atten_probs=tf.zeros((batch, 1)),
            atten_states=tf.zeros((batch, 1)),
            misc_states=py_utils.NestedMap(),
        )
        heard: list[Any] = []

        def answer(theta: Any, question: Any, source: Any, attention_state: Any, **options: Any) -> Any:
            return heard[-1], tf.zeros_like(attention_state), attention_state

        outputs = []
        with _replaced(decoder, "_ComputeAttention", answer):
            for step in range(fed.shape[1]):
                if step == shared and batch != whole:
                    batch, state = whole, state.Transform(lambda one: tf.repeat(one, whole, axis=0))
                heard.append(contexts[:batch, step + 1])
                target = lingvo_decoder.AsrDecoderBase.TargetInfo(
                    id=None,
                    label=None,
                    weight=None,
                    emb=fed[:batch, step],
                    padding=tf.zeros((batch, 1)),
                    misc=py_utils.NestedMap(),
                )
                output, state = decoder.SingleDecodeStep(theta, py_utils.NestedMap(), target, state)
                outputs.append(output if batch == whole else tf.repeat(output, whole, axis=0))
        return outputs

    def gradients(self, contexts: Any, labels: Any, parts: tuple[Part, ...]) -> list[Any]:
        """Differentiate the stock loss of the speller with respect to some of its variables.

        Parameters
        ----------
        contexts, labels : tensor
            As for `logits`.
        parts : tuple of Part
            Parts to differentiate for.

        Returns
        -------
        list of tensor
            Gradient of each part, differentiable with respect to contexts and labels.
        """
        import tensorflow as tf
        from lingvo.core import py_utils

        decoder = self._decoder
        table = self.table()
        watched = [table if _is_table(part) else list(part.variables) for part in parts]
        with tf.GradientTape() as tape:
            tape.watch(table)
            logits = self.logits(contexts, labels, table)[None]
            ones = tf.ones_like(logits[..., 0])
            targets = py_utils.NestedMap(
                labels=tf.zeros_like(ones, tf.int32),  # read by the metrics of accuracy alone
                weights=ones,
                paddings=tf.zeros_like(ones),
                probs=labels[None],
            )
            predictions = py_utils.NestedMap(logits=logits)
            loss = decoder.ComputeLoss(self._weights(), predictions, targets)[0]["loss"][0]
        flat = tape.gradient(loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [found if _is_table(part) else part.join(found) for part, found in zip(parts, flat, strict=True)]


def _problem(decoder: Any) -> str:
    from lingvo.tasks.asr import contextualizer_base
    from lingvo.tasks.asr import decoder as lingvo_decoder

    p = decoder.params
    if not isinstance(decoder, lingvo_decoder.AsrDecoder):
        return f"the type {type(decoder).__name__}. Expected lingvo's AsrDecoder"
    if any(getattr(variable, "_in_graph_mode", True) for variable in decoder.vars.Flatten()):
        return "its variables in a graph. Expected a task that was instantiated under py_utils.SetEagerMode(True)"
    if p.dropout_prob:
        return f"dropout_prob={p.dropout_prob}, and the units that were dropped are unknown. Expected 0"
    if p.min_ground_truth_prob < 1.0:
        return f"scheduled sampling (min_ground_truth_prob={p.min_ground_truth_prob}). Expected 1"
    if not p.softmax_uses_attention:
        return "softmax_uses_attention=False. Expected True"
    if p.adapter_task_id_field or type(decoder.contextualizer) is not contextualizer_base.NullContextualizer:
        return "adapters or a contextualizer. Expected none"
    return ""


def _parts(decoder: Any) -> Iterator[Part]:
    """Yield the variables that a gradient without attention reaches, below the attention first."""
    import tensorflow as tf

    def alone(tensors: list[Any]) -> Any:
        return tensors[0]

    def wide(tensors: list[Any]) -> Any:
        return tf.concat(tensors, axis=-1)

    def wide_transposed(tensors: list[Any]) -> Any:
        return tf.concat([tf.transpose(tensor) for tensor in tensors], axis=-1)

    def dealt(tensors: list[Any]) -> Any:
        """Token i is row i // n of shard i % n; the last rows of some shards belong to no token."""
        whole = tf.stack(tensors, axis=1)
        return tf.reshape(whole, (-1, whole.shape[2]))[: decoder.emb.params.vocab_size]

    shards = tuple(decoder.emb.vars.wm)
    yield Part(key=_name(shards, "wm"), variables=shards, join=dealt, explained=False)
    for number, cell in enumerate(decoder.rnn_cell):
        for variable in cell.vars.Flatten():
            if variable.trainable:
                yield Part(key=_name((variable,), ""), variables=(variable,), join=alone, explained=number > 0)
    p = decoder.softmax.params
    kernels = tuple(decoder.softmax.vars[f"weight_{i}"] for i in range(p.num_shards))
    join = wide_transposed if p.use_num_classes_major_weight else wide
    yield Part(key=_name(kernels, "weight"), variables=kernels, join=join, explained=True)
    if p.use_bias:
        biases = tuple(decoder.softmax.vars[f"bias_{i}"] for i in range(p.num_shards))
        yield Part(key=_name(biases, "bias"), variables=biases, join=wide, explained=True)


def _is_table(part: Part) -> bool:
    return part.join.__name__ == "dealt"


def _name(variables: tuple[Any, ...], kind: str) -> str:
    first = str(variables[0].name).removesuffix(":0")
    return first if len(variables) == 1 else f"{first.removesuffix('/var').rpartition('/')[0]}/{kind}"


def _tensor(variable: Any) -> Any:
    import tensorflow as tf

    return tf.convert_to_tensor(variable)


@contextlib.contextmanager
def _replaced(layer: Any, name: str, function: Any) -> Iterator[None]:
    """Give an instance another method for the duration of a block."""
    object.__setattr__(layer, name, function)
    try:
        yield
    finally:
        object.__delattr__(layer, name)
