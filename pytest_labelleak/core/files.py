"""Files: read whole within a bound, written whole or not at all, and never a pipe or a device."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["exclusive", "obstacle", "open_regular", "open_to_append", "read_text", "replacing", "write_text"]

_NO_FILE = "it is no regular file but a pipe, a socket or a device"
#: Baselines and lists of terms have some kilobytes. The bound decides about no file that a person wrote.
_TEXT_BYTES = 64 * 1024 * 1024


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
    if target.exists() and not target.is_file():
        return _NO_FILE
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
        If the target cannot be written, or is a pipe or a device; no temporary file is left behind.
    """
    target = _target(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        raise OSError(_NO_FILE)
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


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for reading, or refuse a pipe, a socket or a device, on which reading may wait without end.

    Parameters
    ----------
    path : path_like
        The file.

    Returns
    -------
    binary file
        The open file.

    Raises
    ------
    OSError
        If the file cannot be opened, or is no regular file.
    """
    return os.fdopen(_regular(path, os.O_RDONLY), "rb")


def open_to_append(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a file for writing at its end, or refuse a pipe, a socket or a device.

    Parameters
    ----------
    path : path_like
        The file; it is created if it does not exist.

    Returns
    -------
    binary file
        The open file.

    Raises
    ------
    OSError
        If the file cannot be opened, or is no regular file.
    """
    return os.fdopen(_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def _regular(path: str | os.PathLike[str], flags: int) -> int:
    # A pipe without a partner blocks in open() itself, unless the flag says otherwise. Windows has no such pipes.
    for name in ("O_NONBLOCK", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    number = os.open(path, flags, 0o666)
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(_NO_FILE)
    except BaseException:
        os.close(number)
        raise
    return number


def read_text(path: str | os.PathLike[str], *, encoding: str = "utf-8") -> str:
    """Read a text file of at most 64 MiB.

    Parameters
    ----------
    path : path_like
        The file.
    encoding : str, default "utf-8"
        Its encoding.

    Returns
    -------
    str
        The text, with every line end as a newline.

    Raises
    ------
    OSError
        If the file cannot be read, is no regular file, or is larger.
    UnicodeDecodeError
        If the file is not in this encoding.
    """
    with open_regular(path) as handle:
        content = handle.read(_TEXT_BYTES + 1)
    if len(content) > _TEXT_BYTES:
        raise OSError(f"it is larger than {_TEXT_BYTES // 1024**2} MiB")
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def exclusive(path: Path, *, patience: float = 10.0) -> Iterator[None]:
    """Keep other processes that ask for the same away from `path` during the ``with`` block.

    Parameters
    ----------
    path : pathlib.Path
        File to be read and replaced.
    patience : float, default 10.0
        Seconds to wait for another process.

    Yields
    ------
    None
        While a lock file lies beside the target.

    Raises
    ------
    OSError
        If the lock file cannot be written, or another process keeps it.
    """
    target = _target(path)
    lock = target.with_name(f".{target.name}.lock")
    end = time.monotonic() + patience
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            if time.monotonic() > end:
                raise OSError(
                    f"another run is writing it. If none is, an interrupted one left {str(lock)!r}: delete that file"
                ) from None
            time.sleep(0.02)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock)


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
