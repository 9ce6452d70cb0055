"""Two optimisers, Adam with a falling rate and L-BFGS; a function of the caller stops either of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

__all__ = ["OPTIMISERS", "adam", "lbfgs"]

OPTIMISERS = ("adam", "lbfgs")
_Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
#: The constants of Kingma and Ba, ICLR 2015 (arXiv 1412.6980).
_DECAYS, _TINY = (0.9, 0.999), 1e-8
#: Pairs that L-BFGS keeps. A step costs second derivatives, a pair only memory; the minimum is the same.
_MEMORY = 30


def adam(
    function: _Function,
    vector: np.ndarray,
    moments: np.ndarray | None,
    *,
    step: int,
    rate: Callable[[int], float],
    after: Callable[[np.ndarray, float, np.ndarray], bool],
) -> np.ndarray:
    """Minimise by Adam.

    Parameters
    ----------
    function : callable
        Maps a vector to value and gradient.
    vector : ndarray of shape (n,)
        Start.
    moments : ndarray of shape (2, n) or None
        Moments of earlier steps, if any.
    step : int
        Number of earlier steps.
    rate : callable
        Maps the number of a step to its learning rate.
    after : callable
        Called after every step with the vector, the value before the step and the moments; returns whether to stop.

    Returns
    -------
    ndarray
        The vector after the last step.
    """
    first, second = np.zeros((2, vector.size)) if moments is None else moments.copy()
    stop = False
    while not stop:
        value, gradient = function(vector)
        first = _DECAYS[0] * first + (1.0 - _DECAYS[0]) * gradient
        second = _DECAYS[1] * second + (1.0 - _DECAYS[1]) * gradient**2
        step += 1
        corrected = [moment / (1.0 - decay**step) for moment, decay in zip((first, second), _DECAYS, strict=True)]
        vector = vector - rate(step) * corrected[0] / (np.sqrt(corrected[1]) + _TINY)
        stop = after(vector, value, np.stack([first, second]))
    return vector


def lbfgs(
    function: _Function, vector: np.ndarray, *, most: int, after: Callable[[np.ndarray, float], bool]
) -> tuple[np.ndarray, float]:
    """Minimise by L-BFGS (scipy's L-BFGS-B, without bounds).

    Parameters
    ----------
    function, vector
        As for `adam`.
    most : int
        Most steps.
    after : callable
        Called after every step with the vector and the value; returns whether to stop.

    Returns
    -------
    vector : ndarray
    value : float
    """

    def told(intermediate_result: Any) -> None:
        if after(np.array(intermediate_result.x), float(intermediate_result.fun)):
            raise StopIteration

    result = minimize(
        function,
        vector,
        jac=True,
        method="L-BFGS-B",
        callback=told,
        # The smallest possible distance is not known beforehand, so only a step without effect ends the descent.
        options={"maxiter": most, "maxfun": 4 * most, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0},
    )
    return np.array(result.x), float(result.fun)
