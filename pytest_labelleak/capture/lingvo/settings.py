"""Training settings of a lingvo task that change the gradient before it is shared, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import UnsupportedModelError

__all__ = ["learner_of", "names_of", "penalty_scale", "smoothing_of"]

#: Relative distance to the limit within which a norm counts as clipped.
_AT_LIMIT = 1e-3
#: Number of directions of the head's gradient that may hold labels. More label positions make the scale less sharp.
_DIRECTIONS = 256
#: Number of columns that are used, at most.
_COLUMNS = 4096
#: Rounds, at most, and the relative change of the scale at which they end. Each round adds one or two digits to the
#: scale, so that three or four rounds reach the rounding of float32.
_ROUNDS, _SETTLED = 8, 1e-7


def learner_of(task: Any) -> Any:
    """Return the only learner of a task.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        A task instantiated for training.

    Returns
    -------
    lingvo.core.learner.Learner

    Raises
    ------
    UnsupportedModelError
        If the task has no learner, or several.
    """
    learners = list(getattr(task, "learners", ()))
    if len(learners) != 1:
        raise UnsupportedModelError(
            f"task {task.params.name!r} has {len(learners)} learners. Expected one: instantiate the task for training, "
            "with one learner in params.train."
        )
    return learners[0]


def names_of(task: Any, global_step: int) -> tuple[str, ...]:
    """Name the settings that change the shared gradient, in the order in which they act.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        A task instantiated for training.
    global_step : int
        Number of the current training step.

    Returns
    -------
    tuple of str
        Names in the notation of defences.
    """
    learner, noise = learner_of(task).params, task.params.vn
    names = []
    if noise is not None and noise.scale and (noise.global_vn or noise.per_step_vn) and global_step >= noise.start_step:
        names.append(f"variational_noise(std={noise.scale:g})")
    for field, name in (("l2_regularizer_weight", "l2"), ("l1_regularizer_weight", "l1")):
        if getattr(learner, field):
            names.append(f"{name}(weight={getattr(learner, field):g})")
    if learner.scale_gradients:
        for field, name in (
            ("clip_gradient_norm_to_value", "clip_norm"),
            ("clip_gradient_single_norm_to_value", "clip_each_norm"),
            ("grad_norm_to_clip_to_zero", "zero_above"),
        ):
            if getattr(learner, field):
                names.append(f"{name}(norm={getattr(learner, field):g})")
    return tuple(names)


def smoothing_of(task: Any, head: Any) -> float:
    """Return the label smoothing of the decoder that owns the head, as Keras counts it.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        An instantiated task.
    head : Softmax
        Head of the task.

    Returns
    -------
    float
        The share e for which targets are ``(1 - e) onehot + e / C``.

    Raises
    ------
    UnsupportedModelError
        If the smoothing is not uniform over the classes.
    """
    from lingvo.core import layers

    owner = task
    for name in head.path.split(".")[:-1]:
        owner = getattr(owner, name.partition("[")[0], owner)
    smoother = getattr(owner, "smoother", None)
    if smoother is None:
        return 0.0
    p = smoother.params
    if not isinstance(smoother, layers.UniformLabelSmoother) or p.token_id_uncertainty_larger is not None:
        raise UnsupportedModelError(
            f"the label smoothing of task {task.params.name!r} ({type(smoother).__name__}) is not uniform. "
            "Expected UniformLabelSmoother without token_id_uncertainty_larger, or none."
        )
    # In lingvo the uncertainty is spread over the other classes, in Keras over all classes.
    return float(p.uncertainty) * int(head.classes) / (int(head.classes) - 1)


def penalty_scale(
    task: Any, gradients: Mapping[str, np.ndarray], kernel: np.ndarray, penalty: np.ndarray, *, steps: int
) -> float:
    """Find the factor by which clipping scaled the weight penalty in the head's gradient, from the update alone.

    The loss's part of the gradient has few directions, one per label position. Outside of these directions the
    gradient is the scaled penalty. Every receiver knows the weights, and so the penalty before it was scaled.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        The task, which holds the clipping settings.
    gradients : mapping of str to ndarray
        All shared gradients.
    kernel : ndarray of shape (d, C)
        Shared gradient of the head's kernel.
    penalty : ndarray of shape (d, C)
        Gradient of the penalty, before clipping.
    steps : int
        Number of local steps in the update. Each step is clipped on its own, so the norm of a sum of several steps
        does not show whether they were clipped.

    Returns
    -------
    float
        The factor; 1.0 without clipping.
    """
    learner = learner_of(task).params
    if not learner.scale_gradients:
        return 1.0
    whole, single = learner.clip_gradient_norm_to_value, learner.clip_gradient_single_norm_to_value
    if single:
        norm, limit = _norm([kernel]), float(single)
    elif whole:
        norm, limit = _norm(list(gradients.values())), float(whole)
    else:
        return 1.0
    if steps == 1 and norm < limit * (1.0 - _AT_LIMIT):
        return 1.0
    return _scale_outside(kernel, penalty)


def _scale_outside(kernel: np.ndarray, penalty: np.ndarray) -> float:
    """Return the factor of `penalty` in `kernel`, outside of the leading directions of the rest of `kernel`."""
    # First guess: the rows of the loss's part sum to zero over the classes, those of the penalty do not.
    shared, own = kernel.sum(axis=1, dtype=np.float64), penalty.sum(axis=1, dtype=np.float64)
    size = float(own @ own)
    scale = float(shared @ own) / size if size > 0.0 else 1.0
    width = min(_DIRECTIONS, kernel.shape[0] // 2)
    if not width:
        return scale
    # A part of the columns is enough: there are far more columns than directions in the loss's part.
    some = slice(None, None, math.ceil(kernel.shape[1] / _COLUMNS))
    shared, own = kernel[:, some].astype(np.float64), penalty[:, some].astype(np.float64)
    # Rounding errors are proportional to the entries: with rows and columns of one norm, none drowns the others.
    for axis in (0, 1, 0):
        sizes = np.linalg.norm(shared, axis=axis, keepdims=True)
        level = np.divide(1.0, sizes, out=np.zeros_like(sizes), where=sizes > 0.0)
        shared, own = shared * level, own * level
    rng = np.random.default_rng(0)  # random directions will do; a fixed seed makes them the same in every capture
    start = rng.standard_normal((kernel.shape[0], width))
    for _ in range(_ROUNDS):
        rest = shared - scale * own
        basis = np.linalg.qr(rest @ (rest.T @ start))[0]
        outside = own - basis @ (basis.T @ own)
        size = float(np.vdot(outside, outside))
        if size == 0.0:
            return scale
        before, scale = scale, float(np.vdot(shared, outside)) / size
        if abs(scale - before) <= _SETTLED * abs(scale):
            break
    return scale


def _norm(arrays: list[np.ndarray]) -> float:
    return math.sqrt(sum(float(np.linalg.norm(array)) ** 2 for array in arrays))
