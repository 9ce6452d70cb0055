"""Batches of images and labels, from a folder or at random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from arguments import ArgumentError, Options, first_line

__all__ = ["list_images", "make_batches"]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def list_images(folder: str, classes: int, random_labels: bool) -> tuple[list[Path], np.ndarray | None, str]:
    """Find the images of a folder and their classes.

    Parameters
    ----------
    folder : str
        Folder with one subfolder per class, or of any structure with `random_labels`.
    classes : int
        Number of classes of the network.
    random_labels : bool
        Ignore the subfolders' names.

    Returns
    -------
    paths : list of Path
        Sorted.
    labels : ndarray of int or None
        Class of each, or None for random labels.
    rule : str
        The rule by which classes are numbered, as a sentence.

    Raises
    ------
    ArgumentError
        If there are no images, or no classes for them.
    """
    root = Path(folder)
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not paths:
        raise ArgumentError(f"--images {folder!r} holds no images. Expected {', '.join(sorted(_SUFFIXES))} files.")
    if random_labels:
        return paths, None, "random labels"
    if any(p.parent == root for p in paths):
        raise ArgumentError(
            f"--images {folder!r} holds images outside of subfolders. Expected one subfolder per class; "
            "or add --random-labels."
        )
    names = [p.relative_to(root).parts[0] for p in paths]
    if all(name.isdecimal() for name in names):
        labels, rule = np.array([int(name) for name in names]), "the subfolders' names are the class indices"
    else:
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        labels, rule = np.array([numbers[name] for name in names]), "classes are the subfolders in alphabetical order"
    if labels.max() >= classes:
        raise ArgumentError(
            f"--images {folder!r} gives class indices up to {labels.max()}. Expected at most {classes - 1}: "
            f"the network has {classes} outputs."
        )
    return paths, labels, rule


def make_batches(
    options: Options, side: int, classes: int, preprocess: Callable[[np.ndarray], np.ndarray]
) -> tuple[str, Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Prepare the batches.

    Parameters
    ----------
    options : Options
        The command line.
    side : int
        Side of the network's input in pixels.
    classes : int
        Number of outputs of the network.
    preprocess : callable
        Function from pixels to inputs of the network.

    Returns
    -------
    source : str
        Origin of images and labels, as a sentence.
    batches : iterator of (images, labels)
        Loaded one at a time.

    Raises
    ------
    ArgumentError
        If the images do not suffice.
    """
    rng = np.random.default_rng([options.seed, *b"batches"])
    if options.images is None:

        def random_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for _ in range(options.num_batches):
                pixels = rng.uniform(0.0, 255.0, (options.batch_size, side, side, 3)).astype(np.float32)
                yield preprocess(pixels), rng.integers(0, classes, options.batch_size)

        return "random pixels, random labels", random_batches()

    paths, labels, rule = list_images(options.images, classes, options.random_labels)
    if len(paths) < options.batch_size:
        raise ArgumentError(
            f"--images {options.images!r} holds {len(paths)} images. Expected at least --batch-size "
            f"{options.batch_size}: lower it or add images."
        )

    def image_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        queue: list[int] = []
        for _ in range(options.num_batches):
            if len(queue) < options.batch_size:  # the next epoch; a batch never holds one image twice
                queue = rng.permutation(len(paths)).tolist()
            chosen, queue = queue[: options.batch_size], queue[options.batch_size :]
            drawn = rng.integers(0, classes, len(chosen)) if labels is None else labels[chosen]
            yield preprocess(np.stack([_pixels(paths[i], side) for i in chosen])), drawn

    return f"{len(paths)} images of {options.images}, {rule}", image_batches()


def _pixels(path: Path, side: int) -> np.ndarray:
    """Return the centre square of an image, resized, as (side, side, 3) float32 in 0 to 255."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
            edge = min(width, height)
            left, top = (width - edge) // 2, (height - edge) // 2
            square = image.convert("RGB").resize((side, side), box=(left, top, left + edge, top + edge))
    except (UnidentifiedImageError, OSError) as error:
        raise ArgumentError(f"image {str(path)!r} cannot be read: {first_line(error)}") from None
    return np.asarray(square, dtype=np.float32)
