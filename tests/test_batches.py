"""One batch or many: labels of an update in any form, and data without an end."""

from __future__ import annotations

import array
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from pytest_labelleak import InvalidArgumentError, UnsupportedModelError, Update, audit
from pytest_labelleak.capture import iter_batches
from pytest_labelleak.capture.arrays import ArraysAdapter
from pytest_labelleak.testing import make_update

UPDATE = Update.from_arrays(np.array([[0.5, -0.75, 0.25], [1.0, -1.5, 0.5]]))


class _Frozen(Sequence):
    """A sequence that is neither a list nor a tuple."""

    def __init__(self, *items):
        self._items = items

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]


@pytest.mark.parametrize(
    "labels",
    [[1], (1,), range(1, 2), array.array("q", [1]), [np.int64(1)], [np.array(1)], np.array([1]), _Frozen(1)],
    ids=["list", "tuple", "range", "array.array", "numpy numbers", "arrays", "ndarray", "sequence"],
)
def test_labels_of_an_update_may_be_any_sequence(labels) -> None:
    assert audit(UPDATE, labels, attacks="bias_sign").outcome == audit(UPDATE, [1], attacks="bias_sign").outcome
    (batch,) = iter_batches(labels)
    assert ArraysAdapter().labels(UPDATE, batch).labels.tolist() == [1]
    assert ArraysAdapter().labels(UPDATE, {"y": labels}).labels.tolist() == [1]


def test_labels_of_an_update_may_be_a_tensor() -> None:
    class Tensor:
        dtype, is_sparse = "torch.int64", False

        def detach(self):
            return self

        def cpu(self):
            self.on_host = True
            return self

        def numpy(self):
            return np.array([1, 1]) if self.on_host else None

        def __array__(self, *args, **options):
            raise TypeError("on another device")

    (batch,) = iter_batches(Tensor())
    assert ArraysAdapter().labels(UPDATE, batch).labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (([[1.0, 2.0]], [1]), "batch is a tuple, and the model is an Update"),
        ((np.ones((4, 2)), np.arange(4)), "batch is a tuple, and the model is an Update"),
        ({"y": [[1], [1, 2]]}, "batch is a list, and the model is an Update"),
        ({"x": [1]}, "batch is a dict, and the model is an Update"),
        ((np.arange(2), np.arange(2)), r"batch has shape \(2, 2\)"),
        ([0.5], "labels have dtype float64"),
        ([3], "1 of 1 labels are out of range"),
        (["1"], "batch is a list whose items are str"),
    ],
)
def test_other_labels_get_one_clear_error(labels, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint) as caught:
        audit(UPDATE, labels)
    assert "Expected" in str(caught.value)
    assert caught.value.__cause__ is None


def test_features_that_are_no_array_get_one_clear_error() -> None:
    with pytest.raises(InvalidArgumentError, match=r"batch\['features'\] does not convert .*Expected"):
        audit(UPDATE, {"y": [1], "features": [[1.0, 2.0], [3.0]]})


class _Cardinal:
    """Data that knows its length as a ``tf.data.Dataset`` does, and refuses to be read."""

    def __init__(self, cardinality):
        self._cardinality = cardinality

    def cardinality(self):
        return self._cardinality

    def __iter__(self):
        if self._cardinality == -1:
            raise AssertionError("an endless data set was read")
        return iter([(1,)])


class _Indexed:
    """Data that is indexed as a Keras ``PyDataset`` is."""

    def __init__(self, number):
        self._number = number

    @property
    def num_batches(self):
        if self._number == "undefined":
            raise NotImplementedError
        return self._number

    def __getitem__(self, index):
        if self._number is None:
            raise AssertionError("an endless data set was read")
        return (index,)

    def __iter__(self):
        return iter([(7,)])


@pytest.mark.parametrize("data", [_Cardinal(-1), _Indexed(None), itertools.cycle([(1,)])])
def test_data_without_an_end_are_refused_before_the_first_batch(data) -> None:
    with pytest.raises(InvalidArgumentError, match=r"batch is a .* without an end\. Expected a finite iterable"):
        next(iter_batches(data))


