"""A refusal is raised at any depth, becomes "not applicable" in one place, and is never a claim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pytest_labelleak import Recovery, Update, audit
from pytest_labelleak.attacks.gradient.reading import Reading
from pytest_labelleak.attacks.registry import run
from pytest_labelleak.core.recovery import NotApplicable

UPDATE = Update.from_arrays(np.ones((2, 6)))


@dataclass(frozen=True)
class Refusing:
    """An attack whose reading refuses."""

    name: str = "refusing"

    def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
        return self.read(Reading(update), rng=rng)

    def read(self, reading: Reading, *, rng: np.random.Generator) -> Recovery:
        def compute() -> Recovery:
            raise NotApplicable("the head has no bias", rank=3)

        return reading.once("claim", compute)


def test_a_refusal_is_no_claim() -> None:
    reading = Reading(UPDATE)
    for _ in range(2):  # the second time it is remembered
        found = run(Refusing(), reading, seed=0)
        assert (found.status, found.reason, found.labels) == ("not applicable", "the head has no bias", ())
        assert found.details == {"rank": 3}


def test_an_audit_of_refusals_is_inconclusive() -> None:
    result = audit(UPDATE, np.array([1]), attacks=Refusing(), defence="sign")
    assert result.outcome == "inconclusive"
    assert "no attack applies: refusing because the head has no bias" in result.message


def test_another_error_is_not_swallowed() -> None:
    @dataclass(frozen=True)
    class Broken:
        name: str = "broken"

        def __call__(self, update: Update, *, rng: np.random.Generator) -> Recovery:
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(Broken(), UPDATE, seed=0)
