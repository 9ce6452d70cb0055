"""Data sets of TensorFlow and Keras as batches."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pytest_labelleak import InvalidArgumentError
from pytest_labelleak.capture import iter_batches


def _pairs():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((np.ones((8, 3), "float32"), np.arange(8))).batch(4)


def test_a_repeated_data_set_is_refused_at_once():
    with pytest.raises(InvalidArgumentError, match=r"without an end\. Expected a finite iterable: remove \.repeat\(\)"):
        next(iter_batches(_pairs().repeat()))


def test_a_finite_data_set_is_read_whole():
    assert len(list(iter_batches(_pairs().repeat(2)))) == 4


def test_a_data_set_of_unknown_length_is_read_whole():
    assert len(list(iter_batches(_pairs().filter(lambda x, y: True)))) == 2


@pytest.mark.parametrize(("number", "batches"), [(None, None), (2, 2)])
def test_an_indexed_data_set(number, batches):
    class Data(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return number

        def __getitem__(self, index):
            return np.ones((4, 3)), np.arange(4)

    if batches is None:
        with pytest.raises(InvalidArgumentError, match="batch is a Data without an end"):
            next(iter_batches(Data()))
    else:
        assert len(list(iter_batches(Data()))) == batches
