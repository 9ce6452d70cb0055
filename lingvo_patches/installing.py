"""One call that puts every override in place, once."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from dataclasses import dataclass

from . import command_line, models, native_ops, second_derivatives

__all__ = ["Report", "install"]

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Result of `install`.

    Attributes
    ----------
    ops : {"native", "stand-in"}
        Whether lingvo's compiled operations load on this machine.
    ops_reason : str
        Reason for which they do not load, or an empty string.
    """

    ops: str
    ops_reason: str = ""


def install() -> Report:
    """Put the overrides in place; further calls change nothing.

    Returns
    -------
    Report
        Kind of operations in use.

    Raises
    ------
    ModuleNotFoundError
        If lingvo or TensorFlow is not installed.

    Warns
    -----
    RuntimeWarning
        If TensorFlow was imported before with oneDNN kernels, which crash lingvo's recurrent layers in eager mode.
    """
    if importlib.util.find_spec("lingvo") is None or importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            "lingvo and TensorFlow are needed. Install the smallest set that works: pip install --no-deps "
            "lingvo==0.14.2, then pip install tensorflow-cpu==2.21.0 sympy sentencepiece matplotlib etils."
        )
    _without_onednn()
    reason = native_ops.ensure_ops()
    command_line.ensure_parsed()
    models.offer()
    second_derivatives.guard()
    return Report(ops="stand-in" if reason else "native", ops_reason=reason)


def _without_onednn() -> None:
    """Turn oneDNN's kernels off, which is possible only before TensorFlow is imported."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault(_ONEDNN, "0")
    elif os.environ.get(_ONEDNN) != "0":
        warnings.warn(
            f"TensorFlow was imported before lingvo_patches.install(), with oneDNN. lingvo's recurrent layers in eager "
            f"mode then corrupt memory with TensorFlow 2.21. Call install() first, or set {_ONEDNN}=0.",
            RuntimeWarning,
            stacklevel=3,
        )
