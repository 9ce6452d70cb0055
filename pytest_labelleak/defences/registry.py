"""Defences by name: the built-in ones, those of hooks, and text such as "quantise(bits=4) + sign"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import InvalidArgumentError
from ..core.settings import active_scope
from .clip import ClipNorm
from .compose import Compose
from .defence import Defence
from .noise import GaussianNoise, LaplaceNoise
from .parse import parse
from .quantise import Quantise, RoundTo, Sign
from .sparsify import DropSmallest, RandomDrop, TopK

__all__ = ["builtin_defences", "resolve"]

#: Classes of defences with parameters by name, each with an example of a call, as written in settings.
_FAMILIES: Mapping[str, tuple[Any, str]] = {
    "drop_smallest": (DropSmallest, "drop_smallest(fraction=0.9)"),
    "top_k": (TopK, "top_k(fraction=0.1)"),
    "random_drop": (RandomDrop, "random_drop(fraction=0.5)"),
    "gaussian_noise": (GaussianNoise, "gaussian_noise(relative=1.0)"),
    "laplace_noise": (LaplaceNoise, "laplace_noise(relative=1.0)"),
    "clip_norm": (ClipNorm, "clip_norm(norm=1.0)"),
    "quantise": (Quantise, "quantise(bits=8)"),
    "round_to": (RoundTo, "round_to(dtype='bfloat16')"),
}


def builtin_defences() -> Mapping[str, Defence]:
    """Return the built-in defences without parameters, by name."""
    return {Sign.name: Sign()}


def resolve(wanted: Any) -> Defence | None:
    """Turn None, a name or a defence into a defence.

    Parameters
    ----------
    wanted : None, str or defence
        The value in the settings. A string is a registered name, a call such as ``"quantise(bits=4)"``, or several
        of these joined by plus signs. The name of every built-in defence is such a string.

    Returns
    -------
    Defence or None
        The defence.

    Raises
    ------
    UnknownNameError
        For a name without a defence.
    InvalidArgumentError
        For parameters that do not fit, a defence without a name, or a hook's defence with the name of a
        built-in one.

    Examples
    --------
    >>> resolve("drop_smallest(fraction=0.9) + sign")
    Compose(parts=(DropSmallest(fraction=0.9), Sign()))
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        known = dict(builtin_defences())
        for name, extra in active_scope().defences.items():
            if name in known or name in _FAMILIES:
                raise InvalidArgumentError(f"a hook registers a defence named {name!r}, which is built in. Rename it.")
            known[name] = extra
        parts: list[Defence] = parse(wanted, known, _FAMILIES)
        return parts[0] if len(parts) == 1 else Compose(parts)
    own = getattr(wanted, "name", None)
    if not isinstance(own, str) or not own:
        raise InvalidArgumentError(f"a defence of type {type(wanted).__name__} has no name. Expected a string 'name'.")
    defence: Defence = wanted
    return defence
