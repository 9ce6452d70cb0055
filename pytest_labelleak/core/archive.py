"""Updates as ``.npz`` files: no pickle, no half-written file, one clear error for every defect of a file."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InvalidArgumentError
from .files import open_regular, replacing

__all__ = ["read_archive", "write_archive"]

_FORMAT = "pytest-labelleak-update"
_VERSION = 1
_EXPECTED = "Expected an .npz written by Update.save, or one with an array 'kernel_gradient' of shape (d, C)."
_LONE_ARRAY = b"\x93NUMPY"
# The bounds on memory decide about no file of Update.save, which does not compress. An array of which 95 % is zero
# shrinks by a factor of about 15, and zeros alone by 1000.
_LEAST_BYTES = 256 * 1024**2
_RATIO = 20
_HEADER_BYTES = 16 * 1024
_CHUNK_BYTES = 1024**2
_PLAIN = ("kernel_gradient", "bias_gradient", "kernel", "bias", "compute_dtype")


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and a JSON mapping to one file, atomically.

    Parameters
    ----------
    path : path_like
        Target file; replaced if it exists.
    arrays : mapping of str to ndarray
        The arrays by name. The name "meta" is taken.
    meta : mapping
        Plain data: JSON types alone.

    Raises
    ------
    InvalidArgumentError
        If the file cannot be written.
    """
    text = json.dumps({"format": _FORMAT, "version": _VERSION, **meta})
    try:
        with replacing(Path(path)) as handle:
            np.savez(handle, meta=np.array(text), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot write the update to {str(path)!r}: {error.strerror or error}. Expected a writable file path."
        ) from None


def read_archive(
    path: str | os.PathLike[str], *, prefixes: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Read a file that `write_archive` wrote, or a plain file of arrays.

    A file is not trusted: the header of each array says how much memory the array takes, and that is compared with
    the size of the file before any memory is taken. Members of other names are never unpacked.

    Parameters
    ----------
    path : path_like
        The file.
    prefixes : sequence of str, optional
        Beginnings of the names to read from a file that `write_archive` wrote; by default every name is read.

    Returns
    -------
    arrays : dict of str to ndarray
        The arrays by name, without "meta".
    meta : dict or None
        The mapping that was written; None for a plain file of arrays.

    Raises
    ------
    InvalidArgumentError
        If the file is missing, is no such archive, is of another version, holds pickled objects, or would take far
        more memory than its size explains.
    """
    where = str(path)
    try:
        with open_regular(path) as handle:
            start = handle.read(len(_LONE_ARRAY))
            if start == _LONE_ARRAY:
                raise InvalidArgumentError(f"{where!r} is no .npz archive but a lone array. {_EXPECTED}")
            with zipfile.ZipFile(handle) as archive:
                return _contents(archive, os.fstat(handle.fileno()).st_size, where, tuple(prefixes))
    except InvalidArgumentError:
        raise
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {where!r}: {error.strerror or error}. {_EXPECTED}") from None
    except MemoryError:
        raise InvalidArgumentError(f"{where!r} does not fit into memory. {_EXPECTED}") from None
    except Exception:
        # Damaged contents fail in a dozen ways, in zipfile, zlib, tokenize, ast and numpy; and the texts of these
        # errors may quote the contents, or suggest allow_pickle=True, which would run code from the file.
        raise InvalidArgumentError(
            f"{where!r} is no plain .npz archive (damaged, or it holds pickled objects, which are never read). "
            f"{_EXPECTED}"
        ) from None


def _contents(
    archive: zipfile.ZipFile, size: int, where: str, prefixes: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError("two members have one name")
        members[name] = info
    budget = _Budget(left=max(_LEAST_BYTES, _RATIO * size), where=where)
    meta_member = members.pop("meta", None)
    if meta_member is None:
        if "kernel_gradient" not in members:
            raise InvalidArgumentError(f"{where!r} holds {_shown(members)}. {_EXPECTED}")
        unknown = sorted(set(members) - set(_PLAIN))
        if unknown:
            raise InvalidArgumentError(
                f"{where!r} holds an array {unknown[0]!r} of no known meaning. Expected only {', '.join(_PLAIN)}."
            )
        return {name: _array(archive, info, budget) for name, info in members.items()}, None
    meta = _meta(str(_array(archive, meta_member, budget)), where)
    wanted = {name: info for name, info in members.items() if not prefixes or name.startswith(prefixes)}
    return {name: _array(archive, info, budget) for name, info in wanted.items()}, meta


def _shown(members: Mapping[str, Any]) -> str:
    names = sorted(members)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{names[:8]}{more}"


@dataclass(slots=True)
class _Budget:
    """Bytes of memory that the arrays of one file may still take."""

    left: int
    where: str

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise InvalidArgumentError(
                f"{self.where!r} unpacks to far more memory than its size explains, as no gradient does. Expected "
                f"arrays that were saved without compression (Update.save, numpy.savez), or of at most {_RATIO} times "
                "the size of the file."
            )


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget) -> np.ndarray:
    """Read one member; every number in its header is a claim, and is checked before it costs memory."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("compressed in a way that numpy does not write")
    with archive.open(info) as member, warnings.catch_warnings():
        warnings.simplefilter("error")  # of numpy, about headers that Python 2 wrote, and about types
        start = io.BytesIO(member.read(_HEADER_BYTES))
        version = np.lib.format.read_magic(start)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, columns_first, dtype = read_header(start)
        count = math.prod(shape)
        if (
            dtype.kind not in "biufcUV"
            or dtype.names is not None
            or dtype.subdtype is not None
            or min(shape, default=0) < 0
        ):
            raise ValueError("no array of plain numbers or text")
        if dtype.itemsize == 0 and count > 1:
            raise ValueError("any number of entries without a byte")
        budget.spend(count * dtype.itemsize)
        if info.file_size != start.tell() + count * dtype.itemsize:
            raise ValueError("the header declares another size than the archive")
        content = bytearray(count * dtype.itemsize)
        view = memoryview(content)
        filled = start.readinto(view)
        while filled < len(content):
            read = member.read(min(len(content) - filled, _CHUNK_BYTES))
            if not read:
                raise EOFError("the member ends early")
            view[filled : filled + len(read)] = read
            filled += len(read)
        if member.read(1):
            raise ValueError("the member goes on behind its array")
    flat = np.frombuffer(content, dtype=dtype, count=count) if content else np.zeros(count, dtype)
    return flat.reshape(shape, order="F" if columns_first else "C")


def _meta(text: str, where: str) -> dict[str, Any]:
    try:
        meta = dict(json.loads(text))
        if meta["format"] != _FORMAT:
            raise KeyError("format")
        version = int(meta["version"])
        parts = {name: dict(meta[name]) for name in ("head", "update")}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise InvalidArgumentError(
            f"{where!r} has an unreadable 'meta' entry. Expected one written by Update.save."
        ) from None
    if version != _VERSION:
        raise InvalidArgumentError(
            f"{where!r} is in format version {version}; this release reads {_VERSION}. "
            "Upgrade pytest-labelleak, or save the update again with this release."
        )
    return parts
