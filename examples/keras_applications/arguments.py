"""The command line: its options, checked before a slow library is loaded."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["ArgumentError", "Options", "first_line", "parse_arguments", "parse_defence"]

_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


class ArgumentError(ValueError):
    """An argument that cannot be used; the program prints the message as one line."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command line."""

    model: str
    batch_size: int
    num_batches: int
    images: str | None
    random_labels: bool
    image_size: int | None
    weights: str
    dtype_policy: str
    defence: str | None
    attacks: tuple[str, ...]
    seed: int
    training: bool
    output: str | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise with a message of one line instead of printing the whole usage."""
        raise ArgumentError(message)


def _at_least(smallest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if int(text) >= smallest:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} given. Expected an integer of at least {smallest}.")

    return parse


def parse_arguments(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Parameters
    ----------
    arguments : sequence of str or None
        Without the program's name; None for the process's own.

    Returns
    -------
    Options
        Options, checked as far as possible without Keras.

    Raises
    ------
    ArgumentError
        For an argument that cannot be used.
    """
    parser = _Parser(
        prog="run.py",
        description="Recover the labels of training batches from the gradients of a network.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", required=True, help="a name from keras.applications, e.g. ResNet50")
    add("--batch-size", type=_at_least(1), default=10, help="images per batch (default 10)")
    add("--num-batches", type=_at_least(1), default=3, help="number of batches (default 3)")
    add("--images", metavar="DIR", help="folder with one subfolder of images per class; random pixels if left out")
    add("--random-labels", action="store_true", help="draw labels at random instead of reading them from --images")
    add("--image-size", type=_at_least(1), metavar="N", help="side of the images in pixels (default: the network's)")
    add("--weights", default="none", metavar="none|imagenet|PATH", help="random, downloaded, or from a file")
    add("--dtype-policy", choices=_POLICIES, default="float32", help="Keras' dtype policy")
    add("--defence", metavar="sign|noise:REL", help="what the participant does to the gradient before sharing it")
    add("--attacks", default="auto", metavar="NAMES", help="comma-separated (default: all)")
    add("--seed", type=_at_least(0), default=0, help="seed of weights, batches, attacks and defence (default 0)")
    add("--training", action=argparse.BooleanOptionalAction, default=True, help="run dropout, batch norm in training")
    add("--output", metavar="PATH", help="write a JSON file with the recovered and the true sets")
    given = vars(parser.parse_args(arguments))
    given["attacks"] = tuple(name.strip() for name in given["attacks"].split(",") if name.strip())
    options = Options(**given)
    if not options.attacks:
        raise ArgumentError("--attacks is empty. Expected 'auto' or names separated by commas.")
    if options.weights not in ("none", "imagenet") and not Path(options.weights).is_file():
        raise ArgumentError(
            f"--weights {options.weights!r} is no file. Expected none, imagenet, or a .weights.h5 or .h5 file."
        )
    if options.images is not None and not Path(options.images).is_dir():
        raise ArgumentError(f"--images {options.images!r} is no folder. Expected one that holds images.")
    if options.output is not None and not Path(options.output).resolve().parent.is_dir():
        raise ArgumentError(f"--output {options.output!r} lies in no existing folder. Create the folder first.")
    if options.output is not None and Path(options.output).is_dir():
        raise ArgumentError(f"--output {options.output!r} is a folder. Expected the path of a file.")
    parse_defence(options.defence)
    return options


def parse_defence(text: str | None) -> Any:
    """Turn ``sign`` or ``noise:REL`` into a defence.

    Parameters
    ----------
    text : str or None
        REL is the noise's standard deviation in units of each gradient's own root mean square.

    Returns
    -------
    Defence or None
        None for None.

    Raises
    ------
    ArgumentError
        For any other text.
    """
    from pytest_labelleak import GaussianNoise, Sign

    if text is None:
        return None
    if text == "sign":
        return Sign()
    kind, _, strength = text.partition(":")
    with contextlib.suppress(ValueError):
        if kind == "noise" and 0.0 < float(strength) < math.inf:
            return GaussianNoise(relative=float(strength))
    raise ArgumentError(f"--defence {text!r} is unknown. Expected sign, or noise:REL with REL > 0, e.g. noise:1.0.")


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
