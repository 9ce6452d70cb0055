"""Hook specifications: how other plugins and conftest files add attacks, defences, adapters and reports.

In a ``conftest.py`` that must also load where pytest-labelleak is not installed, mark the
implementations ``@pytest.hookimpl(optionalhook=True)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("pytest")


@hookspec
def pytest_labelleak_attacks() -> Sequence[Any]:  # type: ignore[empty-body]
    """Return further attacks; ``attacks="auto"`` then runs them too.

    An attack is a callable ``attack(update, *, rng) -> Recovery`` with a ``name`` that no other
    attack has. It may have a ``cost``, one of "pass", "subspace" and "search": cheap ones run first, and those
    without one last. Check yours with ``pytest_labelleak.testing.check_attack``.

    Returns
    -------
    sequence of attack
        The attacks to add.

    Examples
    --------
    In ``conftest.py``::

        @pytest.hookimpl(optionalhook=True)
        def pytest_labelleak_attacks():
            return [MyAttack()]
    """


@hookspec
def pytest_labelleak_defences() -> Sequence[Any]:  # type: ignore[empty-body]
    """Return further defences, usable by name in ``defence=``.

    A defence is a callable ``defence(update, *, rng) -> Update`` with a ``name`` that no other
    defence has. Check yours with ``pytest_labelleak.testing.check_defence``.

    Returns
    -------
    sequence of defence
        The defences to add.

    Examples
    --------
    In ``conftest.py``::

        @pytest.hookimpl(optionalhook=True)
        def pytest_labelleak_defences():
            return [MyDefence(strength=2.0)]
    """


@hookspec(firstresult=True)
def pytest_labelleak_adapter(model: Any) -> Any:
    """Return the adapter that captures updates from `model`, or None if it is not yours.

    An adapter has ``name``, ``capture(model, batch, *, head, training, class_weight) -> Update`` and
    ``labels(model, batch, *, head, class_weight) -> Truth``, both with an optional ``ignore_class``.
    Hooks are asked before the built-in
    adapters. Check yours with ``pytest_labelleak.testing.check_adapter``.

    Parameters
    ----------
    model : object
        The model that the test passed to the assertion.

    Returns
    -------
    adapter or None
        The first hook that returns one wins.

    Examples
    --------
    In ``conftest.py``::

        @pytest.hookimpl(optionalhook=True)
        def pytest_labelleak_adapter(model):
            return MyAdapter() if isinstance(model, MyModel) else None
    """


@hookspec
def pytest_labelleak_report(report: Mapping[str, Any], config: Any) -> None:
    """Receive the finished report of the session, once, on the controlling process.

    Parameters
    ----------
    report : mapping
        The same plain dictionary that the JSON report holds.
    config : pytest.Config
        The session's configuration.

    Examples
    --------
    In ``conftest.py``::

        @pytest.hookimpl(optionalhook=True)
        def pytest_labelleak_report(report, config):
            upload(report["summary"])
    """
