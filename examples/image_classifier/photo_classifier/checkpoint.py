"""Read the tensors of a PyTorch checkpoint as numpy arrays: without torch, and without running its pickle's code.

A checkpoint is a stream of pickles, and a pickle may call any function. The unpickler here resolves four names, each
to a harmless class or function of this module, and refuses every other.
"""

from __future__ import annotations

import collections
import os
import pickle
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

__all__ = ["CheckpointError", "load_checkpoint"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class CheckpointError(ValueError):
    """The file is no checkpoint of plain tensors, is damaged, or wants to run code."""


class _StorageType:
    """Stands for ``torch.FloatStorage`` and the like; slotted, so a pickle cannot set anything on it."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        object.__setattr__(self, "dtype", np.dtype(dtype))

    def __setattr__(self, name: str, value: Any) -> None:
        raise CheckpointError(f"the checkpoint's pickle sets {name!r} on a storage type. Nothing may.")


class _Rebuild:
    """Stands for ``torch._utils._rebuild_tensor_v2``: a strided view of a storage, bounds checked."""

    __slots__ = ()

    def __call__(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any = False,
        hooks: Any = None,
        metadata: Any = None,
    ) -> np.ndarray:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, np.ndarray) or any(type(n) is not int or n < 0 for n in numbers):
            raise CheckpointError("a tensor is not described by a storage and non-negative integers")
        if len(shape) != len(strides):
            raise CheckpointError(f"a tensor has {len(shape)} dimensions but {len(strides)} strides")
        size = int(np.prod(shape, dtype=object))
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if size > storage.size or (size and last >= storage.size):
            raise CheckpointError(f"a tensor of shape {tuple(shape)} reaches outside its storage of {storage.size}")
        width = storage.itemsize
        view = storage[offset:] if size else storage[:0]
        return np.lib.stride_tricks.as_strided(view, shape, [step * width for step in strides], writeable=False)


# Exceptions that the pickle machine raises on damaged bytes.
_DAMAGED = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError, ValueError)

_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "FloatStorage"): _StorageType("<f4"),
    ("torch", "LongStorage"): _StorageType("<i8"),
    ("torch._utils", "_rebuild_tensor_v2"): _Rebuild(),
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, storages: dict[str, np.ndarray], limit: int) -> None:
        super().__init__(stream)
        self._storages = storages
        self._limit = limit

    def find_class(self, module: str, name: str) -> Any:
        """Resolve the few names that plain tensors need."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise CheckpointError(
                f"the checkpoint's pickle asks for {module}.{name}, which plain tensors do not need. Refused: "
                "loading it could run code. Use a checkpoint that holds a state dict only."
            ) from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Reserve the storage that `pid` names; its bytes come after the pickles."""
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[0] != "storage" or pid[5] is not None:
            raise CheckpointError("the checkpoint refers to something other than a plain tensor storage")
        _, kind, key, _, count, _ = pid
        if not isinstance(kind, _StorageType) or not isinstance(key, str) or type(count) is not int or count < 0:
            raise CheckpointError("the checkpoint describes a storage in an unknown way")
        if key not in self._storages:
            taken = sum(storage.nbytes for storage in self._storages.values())
            # The check comes before the allocation: a small file must not claim all memory.
            if taken + count * kind.dtype.itemsize > self._limit:
                raise CheckpointError("the checkpoint describes more data than the file holds: it is damaged")
            self._storages[key] = np.empty(count, kind.dtype)
        storage = self._storages[key]
        if storage.size != count or storage.dtype != kind.dtype:
            raise CheckpointError("the checkpoint describes one storage in two ways")
        return storage


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a state dict saved in PyTorch's stream format (``torch.save`` before 1.6).

    Parameters
    ----------
    path : path_like
        The ``.pth`` file.

    Returns
    -------
    dict of str to ndarray
        Read-only arrays of float32 or int64, in PyTorch's layouts.

    Raises
    ------
    CheckpointError
        If the file is not of that format, is cut short, or its pickle asks for anything but plain
        tensors. Nothing of it has been executed then.
    """
    where = f"checkpoint {os.fspath(path)!r}"
    storages: dict[str, np.ndarray] = {}
    try:
        with open(path, "rb") as stream:
            limit = os.fstat(stream.fileno()).st_size

            def read() -> Any:
                return _Unpickler(stream, storages, limit).load()

            if read() != _MAGIC or read() != _PROTOCOL:
                raise CheckpointError("it is not in PyTorch's stream format")
            system = read()
            if not isinstance(system, dict) or system.get("little_endian") is not True or sys.byteorder != "little":
                raise CheckpointError("it was written on, or is read on, a big-endian machine, which is not supported")
            state, keys = read(), read()
            if not isinstance(keys, list) or set(keys) != set(storages):
                raise CheckpointError("its list of storages does not fit its tensors")
            for key in keys:
                storage = storages[key]
                header = stream.read(8)
                if len(header) != 8 or struct.unpack("<q", header)[0] != storage.size:
                    raise CheckpointError("a storage has not the announced length: the file is damaged")
                if storage.size and stream.readinto(memoryview(storage).cast("B")) != storage.nbytes:
                    raise CheckpointError("it ends early: the file is damaged")
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {where}: {error.strerror}") from None
    except (pickle.UnpicklingError, *_DAMAGED) as error:
        raise CheckpointError(f"{where} is damaged or of another format ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in state.items()
    ):
        raise CheckpointError(f"{where} holds something else than named tensors")
    return dict(state)
