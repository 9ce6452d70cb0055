"""Optimizer: how local training steps turn gradients into changes of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import InvalidArgumentError, quoted

__all__ = ["Optimizer", "OptimizerState"]

#: Kind and settings by the names that frameworks use.
_NAMED: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd"},
    "momentum": {"kind": "sgd", "momentum": 0.9},
    "nesterov": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"kind": "adam"},
    "adamw": {"kind": "adam", "weight_decay": 0.004},
    "rmsprop": {"kind": "rmsprop", "beta_2": 0.9},
    "adagrad": {"kind": "adagrad"},
}
_KINDS = ("sgd", "adam", "rmsprop", "adagrad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """Rule of the local steps, with its settings as Keras calls them; a receiver knows it.

    Attributes
    ----------
    kind : {"sgd", "adam", "rmsprop", "adagrad"}
        The rule.
    momentum : float
        Of "sgd".
    nesterov : bool
        Whether the momentum of "sgd" looks ahead.
    beta_1, beta_2 : float
        Decay of the first and second moments of "adam"; "rmsprop" uses `beta_2` alone.
    epsilon : float
        Added to the root of the second moment of "adam", and to the moment itself of "rmsprop" and "adagrad".
    weight_decay : float
        Decoupled decay: the share of the weights, in units of the learning rate, that every step takes away.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
       https://doi.org/10.48550/arXiv.1412.6980
    .. [2] I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
       https://doi.org/10.48550/arXiv.1711.05101

    Examples
    --------
    >>> Optimizer.named("momentum")
    Optimizer(kind='sgd', momentum=0.9, nesterov=False, beta_1=0.9, beta_2=0.999, epsilon=1e-07, weight_decay=0.0)
    """

    kind: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check kind and settings."""
        if self.kind not in _KINDS:
            raise InvalidArgumentError(f"kind={quoted(self.kind)}. Expected one of {', '.join(_KINDS)}.")
        for name in ("momentum", "beta_1", "beta_2"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value < 1.0:
                raise InvalidArgumentError(f"{name}={quoted(value)}. Expected a number in [0, 1).")
        for name in ("epsilon", "weight_decay"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value < math.inf:
                raise InvalidArgumentError(f"{name}={quoted(value)}. Expected a finite number that is not negative.")
        if not isinstance(self.nesterov, bool):
            raise InvalidArgumentError(f"nesterov={quoted(self.nesterov)}. Expected True or False.")

    @classmethod
    def named(cls, given: str | Optimizer | Mapping[str, Any]) -> Optimizer:
        """Return an optimizer by its name.

        Parameters
        ----------
        given : str, Optimizer or mapping
            "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop" or "adagrad", with the default settings of Keras
            and a momentum of 0.9; an optimizer, which is returned as it is; or its settings.

        Returns
        -------
        Optimizer
            The optimizer.

        Raises
        ------
        InvalidArgumentError
            If the name or a setting is unknown.
        """
        if isinstance(given, Optimizer):
            return given
        if isinstance(given, str) and given.lower() in _NAMED:
            return cls(**_NAMED[given.lower()])
        if isinstance(given, Mapping) and set(given) <= set(cls.__dataclass_fields__):
            return cls(**given)
        raise InvalidArgumentError(
            f"optimizer={quoted(given)}. Expected one of {', '.join(_NAMED)}, or Optimizer(...) with its settings."
        )

    @property
    def linear(self) -> bool:
        """Whether the change is a sum of the gradients of the steps, each with a factor of its own."""
        return self.kind == "sgd"

    def to_record(self) -> dict[str, Any]:
        """Return the settings as a dictionary of JSON types.

        Returns
        -------
        dict
            For `named`.
        """
        return asdict(self)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class OptimizerState:
    """Moments of an optimizer, zero at the start.

    Parameters
    ----------
    optimizer : Optimizer
        The rule.

    Examples
    --------
    >>> state = OptimizerState(Optimizer.named("adam"))
    >>> state.step({"w": np.array([4.0, -0.5])})["w"].round(3).tolist()
    [1.0, -1.0]
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._rule = optimizer
        self._steps = 0
        self._first: dict[str, np.ndarray] = {}
        self._second: dict[str, np.ndarray] = {}

    def step(
        self, gradients: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """Take one step.

        Parameters
        ----------
        gradients : mapping of str to ndarray
            Of the loss, by variable.
        weights : mapping of str to ndarray, optional
            Before the step, for the decay; variables without weights do not decay.

        Returns
        -------
        dict of str to ndarray
            (weights before - weights after) / learning rate.
        """
        self._steps += 1
        changes = {}
        for name, gradient in gradients.items():
            change = self._change(name, gradient)
            if self._rule.weight_decay and weights is not None and name in weights:
                change = change + self._rule.weight_decay * weights[name]
            changes[name] = change
        return changes

    def _change(self, name: str, gradient: np.ndarray) -> np.ndarray:
        rule = self._rule
        if rule.kind == "sgd":
            if not rule.momentum:
                return gradient
            self._first[name] = rule.momentum * self._first.get(name, 0.0) + gradient
            return gradient + rule.momentum * self._first[name] if rule.nesterov else self._first[name]
        square = gradient * gradient
        if rule.kind == "adagrad":
            # Keras starts the accumulator at 0.1.
            self._second[name] = self._second.get(name, 0.1) + square
            return np.asarray(gradient / np.sqrt(self._second[name] + rule.epsilon))
        self._second[name] = rule.beta_2 * self._second.get(name, 0.0) + (1.0 - rule.beta_2) * square
        if rule.kind == "rmsprop":
            return np.asarray(gradient / np.sqrt(self._second[name] + rule.epsilon))
        self._first[name] = rule.beta_1 * self._first.get(name, 0.0) + (1.0 - rule.beta_1) * gradient
        # The biases of both moments, which start at zero, are corrected in one factor.
        factor = math.sqrt(1.0 - rule.beta_2**self._steps) / (1.0 - rule.beta_1**self._steps)
        return np.asarray(factor * self._first[name] / (np.sqrt(self._second[name]) + rule.epsilon))
