"""The adapter for lingvo tasks: the update that a training step of a speech recogniser shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...core.errors import InvalidArgumentError, UnsupportedModelError
from ...core.truth import Truth
from ...core.update import COMPUTE_DTYPES, Head, Update
from ..local_steps import LocalSteps
from .batch import read_batch, targets_of
from .head import Softmax, find_softmax, key_of, tables_of
from .settings import learner_of, names_of, penalty_scale, smoothing_of
from .state import untouched
from .step import EagerRunner, Runner, SessionRunner, guarded, is_eager, plain_steps

__all__ = ["LingvoAdapter"]

#: Tolerated sums over the classes of a softmax head's gradient, relative to its entries.
_ROW_SUM = 1e-3


class LingvoAdapter:
    """Captures the gradients that the learner of an instantiated lingvo task would apply.

    The gradients are those *after* the task's own settings have acted: variational noise on the weights in the forward
    pass, weight penalties, gradient clipping. `Update.defences` names these settings. The mode is that of the
    variables: eager (``py_utils.SetEagerMode(True)``), or a graph with its default session. The capture leaves the task
    unchanged, except that a graph gains operations. The weights are the current values of the variables, fresh or
    restored from a checkpoint.

    The batch is a ``NestedMap`` (or nested dict) in the form of the task's input generator, with any number of
    utterances, or `LocalSteps` with several such batches.

    Parameters
    ----------
    compiled : bool, default False
        In eager mode, trace the step into a ``tf.function`` and reuse it for further batches captured by the same
        adapter.
    """

    name = "lingvo"

    def __init__(self, *, compiled: bool = False) -> None:
        self._compiled = compiled
        self._runners: list[tuple[Any, EagerRunner]] = []

    def capture(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        training: bool = True,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Update:
        """Compute the update that one training step of a task on `batch` would share.

        Parameters
        ----------
        model : lingvo.core.base_model.BaseTask or SingleTaskModel
            A task or model instantiated for training.
        batch : NestedMap, dict or LocalSteps
            Arrays or eager tensors: ``src``, and ``tgt`` with ``ids``, ``labels``, ``paddings``, ``weights``.
        head : str, optional
            Path of the softmax layer, such as "decoder.softmax", where there are several.
        training : bool, default True
            False runs layers in evaluation mode. Variational noise stays on: instantiate the task without it.
        class_weight, ignore_class : None
            Have no meaning for a lingvo task.

        Returns
        -------
        Update
            Dense gradients by variable name. The shards of an embedding, and of the head, are joined to one array.

        Raises
        ------
        InvalidArgumentError
            If the batch holds no targets, or targets out of range.
        UnknownNameError
            If `head` names no softmax layer.
        UnsupportedModelError
            If the task's gradient cannot be captured, or there is no session.
        """
        task, softmax, batches = _prepared(model, batch, head, class_weight=class_weight, ignore_class=ignore_class)
        for data in batches:
            if not _truth(task, softmax, data).labels.size:
                raise InvalidArgumentError("the batch holds no target position with a weight. Expected at least one.")
        eager = is_eager(task)
        with untouched(task, eager=eager):
            runner: Runner = self._eager(task) if eager else SessionRunner(task)

            def run() -> tuple[dict[str, np.ndarray], _Values]:
                values = _values(runner, task, softmax)
                if not isinstance(batch, LocalSteps):
                    return runner.gradients(batches[0], training=training), values
                variables = {key_of(variable): variable for variable in _trainable(task)}
                rate = float(batch.learning_rate)
                return plain_steps(runner, variables, batches, learning_rate=rate, training=training), values

            arrays, values = guarded(task, batches[0], run)
        steps = batch if isinstance(batch, LocalSteps) else None
        return _update(task, softmax, arrays, values, steps=steps, mode=runner.mode)

    def labels(
        self,
        model: Any,
        batch: Any,
        *,
        head: str | None = None,
        class_weight: Mapping[int, float] | None = None,
        ignore_class: int | None = None,
    ) -> Truth:
        """Return the target labels of `batch` at the positions that have a weight in the loss.

        Parameters
        ----------
        model : lingvo.core.base_model.BaseTask or SingleTaskModel
            An instantiated task or model.
        batch : NestedMap, dict or LocalSteps
            As for `capture`.
        head : str, optional
            As for `capture`.
        class_weight, ignore_class : None
            Have no meaning for a lingvo task.

        Returns
        -------
        Truth
            Labels of all utterances and all steps, the end-of-sentence labels among them.

        Raises
        ------
        InvalidArgumentError, UnknownNameError, UnsupportedModelError
            As for `capture`.
        """
        task, softmax, batches = _prepared(model, batch, head, class_weight=class_weight, ignore_class=ignore_class)
        truths = [_truth(task, softmax, data) for data in batches]
        return Truth(
            labels=np.concatenate([truth.labels for truth in truths]),
            classes=softmax.classes,
            lengths=[length for truth in truths for length in truth.lengths or ()],
        )

    def _eager(self, task: Any) -> EagerRunner:
        if not self._compiled:
            return EagerRunner(task, compiled=False)
        for known, runner in self._runners:
            if known is task:
                return runner
        self._runners.append((task, EagerRunner(task, compiled=True)))
        return self._runners[-1][1]


def _prepared(model: Any, batch: Any, head: str | None, **options: Any) -> tuple[Any, Softmax, list[Any]]:
    for name, value in options.items():
        if value is not None:
            raise InvalidArgumentError(f"{name}= has no meaning for a lingvo task; use tgt.weights. Leave it out.")
    task = model.GetTask() if hasattr(model, "GetTask") else model
    softmax = find_softmax(task, head)
    items = batch.batches if isinstance(batch, LocalSteps) else [batch]
    return task, softmax, [read_batch(item) for item in items]


def _truth(task: Any, softmax: Softmax, data: Any) -> Truth:
    """Check the targets of one batch and return its labels."""
    sizes = [table.rows for table in tables_of(task).values()]
    return targets_of(data, min(sizes) if sizes else None).truth(softmax.classes)


def _trainable(task: Any) -> list[Any]:
    return [variable for variable in task.vars.Flatten() if variable.trainable]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Values:
    """Facts at the time of the capture that every receiver knows: weights of the head and number of the step."""

    kernel: np.ndarray = field(repr=False)
    bias: np.ndarray | None = field(repr=False)
    step: int
    penalised: bool
    cells: Mapping[str, np.ndarray] = field(repr=False)


def _values(runner: Runner, task: Any, softmax: Softmax) -> _Values:
    import tensorflow as tf
    from lingvo.core import py_utils

    # A collection of the graph holds the variables that a layer exempts from weight penalties.
    spared = tf.compat.v1.get_default_graph().get_collection(py_utils.SKIP_LP_REGULARIZATION)
    cells = _cells(task)
    return _Values(
        kernel=softmax.kernel.join(runner.read(list(softmax.kernel.variables))),
        bias=None if softmax.bias is None else softmax.bias.join(runner.read(list(softmax.bias.variables))),
        step=int(runner.read([task._global_step_var])[0]),
        penalised=not any(variable is softmax.kernel.variables[0] for variable in spared),
        cells={key_of(cell): value for cell, value in zip(cells, runner.read(cells), strict=True)},
    )


def _cells(task: Any) -> list[Any]:
    """Return the kernels of the decoder's recurrent cells whose weights are penalised."""
    import tensorflow as tf
    from lingvo.core import py_utils

    p = learner_of(task).params
    decoder = getattr(task, "decoder", None)
    if decoder is None or not (p.l2_regularizer_weight or p.l1_regularizer_weight):
        return []
    spared = tf.compat.v1.get_default_graph().get_collection(py_utils.SKIP_LP_REGULARIZATION)
    cells = [cell for cell in getattr(decoder, "rnn_cell", []) if "wm" in cell.vars]
    kernels = [cell.vars.wm for cell in cells]
    return [kernel for kernel in kernels if kernel.trainable and not any(kernel is other for other in spared)]


