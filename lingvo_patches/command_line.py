"""Parsed command-line flags for lingvo, which reads absl's flags while it declares models."""

from __future__ import annotations

__all__ = ["ensure_parsed"]


def ensure_parsed() -> None:
    """Parse an empty command line, unless the program has parsed its own.

    A program that is no absl app never parses its flags, and then the first look at a flag raises
    ``UnparsedFlagAccessError``. A flag that a lingvo module defines later is readable at once, with its default.
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["lingvo_patches"], known_only=True)
