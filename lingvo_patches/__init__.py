"""Runtime overrides that let an unmodified lingvo be imported, and differentiated without silent errors.

Call `install` before the first import of ``lingvo.core``:

>>> import lingvo_patches
>>> lingvo_patches.install()  # doctest: +SKIP

No file of lingvo is edited or copied. ``README.md`` gives the reason for each override.
"""

from __future__ import annotations

from .free_contexts import FreeContexts
from .installing import Report, install
from .second_derivatives import SecondDerivativeError, require_second_derivatives

__all__ = ["FreeContexts", "Report", "SecondDerivativeError", "install", "require_second_derivatives"]
