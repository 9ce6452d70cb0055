"""Read the variables of a CTranslate2 model file as numpy arrays: a plain binary format that runs no code.

A file of format version 6 is, little-endian: the version, the name of its specification, its revision, the number
of variables; for each its name, rank, dimensions, type, length and bytes; then the number of aliases, each two names.
Text is a 16-bit length and as many bytes, the last one zero.
"""

from __future__ import annotations

import math
import os
import struct

import numpy as np

__all__ = ["CheckpointError", "load_checkpoint"]

_VERSION = 6
#: CTranslate2's numbers for types. Its bfloat16 has no numpy counterpart.
_TYPES = {0: np.dtype("<f4"), 1: np.dtype("<i1"), 2: np.dtype("<i2"), 3: np.dtype("<i4"), 4: np.dtype("<f2")}


class CheckpointError(ValueError):
    """The file is no CTranslate2 model of the expected kind, or it is damaged."""


class _Reader:
    """A cursor over the bytes, which never reads past their end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._place = 0

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self._place:
            raise CheckpointError("it ends in the middle of an entry: it is damaged")
        taken = self._data[self._place : self._place + count]
        self._place += count
        return taken

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return int(value)

    def text(self) -> str:
        raw = bytes(self.take(self.number("H")))
        if not raw.endswith(b"\0") or not raw[:-1].isascii():
            raise CheckpointError("it has a name that is no zero-terminated ASCII text: it is damaged")
        return raw[:-1].decode("ascii")

    @property
    def at_end(self) -> bool:
        return self._place == len(self._data)


def load_checkpoint(path: str | os.PathLike[str], *, specification: str = "WhisperSpec") -> dict[str, np.ndarray]:
    """Read every variable.

    Parameters
    ----------
    path : path_like
        A ``model.bin``.
    specification : str, default "WhisperSpec"
        Kind of model that is expected.

    Returns
    -------
    dict of str to ndarray
        float16 becomes float32, and int8 weights are multiplied out. Aliases appear under both names.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or holds another kind of model.
    """
    try:
        with open(path, "rb") as file:
            reader = _Reader(memoryview(file.read()))
        return _dequantise(_variables(reader, specification))
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)!r}: {error.strerror or error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)!r}: {error}") from None


def _variables(reader: _Reader, specification: str) -> dict[str, np.ndarray]:
    version = reader.number("I")
    if version != _VERSION:
        raise CheckpointError(f"its first number is {version}. Expected a CTranslate2 model of version {_VERSION}.")
    found = reader.text()
    if found != specification:
        raise CheckpointError(f"it holds a model of kind {found!r}. Expected {specification!r}.")
    reader.number("I")  # the specification's revision
    variables: dict[str, np.ndarray] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = tuple(reader.number("I") for _ in range(reader.number("B")))
        kind, length = reader.number("B"), reader.number("I")
        if kind not in _TYPES:
            raise CheckpointError(f"variable {name!r} has the type number {kind}. Expected one of {list(_TYPES)}.")
        dtype = _TYPES[kind]
        if length != math.prod(shape) * dtype.itemsize:
            raise CheckpointError(f"variable {name!r} of shape {shape} and type {dtype} has {length} bytes")
        if name in variables:
            raise CheckpointError(f"variable {name!r} appears twice")
        variables[name] = np.frombuffer(reader.take(length), dtype).reshape(shape)
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        if name not in variables:
            raise CheckpointError(f"alias {alias!r} stands for {name!r}, which it does not hold")
        variables[alias] = variables[name]
    if not reader.at_end:
        raise CheckpointError("bytes follow after its last entry: it is damaged")
    return variables


def _dequantise(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    scales = {name for name in variables if name.endswith("_scale")}
    result = {}
    for name, array in variables.items():
        if name in scales:
            continue
        if array.dtype == np.int8 and array.ndim:
            # One scale per output: 127 over the largest magnitude in its row.
            scale = variables.get(f"{name}_scale")
            if scale is None or scale.shape != array.shape[:1] or not np.all(scale > 0):
                raise CheckpointError(f"int8 variable {name!r} has no positive scale per row")
            array = array / scale.reshape(-1, *[1] * (array.ndim - 1))
        result[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
    return result
