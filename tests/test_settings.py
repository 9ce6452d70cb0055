"""Settings validate once; the scope of a test ends with it."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest

from pytest_labelleak import InvalidArgumentError, Settings
from pytest_labelleak.core.settings import DEFAULTS, Scope, activate, active_scope


def attack(update, *, rng):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": float("nan")}, r"threshold=nan is out of range. Expected a number in \[0, 1\]"),
        ({"threshold": float("inf")}, "threshold=inf is out of range"),
        ({"threshold": -1e-9}, "threshold=-1e-09 is out of range"),
        ({"threshold": 1.0000001}, "threshold=1.0000001 is out of range"),
        ({"threshold": 10**400}, "threshold"),
        ({"threshold": "0.5"}, "threshold='0.5' is a str"),
        ({"threshold": True}, "threshold=True is a bool"),
        ({"threshold": [0.5]}, "threshold=<list of length 1> is a list"),
        ({"confidence": 0.0}, "confidence=0.0 is out of range. Expected a number between 0 and 1, such as 0.95"),
        ({"confidence": 1}, "confidence=1 is out of range"),
        ({"confidence": float("nan")}, "confidence=nan is out of range"),
        ({"confidence": 95}, "confidence=95 is out of range"),
        ({"confidence": "0.95"}, "confidence='0.95' is a str"),
        ({"confidence": True}, "confidence=True is a bool"),
        ({"attacks": ()}, "attacks is empty: an audit without an attack proves nothing"),
        ({"attacks": 3}, "attacks is a int. Expected 'auto'"),
        ({"attacks": ["rlg", None]}, "attacks holds a NoneType. Expected names and callables"),
        ({"defence": 3}, "defence is a int. Expected None, a registered defence's name"),
        ({"seed": -1}, "seed=-1. Expected a non-negative integer"),
        ({"seed": 1.0}, "seed=1.0. Expected a non-negative integer"),
        ({"seed": True}, "seed=True. Expected a non-negative integer"),
        ({"show_labels": 1}, "show_labels is a int. Expected True or False"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Settings(**values)
    with pytest.raises(InvalidArgumentError, match=message):
        DEFAULTS.override(**values)


def test_values_are_normalised():
    assert Settings(threshold=1).threshold == 1.0
    assert Settings(attacks="rlg").attacks == ("rlg",)
    assert Settings(attacks=attack).attacks == (attack,)
    assert Settings(attacks=["rlg", attack]).attacks == ("rlg", attack)
    assert Settings().threshold == 0.1
    assert Settings().confidence is None
    assert Settings(confidence=0.95).override(confidence=None).confidence == 0.95


def test_override():
    settings = Settings(threshold=0.5, seed=3)
    assert settings.override(threshold=None, seed=None) == settings
    assert settings.override(threshold=0.0, seed=0) == Settings(threshold=0.0)
    with pytest.raises(InvalidArgumentError, match=r"unknown setting 'treshold'\. Expected one of threshold, conf"):
        settings.override(treshold=0.5)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULTS.threshold = 1.0


def test_scopes_nest_and_end():
    outermost = active_scope()
    with activate(Scope(settings=Settings(seed=1))) as outer:
        with contextlib.suppress(KeyError), activate(Scope(settings=Settings(seed=2))) as inner:
            assert active_scope() is inner
            raise KeyError
        assert active_scope() is outer
    assert active_scope() is outermost or active_scope().settings == outermost.settings
