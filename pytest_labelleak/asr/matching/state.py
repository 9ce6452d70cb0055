"""Progress of a search, and its file: written whole or not at all, readable by its owner alone."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.errors import InvalidArgumentError
from ...core.files import replacing

__all__ = ["State", "fingerprint", "read_state", "write_state"]

_FORMAT = 1
#: The file holds guesses of a private transcript.
_OWNER_ONLY = 0o600


@dataclass(slots=True, kw_only=True, eq=False)
class State:
    """Everything that an interrupted search needs to go on.

    Attributes
    ----------
    seeds : ndarray of uint64
        Seed of each start.
    attempt, step : int
        Number of the start in progress, from 0, and its steps so far.
    vector : ndarray or None
        Unknowns of this start; None before its first step. Private.
    moments : ndarray of shape (2, n) or None
        Moments of Adam. Private.
    unchanged : int
        Steps since the last change of the guess.
    tokens : tuple of int
        The guess. Private.
    total : int
        Steps of all starts.
    best_tokens : tuple of int
        Guess of the best finished start. Private.
    best_contexts : ndarray or None
        Contexts of that guess. Private.
    best_loss, best_residual : float
        Its distance, and its distance with the tokens held. Infinite before the first finished start.
    """

    seeds: np.ndarray
    attempt: int = 0
    step: int = 0
    vector: np.ndarray | None = field(default=None, repr=False)
    moments: np.ndarray | None = field(default=None, repr=False)
    unchanged: int = 0
    tokens: tuple[int, ...] = field(default=(), repr=False)
    total: int = 0
    best_tokens: tuple[int, ...] = field(default=(), repr=False)
    best_contexts: np.ndarray | None = field(default=None, repr=False)
    best_loss: float = float("inf")
    best_residual: float = float("inf")


def fingerprint(settings: str, arrays: Sequence[np.ndarray]) -> str:
    """Return a digest that identifies a search: its settings and the shared gradient.

    Parameters
    ----------
    settings : str
        Settings of the search.
    arrays : sequence of ndarray
        The gradient.

    Returns
    -------
    str
        Hexadecimal.
    """
    digest = hashlib.sha256(settings.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float64).tobytes())
    return digest.hexdigest()


def write_state(path: str | os.PathLike[str], state: State, about: str) -> None:
    """Write a state to a file of mode 0600, atomically and without pickle.

    Parameters
    ----------
    path : path_like
        The file. Its contents are private.
    state : State
        Progress of the search.
    about : str
        The search's `fingerprint`.
    """
    empty = np.zeros(0)
    arrays = {
        "format": np.array(_FORMAT),
        "about": np.array(about),
        "seeds": state.seeds,
        "counts": np.array([state.attempt, state.step, state.unchanged, state.total]),
        "vector": empty if state.vector is None else state.vector,
        "moments": empty if state.moments is None else state.moments,
        "tokens": np.array(state.tokens, np.int64),
        "best_tokens": np.array(state.best_tokens, np.int64),
        "best_contexts": empty if state.best_contexts is None else state.best_contexts,
        "best": np.array([state.best_loss, state.best_residual]),
    }
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    with replacing(Path(path)) as file:
        os.chmod(file.name, _OWNER_ONLY)  # before anything is in it
        file.write(content.getvalue())


def read_state(path: str | os.PathLike[str], about: str) -> State | None:
    """Read a state back.

    Parameters
    ----------
    path : path_like
        The file.
    about : str
        The search's `fingerprint`.

    Returns
    -------
    State or None
        None if there is no file.

    Raises
    ------
    InvalidArgumentError
        If the file belongs to another search, or is no checkpoint.
    """
    name = f"checkpoint {os.fspath(path)!r}"
    if not Path(path).exists():
        return None
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = {key: arrays[key] for key in arrays.files}
            same = int(known["format"]) == _FORMAT and str(known["about"]) == about
            attempt, step, unchanged, total = map(int, known["counts"])
            best_loss, best_residual = map(float, known["best"])
            state = State(
                seeds=known["seeds"],
                attempt=attempt,
                step=step,
                vector=known["vector"] if known["vector"].size else None,
                moments=known["moments"] if known["moments"].size else None,
                unchanged=unchanged,
                tokens=tuple(known["tokens"].tolist()),
                total=total,
                best_tokens=tuple(known["best_tokens"].tolist()),
                best_contexts=known["best_contexts"] if known["best_contexts"].size else None,
                best_loss=best_loss,
                best_residual=best_residual,
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        same = None
    if same is None:
        raise InvalidArgumentError(
            f"{name} is no checkpoint of gradient matching, or is damaged. Delete it to begin anew."
        )
    if not same:
        raise InvalidArgumentError(
            f"{name} belongs to another search: another update, or other settings. Give another path or delete it."
        )
    return state