def _update(
    task: Any,
    softmax: Softmax,
    arrays: dict[str, np.ndarray],
    values: _Values,
    *,
    steps: LocalSteps | None,
    mode: str,
) -> Update:
    gradients = dict(arrays)
    bias = None if softmax.bias is None else softmax.bias.take(gradients)
    kernel = softmax.kernel.take(gradients)
    if kernel is None:
        raise UnsupportedModelError(
            f"the loss of task {task.params.name!r} gives no gradient to {softmax.path}: the layer is frozen, filtered "
            "out by the learner, or does not feed the loss. Name the layer that makes the logits with head=."
        )
    for table in tables_of(task).values():
        whole = table.take(gradients)
        if whole is not None:
            gradients[table.key] = whole
    gradients[softmax.kernel.key] = kernel
    if bias is not None and softmax.bias is not None:
        gradients[softmax.bias.key] = bias
    penalties = _penalties(task, gradients, kernel, values, 1 if steps is None else len(steps.batches))
    p = softmax.layer.params
    dtype = str(getattr(p.fprop_dtype or p.dtype, "name", "float32"))
    rows = kernel if penalties.kernel is None else kernel - penalties.kernel
    size = float(np.abs(rows).sum(dtype=np.float64))
    tolerated = _ROW_SUM * size
    if steps is not None:  # every entry of a difference of weights has a rounding error
        rounding = float(np.spacing(np.abs(values.kernel).max())) / steps.learning_rate
        tolerated += rounding * len(steps.batches) * rows.shape[0] * math.sqrt(rows.shape[1])
    if np.isfinite(size) and float(np.abs(rows.sum(axis=1, dtype=np.float64)).sum()) > tolerated:
        raise UnsupportedModelError(
            f"{softmax.path} of task {task.params.name!r} is no softmax classifier: the rows of its gradient do not "
            "sum to zero over the classes. Capped logits and sigmoid losses are not supported."
        )
    settings = names_of(task, values.step)
    return Update(
        gradients=gradients,
        head=Head(
            layer=softmax.path,
            kernel=softmax.kernel.key,
            bias=None if bias is None or softmax.bias is None else softmax.bias.key,
            kernel_value=values.kernel,
            bias_value=values.bias,
            kernel_penalty=penalties.kernel,
            bias_penalty=penalties.bias,
            label_smoothing=smoothing_of(task, softmax),
        ),
        compute_dtype=dtype if dtype in COMPUTE_DTYPES else "float32",
        # Clipping turns a mean into a sum of unknown scale.
        reduction="unknown" if any("clip" in name for name in settings) else _reduction(task),
        origin=f"lingvo/{mode}",
        steps=1 if steps is None else len(steps.batches),
        learning_rate=None if steps is None else float(steps.learning_rate),
        defences=settings,
        penalties=penalties.cells,
    )


