"""The marker: settings of one test, or of a class or module of them."""

from __future__ import annotations

from typing import Any

import pytest

from ..core.errors import InvalidArgumentError, quoted
from ..core.settings import Settings

__all__ = ["MARKER", "marker_settings"]

MARKER = (
    "labelleak(*, threshold, confidence, attacks, defence, seed, sensitive, time_budget, require): audits label "
    "leakage with these settings, all optional; the test fails if no audit runs in it."
)

_MARKER_KEYWORDS = ("threshold", "confidence", "attacks", "defence", "seed", "sensitive", "time_budget", "require")


def marker_settings(item: pytest.Item, settings: Settings) -> Settings:
    """Return `settings` with the keywords of the item's markers, the closest marker first.

    Parameters
    ----------
    item : pytest.Item
        The test.
    settings : Settings
        The session's.

    Returns
    -------
    Settings
        The test's.

    Raises
    ------
    InvalidArgumentError
        For an argument that the marker does not have, or a value that does not fit.
    """
    values: dict[str, Any] = {}
    for mark in item.iter_markers("labelleak"):
        expected = f"Expected only keywords among {', '.join(_MARKER_KEYWORDS)}."
        if mark.args:
            raise InvalidArgumentError(f"pytest.mark.labelleak got {len(mark.args)} positional argument(s). {expected}")
        unknown = sorted(set(mark.kwargs) - set(_MARKER_KEYWORDS))
        if unknown:
            raise InvalidArgumentError(f"pytest.mark.labelleak got an unknown keyword {quoted(unknown[0])}. {expected}")
        values = {**{name: value for name, value in mark.kwargs.items() if value is not None}, **values}
    try:
        return settings.override(**values)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"pytest.mark.labelleak: {error}") from None
