"""Several defences, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import InvalidArgumentError
from ..core.update import Update
from .clip import ClipNorm
from .defence import Defence
from .law import NoiseLaw

__all__ = ["Compose"]


@dataclass(frozen=True, slots=True)
class Compose:
    """Apply several defences, the first one first.

    Attributes
    ----------
    parts : sequence of defence
        At least one defence. The parts of a composition among them are taken out of it.

    Examples
    --------
    >>> from pytest_labelleak import Compose, DropSmallest, Sign
    >>> Compose([DropSmallest(fraction=0.9), Sign()]).name
    'drop_smallest(fraction=0.9) + sign'
    """

    parts: Sequence[Defence]

    def __post_init__(self) -> None:
        """Check the parts."""
        expected = "Expected a sequence of defences, e.g. Compose([DropSmallest(fraction=0.9), Sign()])."
        given: Any = self.parts
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise InvalidArgumentError(f"Compose got parts of type {type(given).__name__}. {expected}")
        flat: list[Defence] = []
        for part in given:
            own = getattr(part, "name", None)
            # A class without its parentheses is no defence, though it can have the name of its instances.
            if isinstance(part, type) or not callable(part) or not isinstance(own, str) or not own:
                raise InvalidArgumentError(
                    f"Compose got a part of type {type(part).__name__} that is no defence: it must be callable and "
                    f"have a string 'name'. {expected}"
                )
            flat.extend(part.parts if isinstance(part, Compose) else (part,))
        if not flat:
            raise InvalidArgumentError(f"Compose got no parts: it would protect nothing. {expected}")
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def name(self) -> str:
        """Names of the parts, joined by plus signs."""
        return " + ".join(part.name for part in self.parts)

    @property
    def secret(self) -> bool:
        """Whether a part uses numbers that a receiver does not know."""
        return any(getattr(part, "secret", False) for part in self.parts)

    @property
    def deterministic(self) -> bool:
        """Whether no part makes a random choice."""
        return all(getattr(part, "deterministic", False) for part in self.parts)

    @property
    def noise_law(self) -> NoiseLaw | None:
        """The law of the first part that states one; None if a part before it may be random.

        Parts that follow change an update that is shared already, so that it tells no more.
        """
        for place, part in enumerate(self.parts):
            law: NoiseLaw | None = getattr(part, "noise_law", None)
            if law is not None:
                before, processed = self.parts[:place], law.processed or place + 1 < len(self.parts)
                return _following(tuple(before), dataclasses.replace(law, processed=processed))
            if not getattr(part, "deterministic", False):
                return None
        return None

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Update:
        """Return `update` after all parts; each part records its own name."""
        for part in self.parts:
            update = part(update, rng=rng)
        return update


def _following(before: tuple[Defence, ...], law: NoiseLaw) -> NoiseLaw:
    """Return the law behind deterministic defences; a lone bound on the norm has a closed form of its own."""
    if len(before) == 1 and isinstance(before[0], ClipNorm) and law.clip is None and not law.before:
        return dataclasses.replace(law, clip=before[0].norm, scope=before[0].scope)
    return dataclasses.replace(law, before=(*before, *law.before))