def _reduction(task: Any) -> str:
    decoder = getattr(task, "decoder", None)
    return "mean" if decoder is not None and getattr(decoder.params, "per_token_avg_loss", False) else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Penalties:
    """The weight penalty's part in the shared gradients of the head and of the decoder's cells."""

    kernel: np.ndarray | None = field(default=None, repr=False)
    bias: np.ndarray | None = field(default=None, repr=False)
    cells: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


def _penalties(
    task: Any, gradients: dict[str, np.ndarray], kernel: np.ndarray, values: _Values, steps: int
) -> _Penalties:
    learner = learner_of(task).params
    l2, l1 = learner.l2_regularizer_weight or 0.0, learner.l1_regularizer_weight or 0.0
    # A step is skipped for a norm above grad_norm_to_clip_to_zero or one that is not finite: all gradients are zero.
    if not values.penalised or not (l2 or l1) or not np.any(kernel):
        return _Penalties()

    def penalty(weights: np.ndarray) -> np.ndarray:
        part: np.ndarray = (steps * (l2 * weights + l1 * np.sign(weights))).astype(np.float32)
        return part

    whole = penalty(values.kernel)
    scale = np.float32(penalty_scale(task, gradients, kernel, whole, steps=steps))
    return _Penalties(
        kernel=scale * whole,
        bias=None if values.bias is None else scale * penalty(values.bias),
        # Clipping by the norm of each variable gives each its own scale; that of the head says nothing about others.
        cells={}
        if learner.scale_gradients and learner.clip_gradient_single_norm_to_value
        else {name: scale * penalty(value) for name, value in values.cells.items() if name in gradients},
    )
