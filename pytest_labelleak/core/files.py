"""Writing a whole file or none."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["obstacle", "replacing", "write_text"]


def obstacle(path: Path) -> str | None:
    """Return the reason why `path` cannot be written, or None.

    Parameters
    ----------
    path : pathlib.Path
        File to be written later.

    Returns
    -------
    str or None
        A reason that continues the sentence "... cannot be written: ".
    """
    target = _target(path)
    if target.is_dir():
        return "it is a directory"
    if not target.parent.is_dir():
        return f"the directory {str(target.parent)!r} does not exist"
    # A file is created: access bits say nothing about read-only mounts, quotas or the super-user.
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        return f"{error.strerror or error} in {str(target.parent)!r}"
    return None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the ``with`` block ends well, and vanishes if not.

    Parameters
    ----------
    path : pathlib.Path
        Target file. A link stays, and the file that it points to is replaced.

    Yields
    ------
    binary file
        A temporary file beside the target, open for writing.

    Raises
    ------
    OSError
        If the target cannot be written; no temporary file is left behind.
    """
    target = _target(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Plain open, not tempfile: its files are readable by their owner only, whatever the umask.
        with open(temporary, "xb") as handle:
            yield handle
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the contents of `path` with `text`, or leave the file unchanged.

    Parameters
    ----------
    path : pathlib.Path
        Target file. A link stays, and the file that it points to is replaced.
    text : str
        New contents, written as UTF-8.

    Raises
    ------
    OSError
        If the target cannot be written; no temporary file is left behind.
    """
    with replacing(path) as handle:
        handle.write(text.encode("utf-8", errors="backslashreplace"))


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))
