"""lingvo reads absl's command-line flags while models are declared; programs that are no absl apps never parse them."""

from __future__ import annotations

__all__ = ["ensure_parsed"]


def ensure_parsed() -> None:
    """Parse an empty command line, unless the program has parsed its own.

    Without it the first look at a flag raises ``UnparsedFlagAccessError``. Flags that lingvo modules define later
    are readable at once, with their defaults.
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["lingvo_patches"], known_only=True)
