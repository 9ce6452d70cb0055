"""Updates from arrays and files: what is accepted, what is refused, and how."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from pytest_labelleak import Head, InvalidArgumentError, Update
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


def test_arrays_are_copied() -> None:
    gradient = GOOD.kernel_gradient.copy()
    update = Update.from_arrays(gradient)
    gradient[:] = 0
    assert np.array_equal(update.kernel_gradient, GOOD.kernel_gradient)


def test_half_precision_is_widened() -> None:
    assert Update.from_arrays(GOOD.kernel_gradient.astype(np.float16)).kernel_gradient.dtype == np.float32


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
        GOOD, head=head, compute_dtype="bfloat16", device="gpu", reduction="mean", steps=2, learning_rate=0.1
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
