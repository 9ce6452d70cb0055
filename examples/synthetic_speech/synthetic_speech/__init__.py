"""Speech without recordings, and the features that speech recognisers take; used by the speech examples."""

from __future__ import annotations

from .features import FILTERS, log_mel
from .speech import RATE, speak

__all__ = ["FILTERS", "RATE", "log_mel", "speak"]
