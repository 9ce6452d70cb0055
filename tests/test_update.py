"""Updates from arrays, tensors and files: accepted, or refused with one clear error."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from pytest_labelleak import Head, InvalidArgumentError, Update
from pytest_labelleak.core.update import class_axis
from pytest_labelleak.testing import make_update

GOOD = make_update(positions=3, features=6, classes=9).update


@pytest.mark.parametrize(
    ("gradient", "complaint"),
    [
        (np.zeros((3, 4), dtype=np.int32), "dtype int32"),
        (np.zeros((3, 4), dtype=bool), "dtype bool"),
        (np.array([[1.0, 2.0], [3.0]], dtype=object), "dtype object"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 4)), "empty"),
        (np.zeros((4, 0)), "empty"),
        (np.ones((4, 1)), "1 class"),
        (GOOD.kernel_gradient.T, "looks transposed"),
    ],
)
def test_a_wrong_gradient_gets_one_clear_error(gradient: np.ndarray, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint) as caught:
        Update.from_arrays(gradient)
    assert "Expected" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"bias_gradient": np.zeros(6)}, r"bias_gradient has shape \(6,\).*transposed"),
        ({"bias_gradient": np.zeros((9, 1))}, r"shape \(9, 1\)"),
        ({"kernel": np.zeros((9, 6))}, r"kernel has shape \(9, 6\).*transposed"),
        ({"bias": np.zeros(8)}, r"bias has shape \(8,\)"),
        ({"compute_dtype": "float8"}, "compute_dtype='float8'"),
    ],
)
def test_companions_must_fit_the_kernel_gradient(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        Update.from_arrays(GOOD.kernel_gradient, **arguments)


def _changed(gradient: np.ndarray) -> dict[str, np.ndarray]:
    """Return a gradient under changes that leave traces of its orientation."""
    rng = np.random.default_rng(5)
    noise = np.sqrt(np.mean(gradient**2)) * rng.normal(size=gradient.shape)
    penalty = 0.2 * np.sqrt(np.mean(gradient**2)) * rng.normal(size=gradient.shape)
    return {
        "clean": gradient,
        "noise 0.01": gradient + 0.01 * noise,
        "noise 1": gradient + noise,
        "penalty": gradient + penalty,
        "signs": np.sign(gradient),
    }


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("change", ["clean", "noise 0.01", "noise 1", "penalty", "signs"])
def test_a_transposed_gradient_is_refused_also_when_it_was_changed(change: str, classes: int) -> None:
    gradient = _changed(make_update(positions=8, features=512, classes=classes).update.kernel_gradient)[change]
    assert Update.from_arrays(gradient).oriented
    with pytest.raises(InvalidArgumentError, match=r"looks transposed.*kernel_gradient\.T"):
        Update.from_arrays(gradient.T)


@pytest.mark.parametrize("change", ["clean", "noise 0.01", "noise 1", "penalty", "signs"])
@pytest.mark.parametrize("shape", [(64, 2), (64, 300), (256, 40)])
def test_centred_features_are_not_taken_for_classes(change: str, shape: tuple[int, int]) -> None:
    case = make_update(positions=20, features=shape[0], classes=shape[1], signed=True)
    features = case.features - case.features.mean(axis=1, keepdims=True)
    errors = (case.probabilities - np.eye(shape[1])[case.labels]) * case.weights[:, None]
    assert class_axis(_changed(features.T @ errors)[change]) != 0


def test_arrays_without_a_trace_of_their_orientation_say_so() -> None:
    noise = np.random.default_rng(0).normal(size=(60, 40))
    assert not Update.from_arrays(noise).oriented
    assert not Update.from_arrays(np.zeros((60, 40))).oriented
    assert Update.from_arrays(noise, bias_gradient=np.zeros(40)).oriented
    assert Update.from_arrays(noise, bias=np.zeros(40)).oriented
    assert not Update.from_arrays(noise[:40], bias_gradient=np.zeros(40)).oriented


def test_a_sigmoid_head_has_any_number_of_classes(tmp_path: Path) -> None:
    one = Update.from_arrays(np.ones((4, 1)), bias_gradient=np.ones(1), kind="sigmoid")
    assert (one.head.kind, one.classes) == ("sigmoid", 1)
    one.save(tmp_path / "u.npz")
    assert Update.load(tmp_path / "u.npz").head.kind == "sigmoid"
    several = make_update(positions=3, features=40, classes=9).update.kernel_gradient.T
    assert not Update.from_arrays(several, kind="sigmoid").oriented  # sums say nothing about a sigmoid head
    with pytest.raises(InvalidArgumentError, match=r"kind='relu'\. Expected one of softmax, sigmoid"):
        Update.from_arrays(np.ones((4, 3)), kind="relu")
    with pytest.raises(InvalidArgumentError, match=r'1 class.*kind="sigmoid"'):
        Update.from_arrays(np.ones((4, 1)))


def test_arrays_are_copied() -> None:
    gradient = GOOD.kernel_gradient.copy()
    update = Update.from_arrays(gradient)
    gradient[:] = 0
    assert np.array_equal(update.kernel_gradient, GOOD.kernel_gradient)


def test_half_precision_is_widened() -> None:
    assert Update.from_arrays(GOOD.kernel_gradient.astype(np.float16)).kernel_gradient.dtype == np.float32


class _Tensor:
    """Stands for a tensor of PyTorch: to numpy only when detached and on the host, and never from bfloat16."""

    def __init__(self, array, *, dtype="torch.float32", requires_grad=True, device="cuda", sparse=False):
        self._array, self.dtype, self._requires_grad, self._device = np.asarray(array), dtype, requires_grad, device
        self.is_sparse = sparse

    def _like(self, **changes):
        now = {"requires_grad": self._requires_grad, "device": self._device, "sparse": self.is_sparse}
        return _Tensor(self._array, **{"dtype": self.dtype, **now, **changes})

    def detach(self):
        return self._like(requires_grad=False)

    def cpu(self):
        return self._like(device="cpu")

    def float(self):
        return self._like(dtype="torch.float32")

    def to_dense(self):
        return self._like(sparse=False)

    def numpy(self):
        if self._requires_grad or self._device != "cpu" or self.is_sparse:
            raise RuntimeError("a tensor that requires grad, is on another device, or is sparse")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array

    def __array__(self, *args, **options):
        return self.numpy()


@pytest.mark.parametrize("options", [{}, {"dtype": "torch.bfloat16"}, {"sparse": True}])
def test_tensors_are_detached_moved_to_the_host_and_widened(options) -> None:
    update = Update.from_arrays(
        _Tensor(GOOD.kernel_gradient, **options),
        bias_gradient=_Tensor(GOOD.bias_gradient, **options),
        kernel=_Tensor(np.ones((6, 9), np.float32), **options),
        gradients={"below": _Tensor(np.ones((2, 2, 3), np.float32), **options)},
    )
    assert np.array_equal(update.kernel_gradient, GOOD.kernel_gradient)
    assert np.array_equal(update.bias_gradient, GOOD.bias_gradient)
    assert update.head.kernel_value.shape == (6, 9)
    assert update.gradients["below"].shape == (2, 2, 3)


def test_a_tensor_of_whole_numbers_is_still_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="dtype int64"):
        Update.from_arrays(_Tensor(np.ones((2, 3), np.int64)))


def test_a_tensor_without_values_gets_one_clear_error() -> None:
    class Symbolic:
        def __array__(self, *args, **options):
            raise NotImplementedError("symbolic, of labels 17 and 4")

    with pytest.raises(InvalidArgumentError, match=r"kernel_gradient is a Symbolic .*Expected") as caught:
        Update.from_arrays(Symbolic())
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_lists_of_different_lengths_get_one_clear_error() -> None:
    with pytest.raises(InvalidArgumentError, match=r"kernel_gradient is a list .*rectangular"):
        Update.from_arrays([[1.0, 2.0], [3.0]])


def test_steps_rates_and_other_variables_are_kept(tmp_path: Path) -> None:
    below = np.ones((3, 4, 5), np.float16)
    update = Update.from_arrays(
        GOOD.kernel_gradient,
        steps=3,
        learning_rate=np.float32(0.5),
        gradients={"conv/kernel": below, "scale": np.float32(2.0)},
        values={"conv/kernel": 2 * below},
    )
    below[:] = 0
    assert (update.steps, update.learning_rate) == (3, 0.5)
    assert list(update.gradients) == ["kernel", "conv/kernel", "scale"]
    assert np.array_equal(update.gradients["conv/kernel"], np.ones((3, 4, 5)))
    assert update.gradients["conv/kernel"].dtype == np.float32
    assert np.array_equal(update.values["conv/kernel"], np.full((3, 4, 5), 2.0))
    update.save(tmp_path / "u.npz")
    back = Update.load(tmp_path / "u.npz")
    assert (back.steps, back.learning_rate, back.gradients.keys()) == (3, 0.5, update.gradients.keys())
    assert np.array_equal(back.values["conv/kernel"], update.values["conv/kernel"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"steps": 0}, "steps=0"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"learning_rate": True}, "learning_rate=True"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"gradients": [np.ones(2)]}, "gradients is a list"),
        ({"gradients": {1: np.ones(2)}}, "gradients has a int as a name"),
        ({"gradients": {"kernel": np.ones(2)}}, "the name 'kernel', that of a variable of the head"),
        ({"gradients": {"bias": np.ones(9)}}, "the name 'bias'"),
        ({"gradients": {"below": np.ones(2, int)}}, r"gradients\['below'\] has dtype int64"),
        ({"gradients": {"below": np.ones((0, 2))}}, r"gradients\['below'\] is empty"),
        ({"values": {"kernel": np.ones((6, 9))}}, "values has the name 'kernel'.*kernel="),
        ({"values": {"below": np.ones(2)}}, r"values\['below'\] has shape \(2,\).*gradient of its name"),
        ({"gradients": {"a": np.ones(2)}, "values": {"a": np.ones(3)}}, r"values\['a'\] has shape \(3,\)"),
    ],
)
def test_steps_rates_and_other_variables_are_checked(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint) as caught:
        Update.from_arrays(GOOD.kernel_gradient, **arguments)
    assert "Expected" in str(caught.value)


def test_head_must_name_a_gradient() -> None:
    with pytest.raises(InvalidArgumentError, match="'missing' is not among the gradients"):
        Update(gradients={"kernel": np.ones((2, 3))}, head=Head(kernel="missing"))


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_steps_must_be_a_positive_integer(steps: object) -> None:
    with pytest.raises(InvalidArgumentError, match="steps="):
        dataclasses.replace(GOOD, steps=steps)


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    head = dataclasses.replace(
        GOOD.head, kernel_value=np.ones((6, 9)), kernel_penalty=np.full((6, 9), 0.5), label_smoothing=0.1, tied=True
    )
    update = dataclasses.replace(
        GOOD,
        head=head,
        compute_dtype="bfloat16",
        device="gpu",
        reduction="mean",
        steps=2,
        learning_rate=0.1,
        belongs=False,
        belongs_reason="the loss uses other labels",
        oriented=False,
    ).map(lambda a: a, defence="nothing")
    update.save(tmp_path / "u.npz")
    back = Update.load(tmp_path / "u.npz")
    for field in dataclasses.fields(Update):
        if field.name not in {"gradients", "head"}:
            assert getattr(back, field.name) == getattr(update, field.name)
    assert back.gradients.keys() == update.gradients.keys()
    assert all(np.array_equal(back.gradients[k], v) for k, v in update.gradients.items())
    assert np.array_equal(back.head.kernel_value, head.kernel_value)
    assert np.array_equal(back.head.kernel_penalty, head.kernel_penalty)
    assert (back.head.label_smoothing, back.head.tied) == (0.1, True)
    assert [p.name for p in tmp_path.iterdir()] == ["u.npz"]


def test_plain_archives_are_understood(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", kernel_gradient=GOOD.kernel_gradient, bias_gradient=GOOD.bias_gradient)
    update = Update.load(tmp_path / "p.npz")
    assert np.array_equal(update.kernel_gradient, GOOD.kernel_gradient)
    assert np.array_equal(update.bias_gradient, GOOD.bias_gradient)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def _write(kind: str, path: Path) -> None:
    if kind == "text":
        path.write_text("no archive")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(_Touch(path.parent / "executed")))
    elif kind == "object array":
        np.savez(path, kernel_gradient=np.array([_Touch(path.parent / "executed")], dtype=object))
    elif kind == "lone array":
        with path.open("wb") as handle:
            np.save(handle, np.ones((2, 3)))
    elif kind == "truncated":
        GOOD.save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "other arrays":
        np.savez(path, weights=np.ones((2, 3)))
    elif kind == "unknown array":
        np.savez(path, kernel_gradient=np.ones((2, 3)), extra=np.ones(3))
    elif kind == "meta":
        np.savez(path, meta=np.array("{}"))
    elif kind == "future":
        meta = {"format": "pytest-labelleak-update", "version": 99, "head": {}, "update": {}}
        np.savez(path, meta=np.array(json.dumps(meta)))
    elif kind == "unknown field":
        meta = {"format": "pytest-labelleak-update", "version": 1, "head": {"colour": 1}, "update": {}}
        np.savez(path, meta=np.array(json.dumps(meta)))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("missing", "cannot read"),
        ("text", "no plain .npz archive"),
        ("empty", "no plain .npz archive"),
        ("pickle", "no plain .npz archive"),
        ("object array", "no plain .npz archive"),
        ("lone array", "no .npz archive"),
        ("truncated", "no plain .npz archive"),
        ("other arrays", r"holds \['weights'\]"),
        ("unknown array", "'extra' of no known meaning"),
        ("meta", "unreadable 'meta' entry"),
        ("future", "format version 99"),
        ("unknown field", "unknown fields"),
    ],
)
def test_a_bad_file_gets_one_clear_error_and_runs_nothing(kind: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    _write(kind, path)
    with pytest.raises(InvalidArgumentError, match=complaint) as caught:
        Update.load(path)
    assert caught.value.__cause__ is None
    assert not (tmp_path / "executed").exists()


def test_an_unwritable_path_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot write"):
        GOOD.save(tmp_path / "missing" / "u.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InvalidArgumentError, match="cannot write"):
        GOOD.save(tmp_path / "folder.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.npz"]
