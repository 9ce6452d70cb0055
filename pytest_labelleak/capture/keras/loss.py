"""Facts about the compiled loss of a Keras model: kind of targets, reduction, label smoothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.errors import UnsupportedModelError

__all__ = ["LossFacts", "loss_facts", "loss_of", "overrides_compute_loss", "require_scalar"]

_CLASS_TARGETS = ("sparsecategoricalcrossentropy",)
_ROW_TARGETS = ("categoricalcrossentropy", "categoricalfocalcrossentropy", "kldivergence", "kldiv", "kld")
_BINARY_TARGETS = ("binarycrossentropy", "binaryfocalcrossentropy")
_REDUCTIONS = {"sum_over_batch_size": "mean", "mean": "mean", "mean_with_sample_weight": "mean", "sum": "sum"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LossFacts:
    """Facts about the loss of one output.

    Attributes
    ----------
    name : str
        Name of the loss in messages.
    targets : {"classes", "rows", "binary", "unknown"}
        Whether the loss takes class indices, rows of probabilities, or one probability for each class by itself.
    softmax, sigmoid : bool
        Whether the loss applies a softmax, or a sigmoid, to logits.
    reduction : {"mean", "sum", "unknown"}
        Reduction over samples.
    label_smoothing : float
        Share of the label mass that is spread evenly over the classes; 0 for none.
    ignored : tuple of int
        Labels that mark a position without a class, where the loss or the user says so.
    """

    name: str
    targets: str
    softmax: bool
    reduction: str
    label_smoothing: float
    ignored: tuple[int, ...] = ()
    sigmoid: bool = False


def overrides_compute_loss(model: Any) -> bool:
    """Tell whether the model overrides ``compute_loss``.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    bool
        True if ``compute_loss`` of the class or of the instance is not Keras' own.
    """
    import keras

    return getattr(model.compute_loss, "__func__", None) is not keras.Model.compute_loss


def loss_of(model: Any, path: tuple[Any, ...], names: tuple[str, ...], index: int) -> Any:
    """Return the loss that the user compiled for one output: a name, a function, an instance, or None."""
    compiled = getattr(model, "_compile_loss", None)
    loss: Any = None if compiled is None else compiled._user_loss
    for key in path:
        in_list = isinstance(loss, (list, tuple)) and isinstance(key, int) and key < len(loss)
        if in_list or (isinstance(loss, Mapping) and key in loss):
            loss = loss[key]
    if isinstance(loss, Mapping):
        loss = next((loss[name] for name in names if name in loss), None)
    if isinstance(loss, (list, tuple)):
        loss = loss[index] if index < len(loss) else None
    return loss


def loss_facts(loss: Any) -> LossFacts:
    """Read the facts about a loss from its type and its options.

    Parameters
    ----------
    loss : str, callable, keras.Loss or None
        The loss that the user passed to ``compile``.

    Returns
    -------
    LossFacts
        The facts; "unknown" where the loss does not show them.
    """
    import keras

    if loss is None:
        return LossFacts(name="none", targets="unknown", softmax=False, reduction="unknown", label_smoothing=0.0)
    known = loss
    if isinstance(loss, str) and loss.lower() not in ("crossentropy", "ce"):
        known = keras.losses.get(loss)
    options: dict[str, Any] = {}
    function = known
    if isinstance(known, keras.losses.Loss):
        options = dict(getattr(known, "_fn_kwargs", {}))
        function = getattr(known, "fn", known)
    while hasattr(function, "func"):  # functools.partial
        options = {**function.keywords, **options}
        function = function.func
    label = getattr(function, "__name__", None) or type(function).__name__
    plain = label.replace("_", "").lower()
    known_targets = {"classes": _CLASS_TARGETS, "rows": _ROW_TARGETS, "binary": _BINARY_TARGETS}
    targets = next((form for form, labels in known_targets.items() if plain in labels), "unknown")
    logits = bool(options.get("from_logits", False))
    reduction = "unknown"
    if isinstance(known, str) or not isinstance(known, keras.losses.Loss):
        reduction = "mean"  # Keras wraps names and functions in a loss with this reduction
    else:
        reduction = _REDUCTIONS.get(str(known.reduction), "unknown")
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None) or getattr(loss, "name", None)
    return LossFacts(
        name=str(name or type(loss).__name__),
        targets=targets,
        softmax=targets in ("classes", "rows") and logits,
        sigmoid=targets == "binary" and logits,
        reduction=reduction,
        label_smoothing=float(options.get("label_smoothing", getattr(known, "label_smoothing", 0.0)) or 0.0),
        ignored=() if options.get("ignore_class") is None else (int(options["ignore_class"]),),
    )


def require_scalar(model: Any, loss: Any) -> None:
    """Refuse a loss that JAX and torch cannot differentiate.

    Parameters
    ----------
    model : keras.Model
        The model, which the message names.
    loss : tensor
        Result of its ``compute_loss``.

    Raises
    ------
    UnsupportedModelError
        If the loss has dimensions.
    """
    import keras

    if len(loss.shape):
        raise UnsupportedModelError(
            f"the loss of model {model.name!r} is not a scalar, which the {keras.backend.backend()} backend cannot "
            "differentiate. Compile it with a loss whose reduction is 'sum_over_batch_size' or 'sum'."
        )
