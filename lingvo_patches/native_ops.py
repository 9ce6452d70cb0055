"""A stand-in for lingvo's compiled operations, used only where they do not load.

``lingvo.core.ops`` first tries to import a statically linked ``lingvo.core.ops.gen_x_ops`` and falls back to loading
``x_ops.so``. The 0.14 wheels are tagged manylinux_2_17 and yet need glibc 2.38, so on older systems every import of
``lingvo.core`` fails. A module that is registered under the first name prevents the fallback.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["MODULE", "ensure_ops"]

MODULE = "lingvo.core.ops.gen_x_ops"
_LIBRARY = "x_ops.so"
#: Checks of static and dynamic shapes, the only compiled operations in the forward and backward pass of training.
_CHECKS = ("assert_shape_match", "assert_same_dim0")


class _StandIn(types.ModuleType):
    """A module with every name, each a function whose error gives the reason why it cannot run."""

    reason: str

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        """Make a function for a compiled operation; a dunder name stays unknown, since inspection relies on it."""
        if name.startswith("__"):
            raise AttributeError(name)
        reason = self.__dict__.get("reason", "unknown")

        def unavailable(*args: Any, **options: Any) -> NoReturn:
            raise NotImplementedError(
                f"lingvo's compiled operation {name!r} does not load here: {reason}. Training's forward and backward "
                "pass run without it; beam search, input pipelines and tokenizers do not. Use a system on which "
                f"{_LIBRARY} loads (the 0.14 wheels need glibc 2.38)."
            )

        unavailable.__name__ = name
        return unavailable


def ensure_ops() -> str:
    """Register the stand-in, unless the compiled operations load.

    Returns
    -------
    str
        Reason for which they do not load; empty if they load, or if ``lingvo.core.ops`` is imported already.
    """
    present = sys.modules.get(MODULE)
    if present is not None:
        return present.reason if isinstance(present, _StandIn) else ""
    if "lingvo.core.ops" in sys.modules:
        return ""
    reason = _why_not_native()
    if reason:
        module = _StandIn(MODULE, "Stand-in for lingvo's compiled operations.")
        module.reason = reason
        for name in _CHECKS:
            setattr(module, name, _unchecked)
        sys.modules[MODULE] = module
    return reason


def _unchecked(*args: Any, **options: Any) -> Any:
    """Check nothing, and return an operation, on which a graph of the caller can depend."""
    import tensorflow as tf

    return tf.no_op()


def _why_not_native() -> str:
    """Try to load the library and return the reason for which it does not load."""
    import tensorflow as tf

    # The search must not import the package, since its import fails.
    lingvo = importlib.util.find_spec("lingvo")
    for folder in (lingvo.submodule_search_locations or ()) if lingvo is not None else ():
        library = Path(folder) / "core" / "ops" / _LIBRARY
        if library.is_file():
            try:
                tf.load_op_library(str(library))
            except (tf.errors.OpError, OSError) as error:
                return str(getattr(error, "message", error)).splitlines()[0]
            return ""
    return f"{_LIBRARY} is not part of this installation"
