"""One training step of a lingvo task, up to the gradients that its learner would apply."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from ...core.errors import InvalidArgumentError, UnsupportedModelError
from .batch import describe
from .head import key_of
from .settings import learner_of
from .state import OWN_COLLECTION

__all__ = ["EagerRunner", "Runner", "SessionRunner", "guarded", "is_eager", "plain_steps"]

_T = TypeVar("_T")


class Runner(Protocol):
    """Runs training steps of one task, in eager mode or in a session."""

    mode: str

    def gradients(self, batch: Any, *, training: bool) -> dict[str, np.ndarray]:
        """Return the dense gradients of one step, by variable name."""

    def read(self, variables: list[Any]) -> list[np.ndarray]:
        """Return the values of variables."""

    def write(self, variables: list[Any], values: list[np.ndarray]) -> None:
        """Assign values to variables."""


def is_eager(task: Any) -> bool:
    """Tell whether a task's variables live in eager mode or in a graph.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        An instantiated task.

    Returns
    -------
    bool
        True for eager mode.
    """
    variables = task.vars.Flatten()
    return not any(getattr(variable, "_in_graph_mode", True) for variable in variables)


def _shared(task: Any, batch: Any, *, training: bool) -> list[tuple[Any, Any]]:
    """Build or run one step as lingvo's trainer does; return the (variable, gradient) pairs its learner applies."""
    from lingvo.core import cluster_factory, py_utils

    learner = learner_of(task)
    with contextlib.ExitStack() as stack:
        if not training:
            stack.enter_context(cluster_factory.SetEval(True))
        stack.enter_context(py_utils.TaskCallScope(task))
        stack.enter_context(py_utils.GlobalStepContext(task._global_step_var))
        if py_utils.IsEagerMode():
            # In a graph no tape may be open: it would replace lingvo's own backward functions.
            stack.enter_context(py_utils.GradientTape())
        py_utils.ResetStepSeed()
        # These calls are those of task.FProp, without its notes of the loss and its summaries.
        metrics, _ = task._FPropSplitInputBatch(task.theta, batch)
        _, pairs, _, _ = learner._ComputeLossesAndGradients(metrics, task.vars)
        pairs, _ = learner.AdjustGradients(pairs, gradient_adjuster=task.AdjustGradients)
    return [(pair.var, pair.grad) for pair in pairs.Flatten()]


