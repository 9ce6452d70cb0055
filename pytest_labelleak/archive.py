"""Updates as ``.npz`` files: no pickle, no half-written file, one clear error for whatever is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import replacing
from .errors import InvalidArgumentError
from .update import Head, Update

__all__ = ["read_update", "write_update"]

_FORMAT = "pytest-labelleak-update"
_VERSION = 1
_EXPECTED = "Expected an .npz written by Update.save, or one with an array 'kernel_gradient' of shape (d, C)."
_PLAIN = ("kernel_gradient", "bias_gradient", "kernel", "bias", "compute_dtype")


def write_update(update: Update, path: str | os.PathLike[str]) -> None:
    """Write `update` to `path`; see `Update.save`."""
    head = {f.name: getattr(update.head, f.name) for f in dataclasses.fields(Head)}
    arrays = {f"head/{k}": v for k, v in head.items() if isinstance(v, np.ndarray)}
    arrays |= {f"gradient/{k}": v for k, v in update.gradients.items()}
    arrays |= {f"penalty/{k}": v for k, v in update.penalties.items()}
    arrays |= {f"value/{k}": v for k, v in update.values.items()}
    own = ("compute_dtype", "device", "reduction", "origin", "steps", "learning_rate", "defences")
    meta = {
        "format": _FORMAT,
        "version": _VERSION,
        "head": {k: v for k, v in head.items() if not isinstance(v, np.ndarray) and v is not None},
        "update": {name: getattr(update, name) for name in own},
    }
    try:
        with replacing(Path(path)) as handle:
            np.savez(handle, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot write the update to {str(path)!r}: {error.strerror}. Expected a writable file path."
        ) from None


def read_update(path: str | os.PathLike[str]) -> Update:
    """Read an update from `path`; see `Update.load`."""
    where = str(path)
    arrays = _arrays(path, where)
    if "meta" in arrays:
        return _from_archive(arrays, where)
    if "kernel_gradient" not in arrays:
        raise InvalidArgumentError(f"{where!r} holds {sorted(arrays)}. {_EXPECTED}")
    unknown = sorted(set(arrays) - set(_PLAIN))
    if unknown:
        raise InvalidArgumentError(
            f"{where!r} holds an array {unknown[0]!r} of no known meaning. Expected only {', '.join(_PLAIN)}."
        )
    return Update.from_arrays(
        arrays["kernel_gradient"],
        bias_gradient=arrays.get("bias_gradient"),
        kernel=arrays.get("kernel"),
        bias=arrays.get("bias"),
        compute_dtype=str(arrays.get("compute_dtype", "float32")),
    )


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


def _from_archive(arrays: Mapping[str, np.ndarray], where: str) -> Update:
    try:
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != _FORMAT:
            raise KeyError("format")
        version = int(meta["version"])
        head: dict[str, Any] = dict(meta["head"])
        attributes: dict[str, Any] = dict(meta["update"])
    except (ValueError, KeyError, TypeError):
        raise InvalidArgumentError(
            f"{where!r} has an unreadable 'meta' entry. Expected one written by Update.save."
        ) from None
    if version != _VERSION:
        raise InvalidArgumentError(
            f"{where!r} is in format version {version}; this release reads {_VERSION}. "
            "Upgrade pytest-labelleak, or save the update again with this release."
        )
    head |= {k.removeprefix("head/"): v for k, v in arrays.items() if k.startswith("head/")}
    attributes["defences"] = tuple(attributes.get("defences", ()))
    gradients = {k.removeprefix("gradient/"): v for k, v in arrays.items() if k.startswith("gradient/")}
    attributes["values"] = {k.removeprefix("value/"): v for k, v in arrays.items() if k.startswith("value/")}
    attributes["penalties"] = {k.removeprefix("penalty/"): v for k, v in arrays.items() if k.startswith("penalty/")}
    try:
        return Update(gradients=gradients, head=Head(**head), **attributes)
    except TypeError:
        raise InvalidArgumentError(
            f"{where!r} has unknown fields in its 'meta' entry. Expected one written by Update.save."
        ) from None
