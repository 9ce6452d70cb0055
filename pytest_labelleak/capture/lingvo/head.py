"""The softmax and the embeddings of a lingvo task, joined from the shards in which lingvo keeps their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import UnknownNameError, UnsupportedModelError, quoted
from ..arrays import BY_HAND

__all__ = ["Table", "find_softmax", "key_of", "tables_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """One array that lingvo keeps in several variables, its shards.

    Attributes
    ----------
    key : str
        Name of the joined array.
    variables : tuple
        The shards, in order.
    join : callable
        Function from the arrays of the shards to the joined array.
    rows : int
        Size of the vocabulary, for an embedding.
    """

    key: str
    variables: tuple[Any, ...]
    join: Callable[[Sequence[np.ndarray]], np.ndarray]
    rows: int = 0

    def take(self, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
        """Remove the shards from `arrays` and return the joined array, with zeros for missing shards.

        Parameters
        ----------
        arrays : dict of str to ndarray
            Arrays by the names of variables; the shards are removed.

        Returns
        -------
        ndarray or None
            The joined array; None if every shard is missing.
        """
        shards = [arrays.pop(key_of(variable), None) for variable in self.variables]
        if all(shard is None for shard in shards):
            return None
        whole = [
            np.zeros(tuple(variable.shape), np.float32) if shard is None else shard
            for shard, variable in zip(shards, self.variables, strict=True)
        ]
        return self.join(whole)


def key_of(variable: Any) -> str:
    """Return the name of a variable without the ":0" that TensorFlow appends.

    Parameters
    ----------
    variable : tf.Variable
        A variable of a lingvo layer.

    Returns
    -------
    str
    """
    return str(variable.name).removesuffix(":0")


def _layers(layer: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, child in layer.children.FlattenItems():
        below = f"{path}.{name}" if path else str(name)
        yield below, child
        yield from _layers(child, below)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Softmax:
    """The classification head of a lingvo task.

    Attributes
    ----------
    path : str
        Path of the layer in the task, such as "decoder.softmax".
    classes : int
        Number of classes C.
    kernel, bias : Table, Table or None
        Weights of the head, joined to (d, C) and (C,).
    layer : object
        The layer.
    """

    path: str
    classes: int
    kernel: Table
    bias: Table | None
    layer: Any


def find_softmax(task: Any, wanted: str | None) -> Softmax:
    """Find the head of a task.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        An instantiated task.
    wanted : str or None
        Path of the layer, where there are several.

    Returns
    -------
    Softmax

    Raises
    ------
    UnknownNameError
        If `wanted` names no softmax layer.
    UnsupportedModelError
        If the task has no softmax layer, several, or a sampled softmax, whose gradient differs.
    """
    from lingvo.core import layers

    found = {path: layer for path, layer in _layers(task) if isinstance(layer, layers.SimpleFullSoftmax)}
    who = f"task {task.params.name!r}"
    if not found:
        kinds = sorted({type(layer).__name__ for _, layer in _layers(task) if "oftmax" in type(layer).__name__})
        raise UnsupportedModelError(
            f"{who} has no SimpleFullSoftmax layer (it has {', '.join(kinds) or 'no softmax at all'}). "
            f"Other heads are not supported: {BY_HAND}."
        )
    if wanted is not None and wanted not in found:
        raise UnknownNameError(f"head={quoted(wanted)} names no softmax of {who}. Expected one of {', '.join(found)}.")
    if wanted is None and len(found) > 1:
        raise UnsupportedModelError(f"{who} has several softmax layers. Choose with head=: {', '.join(found)}.")
    path = wanted or next(iter(found))
    layer = found[path]
    p = layer.params
    if p.num_sampled:
        raise UnsupportedModelError(
            f"{path} of {who} trains with a sampled softmax (num_sampled={p.num_sampled}), whose gradient names the "
            f"sampled classes. Set num_sampled=0, or {BY_HAND}."
        )
    kernels = tuple(layer.vars[f"weight_{i}"] for i in range(p.num_shards))
    transposed = bool(p.use_num_classes_major_weight)

    def kernel(shards: Sequence[np.ndarray]) -> np.ndarray:
        joined = np.concatenate([shard.T if transposed else shard for shard in shards], axis=1)
        return np.ascontiguousarray(joined)

    biases = tuple(layer.vars[f"bias_{i}"] for i in range(p.num_shards)) if p.use_bias else ()
    return Softmax(
        path=path,
        classes=int(p.num_classes),
        kernel=Table(key=_common(kernels, "weight"), variables=kernels, join=kernel),
        bias=Table(key=_common(biases, "bias"), variables=biases, join=np.concatenate) if biases else None,
        layer=layer,
    )


def _common(variables: Sequence[Any], name: str) -> str:
    """Return the name of a joined array: that of a lone shard, or the scope of several shards and `name`."""
    first = key_of(variables[0])
    if len(variables) == 1:
        return first
    return f"{first.removesuffix('/var').rpartition('/')[0]}/{name}"


def tables_of(task: Any) -> Mapping[str, Table]:
    """Find the token embeddings of a task.

    Parameters
    ----------
    task : lingvo.core.base_model.BaseTask
        An instantiated task.

    Returns
    -------
    mapping of str to Table
        Embeddings by path; each joins to (vocabulary, dimension). With n shards, token i is row i // n of shard i % n,
        and the last rows of some shards belong to no token.
    """
    from lingvo.core import layers

    found = {}
    for path, layer in _layers(task):
        if isinstance(layer, layers.EmbeddingLayer):
            variables = tuple(layer.vars.wm)
            rows = int(layer.params.vocab_size)
            found[path] = Table(key=_common(variables, "wm"), variables=variables, join=_dealt(rows), rows=rows)
    return found


def _dealt(rows: int) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    def join(shards: Sequence[np.ndarray]) -> np.ndarray:
        whole = np.stack(shards, axis=1)  # (rows of a shard, shards, dimension)
        return np.ascontiguousarray(whole.reshape(-1, whole.shape[2])[:rows])

    return join
