"""Update: the gradients that one training participant shares, and the layout of its classification head."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .archive import read_archive, write_archive
from .errors import InvalidArgumentError, quoted
from .optimizer import Optimizer
from .settings import note_private_values
from .tensors import to_numpy

__all__ = ["COMPUTE_DTYPES", "Head", "OrientationRules", "Update", "class_axis", "unit_roundoff"]

#: Activation behind the head.
HEAD_KINDS = ("softmax", "sigmoid")

#: Unit roundoff of the arithmetic that produced a gradient, by dtype name.
COMPUTE_DTYPES: Mapping[str, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}


def unit_roundoff(compute_dtype: str) -> float:
    """Return the unit roundoff of `compute_dtype`.

    Parameters
    ----------
    compute_dtype : str
        One of `COMPUTE_DTYPES`.

    Returns
    -------
    float
        Largest relative error of rounding to that type.
    """
    return COMPUTE_DTYPES[compute_dtype]


def _real_array(value: Any, name: str, ndim: int | None) -> np.ndarray:
    array = to_numpy(value)
    if array is None:
        raise InvalidArgumentError(
            f"{name} is a {type(value).__name__} that does not convert to an array. Expected a rectangular array or "
            "tensor of floats with values: evaluate a symbolic tensor first, or convert to numpy yourself."
        )
    if array.dtype == object:
        raise InvalidArgumentError(f"{name} has dtype object. Expected a rectangular array of floats.")
    # ml_dtypes' bfloat16 is kind 'V' to numpy, yet converts: accept it by name.
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise InvalidArgumentError(
            f"{name} has dtype {array.dtype.name}. Expected float16, bfloat16, float32 or float64: "
            "a gradient that was rounded to integers needs its scale; multiply it back first."
        )
    if ndim is not None and array.ndim != ndim:
        shape = "(d, C): features by classes" if ndim == 2 else "(C,): one entry per class"
        raise InvalidArgumentError(f"{name} has shape {array.shape}. Expected {ndim} dimension(s), {shape}.")
    if array.size == 0:
        least = "at least 1 entry" if ndim is None else "at least 1 feature and 2 classes"
        raise InvalidArgumentError(f"{name} is empty: shape {array.shape}. Expected {least}.")
    if array.dtype.itemsize < 4:
        array = array.astype(np.float32)
    return array


def _others(arrays: Mapping[str, Any] | None, kind: str, instead: str) -> dict[str, np.ndarray]:
    """Return copies of the named arrays of variables outside of the head."""
    if arrays is None:
        return {}
    if not isinstance(arrays, Mapping):
        raise InvalidArgumentError(f"{kind} is a {type(arrays).__name__}. Expected a mapping from name to array.")
    for name in arrays:
        if not isinstance(name, str):
            raise InvalidArgumentError(f"{kind} has a {type(name).__name__} as a name. Expected text.")
        if name in ("kernel", "bias"):
            raise InvalidArgumentError(
                f"{kind} has the name {name!r}, that of a variable of the head. Expected other variables: pass "
                f"those of the head as {instead}, and rename this one."
            )
    return {name: np.array(_real_array(array, f"{kind}[{name!r}]", None)) for name, array in arrays.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientationRules:
    """Numbers that decide on which axis of a kernel's gradient the classes are.

    The plateau of each number is the range in which no orientation is told wrongly: 12 changes of a gradient (noise,
    penalty, signs, levels, largest entries, low rank ...) by 6 shapes by non-negative, signed and centred features.

    Attributes
    ----------
    deviations : float
        The sums along an axis vanish if their energy is below that of independent entries by this many standard
        deviations.
    times : float
        The sums along the other axis must have at least this many times the energy.
    other_sums : float
        Smallest energy of the sums along the other axis, relative to independent entries. Both vanish for centred
        features (layer normalisation).
    distinct : float
        The sums are looked at if at least this share of the entries are distinct values.
    least_entries : int
        A line of at least this many entries other than zero says something by its signs: independent signs agree
        with probability ``2 ** (1 - least_entries)``.
    alike : float
        Smallest share of such lines with entries of one sign for an axis to be that of non-negative features.
    """

    deviations: float = field(default=6.0, metadata={"plateau": (4.0, 8.0)})
    times: float = field(default=3.0, metadata={"plateau": (2.0, 10.0)})
    other_sums: float = field(default=0.03, metadata={"plateau": (0.01, 0.1)})
    distinct: float = field(default=0.5, metadata={"plateau": (0.1, 0.9)})
    least_entries: int = field(default=16, metadata={"plateau": (8, 64)})
    alike: float = field(default=0.1, metadata={"plateau": (0.02, 0.3)})


def class_axis(gradient: np.ndarray, *, rules: OrientationRules | None = None) -> int | None:
    """Tell on which axis of the kernel gradient of a softmax head the classes are, from the gradient alone.

    The gradient of every feature sums to zero over the classes. Two traces of this property survive noise, a penalty
    or a reduction to signs:

    - The sums over the classes have less energy than the sums of independent entries, and the sums over the features
      have not. A share of noise adds its own share of energy alone.
    - A line over the classes has entries of both signs. If all features are non-negative, a line over the features of
      one class has entries of one sign.

    Parameters
    ----------
    gradient : ndarray of shape (n, m)
        The gradient, in an unknown orientation.
    rules : OrientationRules, optional
        By default ``OrientationRules()``.

    Returns
    -------
    int or None
        0 or 1; None if neither trace is there, or the traces disagree.

    Examples
    --------
    >>> features, errors = np.array([1.0, 2.0, 3.0]), np.array([0.5, -0.75, 0.25])
    >>> class_axis(np.outer(features, errors)), class_axis(np.outer(errors, features))
    (1, 0)
    """
    rules = rules or OrientationRules()
    if min(gradient.shape) < 2 or not np.isfinite(gradient).all():
        return None
    scale = float(np.abs(gradient).max())
    if scale == 0.0:
        return None
    wide = gradient.astype(np.float64) / scale
    found = {_axis_of_sums(wide, rules), _axis_of_signs(wide, rules)} - {None}
    return found.pop() if len(found) == 1 else None


def _axis_of_sums(wide: np.ndarray, rules: OrientationRules) -> int | None:
    # Signs and few levels are no linear change: the sums over centred features then vanish rather than the others.
    entries = wide[wide != 0.0]
    entries = entries[:: max(1, entries.size // 100_000)]  # a sample shows the share of distinct values
    coarse = np.unique(entries).size < rules.distinct * entries.size
    squares = wide * wide
    total = float(squares.sum())
    ratios, bounds = [], []
    for axis in (0, 1):
        ratios.append(float((wide.sum(axis=axis) ** 2).sum()) / total)
        energies = squares.sum(axis=axis)
        # A few large lines are as good as few lines: the effective number of lines.
        lines = total**2 / float((energies**2).sum())
        bounds.append(1.0 - rules.deviations * math.sqrt(2.0 / lines))
    for axis in (0, 1):
        # Sums that vanish to rounding are no luck, however few they are.
        vanish = ratios[axis] < (1e-6 if coarse else max(bounds[axis], 1e-6))
        if vanish and ratios[1 - axis] >= max(rules.times * ratios[axis], bounds[1 - axis], rules.other_sums):
            return axis
    return None


def _axis_of_signs(wide: np.ndarray, rules: OrientationRules) -> int | None:
    positive = [(wide > 0.0).sum(axis=axis) for axis in (0, 1)]
    negative = [(wide < 0.0).sum(axis=axis) for axis in (0, 1)]
    for axis in (0, 1):
        other = 1 - axis
        if np.any((positive[axis] == 0) ^ (negative[axis] == 0)):
            continue  # a line of one sign, which no line over the classes is
        long = positive[other] + negative[other] >= rules.least_entries
        alike = (positive[other] == 0) | (negative[other] == 0)
        if long.any() and float(alike[long].mean()) >= rules.alike:
            return axis
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """The classification head inside an update, as everybody knows it who has the model.

    The classification head is the layer that turns d features into C logits.

    Attributes
    ----------
    layer : str
        Name of the layer.
    kernel, bias : str, str or None
        Keys of the layer's variables in `Update.gradients`.
    kernel_value, bias_value : ndarray of shape (d, C), (C,), or None
        Weights at the time of the gradient, where the attacker has them.
    kernel_penalty, bias_penalty : ndarray of shape (d, C), (C,), or None
        Part of the gradient that comes from weight regularisers. The penalty depends on the weights and not on the
        batch, so an attacker who has the model subtracts it.
    label_smoothing : float
        Smoothing of the targets in the loss, part of the public training configuration.
    tied : bool
        Whether the transposed kernel is also the model's input embedding. The kernel gradient is then a sum: ``H^T D``
        from the head, with H the features (S, d) and D the errors of the logits (S, C), and one column for every
        token that was looked up.
    kind : {"softmax", "sigmoid"}
        Activation behind the logits. "softmax": one class for each label position, and errors of the logits that sum
        to zero over the classes. "sigmoid": each class is present or absent by itself (multi-label), also with one
        class alone.
    """

    layer: str = "head"
    kernel: str = "kernel"
    bias: str | None = None
    kernel_value: np.ndarray | None = field(default=None, repr=False)
    bias_value: np.ndarray | None = field(default=None, repr=False)
    kernel_penalty: np.ndarray | None = field(default=None, repr=False)
    bias_penalty: np.ndarray | None = field(default=None, repr=False)
    label_smoothing: float = 0.0
    tied: bool = False
    kind: Literal["softmax", "sigmoid"] = "softmax"


def _bias_fits(gradient: np.ndarray, *biases: Any) -> bool:
    """Tell whether a bias says that the classes are on the second axis: its length is that of one axis alone."""
    rows, columns = gradient.shape
    return rows != columns and any(bias is not None and np.shape(bias) == (columns,) for bias in biases)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Update:
    """Named gradients as a participant shares them, with the facts that every receiver knows.

    A gradient points uphill: pass the gradient, or (weights before - weights after) of a training step; never
    after - before.

    Attributes
    ----------
    gradients : mapping of str to ndarray
        Gradient of every trainable variable. The kernel gradient of the head is (d, C): features by classes.
    head : Head
        The classification head, and the keys of its variables among the gradients.
    compute_dtype : str
        Arithmetic of the backward pass: "float64", "float32", "float16" or "bfloat16". Keras keeps gradients in
        float32 under mixed precision, so the dtype of an array may be wider.
    device : str
        Device of the backward pass ("cpu", "gpu", ...), or "unknown".
    reduction : str
        Reduction of the loss over samples: "mean", "sum" or "unknown".
    origin : str
        Adapter and backend that captured the update, e.g. "keras/tensorflow" or "arrays".
    steps : int
        Number of local training steps whose gradients the update sums up.
    learning_rate : float or None
        Learning rate of the local steps, where known.
    optimizer : Optimizer or None
        Rule of the local steps, from a fresh state; None for plain gradient descent, or where it is not known.
    defences : tuple of str
        Names of the defences that were applied, in order.
    penalties : mapping of str to ndarray
        For variables outside of the head: part of the gradient that comes from weight regularisers, as in
        `Head.kernel_penalty`.
    values : mapping of str to ndarray
        For some variables outside of the head, such as the cells of a decoder: weights at the time of the gradient.
    belongs : bool or None
        Whether the adapter found that the labels of the batch explain the gradient: True if they explain the error of
        the logits at every label position. None where the adapter could not tell, or did not try.
    belongs_reason : str
        The finding as a clause, without a label: evidence where `belongs` is True, otherwise the missing piece.
    oriented : bool
        Whether it is known which axis of the head's kernel has the classes. False for arrays that show no trace of it.
    """

    gradients: Mapping[str, np.ndarray] = field(repr=False)
    head: Head
    compute_dtype: str = "float32"
    device: str = "unknown"
    reduction: str = "unknown"
    origin: str = "arrays"
    steps: int = 1
    learning_rate: float | None = None
    optimizer: Optimizer | None = None
    defences: tuple[str, ...] = ()
    penalties: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    values: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    belongs: bool | None = None
    belongs_reason: str = ""
    oriented: bool = True

    def __post_init__(self) -> None:
        """Check names, shapes and dtypes."""
        note_private_values()
        if not isinstance(self.compute_dtype, str) or self.compute_dtype not in COMPUTE_DTYPES:
            raise InvalidArgumentError(
                f"compute_dtype={quoted(self.compute_dtype)}. Expected one of {', '.join(COMPUTE_DTYPES)}."
            )
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise InvalidArgumentError(f"steps={quoted(self.steps)}. Expected an integer of at least 1.")
        rate: Any = self.learning_rate
        if rate is not None and (
            isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0.0 < float(rate) < math.inf
        ):
            raise InvalidArgumentError(f"learning_rate={quoted(rate)}. Expected a positive, finite number, or None.")
        object.__setattr__(self, "learning_rate", None if rate is None else float(rate))
        if self.optimizer is not None:
            object.__setattr__(self, "optimizer", Optimizer.named(self.optimizer))
        head = self.head
        for name in filter(None, (head.kernel, head.bias)):
            if name not in self.gradients:
                raise InvalidArgumentError(
                    f"the head's variable {name!r} is not among the gradients {sorted(self.gradients)}."
                )
        kernel = self.gradients[head.kernel]
        _real_array(kernel, f"gradients[{head.kernel!r}]", 2)
        d, classes = kernel.shape
        if head.kind not in HEAD_KINDS:
            raise InvalidArgumentError(f"kind={quoted(head.kind)}. Expected one of {', '.join(HEAD_KINDS)}.")
        if classes < 2 and head.kind == "softmax":
            raise InvalidArgumentError(
                f"the head's kernel gradient has shape {kernel.shape}: {classes} class. Expected at least 2: "
                "with one output there is no softmax over classes and no label to tell apart. For a single sigmoid "
                'pass kind="sigmoid".'
            )
        companions = {
            "bias_gradient": (self.gradients[head.bias] if head.bias else None, (classes,)),
            "kernel": (head.kernel_value, (d, classes)),
            "bias": (head.bias_value, (classes,)),
            "kernel_penalty": (head.kernel_penalty, (d, classes)),
            "bias_penalty": (head.bias_penalty, (classes,)),
        }
        for name, (array, shape) in companions.items():
            if array is None:
                continue
            _real_array(array, name, len(shape))
            if array.shape != shape:
                hint = ""
                if array.shape in {(d,), (classes, d)} and d != classes:
                    hint = " One of the two looks transposed: arrays are in Keras orientation, kernel (d, C)."
                raise InvalidArgumentError(
                    f"{name} has shape {array.shape}, but the kernel gradient has shape {kernel.shape}. "
                    f"Expected {shape}.{hint}"
                )

        for kind in ("penalties", "values"):
            for name, array in getattr(self, kind).items():
                wanted = self.gradients[name].shape if name in self.gradients else None
                if array.shape != wanted:
                    raise InvalidArgumentError(
                        f"{kind}[{name!r}] has shape {array.shape}. Expected that of the gradient of its name, "
                        f"{wanted}."
                    )

    @classmethod
    def from_arrays(
        cls,
        kernel_gradient: Any,
        *,
        bias_gradient: Any = None,
        kernel: Any = None,
        bias: Any = None,
        compute_dtype: str = "float32",
        steps: int = 1,
        learning_rate: float | None = None,
        optimizer: str | Optimizer | None = None,
        gradients: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        kind: Literal["softmax", "sigmoid"] = "softmax",
    ) -> Update:
        """Build an update from arrays or tensors of any framework.

        A gradient points uphill: pass the gradient, or (weights before - weights after) of a training step; never
        after - before.

        Parameters
        ----------
        kernel_gradient : array_like of shape (d, C)
            Gradient of the loss with respect to the head's kernel: features by classes.
        bias_gradient : array_like of shape (C,), optional
            Gradient with respect to the head's bias.
        kernel, bias : array_like of shape (d, C), (C,), optional
            Weights of the head at the time of the gradient, for attacks that use them.
        compute_dtype : str, default "float32"
            Arithmetic of the backward pass: "float64", "float32", "float16" or "bfloat16".
        steps : int, default 1
            Number of local training steps whose gradients the arrays sum up.
        learning_rate : float, optional
            Learning rate of the local steps, if the arrays are (weights before - weights after) / learning_rate.
        optimizer : str or Optimizer, optional
            Rule of the local steps: "sgd", "momentum", "adam", "adamw", ..., or an `Optimizer` with its settings. Its
            weight decay is subtracted where `kernel`, `bias` and `learning_rate` are given.
        gradients : mapping of str to array_like, optional
            Gradients of variables outside of the head, by name; the names "kernel" and "bias" are those of the head.
        values : mapping of str to array_like, optional
            Weights of some of the variables in `gradients` at the time of the gradient, by the same names.
        kind : {"softmax", "sigmoid"}, default "softmax"
            Activation behind the head; see `Head.kind`.

        Returns
        -------
        Update
            An update that holds copies of the arrays. Types below float32 are widened to float32. `Update.oriented`
            is False if the arrays do not show which axis has the classes: neither sums and signs, see `class_axis`,
            nor a bias of one entry per class.

        Raises
        ------
        InvalidArgumentError
            If an array is empty, not floating point, of a wrong shape, or transposed; if a name is no text, is that of
            a variable of the head, or has a value and no gradient; if `steps`, `learning_rate` or `optimizer` is out of
            range.

        Examples
        --------
        >>> import numpy as np
        >>> update = Update.from_arrays(np.array([[0.5, -0.75, 0.25], [1.0, -1.5, 0.5]]))
        >>> update.features, update.classes
        (2, 3)
        """
        gradient = np.array(_real_array(kernel_gradient, "kernel_gradient", 2))
        axis = None if kind == "sigmoid" else class_axis(gradient)
        if axis == 0 and not _bias_fits(gradient, bias_gradient, bias):
            raise InvalidArgumentError(
                f"kernel_gradient of shape {gradient.shape} looks transposed: its columns sum to zero and its rows do "
                "not, or its rows have entries of one sign and its columns of both. Expected Keras orientation (d, C), "
                "features by classes; pass kernel_gradient.T (PyTorch's Linear keeps (C, d))."
            )
        named = {"kernel": gradient}
        if bias_gradient is not None:
            named["bias"] = np.array(_real_array(bias_gradient, "bias_gradient", 1))
        rule = None if optimizer is None else Optimizer.named(optimizer)
        weights = None if kernel is None else np.array(_real_array(kernel, "kernel", 2))
        bias_weights = None if bias is None else np.array(_real_array(bias, "bias", 1))
        # Every step takes this share of the weights away, in units of the learning rate.
        decay = (
            0.0
            if rule is None or learning_rate is None
            else rule.weight_decay * (steps if isinstance(steps, int) else 1)
        )
        head = Head(
            bias="bias" if bias_gradient is not None else None,
            kernel_value=weights,
            bias_value=bias_weights,
            kernel_penalty=decay * weights if decay and weights is not None else None,
            bias_penalty=decay * bias_weights if decay and bias_weights is not None else None,
            kind=kind,
        )
        return cls(
            gradients={**named, **_others(gradients, "gradients", "bias_gradient= and the first argument")},
            head=head,
            compute_dtype=compute_dtype,
            steps=steps,
            learning_rate=learning_rate,
            optimizer=rule,
            values=_others(values, "values", "kernel= and bias="),
            oriented=axis == 1 or _bias_fits(gradient, bias_gradient, bias),
        )

    @property
    def kernel_gradient(self) -> np.ndarray:
        """Gradient of the head's kernel, shape (d, C)."""
        return self.gradients[self.head.kernel]

    @property
    def bias_gradient(self) -> np.ndarray | None:
        """Gradient of the head's bias, shape (C,), or None."""
        return self.gradients[self.head.bias] if self.head.bias else None

    @property
    def features(self) -> int:
        """Number d of inputs of the head."""
        return int(self.kernel_gradient.shape[0])

    @property
    def classes(self) -> int:
        """Number C of outputs of the head."""
        return int(self.kernel_gradient.shape[1])

    @property
    def label_classes(self) -> int:
        """Number of classes that labels name: one for each output, and classes 0 and 1 for a single sigmoid unit."""
        return 2 if self._one_unit else self.classes

    @property
    def _one_unit(self) -> bool:
        return self.head.kind == "sigmoid" and self.classes == 1

    def both_classes(self) -> Update:
        """Return the update of a single sigmoid unit as that of a softmax over classes 0 and 1.

        The sigmoid of a logit z is the softmax of the logits 0 and z. The error of class 0 is the error of class 1 with
        the sign turned, so the column of class 0 is the negative of the unit's own column.

        Returns
        -------
        Update
            With two columns, and weights of zero for class 0; any other update is returned itself.

        Examples
        --------
        >>> import numpy as np
        >>> unit = Update.from_arrays(np.array([[0.5], [-1.0]]), kind="sigmoid")
        >>> unit.both_classes().kernel_gradient.tolist()
        [[-0.5, 0.5], [1.0, -1.0]]
        """
        if not self._one_unit:
            return self

        def columns(array: np.ndarray, sign: float = -1.0) -> np.ndarray:
            return np.concatenate([sign * array, array], axis=-1).astype(array.dtype)

        def both(array: np.ndarray | None, sign: float = -1.0) -> np.ndarray | None:
            return None if array is None else columns(array, sign)

        head = self.head
        own = {name: columns(self.gradients[name]) for name in (head.kernel, head.bias) if name is not None}
        return dataclasses.replace(
            self,
            gradients={**self.gradients, **own},
            head=dataclasses.replace(
                head,
                kernel_value=both(head.kernel_value, 0.0),
                bias_value=both(head.bias_value, 0.0),
                kernel_penalty=both(head.kernel_penalty),
                bias_penalty=both(head.bias_penalty),
                kind="softmax",
            ),
        )

    def defect(self) -> str | None:
        """Return the reason why no attack can read the head's gradient at all, or None.

        Returns
        -------
        str or None
            A sentence: the gradient is not finite, or zero everywhere.
        """
        for name, array in (("kernel", self.kernel_gradient), ("bias", self.bias_gradient)):
            if array is None:
                continue
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            if bad:
                return (
                    f"the head's {name} gradient has {bad} of {array.size} entries that are NaN or infinite: "
                    "the loss diverged or overflowed; lower the learning rate or check the loss scale and the inputs"
                )
        if not np.any(self.kernel_gradient):
            return (
                "the head's kernel gradient is zero everywhere: the head is frozen or disconnected, every "
                "sample weight is zero, or the features are zero"
            )
        return None

    def map(self, function: Callable[[np.ndarray], np.ndarray], *, defence: str) -> Update:
        """Apply `function` to every gradient, and record the name of the defence.

        Parameters
        ----------
        function : callable
            From an array to an array of the same shape.
        defence : str
            Name of the defence.

        Returns
        -------
        Update
            A new update; the old one is unchanged.
        """
        return dataclasses.replace(
            self,
            gradients={name: function(array) for name, array in self.gradients.items()},
            defences=(*self.defences, defence),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the update to an ``.npz`` file, atomically and without pickle.

        Parameters
        ----------
        path : path_like
            Target file; replaced if it exists.

        Raises
        ------
        InvalidArgumentError
            If the file cannot be written.
        """
        head = {f.name: getattr(self.head, f.name) for f in dataclasses.fields(Head)}
        arrays = {f"head/{name}": value for name, value in head.items() if isinstance(value, np.ndarray)}
        for prefix, attribute in _ARCHIVED.items():
            arrays |= {f"{prefix}/{name}": array for name, array in getattr(self, attribute).items()}
        plain = {name: value for name, value in head.items() if not isinstance(value, np.ndarray) and value is not None}
        own = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        own |= {} if self.optimizer is None else {"optimizer": self.optimizer.to_record()}
        write_archive(path, arrays, {"head": plain, "update": own})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Update:
        """Read an update from an ``.npz`` file.

        A file that `save` wrote comes back whole. A plain file with an array ``kernel_gradient``, and optionally
        ``bias_gradient``, ``kernel`` and ``bias`` and a string ``compute_dtype``, is read as by `from_arrays`. A
        gradient points uphill: pass the gradient, or (weights before - weights after) of a training step; never
        after - before.

        Parameters
        ----------
        path : path_like
            The file.

        Returns
        -------
        Update
            The update in the file.

        Raises
        ------
        InvalidArgumentError
            If the file is missing, is no archive of an update, or holds pickled objects or wrong arrays.
        """
        arrays, meta = read_archive(path, prefixes=("head/", *(f"{prefix}/" for prefix in _ARCHIVED)))
        if meta is None:
            return cls.from_arrays(
                arrays["kernel_gradient"],
                bias_gradient=arrays.get("bias_gradient"),
                kernel=arrays.get("kernel"),
                bias=arrays.get("bias"),
                compute_dtype=str(arrays.get("compute_dtype", "float32")),
            )

        def of(prefix: str) -> dict[str, np.ndarray]:
            start = f"{prefix}/"
            return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}

        try:
            attributes: dict[str, Any] = meta["update"]
            attributes["defences"] = tuple(attributes.get("defences", ()))
            attributes |= {attribute: of(prefix) for prefix, attribute in _ARCHIVED.items()}
            update = cls(head=Head(**{**meta["head"], **of("head")}), **attributes)
            _check_plain_fields(update)
        except InvalidArgumentError:
            raise
        except Exception:  # of Python, about values of another type than any that `save` writes
            raise InvalidArgumentError(
                f"{str(path)!r} has unknown fields or types in its 'meta' entry. Expected one written by Update.save."
            ) from None
        return update


def _check_plain_fields(update: Update) -> None:
    """Raise TypeError where a file gives a field another type than `Update.save` writes."""
    text = [*update.defences, *(getattr(update, name) for name in ("compute_dtype", "device", "reduction", "origin"))]
    head = update.head
    text += [head.layer, head.kernel, *(name for name in (head.bias,) if name is not None)]
    arrays = [array for attribute in _ARCHIVED.values() for array in getattr(update, attribute).values()]
    numbers_ = isinstance(head.label_smoothing, (int, float)) and isinstance(head.tied, bool)
    plain = numbers_ and all(isinstance(value, str) for value in text)
    if not plain or any(array.dtype.kind not in "fiub" for array in arrays):
        raise TypeError


#: Arrays in an archive: prefix of their names in the file, and attribute of the update.
_ARCHIVED = {"gradient": "gradients", "penalty": "penalties", "value": "values"}
_PLAIN_FIELDS = (
    *("compute_dtype", "device", "reduction", "origin", "steps", "learning_rate", "defences"),
    *("belongs", "belongs_reason", "oriented"),
)