@pytest.mark.parametrize(
    ("data", "batches"),
    [
        (_Cardinal(1), [(1,)]),
        (_Cardinal(-2), [(1,)]),  # of unknown length
        (_Indexed(2), [(0,), (1,)]),
        (_Indexed("undefined"), [(7,)]),
        (((i,) for i in range(2)), [(0,), (1,)]),
        ([(1,), (2,)], [(1,), (2,)]),
    ],
)
def test_finite_data_are_read(data, batches) -> None:
    assert list(iter_batches(data)) == batches


def test_a_generator_is_read_batch_by_batch() -> None:
    batches = iter_batches((i,) for i in itertools.count())
    assert [next(batches) for _ in range(3)] == [(0,), (1,), (2,)]


def _two() -> tuple[list[Update], list[list[int]]]:
    cases = [make_update(positions=3, features=8, classes=9, seed=seed) for seed in (0, 1)]
    return [case.update for case in cases], [case.labels.tolist() for case in cases]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_updates_is_pooled_with_a_list_of_labels(kind: type) -> None:
    updates, labels = _two()
    result = audit(kind(updates), kind(labels), attacks="bias_sign")
    assert (result.batches, result.advantage) == (2, 1.0)
    assert audit(kind(updates), kind(labels[::-1]), attacks="bias_sign").advantage < 1.0
    assert audit(kind(updates), np.array(labels), attacks="bias_sign").advantage == 1.0
    with_features = [{"y": y, "features": np.ones((3, 8))} for y in labels]
    assert audit(updates, with_features, attacks="bias_sign").batches == 2


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ([[1, 2, 3]], "list of 2 Updates, and batch has 1 entries. Expected a list of 2 batches of labels"),
        ([[1], [2], [3]], "batch has 3 entries"),
        ([1, 2], "batch has a lone int as its entry number 0"),
        (np.array([1, 2]), "batch is a ndarray"),
        ({"y": [1, 2]}, "batch is a dict"),
        (iter([[1], [2]]), "batch is a list_iterator"),
    ],
)
def test_updates_and_labels_must_pair(labels: object, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        audit(_two()[0], labels)


def test_updates_of_different_heads_are_not_pooled() -> None:
    updates, labels = _two()
    other = make_update(positions=3, features=8, classes=7).update
    with pytest.raises(InvalidArgumentError, match=r"number 1 has a softmax head of 7 classes.*Expected"):
        audit([updates[0], other], labels)


@pytest.mark.parametrize("models", [[], [1], (object(), object())])
def test_a_list_of_anything_else_is_no_model(models: object) -> None:
    with pytest.raises(UnsupportedModelError, match="Expected one model, or a list of Updates"):
        audit(models, [[1]])


def test_an_ignored_label_of_an_update_is_left_out() -> None:
    case = make_update(positions=3, features=8, classes=9)
    adapter = ArraysAdapter()
    given = {"y": [*case.labels, -100, -100], "features": np.ones((5, 8)), "lengths": [2, 3]}
    truth = adapter.labels(case.update, given, ignore_class=-100)
    assert truth.labels.tolist() == case.labels.tolist()
    assert (truth.lengths, truth.features.shape) == ([2, 1], (3, 8))
    assert adapter.capture(case.update, given, ignore_class=-100) is case.update
    with pytest.raises(InvalidArgumentError, match="ignore_class is a float"):
        adapter.labels(case.update, given, ignore_class=1.5)


@pytest.mark.parametrize("name", ["missing.keras", "model.h5", "folder.keras", "model"])
def test_a_path_that_is_no_saved_model_gets_one_clear_error(name, tmp_path) -> None:
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "model.h5").write_bytes(b"")
    for path in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(
            UnsupportedModelError, match=r"model is the path .*Expected a model, or the path of an"
        ) as e:
            audit(path, [1])
        assert e.value.__cause__ is None
