"""Bound on the advantage of every attack, past and future, where the law of a defence's noise is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import erf, gammainc

from ...core.errors import InvalidArgumentError
from ...defences.law import NoiseLaw

__all__ = ["Bound", "gaussian_advantage", "head_bound", "laplace_advantage", "pair_bound"]

#: Pairs of updates up to which the change of scale is bounded exactly as well; bounds work. Beyond it, the bounds
#: by divergences stand alone, which are valid too.
_EXACT_SCALES = 1 << 21


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """An advantage that no attack can exceed, whatever it knows.

    Attributes
    ----------
    positions : float
        For the label of one position: mean over positions and over all other classes.
    classes : float
        For the presence of one class: all positions of a present class moved to one absent class, mean over present
        and absent classes. Bounds the mean of true-positive minus false-positive rate of any attack.
    worst : float
        Largest bound of one position or class.
    alike : bool
        Whether the bound of a position is the same for all alternatives: noise of fixed scale without clipping.
    """

    positions: float
    classes: float
    worst: float
    alike: bool

    @property
    def advantage(self) -> float:
        """The larger of the two mean bounds."""
        return max(self.positions, self.classes)


def gaussian_advantage(distance: float | np.ndarray) -> np.ndarray:
    """Return the largest advantage of a test between two Gaussians whose means differ.

    The likelihood-ratio test attains it [1]_: with `distance` the Euclidean distance of the means in standard
    deviations, the advantage is ``2 Phi(distance / 2) - 1``. It is the total variation distance, and the trade-off
    of Gaussian differential privacy [2]_ at its best threshold.

    Parameters
    ----------
    distance : float or ndarray
        ``sqrt(sum of |g_v - g'_v|^2 / sigma_v^2)`` over the variables, at least 0.

    Returns
    -------
    ndarray
        In [0, 1], of the same shape.

    References
    ----------
    .. [1] J. Neyman, E. S. Pearson, "On the Problem of the Most Efficient Tests of Statistical Hypotheses",
       Phil. Trans. R. Soc. A 231 (1933) 289-337. https://doi.org/10.1098/rsta.1933.0009
    .. [2] J. Dong, A. Roth, W. J. Su, "Gaussian Differential Privacy", J. R. Stat. Soc. B 84 (2022) 3-37.
       https://doi.org/10.1111/rssb.12454

    Examples
    --------
    >>> gaussian_advantage(np.array([0.0, 1.0, 10.0])).round(4).tolist()
    [0.0, 0.3829, 1.0]
    """
    return np.asarray(erf(np.asarray(distance, dtype=np.float64) / math.sqrt(8.0)))


def laplace_advantage(shifts: np.ndarray) -> float:
    """Return a bound on the advantage of a test between two products of shifted Laplace distributions.

    With ``x_j`` the shift of coordinate j in units of its scale ``b = sigma / sqrt(2)``:

    ============ ======================================= ===================================================
    bound        formula                                 why
    ============ ======================================= ===================================================
    coupling     ``1 - exp(-sum x_j / 2)``               one coordinate has the distance ``1 - exp(-x / 2)``,
                                                         and independent coordinates are coupled one by one
    affinity     ``sqrt(1 - prod (1 + x_j / 2)^2         the Hellinger affinity of one coordinate is
                 exp(-x_j))``                            ``(1 + x / 2) exp(-x / 2)``; Le Cam's inequality [1]_
    ============ ======================================= ===================================================

    The smaller one is returned. The coupling is exact for one coordinate, and always below the
    ``tanh(sum x_j / 2)`` of pure differential privacy. The affinity is within a fourth of the exact value for many
    small shifts.

    Parameters
    ----------
    shifts : ndarray
        ``|g_j - g'_j| / b_j`` of every coordinate.

    Returns
    -------
    float
        In [0, 1].

    References
    ----------
    .. [1] A. B. Tsybakov, "Introduction to Nonparametric Estimation", Springer 2009, section 2.4.
       https://doi.org/10.1007/b13794

    Examples
    --------
    >>> round(laplace_advantage(np.array([1.0])), 4), round(1 - math.exp(-0.5), 4)
    (0.3935, 0.3935)
    """
    halves = 0.5 * np.abs(np.asarray(shifts, dtype=np.float64)).reshape(-1)
    lost = float(np.sum(halves - np.log1p(halves)))
    return min(-math.expm1(-float(halves.sum())), math.sqrt(-math.expm1(-2.0 * lost)))


def pair_bound(update: Mapping[str, np.ndarray], alternative: Mapping[str, np.ndarray], law: NoiseLaw) -> float:
    """Return a bound on the advantage of any test between two updates behind the same defence.

    The alternative is the update with one label (or all positions of one class) replaced and recomputed, before
    clipping and noise. All shared variables must be there. Where noise has a fixed scale and
    nothing is clipped, only the difference counts: `update` may hold it, and `alternative` zeros.

    Parameters
    ----------
    update, alternative : mapping of str to ndarray
        The gradient of every shared variable, from the true labels and from the replaced ones.
    law : NoiseLaw
        Of the defence.

    Returns
    -------
    float
        In [0, 1]; multiplied by `NoiseLaw.randomised`, so one position must have been replaced where that is not 1.

    Examples
    --------
    >>> one, other = {"bias": np.array([0.5, -0.5])}, {"bias": np.array([-0.5, 0.5])}
    >>> round(pair_bound(one, other, NoiseLaw(absolute=1.0)), 4)
    0.5205
    """
    names = list(update)
    if set(names) != set(alternative):
        raise InvalidArgumentError("update and alternative hold other variables. Expected the same ones in both.")
    first = {name: np.asarray(update[name], dtype=np.float64) for name in names}
    second = {name: np.asarray(alternative[name], dtype=np.float64) for name in names}
    squares = [np.array([float(np.vdot(a[n], a[n])) for n in names]) for a in (first, second)]
    factors = [_kept(np.sqrt(square), law) for square in squares]
    changes = []
    for place, name in enumerate(names):
        shift = np.abs(factors[0][place] * first[name] - factors[1][place] * second[name])
        one, other = (
            _scale(law, name, f[place] ** 2 * s[place], shift.size) for f, s in zip(factors, squares, strict=True)
        )
        lost = None
        if law.kind == "laplace" and law.absolute is not None:
            halves = shift / (math.sqrt(2.0) * one)
            lost = np.sum(halves - np.log1p(halves))
        changes.append(
            _Change(
                entries=shift.size, squared=np.vdot(shift, shift), absolute=shift.sum(), one=one, other=other, lost=lost
            )
        )
    return law.randomised * float(_advantage(changes, law))


def head_bound(
    features: np.ndarray,
    labels: np.ndarray,
    law: NoiseLaw,
    *,
    classes: int,
    weights: np.ndarray | None = None,
    kernel_gradient: np.ndarray | None = None,
    bias_gradient: np.ndarray | None = None,
    bias: bool = False,
) -> Bound:
    """Return the bound for a softmax head alone, over all positions, classes and alternatives.

    Softmax outputs do not depend on the labels, so replacing the label y of position i by y' changes the kernel's
    gradient by ``w_i h_i (e_y - e_y')^T`` and the bias' by ``w_i (e_y - e_y')``, without approximation. Their squared
    norms are ``2 w_i^2 |h_i|^2`` and ``2 w_i^2``: under noise of a fixed scale, without clipping, all alternatives
    have the same bound. Clipping and relative scales depend on the alternative, through its product with the
    gradient.

    Where other variables than the head are shared, they tell of the labels as well: `pair_bound` takes all.

    Parameters
    ----------
    features : ndarray of shape (S, d)
        Input of the head at every label position.
    labels : ndarray of int, shape (S,)
        Their classes. Private.
    law : NoiseLaw
        Of the defence, with the variables "kernel" and "bias".
    classes : int
        Number of classes C.
    weights : ndarray of shape (S,), optional
        Weight of every position in the loss, by default ``1 / S``.
    kernel_gradient, bias_gradient : ndarray of shape (d, C), (C,), optional
        The gradient before clipping and noise; needed for clipping and for relative noise.
    bias : bool, default False
        Whether the head has a bias. True where `bias_gradient` is given.

    Returns
    -------
    Bound
        For positions and for classes.

    Raises
    ------
    InvalidArgumentError
        If clipping or relative noise is asked about without the gradients.

    Notes
    -----
    The statement: a receiver who knows everything but whether a class is y or y', and to whom both are equally
    likely, says y under y more often than under y' by the bound at most. Averaged over present and absent classes it
    bounds the mean of true-positive minus false-positive rate of any attack. It is a statement about one update, not
    about a training run.

    Relative noise of two scales is bounded by the Kullback-Leibler divergence through the inequalities of Pinsker
    and of Bretagnolle and Huber [1]_, by the Hellinger affinity, and by the exact distances of a shift and of a
    change of scale, one after the other; the smallest counts.

    Labels replaced at random [2]_: the laws of two labels differ in a share `NoiseLaw.randomised` alone, which
    multiplies the bound of one position. For m positions of one class the labels differ somewhere with probability
    ``1 - (1 - randomised)^m`` under the best coupling, and the shift is at most that of all m without cancelling.

    References
    ----------
    .. [1] C. L. Canonne, "A short note on an inequality between KL and TV", 2022.
       https://doi.org/10.48550/arXiv.2202.07198
    .. [2] S. L. Warner, "Randomized Response", J. Am. Stat. Assoc. 60 (1965) 63-69.
       https://doi.org/10.1080/01621459.1965.10480775

    Examples
    --------
    >>> bound = head_bound(np.eye(2), np.array([0, 1]), NoiseLaw(absolute=0.5), classes=5)
    >>> round(bound.positions, 4), bound.alike
    (0.5205, True)
    """
    features = np.asarray(features, dtype=np.float64)
    labels = np.asarray(labels, dtype=np.int64).reshape(-1)
    if not labels.size:
        return Bound(positions=0.0, classes=0.0, worst=0.0, alike=True)
    weights = np.full(labels.size, 1.0 / labels.size) if weights is None else np.asarray(weights, dtype=np.float64)
    bias = bias or bias_gradient is not None
    adapted = law.clip is not None or law.relative is not None
    if adapted and (kernel_gradient is None or (bias and bias_gradient is None)):
        raise InvalidArgumentError(
            "the gradients of the head are not given. Expected kernel_gradient (and bias_gradient, with a bias): "
            "clipping and the scale of relative noise depend on them."
        )
    variables = {"kernel": kernel_gradient}
    if bias:
        variables["bias"] = None if bias_gradient is None else np.asarray(bias_gradient)[None, :]
    rows = {"kernel": weights[:, None] * features, "bias": weights[:, None]}

    every = ~np.eye(classes, dtype=bool)[labels]
    single = _swaps(rows, labels, variables, law, classes)
    single = np.broadcast_to(law.randomised * single, every.shape)

    present, member = np.unique(labels, return_inverse=True)
    absent = np.broadcast_to(~np.isin(np.arange(classes), present), (present.size, classes))
    grouped = {name: _summed(row, member, present.size) for name, row in rows.items()}
    if law.randomised == 1.0:
        moved = _swaps(grouped, present, variables, law, classes)
    else:
        differs = 1.0 - (1.0 - law.randomised) ** np.bincount(member.reshape(-1))
        if adapted:
            moved = differs[:, None]
        else:
            sizes = {
                name: _summed(np.abs(row).sum(axis=1, keepdims=True), member, present.size)
                for name, row in rows.items()
            }
            lengths = {
                name: _summed(np.linalg.norm(row, axis=1, keepdims=True), member, present.size)
                for name, row in rows.items()
            }
            moved = differs[:, None] * _longest(lengths, sizes, variables, law, features.shape[1])
    moved = np.broadcast_to(moved, absent.shape)
    return Bound(
        positions=float(single[every].mean()) if classes > 1 else 0.0,
        classes=float(moved[absent].mean()) if absent.any() else 0.0,
        worst=float(max(single[every].max(initial=0.0), moved[absent].max(initial=0.0))),
        alike=not adapted,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Change:
    """One variable of a pair of updates, after clipping; arrays broadcast over pairs."""

    entries: int
    squared: np.ndarray | float  # squared norm of the shift
    absolute: np.ndarray | float  # sum of its absolute entries
    one: np.ndarray | float  # standard deviation of the noise of either update
    other: np.ndarray | float
    lost: np.ndarray | float | None = field(default=None)  # -log of the Laplace affinity, where it is exact


def _swaps(
    rows: Mapping[str, np.ndarray],
    labels: np.ndarray,
    variables: Mapping[str, np.ndarray | None],
    law: NoiseLaw,
    classes: int,
) -> np.ndarray:
    """Return the bound of every unit's move to every class, (units, C), or (units, 1) where all are alike.

    `rows` holds for every unit the row r whose move from y to y' changes a variable by ``r (e_y - e_y')^T``.
    """
    units = np.arange(labels.size)
    adapted = law.clip is not None or law.relative is not None
    moved = {name: 2.0 * np.sum(rows[name] ** 2, axis=1)[:, None] for name in variables}
    sizes = {name: 2.0 * np.abs(rows[name]).sum(axis=1)[:, None] for name in variables}
    if not adapted:
        changes = []
        for name in variables:
            deviation = law.deviation(name)
            lost = None
            if law.kind == "laplace":
                halves = np.abs(rows[name]) / (math.sqrt(2.0) * deviation)
                lost = 2.0 * np.sum(halves - np.log1p(halves), axis=1)[:, None]
            changes.append(
                _Change(
                    entries=rows[name].shape[1] * classes,
                    squared=moved[name],
                    absolute=sizes[name],
                    one=deviation,
                    other=deviation,
                    lost=lost,
                )
            )
        return np.asarray(_advantage(changes, law))
    gradients = {
        name: np.asarray(gradient, dtype=np.float64) for name, gradient in variables.items() if gradient is not None
    }
    before = {name: float(np.vdot(gradient, gradient)) for name, gradient in gradients.items()}
    products, after = {}, {}
    for name, gradient in gradients.items():
        along = rows[name] @ gradient
        products[name] = along[units, labels][:, None] - along
        after[name] = np.maximum(before[name] + 2.0 * products[name] + moved[name], 0.0)
    names = list(gradients)
    kept = _kept(np.sqrt(np.array([before[name] for name in names])), law)
    left = _kept(np.sqrt(np.stack([after[name] for name in names])), law)
    changes = []
    for place, name in enumerate(names):
        c, k = kept[place], left[place]
        # c g - k g' = (c - k) g - k (g' - g)
        squared = (c - k) ** 2 * before[name] - 2.0 * (c - k) * k * products[name] + k**2 * moved[name]
        size = gradients[name].size
        changes.append(
            _Change(
                entries=size,
                squared=np.maximum(squared, 0.0),
                absolute=np.abs(c - k) * np.abs(gradients[name]).sum() + k * sizes[name],
                one=_scale(law, name, c**2 * before[name], size),
                other=_scale(law, name, k**2 * after[name], size),
            )
        )
    return np.asarray(_advantage(changes, law))


def _longest(
    lengths: Mapping[str, np.ndarray],
    sizes: Mapping[str, np.ndarray],
    variables: Mapping[str, np.ndarray | None],
    law: NoiseLaw,
    features: int,
) -> np.ndarray:
    """Return the bound of a unit's largest shift, if any of its positions may move."""
    changes = [
        _Change(
            entries=features,
            squared=2.0 * lengths[name] ** 2,
            absolute=2.0 * sizes[name],
            one=law.deviation(name),
            other=law.deviation(name),
        )
        for name in variables
    ]
    return np.asarray(_advantage(changes, law))


def _summed(rows: np.ndarray, member: np.ndarray, units: int) -> np.ndarray:
    total = np.zeros((units, rows.shape[1]))
    np.add.at(total, member.reshape(-1), rows)
    return total


def _kept(norms: np.ndarray, law: NoiseLaw) -> np.ndarray:
    """Return the factor that clipping leaves of every variable; `norms` has the variables first."""
    if law.clip is None:
        return np.ones_like(norms)
    if law.scope == "update":
        norms = np.broadcast_to(np.sqrt(np.sum(norms**2, axis=0)), norms.shape)
    return np.asarray(law.clip / np.maximum(norms, law.clip))


def _scale(law: NoiseLaw, name: str, square: np.ndarray | float, entries: int) -> np.ndarray | float:
    """Return the standard deviation of the noise on a variable of squared norm `square`."""
    if law.relative is None:
        return law.deviation(name)
    return np.asarray(law.relative * np.sqrt(np.asarray(square) / entries))


def _advantage(changes: list[_Change], law: NoiseLaw) -> np.ndarray:
    """Return the smallest valid bound on the total variation distance, over pairs."""
    fixed = law.absolute is not None
    if law.kind == "gaussian":
        bounds = [_shift_alone(changes)] if fixed else _two_gaussians(changes)
    else:
        bounds = _two_laplaces(changes, fixed=fixed)
    smallest = np.minimum.reduce([np.where(np.isnan(bound), 1.0, bound) for bound in np.broadcast_arrays(*bounds)])
    return np.asarray(np.clip(smallest, 0.0, 1.0))


def _shift_alone(changes: list[_Change], *, swapped: bool = False) -> np.ndarray:
    squares = [_ratio(c.squared, np.square(c.other if swapped else c.one)) for c in changes]
    return gaussian_advantage(np.sqrt(np.sum(np.broadcast_arrays(*squares), axis=0)))


def _ratio(above: np.ndarray | float, below: np.ndarray | float) -> np.ndarray:
    """Return a quotient that is 0 where nothing changes and infinite where noise is missing."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    infinite = np.where(above > 0.0, np.inf, 0.0)
    return np.asarray(np.divide(above, below, out=infinite, where=below > 0.0))


def _log_ratio(change: _Change) -> np.ndarray:
    """Return the logarithm of the second scale over the first; 0 where both are 0."""
    one, other = np.broadcast_arrays(np.asarray(change.one, dtype=float), np.asarray(change.other, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(one == other, 0.0, np.log(other) - np.log(one)))


def _two_gaussians(changes: list[_Change]) -> list[np.ndarray]:
    """Return bounds for Gaussians of two scales."""
    forward, backward, lost = np.zeros(()), np.zeros(()), np.zeros(())
    with np.errstate(over="ignore", invalid="ignore"):
        for change in changes:
            log_r = _log_ratio(change)
            # n (ln r + 1 / (2 r^2) - 1 / 2) + |shift|^2 / (2 sigma'^2), and the same with both exchanged
            forward = forward + change.entries * (log_r + 0.5 * np.expm1(-2.0 * log_r))
            forward = forward + 0.5 * _ratio(change.squared, np.square(change.other))
            backward = backward + change.entries * (-log_r + 0.5 * np.expm1(2.0 * log_r))
            backward = backward + 0.5 * _ratio(change.squared, np.square(change.one))
            both = np.square(change.one) + np.square(change.other)
            lost = lost + 0.5 * change.entries * np.log(np.cosh(log_r)) + 0.25 * _ratio(change.squared, both)
        bounds = [_by_divergence(forward), _by_divergence(backward), np.sqrt(-np.expm1(-2.0 * lost))]
        if np.size(lost) <= _EXACT_SCALES:
            rescaled = sum(_change_of_scale(change.entries, _log_ratio(change)) for change in changes)
            bounds += [_shift_alone(changes) + rescaled, _shift_alone(changes, swapped=True) + rescaled]
    return bounds


def _two_laplaces(changes: list[_Change], *, fixed: bool) -> list[np.ndarray]:
    """Return bounds for products of Laplace distributions, of one scale or of two."""
    root = math.sqrt(2.0)
    if fixed:
        halves = sum(_ratio(change.absolute, root * np.asarray(change.one)) for change in changes)
        # x - ln(1 + x) <= x^2 / 2 where the affinity is not known coordinate by coordinate
        lost = sum(
            0.25 * _ratio(change.squared, np.square(change.one)) if change.lost is None else np.asarray(change.lost)
            for change in changes
        )
        return [-np.expm1(-np.asarray(halves)), np.sqrt(-np.expm1(-2.0 * np.asarray(lost)))]
    forward, backward = np.zeros(()), np.zeros(())
    with np.errstate(over="ignore", invalid="ignore"):
        for change in changes:
            log_r = _log_ratio(change)
            # ln r + (exp(-x) + x) / r - 1 for a coordinate shifted by x scales, and exp(-x) + x <= 1 + x^2 / 2
            shift = _ratio(change.squared, np.multiply(change.one, change.other))
            forward = forward + change.entries * (log_r + np.expm1(-log_r)) + shift
            backward = backward + change.entries * (-log_r + np.expm1(log_r)) + shift
    return [_by_divergence(forward), _by_divergence(backward)]


def _by_divergence(divergence: np.ndarray) -> np.ndarray:
    """Return the smaller of Pinsker's and of Bretagnolle and Huber's bound."""
    divergence = np.maximum(divergence, 0.0)
    return np.asarray(np.minimum(np.sqrt(0.5 * divergence), np.sqrt(-np.expm1(-divergence))))


def _change_of_scale(entries: int, log_r: np.ndarray) -> np.ndarray:
    """Return the exact distance of two centred Gaussians of `entries` coordinates whose scales differ.

    The likelihood ratio is one at a squared length of ``n ln r^2 / (1 - r^-2)`` in units of the smaller scale.
    """
    twice = 2.0 * np.abs(log_r)
    # ln r^2 / (1 - r^-2) -> 1 as r -> 1
    inner = np.where(twice > 0.0, twice / np.where(twice > 0.0, -np.expm1(-twice), 1.0), 1.0)
    inner = np.where(np.isfinite(twice), inner, 0.0)
    half = 0.5 * entries
    distance = gammainc(half, half * inner) - gammainc(half, half * inner * np.exp(-twice))
    return np.asarray(np.where(np.isfinite(twice), distance, 1.0))