def _dense(gradient: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a gradient as a dense array: rows of an embedding are summed by index; rows without an index are zero."""
    if not hasattr(gradient, "indices"):
        return np.array(_host(gradient))
    values, indices = _host(gradient.values), _host(gradient.indices)
    rows = np.zeros(shape, values.dtype)
    np.add.at(rows, indices, values)
    return rows


def _host(tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.numpy() if hasattr(tensor, "numpy") else np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array  # bfloat16 and float16


class EagerRunner:
    """Runs a task that was instantiated under ``py_utils.SetEagerMode(True)``.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        An instantiated task.
    compiled : bool
        Whether the step is traced into a ``tf.function``, as by lingvo's own trainer. Tracing pays off over several
        captures.
    """

    def __init__(self, task: Any, *, compiled: bool) -> None:
        self.mode = "tf.function" if compiled else "eager"
        self._task = task
        self._compiled = compiled
        self._functions: dict[Any, Any] = {}
        self._variables: list[Any] = []

    def gradients(self, batch: Any, *, training: bool) -> dict[str, np.ndarray]:
        """Return the gradients of one step, dense, by variable name."""
        import tensorflow as tf

        tensors = batch.Transform(tf.convert_to_tensor)
        if self._compiled:
            # One function serves all lengths, but one number of utterances: lingvo's decoder needs it at tracing.
            key = (training, tuple(tensor.shape[0] if tensor.shape.rank else None for tensor in tensors.Flatten()))
            if key not in self._functions:
                self._functions[key] = tf.function(
                    lambda data: self._step(data, training=training), autograph=False, reduce_retracing=True
                )
            gradients = self._functions[key](tensors)
        else:
            gradients = self._step(tensors, training=training)
        return {
            key_of(variable): _dense(gradient, tuple(variable.shape))
            for variable, gradient in zip(self._variables, gradients, strict=True)
        }

    def _step(self, data: Any, *, training: bool) -> list[Any]:
        pairs = _shared(self._task, data, training=training)
        self._variables = [variable for variable, _ in pairs]
        return [gradient for _, gradient in pairs]

    def read(self, variables: list[Any]) -> list[np.ndarray]:
        """Return the values of variables."""
        return [np.array(variable.numpy()) for variable in variables]

    def write(self, variables: list[Any], values: list[np.ndarray]) -> None:
        """Assign values to variables."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


class SessionRunner:
    """Runs a task in its graph, in the default session, and adds operations to the graph once per shape of batch.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        A task instantiated in a graph.

    Raises
    ------
    UnsupportedModelError
        If the default session is none, or that of another graph.
    """

    mode = "session"

    def __init__(self, task: Any) -> None:
        import tensorflow as tf

        graph = task.vars.Flatten()[0].graph
        session = tf.compat.v1.get_default_session()
        if session is None or session.graph is not graph:
            raise UnsupportedModelError(
                f"task {task.params.name!r} lives in a graph, and the default session is "
                f"{'none' if session is None else 'of another graph'}. Call inside "
                "'with graph.as_default(), session.as_default():', with variables initialised or restored."
            )
        self._task, self._graph, self._session = task, graph, session

    def gradients(self, batch: Any, *, training: bool) -> dict[str, np.ndarray]:
        """Return the gradients of one step, dense, by variable name."""
        leaves = batch.FlattenItems()
        signature = (training, tuple((key, value.shape, str(value.dtype)) for key, value in leaves))
        built = self._find(signature)
        if built is None:
            built = self._build(batch, signature, training=training)
        _, _, inputs, pairs = built
        feed = dict(zip(inputs, (value for _, value in leaves), strict=True))
        values = self._session.run([gradient for _, gradient in pairs], feed)
        return {
            key_of(variable): _dense(value, tuple(variable.shape))
            for (variable, _), value in zip(pairs, values, strict=True)
        }

    def _find(self, signature: Any) -> Any:
        for built in self._graph.get_collection_ref(OWN_COLLECTION):
            if built[0] is self._task and built[1] == signature:
                return built
        return None

    def _build(self, batch: Any, signature: Any, *, training: bool) -> Any:
        import tensorflow as tf

        if self._graph.finalized:
            raise UnsupportedModelError(
                f"the graph of task {self._task.params.name!r} is finalised, so no gradient can be added to it. "
                "Capture before the graph is finalised, or build the task in a graph of its own and restore a "
                "checkpoint there."
            )
        with self._graph.as_default(), tf.name_scope("pytest_labelleak"):
            placeholders = batch.Transform(
                lambda value: tf.compat.v1.placeholder(tf.as_dtype(value.dtype), value.shape)
            )
            pairs = _shared(self._task, placeholders, training=training)
        built = (self._task, signature, placeholders.Flatten(), pairs)
        self._graph.add_to_collection(OWN_COLLECTION, built)
        return built

    def read(self, variables: list[Any]) -> list[np.ndarray]:
        """Return the values of variables."""
        return [np.array(value) for value in self._session.run(list(variables))]

    def write(self, variables: list[Any], values: list[np.ndarray]) -> None:
        """Assign values to variables."""
        for variable, value in zip(variables, values, strict=True):
            variable.load(value, self._session)


def guarded(task: Any, batch: Any, function: Callable[[], _T]) -> _T:
    """Run code that calls lingvo, and replace its exceptions by errors that quote no data.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        The task, which the message names.
    batch : NestedMap
        The batch, of which the message gives the shapes.
    function : callable
        The code.

    Returns
    -------
    object
        Result of `function`.

    Raises
    ------
    UnsupportedModelError
        If `function` raises another exception.
    """
    try:
        return function()
    except (InvalidArgumentError, UnsupportedModelError):
        raise
    except Exception as error:
        kind, place = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
    # The error is raised outside of the handler: a chained exception would print the framework's message with labels.
    if kind == "FailedPreconditionError":
        raise UnsupportedModelError(
            f"a variable of task {task.params.name!r} is not initialised. Run the initialiser, or restore a "
            "checkpoint, in the default session first."
        )
    raise UnsupportedModelError(
        f"running task {task.params.name!r} failed with {kind} (in {place.name}, line {place.lineno} of "
        f"{place.filename}). Given {describe(batch)}. Its message is not repeated here because it may quote the batch: "
        "call task.FPropDefaultTheta(batch) on the same data to read it."
    )


def plain_steps(
    runner: Runner, variables: Mapping[str, Any], batches: list[Any], *, learning_rate: float, training: bool
) -> dict[str, np.ndarray]:
    """Take local gradient steps, and return the difference of the weights over the learning rate.

    Parameters
    ----------
    runner : Runner
        Runner of the task.
    variables : mapping of str to tf.Variable
        Trainable variables of the task; they keep their values.
    batches : list of NestedMap
        One batch per step.
    learning_rate : float
        Learning rate of the steps.
    training : bool
        Mode of the forward pass.

    Returns
    -------
    dict of str to ndarray
        ``(weights before - weights after) / learning_rate`` of the variables with a gradient. Weights are rounded to
        their dtype.
    """
    before = dict(zip(variables, runner.read(list(variables.values())), strict=True))
    after = dict(before)
    try:
        for batch in batches:
            moved = {
                key: (after[key] - learning_rate * gradient).astype(after[key].dtype)
                for key, gradient in runner.gradients(batch, training=training).items()
            }
            runner.write([variables[key] for key in moved], list(moved.values()))
            after |= moved
    finally:
        changed = [key for key in after if after[key] is not before[key]]
        runner.write([variables[key] for key in changed], [before[key] for key in changed])
    return {key: (before[key] - after[key]) / before[key].dtype.type(learning_rate) for key in changed}
