"""Updates as ``.npz`` files: no pickle, no half-written file, one clear error for every defect of a file."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InvalidArgumentError
from .files import replacing

__all__ = ["read_archive", "write_archive"]

_FORMAT = "pytest-labelleak-update"
_VERSION = 1
_EXPECTED = "Expected an .npz written by Update.save, or one with an array 'kernel_gradient' of shape (d, C)."
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
            f"cannot write the update to {str(path)!r}: {error.strerror}. Expected a writable file path."
        ) from None


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Read a file that `write_archive` wrote, or a plain file of arrays.

    Parameters
    ----------
    path : path_like
        The file.

    Returns
    -------
    arrays : dict of str to ndarray
        The arrays by name, without "meta".
    meta : dict or None
        The mapping that was written; None for a plain file of arrays.

    Raises
    ------
    InvalidArgumentError
        If the file is missing, is no such archive, is of another version, or holds pickled objects.
    """
    where = str(path)
    arrays = _arrays(path, where)
    if "meta" not in arrays:
        if "kernel_gradient" not in arrays:
            raise InvalidArgumentError(f"{where!r} holds {sorted(arrays)}. {_EXPECTED}")
        unknown = sorted(set(arrays) - set(_PLAIN))
        if unknown:
            raise InvalidArgumentError(
                f"{where!r} holds an array {unknown[0]!r} of no known meaning. Expected only {', '.join(_PLAIN)}."
            )
        return arrays, None
    meta = _meta(str(arrays.pop("meta")), where)
    return arrays, meta


def _arrays(path: str | os.PathLike[str], where: str) -> dict[str, np.ndarray]:
    try:
        # Opened here, because numpy leaves its own handle open when the contents are damaged.
        with open(path, "rb") as handle:
            archive = np.load(handle, allow_pickle=False)
            if isinstance(archive, np.lib.npyio.NpzFile):
                with archive:
                    return {name: archive[name] for name in archive.files}
    except OSError as error:
        reason = error.strerror or "not an archive"
        raise InvalidArgumentError(f"cannot read {where!r}: {reason}. {_EXPECTED}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        # numpy's own text suggests allow_pickle=True, which would run code from the file.
        raise InvalidArgumentError(
            f"{where!r} is no plain .npz archive (damaged, or it holds pickled objects, which are never read). "
            f"{_EXPECTED}"
        ) from None
    raise InvalidArgumentError(f"{where!r} is no .npz archive but a lone array. {_EXPECTED}")


def _meta(text: str, where: str) -> dict[str, Any]:
    try:
        meta = dict(json.loads(text))
        if meta["format"] != _FORMAT:
            raise KeyError("format")
        version = int(meta["version"])
        parts = {name: dict(meta[name]) for name in ("head", "update")}
    except (ValueError, KeyError, TypeError):
        raise InvalidArgumentError(
            f"{where!r} has an unreadable 'meta' entry. Expected one written by Update.save."
        ) from None
    if version != _VERSION:
        raise InvalidArgumentError(
            f"{where!r} is in format version {version}; this release reads {_VERSION}. "
            "Upgrade pytest-labelleak, or save the update again with this release."
        )
    return parts
